"""`sartm train` and `sartm export`: from a recipe to a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from sartm_core.commands.common import log_to_stderr, print_json, stdout, user_errors


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe file, such as training/recipes/first_light.yaml.")],
    out: Annotated[Path, typer.Option(help="Folder for last.ckpt and figures.json; earlier ones are replaced.")],
) -> None:
    """Train a network on the simulated rig."""
    from sartm_core.checked_yaml import read_yaml
    from sartm_core.learning.recipe import Recipe

    with user_errors():
        read = read_yaml(recipe, Recipe)
        log_to_stderr()
        from sartm_core.learning.train import train as run

        print_json(run(read, out))


def export(
    checkpoint: Annotated[Path, typer.Argument(help="last.ckpt, written by `sartm train`.")],
    out: Annotated[Path, typer.Option(help="The bundle's folder; a bundle that is there is replaced.")],
) -> None:
    """Turn a checkpoint into a bundle, all that inference needs."""
    with user_errors():
        from sartm_core.deploy.export import export as run

        bundle = run(checkpoint, out)
    stdout.print(f"{out}: bundle '{bundle.name}', rig '{bundle.rig.name}', input {bundle.size[0]}x{bundle.size[1]}")
