"""`sartm train`: from a recipe to a checkpoint."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from sartm_core.commands.common import PeerOption, log_to_stderr, print_json, user_errors

ALONE = "yes"
"""What `--resume` without a value stands for."""


class OptionalResumeValue(TyperCommand):
    """Lets `--resume` stand alone or before `auto`; an option of typer has a value always or never."""

    def make_parser(self, ctx: Any) -> Any:
        parser: Any = super().make_parser(ctx)
        parse = parser.parse_args
        parser.parse_args = lambda args: parse(_with_value(args))
        return parser


def _data_fields(given: list[str]) -> dict[str, Any]:
    """Fields of the recipe: `data.root`, or `data.folders` where several are given or one has a weight."""
    folders: dict[str, float] = {}
    for text in given:
        folder, separator, weight = text.rpartition("=")
        try:
            named = {folder: float(weight)} if separator and not Path(text).exists() else {text: 1.0}
        except ValueError:
            named = {text: 1.0}
        if folders.keys() & named.keys():
            raise typer.BadParameter(f"{next(iter(named))} is given twice", param_hint="--data")
        folders |= named
    if [*folders.values()] == [1.0]:
        return {"data.root": next(iter(folders))}
    return {"data.folders": folders}


def _with_value(args: list[str]) -> list[str]:
    pairs = zip(args, [*args[1:], None], strict=False)
    return [f"{one}={ALONE}" if one == "--resume" and after != "auto" else one for one, after in pairs]


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe file, such as training/recipes/smoke.yaml.")],
    out: Annotated[Path, typer.Option(help="Folder of the run: checkpoints, figures, logs.")],
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Root of the data set, in place of the recipe's. Repeated: frame folders of one rig; DIR=2 draws "
            "each frame of DIR twice as often.",
            metavar="DIR[=WEIGHT]",
        ),
    ] = None,
    modalities: Annotated[str | None, typer.Option(help="Use only these, separated by commas.")] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="a.b=value changes a field of the recipe; may be repeated.")
    ] = None,
    devices: Annotated[int, typer.Option(help="Processes (GPUs) on this machine.", min=1)] = 1,
    nodes: Annotated[int, typer.Option(help="Machines.", min=1)] = 1,
    accelerator: Annotated[str, typer.Option(help="auto, cpu or gpu.")] = "auto",
    peer: PeerOption = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="[auto]",
            help="Resume the run in --out; with auto, start it where there is none.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train a network by a recipe."""
    if resume not in (None, ALONE, "auto"):
        raise typer.BadParameter(f"expected nothing or auto, got {resume}", param_hint="--resume")
    with user_errors():
        from sartm_core.errors import SartmError
        from sartm_core.learning.overrides import read_recipe

        if not recipe.is_file():
            raise SartmError(f"{recipe}: no such recipe file. Recipes are in training/recipes of the checkout.")
        changes, values = list(change or []), dict[str, Any]()
        if data:
            values |= _data_fields(data)
        if modalities is not None:
            values["data.modalities"] = [name.strip() for name in modalities.split(",") if name.strip()]
        if peer is not None:
            from sartm_core.model.peer_config import trust

            changes += trust(peer)
        read = read_recipe(recipe, changes, values)
        log_to_stderr()
        from sartm_core.learning.preflight import is_first_process
        from sartm_core.learning.run import train as run
        from sartm_core.outputs import sole_writer

        with sole_writer(out) if is_first_process() else nullcontext():
            figures = run(read, out, devices, nodes, "auto" if resume == "auto" else resume is not None, accelerator)
        if figures:  # the first of several processes
            print_json(figures)
