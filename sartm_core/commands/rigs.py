"""`sartm rig show`; `sartm_ros.commands.rigs` adds the commands that read recordings."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from sartm_core.commands.common import JsonOption, print_json, stdout, user_errors
from sartm_core.rig import Modality, Rig

rig_app = typer.Typer(no_args_is_help=True, help="Rig files: a robot's sensors and classes.")

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
    table = Table(
        title=f"{loaded.name}: planes {loaded.dtype}, reference {loaded.reference}", caption=loaded.description
    )
    for column in ("modality", "kind", "encoding", "size", "rate", "tolerance", "alignment", "topic"):
        table.add_column(column, overflow="fold")
    for modality in loaded.modalities:
        encoding = str(getattr(modality, "encoding", ""))
        height, width = modality.size
        tolerance = f"{modality.tolerance_s * 1e3:g} ms"
        rate = "" if modality.rate_hz is None else f"{modality.rate_hz:g} Hz"
        size, aligned = f"{height}x{width}", _alignment(loaded, modality)
        table.add_row(modality.name, modality.kind, encoding, size, rate, tolerance, aligned, modality.topic)
    stdout.print(table)
    legend = Text("classes: ")
    for spec in loaded.classes:
        legend.append("\u25a0 ", style="rgb({},{},{})".format(*spec.color)).append(f"{spec.name}  ")
    stdout.print(legend)


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
