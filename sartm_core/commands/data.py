"""`sartm data`: data sets on disk."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sartm_core.commands.common import JsonOption, WholeSummaries, print_json, stderr, stdout, user_errors

data_app = typer.Typer(
    cls=WholeSummaries,
    no_args_is_help=True,
    help="Data sets on disk: MFNet, PST900, FMB, DELIVER, MUSES, MCubeS, frame folders.",
)

DataArgument = Annotated[Path, typer.Argument(help="Root of the data set; its layout is detected.")]

SHOWN_FAULTS = 50


def _bar(what: str) -> Progress:
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=stderr)


@data_app.command("check")
def data_check(folder: DataArgument, json_output: JsonOption = False) -> None:
    """Read every file; check completeness, sizes and labels. Exit status 1 if faults are found."""
    with user_errors(), _bar("checking") as bar:
        from sartm_core.datasets.check import check_data
        from sartm_core.datasets.layouts import open_data

        data = open_data(folder)
        task = bar.add_task("", total=None)
        found = check_data(data, lambda done, total: bar.update(task, completed=done, total=total))
    if json_output:
        sizes = {name: {f"{h}x{w}": n for (h, w), n in sizes.items()} for name, sizes in found.sizes.items()}
        print_json({"data": data.name, **asdict(found), "sizes": sizes})
    else:
        counts = ", ".join(f"{split} {count}" for split, count in found.counts.items())
        stdout.print(f"{data.name}: {counts}", soft_wrap=True)
        table = Table("class", title="labelled pixels")
        table.add_column("share", justify="right")
        total = max(sum(found.pixels.values()), 1)
        for name, count in found.pixels.items():
            table.add_row(name, f"{100 * count / total:.2f} %")
        stdout.print(table)
        for remark in found.remarks:
            stdout.print(f"remark: {remark}", soft_wrap=True, highlight=False)
        for fault in found.faults[:SHOWN_FAULTS]:
            stdout.print(f"fault: {fault}", style="red", soft_wrap=True, highlight=False, markup=False)
        more = f", the first {SHOWN_FAULTS} are shown" if len(found.faults) > SHOWN_FAULTS else ""
        stdout.print(f"{len(found.faults)} faults{more}")
    if found.faults:
        raise typer.Exit(1)


@data_app.command("stats")
def data_stats(
    folder: DataArgument,
    split: Annotated[str, typer.Option(help="Usually train.")] = "train",
    count: Annotated[int, typer.Option(help="Maximum number of frames, evenly spaced.", min=1)] = 500,
    json_output: JsonOption = False,
) -> None:
    """Measure mean and standard deviation of each modality's planes, as the network sees them."""
    with user_errors(), _bar("measuring") as bar:
        from sartm_core.datasets.dataset import read_frame
        from sartm_core.datasets.layouts import open_data
        from sartm_core.datasets.preview import spread_out
        from sartm_core.learning.statistics import plane_statistics

        data = open_data(folder)
        rig, frames = data.rig, spread_out(list(data.frames(split)), count, None)
        planes = (read_frame(data, frame).planes for frame in bar.track(frames))
        measured = plane_statistics(rig.names, planes)
    rows = {
        name: {"mean": mean.round(4).tolist(), "std": std.round(4).tolist(), "frames": int(seen)}
        for name, mean, std, seen in zip(rig.names, measured.mean, measured.std, measured.frames, strict=True)
    }
    if json_output:
        print_json({"data": data.name, "split": split, "planes": str(rig.dtype), "modalities": rows})
        return
    table = Table("modality", "mean", "std", "frames", title=f"{data.name}, {split}: planes of {rig.dtype}")
    for name, row in rows.items():
        table.add_row(
            name, *(" ".join(f"{value:.3f}" for value in row[key]) for key in ("mean", "std")), str(row["frames"])
        )
    stdout.print(table)


@data_app.command("preview")
def data_preview(
    folder: DataArgument,
    out: Annotated[Path, typer.Option(help="The PNG file to write.")] = Path("preview.png"),
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    count: Annotated[int, typer.Option(help="Maximum number of rows.", min=1, max=60)] = 6,
    each: Annotated[str | None, typer.Option(help="One row per value of this tag, such as condition or fault.")] = None,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Instead: the edges of each sensor over the reference, large.")
    ] = False,
) -> None:
    """Draw a contact sheet: each modality in conventional colours, the truth, a legend."""
    with user_errors():
        from sartm_core.datasets.edge_sheet import edge_sheet
        from sartm_core.datasets.layouts import open_data
        from sartm_core.datasets.preview import contact_sheet, spread_out

        data = open_data(folder)
        frames = spread_out(list(data.frames(split)), count, each)
        (edge_sheet if overlay else contact_sheet)(data, frames, out)
    stdout.print(f"{out}: {len(frames)} frame sets of {data.name}", soft_wrap=True)


@data_app.command("rgb-lists")
def data_rgb_lists(
    folder: DataArgument,
    out: Annotated[Path, typer.Option(help="Folder for the two lists.")],
    split: Annotated[str, typer.Option(help="Usually test.")] = "test",
) -> None:
    """List frames with usable RGB (rgb-easy) and the others (rgb-hard), for `sartm evaluate --list`."""
    with user_errors():
        from sartm_core.datasets.frame_lists import write_rgb_lists
        from sartm_core.datasets.layouts import open_data

        counts = write_rgb_lists(open_data(folder), split, out)
    for name, count in counts.items():
        stdout.print(f"{out / f'{split}_{name}.txt'}: {count} frames", soft_wrap=True, highlight=False)
