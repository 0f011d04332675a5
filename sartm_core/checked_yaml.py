"""Reads YAML files into typed, frozen values, with errors that name the file and the field."""

import difflib
from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from sartm_core.errors import SartmError


class Checked(BaseModel):
    """A frozen value that rejects unknown keys: the base of everything read from a file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


ModelT = TypeVar("ModelT", bound=Checked)


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML silently keeps the last of two equal keys; a sensor would vanish from the rig."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key_node.value for key_node, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.MarkedYAMLError(problem=f"duplicate key '{key}'", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, model: type[ModelT]) -> ModelT:
    """Reads and validates a YAML file.

    Raises:
        SartmError: unreadable, not YAML, or a field is missing, unknown or invalid; lists all faults at once.
    """
    return check(load_yaml(path), model, str(path))


def load_yaml(path: Path) -> dict[str, Any]:
    """The top-level mapping of a YAML file, not validated further.

    Raises:
        SartmError: unreadable, not YAML, or not a mapping.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)  # noqa: S506 (a SafeLoader)
    except OSError as error:
        raise SartmError(f"{path.absolute()}: cannot be read: {error.strerror}. Is the path right?") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SartmError(f"{path}: is not a YAML file: {error}") from error
    if content is None:
        raise SartmError(f"{path}: the file is empty.")
    if not isinstance(content, dict):
        raise SartmError(f"{path}: expected a mapping of fields to values at the top, got {type(content).__name__}.")
    return content


def check(content: dict[str, Any], model: type[ModelT], source: str) -> ModelT:
    """Validates values read from `source` (named in the error message).

    Raises:
        SartmError: a field is missing, unknown or invalid; lists all of them.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        found = error.errors()
        # A list whose items are all invalid is also reported as empty; that is not a separate fault.
        deeper = {fault["loc"][:depth] for fault in found for depth in range(1, len(fault["loc"]))}
        own = [fault for fault in found if not (fault["type"] == "too_short" and fault["loc"] in deeper)]
        faults = "\n".join(f"  {_describe(fault, model)}" for fault in own)
        raise SartmError(f"{source}:\n{faults}") from error


def _describe(fault: Any, model: type[BaseModel]) -> str:
    location = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    if not location:  # a check across fields: its message names them
        return f"{message}."
    if fault["type"] in ("tuple_type", "list_type"):
        message = "expected a list [...]"
    if fault["type"] == "missing":
        return f"{location}: this required field is missing."
    if fault["type"] == "extra_forbidden":
        return f"{location}: unknown field.{_suggestion(str(fault['loc'][-1]), model)}"
    value = repr(fault["input"])
    return f"{location}: {message}, got {value if len(value) < 80 else value[:77] + '...'}."


def _suggestion(name: str, model: type[BaseModel]) -> str:
    known = _field_names(model)
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean '{close[0]}'?" if close else f" Known fields: {', '.join(sorted(known))}."


def _field_names(model: type[BaseModel], seen: set[type] | None = None) -> set[str]:
    """The fields of a model and of the models inside it: enough for "did you mean"."""
    seen = set() if seen is None else seen
    names: set[str] = set()
    pending: list[Any] = [model]
    while pending:
        annotation = pending.pop()
        pending.extend(getattr(annotation, "__args__", ()))
        if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in seen:
            seen.add(annotation)
            names.update(annotation.model_fields)
            pending.extend(field.annotation for field in annotation.model_fields.values())
    return names
