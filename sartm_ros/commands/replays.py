"""`sartm bag segment`, `evaluate` and `extract`: recordings replayed without ROS or a clock."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from sartm_core.commands.common import JsonOption, print_json, stderr, stdout, user_errors
from sartm_core.commands.evaluation import print_tables, write_results
from sartm_ros.commands.bags import BagArgument, MsgsOption, bag_app, warn

if TYPE_CHECKING:
    from sartm_ros.bag.faults import BagFault

BundleOption = Annotated[
    str, typer.Option(help="A bundle's folder, the name of a shipped one, or a .ckpt of `sartm train`.")
]
RigOption = Annotated[str | None, typer.Option(help="Rig file or name: maps topics to sensors. Default: the bundle's.")]
StampsOption = Annotated[
    str, typer.Option(help="header, or recorded: the times of recording, where headers are unreliable.")
]
DropOption = Annotated[
    list[str] | None, typer.Option(help="NAME@FROM:TO, seconds: leave a sensor out; may be repeated.")
]
DelayOption = Annotated[list[str] | None, typer.Option(help="NAME=SECONDS@FROM:TO: its messages arrive late.")]
NoiseOption = Annotated[list[str] | None, typer.Option(help="NAME=SIGMA@FROM:TO: Gaussian, on the scale 0 to 255.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
TruthOption = Annotated[str | None, typer.Option("--truth-topic", help="Topic of labels: mono8 class ids.")]
TagsOption = Annotated[
    str | None, typer.Option("--tags-topic", help="Topic of JSON with condition and the like, such as /sim/phase.")
]


@bag_app.command("segment")
def bag_segment(
    bag: BagArgument,
    bundle: BundleOption,
    out: Annotated[Path, typer.Option(help="The recording to write: a folder, or a .mcap file.")],
    rig: RigOption = None,
    copy: Annotated[bool, typer.Option("--copy", help="Also copy everything in the recording.")] = False,
    overlay: Annotated[bool, typer.Option("--overlay", help="Also write overlays, as a topic.")] = False,
    pictures: Annotated[Path | None, typer.Option(help="Folder for the overlays as PNG files.")] = None,
    points: Annotated[bool, typer.Option("--points", help="Also write the labelled points.")] = False,
    params: Annotated[
        Path | None, typer.Option(help="The node's parameter file: its outputs, confidence_encoding, min_confidence.")
    ] = None,
    video: Annotated[
        Path | None, typer.Option(help="Also a film, .mp4: overlay, legend, weights and states of the sensors.")
    ] = None,
    rrd: Annotated[Path | None, typer.Option(help="Also a recording for Rerun's viewer, .rrd.")] = None,
    smoothing: Annotated[float, typer.Option(help="The node's smoothing_s, seconds; 0: none.", min=0)] = 0.0,
    node: Annotated[str, typer.Option(help="Prefix of the topics.")] = "/perception",
    drop: DropOption = None,
    delay: DelayOption = None,
    noise: NoiseOption = None,
    stamps: StampsOption = "header",
    msgs: MsgsOption = None,
    device: DeviceOption = "auto",
    json_output: JsonOption = False,
) -> None:
    """Write masks, confidence and routing weights for a recording: the node's topics, the same every time."""
    with user_errors():
        from sartm_core.rig import load_rig
        from sartm_ros.bag.faults import BagFaults
        from sartm_ros.bag.reader import open_bag
        from sartm_ros.bag.replay import ReplayOptions
        from sartm_ros.bag.rig_topics import topics_without_messages
        from sartm_ros.bag.segment import Outputs, segment
        from sartm_ros.outputs import DEFAULT_PARAMETERS, read_parameters

        parameters = DEFAULT_PARAMETERS if params is None else read_parameters(params, f"/{node.strip('/')}")
        outputs = Outputs(f"/{node.strip('/')}", copy, overlay, pictures, points, parameters, video, rrd, smoothing)
        options = ReplayOptions(stamps=stamps_choice(stamps))
        asked = _faults(drop, delay, noise)
        given = None if rig is None else load_rig(rig)
        with open_bag(bag, msgs) as opened:
            # Importing torch takes seconds: only once the arguments are known to exist.
            from sartm_core.commands.opening import open_model
            from sartm_core.deploy.provenance import provenance_of

            with open_model(bundle, device=device) as segmenter:
                chosen = segmenter.bundle.rig if given is None else given
                faults = BagFaults(asked, chosen.names)
                missing = topics_without_messages(opened, chosen)
                for remark in missing:
                    warn(remark)
                started = time.perf_counter()
                with _bar(opened.start_ns, opened.end_ns) as progress:
                    masks, replay = segment(opened, chosen, segmenter, out, outputs, options, faults, progress)
        seconds = time.perf_counter() - started
        report = replay.report()
    for remark in replay.remarks():
        if remark not in missing:
            warn(remark)
    if json_output:
        print_json({"out": str(out), "masks": masks, "provenance": provenance_of(segmenter).as_dict(), **report})
    else:
        stdout.print(
            f"{out}: {masks} masks of {report['sets']} frame sets ({report['incomplete']} lacked a sensor), "
            f"{masks / seconds:.1f} per second",
            soft_wrap=True,
            highlight=False,
        )


