"""`sartm rig init`, `check` and `views`: rig files, recordings and viewers."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sartm_core.commands.common import JsonOption, print_json, stderr, stdout, user_errors
from sartm_core.commands.rigs import RigArgument, rig_app
from sartm_ros.commands.bags import MsgsOption, warn


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
    """Check a rig file, alone or against a recording; reports every fault. Exit status 1 if there are any."""
    from sartm_core.rig import load_rig

    findings = None
    faults: list[str] = []
    with user_errors():
        loaded = load_rig(rig)
        if bundle is not None:
            from sartm_core.deploy.bundle import check_serves, read_bundle
            from sartm_core.errors import SartmError
            from sartm_core.resources import resolve_bundle

            trained = read_bundle(resolve_bundle(bundle)).rig
            try:
                check_serves(trained, loaded)
            except SartmError as error:
                faults.append(str(error))
        if bag is not None:
            from sartm_ros.bag.reader import open_bag
            from sartm_ros.bag.rehearsal import rehearsal_lines
            from sartm_ros.bag.rig_check import check_rig
            from sartm_ros.bag.survey import survey

            topic = loaded.modality(loaded.reference).topic
            with open_bag(bag, msgs) as opened, stderr.status("reading"):
                found = survey(opened, topic if topic in opened.topics else None)
                findings = check_rig(loaded, opened, found)
    faults += findings.faults if findings is not None else []
    if json_output:
        content = {"name": loaded.name, "modalities": list(loaded.names), "classes": list(loaded.class_names)}
        print_json(content | ({} if findings is None else asdict(findings)) | {"faults": faults})
    else:
        for remark in findings.remarks if findings is not None else []:
            stdout.print(f"remark: {remark}", soft_wrap=True, highlight=False, markup=False)
        for fault in faults:
            stdout.print(f"fault: {fault}", style="red", soft_wrap=True, highlight=False, markup=False)
        tried = ""
        if findings is not None:
            tried = f"; {findings.complete} of the first {findings.tried} frame sets of {loaded.reference} complete"
        for line in rehearsal_lines(findings.rehearsed) if findings is not None else []:
            stdout.print(line, soft_wrap=True, highlight=False, markup=False)
        summary = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}" if faults else "no faults"
        counts = f"{len(loaded.modalities)} modalities, {len(loaded.classes)} classes"
        stdout.print(f"{loaded.name}: {counts}, {summary}{tried}")
    if faults:
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
