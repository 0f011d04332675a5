"""Shared by all commands: consoles, JSON output and error handling."""

import json
import logging
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.logging import RichHandler
from rich.segment import Segment
from rich.text import Text
from typer.core import TyperGroup

from sartm_core.errors import SartmError, shown


class SafeConsole(Console):
    """Shows control characters of what it prints, such as names in a recording, instead of obeying them."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(_shown_lines(text), **options)  # before a table measures it

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else _shown_lines(text), style, control)


def _shown_lines(text: str) -> str:
    return "\n".join(shown(line) for line in text.split("\n"))


stdout = SafeConsole(markup=False, emoji=False)
stderr = SafeConsole(stderr=True, markup=False, emoji=False)

OPTIONAL = ("torch", "lightning", "peft", "sam2", "onnx", "onnxscript", "matplotlib")
"""Packages that only some commands need; a robot lacks most of them."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

PeerOption = Annotated[
    str | None, typer.Option(help="module:factory: a torch network from outside sartm, whose code runs.")
]


class WholeSummaries(TyperGroup):
    """Lists its commands with the whole first sentence of their help: it is wrapped, never cut off."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is not None and command.help and not command.short_help:
            command.short_help = re.split(r"\n\n|(?<=\.)\s", command.help.strip(), maxsplit=1)[0].replace("\n", " ")
        return command


@contextmanager
def user_errors() -> Iterator[None]:
    """Turns errors the user can fix into a message and exit status 1."""
    try:
        yield
    except (SartmError, OSError) as error:
        stderr.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        stderr.print(
            f"error: this command needs {error.name}, which is not installed: see docs/installation.md.", style="red"
        )
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        stderr.print("interrupted")
        raise typer.Exit(1) from None


def print_json(content: Any) -> None:
    """Prints plain, unwrapped JSON on stdout."""
    sys.stdout.write(json.dumps(content, indent=2) + "\n")


def log_to_stderr() -> None:
    """Logs progress messages, ours and the libraries', to stderr."""
    logging.basicConfig(
        level=logging.INFO, format="%(message)s", handlers=[RichHandler(console=stderr, show_path=False)]
    )
