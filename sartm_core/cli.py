"""The commands of the core, combined. `sartm_ros.cli` adds those of recordings and of the simulator."""

from typing import Annotated

import typer

from sartm_core.commands import labels  # noqa: F401 (it adds its commands)
from sartm_core.commands.common import WholeSummaries
from sartm_core.commands.data import data_app
from sartm_core.commands.deployment import bench, engine_app, export
from sartm_core.commands.evaluation import compare, evaluate, pictures
from sartm_core.commands.models import model_app
from sartm_core.commands.rigs import rig_app
from sartm_core.commands.segmentation import segment
from sartm_core.commands.training import OptionalResumeValue, train
from sartm_core.commands.weights import weights_app
from sartm_core.version import __version__

app = typer.Typer(
    cls=WholeSummaries,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Semantic segmentation for robots that keeps working when sensors don't.",
)


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"sartm {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Global options."""


app.add_typer(rig_app, name="rig")
app.add_typer(data_app, name="data")
app.add_typer(model_app, name="model")
app.add_typer(weights_app, name="weights")
app.command()(segment)
app.command(cls=OptionalResumeValue)(train)
app.command()(evaluate)
app.command()(compare)
app.command()(pictures)
app.command()(export)
app.command()(bench)
app.add_typer(engine_app, name="engine")
