"""`sartm fleet`: many recordings at once, on this machine or on a Ray cluster."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from sartm_core.commands.common import JsonOption, print_json, stdout, user_errors
from sartm_ros.commands.bags import MsgsOption
from sartm_ros.commands.fleet_runs import Spread, absolute, do, write_tables
from sartm_ros.commands.replays import DeviceOption, StampsOption, TagsOption, TruthOption

fleet_app = typer.Typer(no_args_is_help=True, help="Many recordings, on this machine or on a Ray cluster.")

RecordingsArgument = Annotated[
    list[str],
    typer.Argument(
        help="Recordings, folders of them, quoted patterns, .txt files that list them, or fsspec URLs such as s3://..."
    ),
]
OutOption = Annotated[
    Path, typer.Option(help="Folder of the results, one for each recording; on a cluster a shared one.")
]
BundleOption = Annotated[str, typer.Option(help="A bundle's folder, or the name of a shipped one.")]
BundleRigOption = Annotated[str | None, typer.Option(help="Rig file or name of all recordings. Default: the bundle's.")]
RigOption = Annotated[str, typer.Option(help="Rig file or name: which topic is which sensor.")]
WorkersOption = Annotated[
    int | None, typer.Option(help="Processes on this machine. Default: one per --threads cores; with cuda one.", min=1)
]
ThreadsOption = Annotated[
    int, typer.Option(help="Threads of each task's network. Masks are equal to the byte for equal --threads.", min=1)
]
RayOption = Annotated[
    str | None, typer.Option("--ray", help="Address of a Ray cluster, instead of processes: auto, or HOST:PORT.")
]
GpusOption = Annotated[float, typer.Option(help="With --ray and cuda: share of a GPU for each task.", min=0.01)]
PlanOption = Annotated[bool, typer.Option("--plan", help="Only say what would be done.")]
EveryOption = Annotated[float, typer.Option(help="Seconds between frame sets.", min=0)]
ValOption = Annotated[float, typer.Option(help="Share of each recording for the split 'val'.", min=0, max=1)]
CompleteOption = Annotated[bool, typer.Option("--complete", help="Only frame sets with every sensor.")]
LimitOption = Annotated[int | None, typer.Option(help="Maximum number for each recording.", min=1)]


@fleet_app.command("segment")
def fleet_segment(
    recordings: RecordingsArgument,
    bundle: BundleOption,
    out: OutOption,
    rig: BundleRigOption = None,
    overlay: Annotated[bool, typer.Option("--overlay", help="Also write overlays, as a topic.")] = False,
    node: Annotated[str, typer.Option(help="Prefix of the topics.")] = "/perception",
    slice_gb: Annotated[
        float | None,
        typer.Option(
            help="Cut recordings that are larger into slices of about this size. Default: none is cut.", min=0
        ),
    ] = None,
    stamps: StampsOption = "header",
    msgs: MsgsOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    threads: ThreadsOption = 1,
    ray: RayOption = None,
    gpus: GpusOption = 1.0,
    plan: PlanOption = False,
    json_output: JsonOption = False,
) -> None:
    """Write masks, confidence and routing weights for every recording, as `sartm bag segment` does."""
    with user_errors():
        from sartm_ros.fleet.order import Segmenting

        spread = Spread(workers, threads, ray, gpus, slice_gb, plan, json_output)
        what = Segmenting(node=f"/{node.strip('/')}", overlay=overlay)
        do(what, recordings, out, spread, rig=rig, bundle=bundle, stamps=stamps, msgs=msgs, device=device)


@fleet_app.command("evaluate")
def fleet_evaluate(
    recordings: RecordingsArgument,
    bundle: BundleOption,
    truth_topic: Annotated[str, typer.Option("--truth-topic", help="Topic of labels: mono8 class ids.")],
    out: OutOption,
    rig: BundleRigOption = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(help="clean, subsets, noise, conditions, faults or all; may be repeated. Default: clean."),
    ] = None,
    window: Annotated[float, typer.Option(help="Length of the windows of time, seconds.", min=0.1)] = 10.0,
    tags_topic: TagsOption = None,
    truth_tolerance: Annotated[
        float, typer.Option(help="Largest distance between a label and a set, seconds.", min=0)
    ] = 0.02,
    stamps: StampsOption = "header",
    msgs: MsgsOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    threads: ThreadsOption = 1,
    ray: RayOption = None,
    gpus: GpusOption = 1.0,
    plan: PlanOption = False,
    json_output: JsonOption = False,
) -> None:
    """Score a bundle on every recording, as `sartm bag evaluate` does."""
    with user_errors():
        from sartm_core.errors import SartmError
        from sartm_core.evaluation.protocols import expand
        from sartm_ros.fleet.order import Evaluating

        if "conditions" in (protocol or ()) and tags_topic is None:
            raise SartmError("--protocol conditions: needs --tags-topic, the topic with the condition at each time.")
        spread = Spread(workers, threads, ray, gpus, plan=plan, json=json_output)
        what = Evaluating(
            truth_topic=truth_topic, truth_tolerance_s=truth_tolerance, tags_topic=tags_topic,
            protocols=expand(protocol or ["clean"]), window_s=window,
        )  # fmt: skip
        do(what, recordings, out, spread, rig=rig, bundle=bundle, stamps=stamps, msgs=msgs, device=device)


@fleet_app.command("extract")
def fleet_extract(
    recordings: RecordingsArgument,
    rig: RigOption,
    out: OutOption,
    every: EveryOption = 0.5,
    val: ValOption = 0.2,
    complete: CompleteOption = False,
    limit: LimitOption = None,
    truth_topic: TruthOption = None,
    tags_topic: TagsOption = None,
    stamps: StampsOption = "header",
    msgs: MsgsOption = None,
    workers: WorkersOption = None,
    ray: RayOption = None,
    plan: PlanOption = False,
    json_output: JsonOption = False,
) -> None:
    """Write a frame folder of every recording, as `sartm bag extract` does: OUT/NAME/frames."""
    with user_errors():
        from sartm_ros.fleet.order import Extracting

        spread = Spread(workers, 1, ray, plan=plan, json=json_output)
        what = Extracting(
            every_s=every, validation=val, complete=complete, limit=limit, truth_topic=truth_topic,
            tags_topic=tags_topic,
        )  # fmt: skip
        do(what, recordings, out, spread, rig=rig, stamps=stamps, msgs=msgs, device="cpu")


@fleet_app.command("autolabel")
def fleet_autolabel(
    recordings: RecordingsArgument,
    rig: RigOption,
    teacher: Annotated[str, typer.Option(help="A segmentation model of transformers: a folder, or a hub name.")],
    mapping: Annotated[Path, typer.Option(help="YAML: classes: {teacher's class: the rig's, or null}.")],
    out: OutOption,
    min_confidence: Annotated[float, typer.Option(help="Pixels below it stay unlabelled.", min=0, max=1)] = 0.8,
    every_frame: Annotated[
        bool, typer.Option("--every-frame", help="Also label frames whose RGB is too dark, too bright or blurred.")
    ] = False,
    every: EveryOption = 0.5,
    val: ValOption = 0.2,
    complete: CompleteOption = False,
    limit: LimitOption = None,
    stamps: StampsOption = "header",
    msgs: MsgsOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    threads: ThreadsOption = 1,
    ray: RayOption = None,
    gpus: GpusOption = 1.0,
    plan: PlanOption = False,
    json_output: JsonOption = False,
) -> None:
    """Write a frame folder of every recording, and label it as `sartm data autolabel` does."""
    with user_errors():
        from sartm_core.checked_yaml import read_yaml
        from sartm_core.labels.teachers import TeacherMap
        from sartm_ros.fleet.order import Labelling

        spread = Spread(workers, threads, ray, gpus, plan=plan, json=json_output)
        what = Labelling(
            every_s=every, validation=val, complete=complete, limit=limit, teacher=absolute(teacher),
            classes=read_yaml(mapping, TeacherMap).classes, min_confidence=min_confidence, every_frame=every_frame,
        )  # fmt: skip
        do(what, recordings, out, spread, rig=rig, stamps=stamps, msgs=msgs, device=device)


@fleet_app.command("report")
def fleet_report(out: Annotated[Path, typer.Argument(help="The --out of another `sartm fleet` command.")]) -> None:
    """Write fleet.html and fleet.parquet anew from the results that are there."""
    with user_errors():
        write_tables(out)


@fleet_app.command("compare")
def fleet_compare(
    first: Annotated[Path, typer.Argument(help="The --out of segment or evaluate with one bundle.")],
    second: Annotated[Path, typer.Argument(help="That with another bundle.")],
    json_output: JsonOption = False,
) -> None:
    """What the second bundle gains over the first: for each recording, with paired bootstrap intervals."""
    with user_errors():
        from sartm_ros.fleet.comparison import as_json, compare_fleets

        metric, gains, whole = compare_fleets(first, second)
        if json_output:
            print_json(as_json(metric, gains, whole))
            return
        columns = ("pairs", str(first), str(second), "difference", "95 % interval")
        table = Table("recording", *columns, title=f"{metric} of the frame sets, %")
        for gain in (*gains, whole):
            limits = "" if gain.low is None or gain.high is None else f"{100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
            figures = (f"{100 * gain.first:.1f}", f"{100 * gain.second:.1f}", f"{100 * gain.difference:+.1f}")
            table.add_row(gain.name, str(gain.pairs), *figures, limits)
        stdout.print(table)
