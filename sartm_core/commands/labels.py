"""`sartm data autolabel`, `export-labels` and `import-labels`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sartm_core.commands.common import stderr, stdout, user_errors
from sartm_core.commands.data import data_app

FrameFolderArgument = Annotated[Path, typer.Argument(help="A frame folder, as written by `sartm bag extract`.")]


@data_app.command("autolabel")
def data_autolabel(
    folder: FrameFolderArgument,
    teacher: Annotated[str, typer.Option(help="A segmentation model of transformers: a folder, or a hub name.")],
    mapping: Annotated[Path, typer.Option(help="YAML: classes: {teacher's class: the rig's, or null}.")],
    min_confidence: Annotated[float, typer.Option(help="Pixels below it stay unlabelled.", min=0, max=1)] = 0.8,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also relabel frames that have labels.")] = False,
    every_frame: Annotated[
        bool, typer.Option("--every-frame", help="Also label frames whose RGB is too dark, too bright or blurred.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Label frames with an RGB model, to train thermal, depth, LiDAR and events with."""
    with user_errors():
        from sartm_core.checked_yaml import read_yaml
        from sartm_core.datasets.frame_folder import FrameFolder
        from sartm_core.labels.teachers import Teacher, TeacherMap, autolabel

        frames = FrameFolder(folder)
        loaded = Teacher(teacher, read_yaml(mapping, TeacherMap), frames.rig, device)
        columns = (TextColumn("labelling"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=stderr) as bar:
            task = bar.add_task("", total=None)
            done = autolabel(
                frames, loaded, min_confidence, overwrite, every_frame,
                lambda done, total: bar.update(task, completed=done, total=total),
            )  # fmt: skip
    unsure = f"{done.unsure} without a confident pixel; " if done.unsure else ""
    left = [f"{count} {reason}" for reason, count in done.poor.items()]
    left += [f"{done.without_rgb} without RGB"] if done.without_rgb else []
    left += [f"{done.kept} already labelled"] if done.kept else []
    stdout.print(
        f"{folder}: {done.labelled} frames labelled, {100 * done.share:.0f} % of their pixels; "
        f"{unsure}unchanged: {', '.join(left) or 'none'}",
        soft_wrap=True,
        highlight=False,
    )


@data_app.command("export-labels")
def data_export_labels(
    folder: FrameFolderArgument,
    out: Annotated[Path, typer.Option(help="Folder for images and masks; must not exist.")],
    form: Annotated[str, typer.Option("--format", help="cvat: colours and labelmap.txt; ids: class ids.")] = "cvat",
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
) -> None:
    """Write images and existing labels for an annotation tool."""
    if form not in ("cvat", "ids"):
        raise typer.BadParameter(f"expected cvat or ids, got '{form}'", param_hint="--format")
    with user_errors():
        from sartm_core.datasets.frame_folder import FrameFolder
        from sartm_core.labels.export_labels import export_labels

        count = export_labels(FrameFolder(folder), out, "cvat" if form == "cvat" else "ids", split)
    stdout.print(f"{out}: {count} images and masks", soft_wrap=True)


@data_app.command("import-labels")
def data_import_labels(
    folder: FrameFolderArgument,
    source: Annotated[Path, typer.Option("--from", help="What an annotation tool exported: a folder, or a JSON file.")],
    table: Annotated[
        Path | None,
        typer.Option(
            help="What values or names mean: labelmap.txt, CSV, COCO's JSON; default: the one beside the masks."
        ),
    ] = None,
) -> None:
    """Import masks, or COCO, Labelme, Label Studio or Supervisely JSON; frames without labels there stay unchanged."""
    with user_errors():
        from sartm_core.datasets.frame_folder import FrameFolder
        from sartm_core.labels.import_labels import import_labels

        count = import_labels(FrameFolder(folder), source, table)
    stdout.print(f"{folder}: {count} frames labelled", soft_wrap=True)
