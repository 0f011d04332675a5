"""Applies changes from the command line to recipes: `--set losses.language=100`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sartm_core.checked_yaml import check, load_yaml
from sartm_core.errors import SartmError
from sartm_core.learning.recipe import Recipe


def read_recipe(path: Path, changes: list[str] | None = None, values: Mapping[str, Any] | None = None) -> Recipe:
    """Reads a recipe file and applies changes `a.b.0.c=value`, with YAML values.

    Args:
        values: field `a.b.0.c` -> its value, taken as it is: the path of a folder may look like anything in YAML.

    Raises:
        SartmError: faults in the file or in a change; names the field.
    """
    content = load_yaml(path)
    for change in changes or []:
        key, separator, value = change.partition("=")
        if not separator:
            raise SartmError(f"--set {change}: expected field=value, such as losses.language=100.")
        try:
            parsed = _parsed(value)
        except yaml.YAMLError as error:
            raise SartmError(f"--set {change}: the value is not valid YAML ({error}).") from error
        _put(content, key.strip(), parsed, f"--set {change}")
    for key, given in (values or {}).items():
        _put(content, key, given, str(path))
    if isinstance(content.get("data"), dict):
        _prefer_explicit(content["data"], values or {})
    return check(content, Recipe, str(path))


def _prefer_explicit(data: dict[str, Any], values: Mapping[str, Any]) -> None:
    """A data set replaces the simulator; those of the command line replace the file's."""
    if data.get("root") is not None or data.get("folders") is not None:
        data.pop("simulated", None)
    for given, other in (("root", "folders"), ("folders", "root")):
        if f"data.{given}" in values:
            data.pop(other, None)


def _parsed(text: str) -> Any:
    """A YAML value; but on a command line ` #` begins no comment."""
    value = yaml.safe_load(text)
    plain = isinstance(value, str) and value and text.strip().startswith(value)
    return text.strip() if plain else value


def _put(content: Any, field: str, value: Any, source: str) -> None:
    *keys, last = field.split(".")
    try:
        for key in keys:
            content = content[int(key)] if isinstance(content, list) else content.setdefault(key, {})
        content[int(last) if isinstance(content, list) else last] = value
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise SartmError(f"{source}: the recipe has no field '{field}'.") from error