@bag_app.command("evaluate")
def bag_evaluate(
    bags: Annotated[list[Path], typer.Argument(help="Recordings: rosbag2 folders, .mcap or .db3 files.")],
    bundle: BundleOption,
    truth_topic: TruthOption = None,
    labels: Annotated[
        Path | None, typer.Option(help="Instead of a topic: masks named by stamp, or a frame folder.")
    ] = None,
    rig: RigOption = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(help="clean, subsets, noise, conditions, faults or all; may be repeated. Default: clean."),
    ] = None,
    window: Annotated[float, typer.Option(help="Length of the windows of time, seconds.", min=0.1)] = 10.0,
    tags_topic: TagsOption = None,
    truth_tolerance: Annotated[
        float, typer.Option(help="Largest distance between a label and a set, seconds.", min=0)
    ] = 0.02,
    classes: Annotated[str | None, typer.Option(help="Class-mapping file or name, for another rig's classes.")] = None,
    drop: DropOption = None,
    delay: DelayOption = None,
    noise: NoiseOption = None,
    stamps: StampsOption = "header",
    out: Annotated[Path | None, typer.Option(help="Folder for metrics.json, metrics.csv, report.html.")] = None,
    msgs: MsgsOption = None,
    device: DeviceOption = "auto",
    json_output: JsonOption = False,
) -> None:
    """Score a bundle on recordings with labels: as `sartm evaluate`, and over time. Also runs under torchrun."""
    with user_errors():
        from sartm_core.commands.opening import open_model
        from sartm_core.errors import SartmError
        from sartm_core.evaluation.class_map import load_class_map
        from sartm_core.evaluation.protocols import expand, need_float_planes
        from sartm_core.outputs import check_writable
        from sartm_core.rig import load_rig
        from sartm_ros.bag.evaluate import BagEvaluation, evaluate_bags
        from sartm_ros.bag.replay import ReplayOptions

        asked = expand(protocol or ["clean"])
        if "conditions" in (protocol or ()) and tags_topic is None:
            raise SartmError("--protocol conditions: needs --tags-topic, the topic with the condition at each time.")
        options = ReplayOptions(stamps_choice(stamps), truth_topic, truth_tolerance, tags_topic)
        how = BagEvaluation(
            protocols=asked,
            labels=labels,
            label_tolerance_s=truth_tolerance,
            window_s=window,
            options=options,
            faults=_faults(drop, delay, noise),
            definitions=msgs,
        )
        mapping = None if classes is None else load_class_map(classes)
        if out is not None:
            check_writable(out)
        first = os.environ.get("RANK", "0") == "0"
        with (
            open_model(bundle, device=device, float_planes=need_float_planes(asked)) as segmenter,
            stderr.status("scoring") as status,
        ):
            chosen = segmenter.bundle.rig if rig is None else load_rig(rig)
            evaluation, figures = evaluate_bags(
                segmenter, chosen, bags, how, mapping,
                lambda name, sets: status.update(f"scoring {name}: {sets} frame sets"),
            )  # fmt: skip
        if not first:
            return
        if out is not None:
            write_results(evaluation, figures, out)
    for recording in figures["recordings"]:
        for remark in recording["remarks"]:
            warn(f"{recording['name']}: {remark}")
    if json_output:
        print_json(figures)
        return
    print_tables(figures)
    if out is not None:
        stdout.print(f"{out / 'report.html'}  the report: open it in a browser", soft_wrap=True)


