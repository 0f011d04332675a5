"""`sartm sim`: the simulated rig."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sartm_core.commands.common import stderr, stdout, user_errors

sim_app = typer.Typer(no_args_is_help=True, help="The simulated rig: recordings and data sets with exact truth.")

ALL_SPLITS = ["train", "val", "test"]


@sim_app.command("dataset")
def sim_dataset(
    out: Annotated[Path, typer.Option(help="The recording's folder; must not exist.")],
    rig: Annotated[str, typer.Option(help="Rig file or name; simrig5 makes the benchmark proper.")] = "simrig5",
    split: Annotated[list[str] | None, typer.Option(help="train, val or test; by default all three.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many frames of each split.", min=1)] = None,
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = os.cpu_count() or 1,
) -> None:
    """Render the benchmark simrig-5: labelled frame sets with fixed seeds, tagged with condition and fault."""
    splits = split or ALL_SPLITS
    unknown = [name for name in splits if name not in ALL_SPLITS]
    if unknown:
        raise typer.BadParameter(f"expected train, val or test, got {unknown[0]}", param_hint="--split")
    columns = (TextColumn("rendering"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with user_errors(), Progress(*columns, console=stderr) as bar:
        from sartm_core.datasets.simulated_recording import write_benchmark
        from sartm_core.rig import load_rig

        task = bar.add_task("", total=None)
        count = write_benchmark(
            load_rig(rig),
            out,
            splits,
            limit,
            workers,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    stdout.print(f"{out}: {count} frame sets, {', '.join(splits)}", soft_wrap=True)
