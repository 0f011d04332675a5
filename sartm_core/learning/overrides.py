"""Applies changes from the command line to recipes: `--set losses.language=100`."""

from pathlib import Path
from typing import Any

import yaml

from sartm_core.checked_yaml import check, load_yaml
from sartm_core.errors import SartmError
from sartm_core.learning.recipe import Recipe


def read_recipe(path: Path, changes: list[str] | None = None) -> Recipe:
    """Reads a recipe file and applies changes `a.b.0.c=value`, with YAML values.

    Raises:
        SartmError: faults in the file or in a change; names the field.
    """
    content = load_yaml(path)
    for change in changes or []:
        key, separator, value = change.partition("=")
        if not separator:
            raise SartmError(f"--set {change}: expected field=value, such as losses.language=100.")
        try:
            _put(content, key.strip().split("."), yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise SartmError(f"--set {change}: the value is not valid YAML ({error}).") from error
        except (LookupError, TypeError, ValueError) as error:
            raise SartmError(f"--set {change}: the recipe has no field '{key}'.") from error
    if isinstance(content.get("data"), dict) and content["data"].get("root") is not None:
        content["data"].pop("simulated", None)  # an explicit data set replaces the simulator
    return check(content, Recipe, str(path))


def _put(content: Any, keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        content = content[int(key)] if isinstance(content, list) else content.setdefault(key, {})
    if isinstance(content, list):
        content[int(keys[-1])] = value
    else:
        content[keys[-1]] = value
