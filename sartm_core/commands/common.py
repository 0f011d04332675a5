"""Shared by all commands: consoles, JSON output and error handling."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler

from sartm_core.errors import SartmError

stdout = Console(markup=False, emoji=False)
stderr = Console(stderr=True, markup=False, emoji=False)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@contextmanager
def user_errors() -> Iterator[None]:
    """Turns errors the user can fix into a message and exit status 1."""
    try:
        yield
    except (SartmError, OSError) as error:
        stderr.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
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
