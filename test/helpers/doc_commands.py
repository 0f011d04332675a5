"""The `sartm` commands that documents quote."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import typer

from sartm_ros.cli import app


def sartm_commands(page: Path) -> Iterator[list[str]]:
    """The arguments of each `sartm` command in the page's shell blocks and code spans."""
    text = page.read_text()
    lines = [
        line for block in re.findall(r"```sh\n(.*?)```", text, re.S) for line in re.sub(r"\\\n", "", block).splitlines()
    ]
    lines += re.findall(r"(?m)^    (sartm .*)$", text)
    spans = [span for span in re.findall(r"`(sartm [^`]+)`", text) if "..." not in span]
    for line in [*lines, *spans]:
        words = shlex.split(line, comments=True)
        if words[:1] == ["sartm"]:
            yield words[1:]


@cache
def _program() -> Any:
    return typer.main.get_command(app)


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words name, and what follows its name."""
    command, left = _program(), words
    while hasattr(command, "commands") and left and not left[0].startswith("-"):
        assert left[0] in command.commands, f"sartm {' '.join(words)}: there is no '{left[0]}'"
        command, left = command.commands[left[0]], left[1:]
    return command, left
