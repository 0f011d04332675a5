"""`sartm rig`: rig files."""

from typing import Annotated

import typer
from rich.table import Table

from sartm_core.commands.common import JsonOption, print_json, stdout, user_errors

rig_app = typer.Typer(no_args_is_help=True, help="Rig files: a robot's sensors and classes.")

RigArgument = Annotated[str, typer.Argument(help="Rig file, or the name of a shipped rig.")]


@rig_app.command("check")
def rig_check(rig: RigArgument, json_output: JsonOption = False) -> None:
    """Check a rig file; every fault is named at once."""
    from sartm_core.rig import load_rig

    with user_errors():
        loaded = load_rig(rig)
    if json_output:
        print_json({"name": loaded.name, "modalities": list(loaded.names), "classes": list(loaded.class_names)})
    else:
        stdout.print(f"{loaded.name}: {len(loaded.modalities)} modalities, {len(loaded.classes)} classes, no faults")


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
    for column in ("modality", "kind", "encoding", "size", "topic", "tolerance"):
        table.add_column(column, overflow="fold")
    for modality in loaded.modalities:
        encoding = str(getattr(modality, "encoding", ""))
        height, width = modality.size
        tolerance = f"{modality.tolerance_s * 1e3:g} ms"
        table.add_row(modality.name, modality.kind, encoding, f"{height}x{width}", modality.topic, tolerance)
    stdout.print(table)
    stdout.print(f"classes: {', '.join(loaded.class_names)}")
