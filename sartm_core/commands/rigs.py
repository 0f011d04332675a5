"""`sartm rig show`; `sartm_ros.commands.rigs` adds the commands that read recordings."""

from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.columns import Columns
from rich.table import Table
from rich.text import Text

from sartm_core.commands.common import JsonOption, WholeSummaries, print_json, stdout, user_errors
from sartm_core.rig import Modality, Rig

rig_app = typer.Typer(cls=WholeSummaries, no_args_is_help=True, help="Rig files: a robot's sensors and classes.")

RigArgument = Annotated[str, typer.Argument(help="Rig file, or the name of a shipped rig.")]


@rig_app.command("show")
def rig_show(rig: RigArgument, json_output: JsonOption = False) -> None:
    """Show a rig: each modality's kind, encoding, size and topic."""
    from sartm_core.rig import load_rig

    with user_errors():
        loaded = load_rig(rig)
    if json_output:
        print_json(loaded.model_dump(mode="json"))
        return
    stdout.print(f"{loaded.name}: planes {loaded.dtype}, reference {loaded.reference}. {loaded.description}")
    measured = _table("modality", "kind", "encoding", "size", "rate", "tolerance")
    placed = _table("modality", "topic", "alignment")
    for modality in loaded.modalities:
        encoding = str(getattr(modality, "encoding", ""))
        height, width = modality.size
        tolerance = f"{modality.tolerance_s * 1e3:g} ms"
        rate = "" if modality.rate_hz is None else f"{modality.rate_hz:g} Hz"
        measured.add_row(modality.name, modality.kind, encoding, f"{height}x{width}", rate, tolerance)
        placed.add_row(modality.name, modality.topic, _alignment(loaded, modality))
    stdout.print(measured, placed)
    stdout.print("classes:")
    classes = (Text.assemble(("\u25a0 ", "rgb({},{},{})".format(*spec.color)), spec.name) for spec in loaded.classes)
    stdout.print(Columns(classes, padding=(0, 2)))


def _table(*columns: str) -> Table:
    """Two of them fit 80 columns where one with all would fold its words."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _alignment(rig: Rig, modality: Modality) -> str:
    """Describes how a modality is aligned to the reference."""
    if modality.name == rig.reference:
        return "the reference"
    if modality.homography is not None:
        return "by homography"
    source = "CameraInfo and /tf_static" if modality.calibration == "ros" else "the rig file"
    if modality.points and not modality.eight_bit:
        return f"projected, calibration from {source}"
    if modality.calibration == "file" and modality.intrinsics is None:
        return "by the driver"
    way = f"plane at {modality.plane_m:g} m" if modality.depth_from is None else f"depth from {modality.depth_from}"
    return f"by {way}, calibration from {source}"