@bag_app.command("extract")
def bag_extract(
    bag: BagArgument,
    rig: Annotated[str, typer.Option(help="Rig file or name: which topic is which sensor.")],
    out: Annotated[Path, typer.Option(help="The frame folder to write; must not exist.")],
    every: Annotated[float, typer.Option(help="Seconds between frame sets.", min=0)] = 0.5,
    val: Annotated[float, typer.Option(help="Share of the recording for the split 'val'.", min=0, max=1)] = 0.2,
    complete: Annotated[bool, typer.Option("--complete", help="Only frame sets with every sensor.")] = False,
    limit: Annotated[int | None, typer.Option(help="Maximum number.", min=1)] = None,
    truth_topic: TruthOption = None,
    tags_topic: TagsOption = None,
    stamps: StampsOption = "header",
    msgs: MsgsOption = None,
) -> None:
    """Write synchronised, registered frame sets, ready to be labelled: a data set for `sartm train`."""
    with user_errors():
        from sartm_core.rig import load_rig
        from sartm_ros.bag.extract import Extraction, extract
        from sartm_ros.bag.reader import open_bag
        from sartm_ros.bag.replay import ReplayOptions

        options = ReplayOptions(stamps_choice(stamps), truth_topic, tags_topic=tags_topic)
        what = Extraction(every, val, complete, limit, options)
        with open_bag(bag, msgs) as opened, _bar(opened.start_ns, opened.end_ns) as progress:
            counts, lacking, replay = extract(opened, load_rig(rig), out, what, progress)
    for remark in replay.remarks():
        warn(remark)
    for name, count in lacking.items():
        warn(f"{count} of {sum(counts.values())} frame sets lack {name}")
    splits = ", ".join(f"{split} {count}" for split, count in counts.items())
    labelled = "labels of the recording" if truth_topic else "labels empty"
    stdout.print(f"{out}: {sum(counts.values())} frame sets ({splits}), {labelled}", soft_wrap=True, highlight=False)


def _faults(drop: list[str] | None, delay: list[str] | None, noise: list[str] | None) -> "tuple[BagFault, ...]":
    from sartm_ros.bag.faults import parse_fault

    return (
        *(parse_fault("drop", text) for text in drop or ()),
        *(parse_fault("delay", text) for text in delay or ()),
        *(parse_fault("noise", text) for text in noise or ()),
    )


def stamps_choice(text: str) -> Literal["header", "recorded"]:
    """The value of `--stamps`."""
    if text == "header":
        return "header"
    if text == "recorded":
        return "recorded"
    raise typer.BadParameter(f"expected header or recorded, got '{text}'", param_hint="--stamps")


@contextmanager
def _bar(start_ns: int, end_ns: int) -> Iterator[Callable[[int, int], None]]:
    """Progress through the recording's time, with the rate of frame sets."""
    columns = (
        TextColumn("{task.fields[sets]} frame sets"),
        BarColumn(),
        TextColumn("{task.completed:.1f} of {task.total:.1f} s, {task.fields[rate]:.1f} per second"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr) as bar:
        started = time.monotonic()
        task = bar.add_task("", total=max((end_ns - start_ns) / 1e9, 1e-3), sets=0, rate=0.0)

        def progress(sets: int, read_ns: int) -> None:
            rate = sets / max(time.monotonic() - started, 1e-3)
            bar.update(task, completed=(read_ns - start_ns) / 1e9, sets=sets, rate=rate)

        yield progress
