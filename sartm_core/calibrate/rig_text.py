"""Writes estimated fields into the text of a rig file, and leaves everything else in it as it is."""

import re

import yaml

from sartm_core.checked_yaml import check
from sartm_core.errors import SartmError
from sartm_core.rig import Rig

MARK = "# calibrated "


def with_fields(text: str, name: str, fields: dict[str, str], remark: str, source: str) -> str:
    """The text with fields of one modality replaced or added, below a comment.

    Args:
        text: of a rig file.
        name: of the modality.
        fields: key -> value, in YAML on one line.
        remark: of the comment.
        source: names the file in errors.

    Raises:
        SartmError: the file is not written in a way that can be changed; shows the lines to write by hand.
    """
    lines = text.splitlines()
    wanted = [f"{MARK}{remark}", *(f"{key}: {value}" for key, value in fields.items())]
    found = _block(lines, name)
    if found is not None:
        begin, end, indent = found
        kept = _without(lines[begin:end], indent, fields.keys())
        changed = "\n".join([*lines[:begin], *kept, *(" " * indent + line for line in wanted), *lines[end:]]) + "\n"
        if _holds(changed, name, fields):
            check(yaml.safe_load(changed), Rig, source)
            return changed
    own = "\n".join(f"    {line}" for line in wanted)
    raise SartmError(f"{source}: its lines cannot be changed by a program. Write, under modalities.{name}:\n{own}")


def _block(lines: list[str], name: str) -> tuple[int, int, int] | None:
    """First line, end and indentation of a modality's fields, if each has lines of its own."""
    inside = False
    for number, line in enumerate(lines):
        if re.match(r"modalities:\s*(#.*)?$", line):
            inside = True
        elif re.match(r"\S", line) and not line.startswith("#"):
            inside = False
        head = re.match(rf"(\s+){re.escape(name)}:\s*(#.*)?$", line) if inside else None
        if head is None:
            continue
        outer, end = len(head[1]), number + 1
        while end < len(lines) and (not lines[end].strip() or _indent(lines[end]) > outer):
            end += 1
        while end > number + 1 and not lines[end - 1].strip():
            end -= 1
        return (number + 1, end, _indent(lines[number + 1])) if end > number + 1 else None
    return None


def _without(block: list[str], indent: int, keys: object) -> list[str]:
    """A block without some of its fields, the lines that continue them, and what an earlier calibration remarked."""
    kept, dropping = [], False
    for line in block:
        if _indent(line) <= indent and line.strip():
            key = line.strip().split(":")[0]
            dropping = key in keys or line.strip().startswith(MARK)  # type: ignore[operator]
        if not dropping:
            kept.append(line)
    return kept


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _holds(text: str, name: str, fields: dict[str, str]) -> bool:
    try:
        modality = yaml.safe_load(text)["modalities"][name]
    except (yaml.YAMLError, KeyError, TypeError):
        return False
    return all(modality.get(key) == yaml.safe_load(value) for key, value in fields.items())
