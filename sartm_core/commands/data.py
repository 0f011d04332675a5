"""`sartm data`: data sets on disk."""

from pathlib import Path
from typing import Annotated

import typer

from sartm_core.commands.common import stdout, user_errors

data_app = typer.Typer(no_args_is_help=True, help="Data sets on disk.")

DataArgument = Annotated[Path, typer.Argument(help="Folder of a rig recording.")]


@data_app.command("preview")
def data_preview(
    folder: DataArgument,
    out: Annotated[Path, typer.Option(help="The picture to write, PNG.")] = Path("preview.png"),
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    count: Annotated[int, typer.Option(help="At most so many rows.", min=1, max=60)] = 6,
    each: Annotated[str | None, typer.Option(help="One row per value of this tag, such as condition or fault.")] = None,
) -> None:
    """Draw a contact sheet: each modality in the field's usual colours, the truth, a legend."""
    with user_errors():
        from sartm_core.datasets.preview import contact_sheet, spread_out
        from sartm_core.datasets.recording import Recording

        recording = Recording(folder)
        frames = spread_out(recording.frames(split), count, each)
        contact_sheet(recording, frames, out)
    stdout.print(f"{out}: {len(frames)} frame sets of {recording.manifest.name}", soft_wrap=True)


@data_app.callback()
def _group() -> None:
    """Keeps `preview` a command of its own while it is the only one."""
