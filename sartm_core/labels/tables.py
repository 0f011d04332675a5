"""Label tables: what the values of masks, and the names of an annotation tool, mean."""

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sartm_core.errors import SartmError
from sartm_core.labels.class_names import classes_by_name
from sartm_core.rig import Rig

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class LabelTable:
    """Maps values and names of an annotation tool to class ids, 255 for none.

    Attributes:
        source: the file it was read from, for errors.
        colours: (red, green, blue) -> class id; empty if the file lists no colours.
        ids: value -> class id; used for single-channel masks; empty if the file lists no ids.
        names: the tool's name -> class id, where the file translates names.
        ambiguous: colours assigned to several classes.
    """

    source: str
    colours: dict[Colour, int]
    ids: dict[int, int]
    names: dict[str, int]
    ambiguous: frozenset[Colour] = frozenset()


class _Entry(NamedTuple):
    name: str
    number: int | None = None
    colour: Colour | None = None
    target: str | None = None
    """The rig's name, where the table gives it."""


def rig_table(rig: Rig) -> LabelTable:
    """The rig's own ids and colours."""
    return _table("the rig", rig, [_Entry(spec.name, index, spec.color) for index, spec in enumerate(rig.classes)])


def read_table(path: Path, rig: Rig) -> LabelTable:
    """Reads a table of colours, ids or names.

    Raises:
        SartmError: unreadable, or a class that the rig does not have.
    """
    try:
        return _table(str(path), rig, _entries(path))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        raise SartmError(
            f"{path}: is not a label table ({error!r}). Expected CVAT's labelmap.txt (name:red,green,blue::), "
            "Labelme's class_names.txt, Roboflow's _classes.csv, Supervisely's obj_class_to_machine_color.json, a JSON "
            "with COCO's categories, or a CSV with the columns id and name; name, red, green, blue; or name and class "
            "(the tool's name and the rig's). If it is no table, move it elsewhere, or give the right one with --table."
        ) from error


def _entries(path: Path) -> list[_Entry]:
    text = path.read_text(encoding="utf-8-sig")  # Excel marks its CSV
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _json_entries(json.loads(text))
    if suffix == ".csv":
        return _csv_entries(text)
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if any(re.fullmatch(r"_+(background|ignore)_+", line.strip()) for line in lines[:2]):
        return _labelme_entries(lines)
    return [_labelmap_entry(line) for line in lines]


def _labelmap_entry(line: str) -> _Entry:
    name, colour, *_ = line.rsplit(":", 3)  # a name may have colons
    return _Entry(name, colour=_colour(colour.split(",")))


def _labelme_entries(lines: list[str]) -> list[_Entry]:
    """The line's number counts, from -1 for `__ignore__`, which masks store as 255, or from 0 for `_background_`."""
    first = -1 if lines[0].strip() == "__ignore__" else 0
    numbers = range(first, first + len(lines))
    return [_Entry(line.strip(), number % 256) for number, line in zip(numbers, lines, strict=True)]


def _json_entries(content: Any) -> list[_Entry]:
    if "categories" in content:
        return [_Entry(entry["name"], int(entry["id"])) for entry in content["categories"]]
    return [_Entry(name, colour=_colour(colour)) for name, colour in content.items()]


def _csv_entries(text: str) -> list[_Entry]:
    """Comma or, as Excel writes it in half of Europe, semicolon; Roboflow writes a space behind the comma."""
    lines = text.splitlines()
    delimiter = ";" if lines and ";" in lines[0] and "," not in lines[0] else ","
    rows = csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True)
    return [_csv_entry({key.strip().lower(): value.strip() for key, value in row.items()}) for row in rows]


def _csv_entry(row: dict[str, str]) -> _Entry:
    number = row.get("id") or row.get("pixel value")
    colour = _colour([row["red"], row["green"], row["blue"]]) if row.get("red") else None
    target = row["class"] if "name" in row and "class" in row else None
    if not number and colour is None and target is None:
        raise ValueError("neither id nor colour nor class")
    return _Entry(row["name" if "name" in row else "class"], int(number) if number else None, colour, target)


def _colour(parts: Sequence[Any]) -> Colour:
    red, green, blue = (int(part) for part in parts)
    return red, green, blue


def _table(source: str, rig: Rig, entries: Sequence[_Entry]) -> LabelTable:
    if not entries:
        raise ValueError("it has no entries")
    own = [entry.name if entry.target is None else entry.target for entry in entries]
    classes = classes_by_name(own, rig, source)
    colours: dict[Colour, int] = {}
    ids: dict[int, int] = {}
    names: dict[str, int] = {}
    ambiguous: set[Colour] = set()
    for entry, name in zip(entries, own, strict=True):
        target = classes[name]
        if entry.colour is not None and colours.setdefault(entry.colour, target) != target:
            ambiguous.add(entry.colour)
        if entry.number is not None and ids.setdefault(entry.number, target) != target:
            raise SartmError(f"{source}: assigns id {entry.number} to several classes, including '{name}'.")
        if entry.target is not None and names.setdefault(entry.name.strip(), target) != target:
            raise SartmError(f"{source}: assigns the name '{entry.name}' to several classes, including '{name}'.")
    return LabelTable(source, colours, ids, names, frozenset(ambiguous))
