"""`sartm train`: from a recipe to a checkpoint."""

from pathlib import Path
from typing import Annotated

import typer

from sartm_core.commands.common import log_to_stderr, print_json, user_errors


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe file, such as training/recipes/smoke.yaml.")],
    out: Annotated[Path, typer.Option(help="Folder of the run: checkpoints, figures, logs.")],
    data: Annotated[Path | None, typer.Option(help="Root of the data set, in place of the recipe's.")] = None,
    modalities: Annotated[str | None, typer.Option(help="Use only these, separated by commas.")] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="a.b=value changes a field of the recipe; may be repeated.")
    ] = None,
    devices: Annotated[int, typer.Option(help="Processes (GPUs) on this machine.", min=1)] = 1,
    nodes: Annotated[int, typer.Option(help="Machines.", min=1)] = 1,
    accelerator: Annotated[str, typer.Option(help="auto, cpu or gpu.")] = "auto",
    resume: Annotated[bool, typer.Option(help="Resume the run in --out.")] = False,
) -> None:
    """Train a network by a recipe."""
    with user_errors():
        from sartm_core.errors import SartmError
        from sartm_core.learning.overrides import read_recipe

        if not recipe.is_file():
            raise SartmError(f"{recipe}: no such recipe file. Recipes are in training/recipes of the checkout.")
        changes = list(change or [])
        if data is not None:
            changes.append(f"data.root={data}")
        if modalities is not None:
            changes.append(f"data.modalities=[{modalities}]")
        read = read_recipe(recipe, changes)
        log_to_stderr()
        from sartm_core.learning.run import train as run

        figures = run(read, out, devices, nodes, resume, accelerator)
        if figures:  # the first of several processes
            print_json(figures)
