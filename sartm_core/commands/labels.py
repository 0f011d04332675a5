"""`sartm data autolabel`, `export-labels` and `import-labels`: where labels come from."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sartm_core.commands.common import stderr, stdout, user_errors
from sartm_core.commands.data import data_app

RecordingArgument = Annotated[Path, typer.Argument(help="A rig recording, such as `sartm bag extract` writes.")]


@data_app.command("autolabel")
def data_autolabel(
    folder: RecordingArgument,
    teacher: Annotated[str, typer.Option(help="A segmentation model of transformers: a folder, or a hub name.")],
    mapping: Annotated[Path, typer.Option(help="YAML: classes: {teacher's class: the rig's, or null}.")],
    min_confidence: Annotated[float, typer.Option(help="Less certain pixels stay unlabelled.", min=0, max=1)] = 0.8,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also frames that have labels.")] = False,
    every_frame: Annotated[
        bool, typer.Option("--every-frame", help="Also frames whose RGB is too dark, too bright or blurred.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Label frames by a model that knows RGB: what thermal, depth, LiDAR and events are then trained with."""
    with user_errors():
        from sartm_core.checked_yaml import read_yaml
        from sartm_core.datasets.frame_folder import FrameFolder
        from sartm_core.labels.teachers import Teacher, TeacherMap, autolabel

        recording = FrameFolder(folder)
        loaded = Teacher(teacher, read_yaml(mapping, TeacherMap), recording.rig, device)
        columns = (TextColumn("labelling"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=stderr) as bar:
            task = bar.add_task("", total=None)
            done = autolabel(
                recording, loaded, min_confidence, overwrite, every_frame,
                lambda done, total: bar.update(task, completed=done, total=total),
            )  # fmt: skip
    unsure = f"{done.unsure} without a certain pixel; " if done.unsure else ""
    left = [f"{count} {reason}" for reason, count in done.poor.items()]
    left += [f"{done.without_rgb} without RGB"] if done.without_rgb else []
    left += [f"{done.kept} had labels already"] if done.kept else []
    stdout.print(
        f"{folder}: {done.labelled} frames labelled, {100 * done.share:.0f} % of their pixels; "
        f"{unsure}left as they were: {', '.join(left) or 'none'}",
        soft_wrap=True,
        highlight=False,
    )


@data_app.command("export-labels")
def data_export_labels(
    folder: RecordingArgument,
    out: Annotated[Path, typer.Option(help="Folder for images and masks; must not exist.")],
    form: Annotated[str, typer.Option("--format", help="cvat: colours and labelmap.txt; ids: class ids.")] = "cvat",
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
) -> None:
    """Write images and the labels so far for an annotation tool."""
    if form not in ("cvat", "ids"):
        raise typer.BadParameter(f"expected cvat or ids, got '{form}'", param_hint="--format")
    with user_errors():
        from sartm_core.datasets.frame_folder import FrameFolder
        from sartm_core.labels.annotation_tools import export_labels

        count = export_labels(FrameFolder(folder), out, "cvat" if form == "cvat" else "ids", split)
    stdout.print(f"{out}: {count} images and masks", soft_wrap=True)


@data_app.command("import-labels")
def data_import_labels(
    folder: RecordingArgument,
    source: Annotated[Path, typer.Option("--from", help="Folder with the masks of an annotation tool.")],
    table: Annotated[
        Path | None, typer.Option(help="labelmap.txt, CSV or COCO's JSON; default: the one in the folder.")
    ] = None,
) -> None:
    """Take masks into a recording; frames without a mask stay as they are."""
    with user_errors():
        from sartm_core.datasets.frame_folder import FrameFolder
        from sartm_core.labels.annotation_tools import import_labels

        count = import_labels(FrameFolder(folder), source, table)
    stdout.print(f"{folder}: {count} frames labelled", soft_wrap=True)
