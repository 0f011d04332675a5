"""`sartm rig init`, `check` and `views`: rig files, recordings and viewers."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sartm_core.commands.common import JsonOption, print_json, stderr, stdout, user_errors
from sartm_core.commands.rigs import RigArgument, rig_app
from sartm_ros.commands.bags import MsgsOption, warn

if TYPE_CHECKING:
    from sartm_core.rig import Rig
    from sartm_ros.bag.rig_calibrate import Calibrated
    from sartm_ros.bag.rig_check import RigFindings

CHECKED_FRAMES = 8
"""Moments that `rig check` compares; `rig calibrate` takes more."""


@rig_app.command("init")
def rig_init(
    from_bag: Annotated[Path, typer.Option("--from-bag", help="A recording of the robot's sensors.")],
    out: Annotated[Path, typer.Option(help="The rig file to write.")] = Path("my_rig.yaml"),
    classes: Annotated[
        str, typer.Option(help="Rig file or name to copy the classes from; edit them in the file.")
    ] = "sim",
    reference: Annotated[
        str | None, typer.Option(help="Topic of the camera whose geometry the masks have; default: the likeliest.")
    ] = None,
    kinds: Annotated[str | None, typer.Option(help="Only sensors of these kinds, separated by commas.")] = None,
    topic: Annotated[
        list[str] | None,
        typer.Option(help="Take this topic, such as lidar=/ouster/points; can be repeated.", metavar="KIND=TOPIC"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    msgs: MsgsOption = None,
) -> None:
    """Draft a commented rig file from what a recording holds."""
    with user_errors():
        from sartm_core.errors import SartmError
        from sartm_core.files import write_text
        from sartm_core.rig import load_rig
        from sartm_ros.bag.reader import open_bag
        from sartm_ros.bag.rig_draft import draft_rig
        from sartm_ros.bag.sensor_kinds import KINDS_IN_ORDER
        from sartm_ros.bag.survey import survey
        from sartm_ros.bag.topic_choice import Wishes, parse_topics

        if out.exists() and not force:
            raise SartmError(f"{out}: already exists. Choose another name with --out, or replace it with --force.")
        wanted = KINDS_IN_ORDER if kinds is None else tuple(kind.strip() for kind in kinds.split(","))
        unknown = [kind for kind in wanted if kind not in KINDS_IN_ORDER]
        if unknown:
            raise SartmError(f"--kinds: '{unknown[0]}' is unknown; expected some of {', '.join(KINDS_IN_ORDER)}.")
        wishes = Wishes(reference, wanted, topics=parse_topics(topic or []))
        with open_bag(from_bag, msgs) as bag, stderr.status("reading"):
            found = survey(bag, reference, wishes=wishes)
            text, remarks = draft_rig(bag, found, out.stem, load_rig(classes).classes, wishes)
        write_text(out, text)
    for remark in remarks:
        warn(remark)
    stdout.print(f"{out}: review it, then run sartm rig check {out} --bag {from_bag}", soft_wrap=True, highlight=False)


@rig_app.command("check")
def rig_check(
    rig: RigArgument,
    bag: Annotated[Path | None, typer.Option(help="Also check against this recording.")] = None,
    bundle: Annotated[str | None, typer.Option(help="Also check whether this model serves the rig.")] = None,
    msgs: MsgsOption = None,
    json_output: JsonOption = False,
) -> None:
    """Check a rig file, alone or against a recording; reports every fault. Exit status 1 if there are any.

    Against a recording without faults it also measures, in pixels and milliseconds, how far sensors lie off.
    """
    from sartm_core.rig import load_rig

    findings = None
    alignment: list[Calibrated] = []
    faults: list[str] = []
    with user_errors():
        loaded = load_rig(rig)
        if bundle is not None:
            faults += _unserved(bundle, loaded)
        if bag is not None:
            findings, alignment = _compared(loaded, bag, msgs)
            faults += findings.faults
    if json_output:
        from sartm_ros.bag.calibration_report import summary

        content = {"name": loaded.name, "modalities": list(loaded.names), "classes": list(loaded.class_names)}
        print_json(
            content
            | ({} if findings is None else asdict(findings))
            | {"faults": faults, "alignment": [summary(one) for one in alignment]}
        )
    else:
        _print_findings(loaded, findings, alignment, faults)
    if faults:
        raise typer.Exit(1)


def _unserved(bundle: str, rig: "Rig") -> list[str]:
    """Why a model does not serve a rig."""
    from sartm_core.deploy.bundle import check_serves, read_bundle
    from sartm_core.errors import SartmError
    from sartm_core.resources import resolve_bundle

    trained = read_bundle(resolve_bundle(bundle)).rig
    try:
        check_serves(trained, rig)
    except SartmError as error:
        return [str(error)]
    return []


def _compared(rig: "Rig", bag: Path, msgs: Path | None) -> "tuple[RigFindings, list[Calibrated]]":
    """What a recording shows of a rig file; how the sensors lie is measured where nothing else is wrong."""
    from sartm_ros.bag.reader import open_bag
    from sartm_ros.bag.rig_calibrate import calibrate_rig
    from sartm_ros.bag.rig_check import check_rig
    from sartm_ros.bag.survey import survey

    topic = rig.modality(rig.reference).topic
    with open_bag(bag, msgs) as opened, stderr.status("reading"):
        findings = check_rig(rig, opened, survey(opened, topic if topic in opened.topics else None))
        return findings, [] if findings.faults else calibrate_rig(opened, rig, rig.names, frames=CHECKED_FRAMES)


def _print_findings(
    rig: "Rig", findings: "RigFindings | None", alignment: "list[Calibrated]", faults: list[str]
) -> None:
    """The report of `rig check`, for people."""
    from sartm_ros.bag.calibration_report import remark
    from sartm_ros.bag.rehearsal import rehearsal_lines

    remarks = findings.remarks if findings is not None else []
    for text in [*remarks, *filter(None, map(remark, alignment))]:
        stdout.print(f"remark: {text}", soft_wrap=True, highlight=False, markup=False)
    for fault in faults:
        stdout.print(f"fault: {fault}", style="red", soft_wrap=True, highlight=False, markup=False)
    tried = ""
    if findings is not None:
        tried = f"; {findings.complete} of the first {findings.tried} frame sets of {rig.reference} complete"
    for line in rehearsal_lines(findings.rehearsed) if findings is not None else []:
        stdout.print(line, soft_wrap=True, highlight=False, markup=False)
    summary = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}" if faults else "no faults"
    counts = f"{len(rig.modalities)} modalities, {len(rig.classes)} classes"
    stdout.print(f"{rig.name}: {counts}, {summary}{tried}")


@rig_app.command("calibrate")
def rig_calibrate(
    rig: RigArgument,
    bag: Annotated[Path, typer.Option(help="A recording of a minute of driving.")],
    modality: Annotated[
        list[str] | None, typer.Option(help="Only this modality; can be repeated. Default: all but the reference.")
    ] = None,
    what: Annotated[str, typer.Option(help="What to estimate: time, pose, or both, separated by a comma.")] = (
        "time,pose"
    ),
    out: Annotated[
        Path | None, typer.Option(help="The rig file to write; default: RIG itself, if it is a file.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="The before/after picture to write; default: beside the rig file.")
    ] = None,
    msgs: MsgsOption = None,
    json_output: JsonOption = False,
) -> None:
    """Estimate how the sensors lie to the reference, in space and time, from a recording; refuses what it cannot see.

    Exit status 1 if nothing could be estimated; then nothing is written.
    """
    with user_errors():
        from sartm_core.calibrate.picture import write_comparisons
        from sartm_core.errors import SartmError
        from sartm_core.files import write_text
        from sartm_core.resources import resolve_config
        from sartm_core.rig import load_rig
        from sartm_ros.bag.calibration_report import comparisons, line, summary, written
        from sartm_ros.bag.reader import open_bag
        from sartm_ros.bag.rig_calibrate import calibrate_rig, wanted_parts

        loaded, source = load_rig(rig), resolve_config(rig, "rigs")
        names = [loaded.modality(name).name for name in modality] if modality else list(loaded.names)
        parts = wanted_parts(what)
        target = out or Path(rig)
        if out is None and source != target:
            raise SartmError(f"{rig}: is a shipped rig and is not changed. Choose a file with --out.")
        with open_bag(bag, msgs) as opened, stderr.status("comparing"):
            found = calibrate_rig(opened, loaded, names, parts)
        text = written(source.read_text(encoding="utf-8"), found, bag.name, str(source))
        some = [one for one in found if one.fields]
        drawn = picture or target.with_name(f"{target.stem}_calibration.png")
        if some:
            write_comparisons(comparisons(some), drawn)
            write_text(target, text)
    if json_output:
        print_json([summary(one) for one in found])
    else:
        for one in found:
            stdout.print(line(one), soft_wrap=True, highlight=False, markup=False)
        if some:
            stdout.print(f"{target}: written; look at {drawn}", soft_wrap=True, highlight=False)
    if not some:
        raise typer.Exit(1)


@rig_app.command("views")
def rig_views(
    rig: RigArgument,
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    node: Annotated[str, typer.Option(help="The node's name.")] = "/perception",
    frame: Annotated[str, typer.Option(help="RViz's fixed frame.")] = "base_link",
) -> None:
    """Write layouts of RViz and Foxglove for the rig's own topics, and a picture of its classes."""
    with user_errors():
        from sartm_core.datasets.legend import legend
        from sartm_core.datasets.png import write_png
        from sartm_core.files import write_text
        from sartm_core.rig import load_rig
        from sartm_ros.views import foxglove, rviz

        loaded, name = load_rig(rig), f"/{node.strip('/')}"
        write_text(out / f"{loaded.name}.rviz", rviz(loaded, name, frame))
        write_text(out / f"{loaded.name}_foxglove.json", foxglove(loaded, name))
        write_png(out / f"{loaded.name}_legend.png", legend(loaded))
    for what, use in (
        (f"{loaded.name}.rviz", "rviz2 -d FILE"),
        (f"{loaded.name}_foxglove.json", "in Foxglove: import it as a layout"),
        (f"{loaded.name}_legend.png", "the classes with their colours and ids"),
    ):
        stdout.print(f"{out / what}  {use}", soft_wrap=True, highlight=False)
