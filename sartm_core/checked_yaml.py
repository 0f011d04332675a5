"""Reads YAML files into typed, frozen values, with errors that name the file and the field."""

import difflib
import itertools
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


LARGEST_FILE = 1 << 22
"""Bytes of a YAML file, 4 MiB."""
MOST_VALUES = 100_000
"""Values in a YAML file, with each alias written out: nine lines of aliases can stand for millions."""
_FAULTS_LISTED = 20


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML silently keeps the last of two equal keys; a sensor would vanish from the rig."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="expected a word as key", problem_mark=key_node.start_mark)
            if key_node.value in keys:
                raise yaml.MarkedYAMLError(problem=f"duplicate key '{key_node.value}'", problem_mark=node.start_mark)
            keys.add(key_node.value)
        return super().construct_mapping(node, deep)

    def construct_document(self, node: yaml.Node) -> Any:
        if _values(node, {}) > MOST_VALUES:
            raise yaml.MarkedYAMLError(problem=f"expected at most {MOST_VALUES} values, aliases written out")
        return super().construct_document(node)


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """The number of values in a node; more than `MOST_VALUES` for one that holds itself. `known`: by identity."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = MOST_VALUES + 1  # as long as it is being counted
        parts = itertools.chain(*node.value) if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_values(part, known) for part in parts)
    return known[id(node)]


def read_yaml(path: Path, model: type[ModelT]) -> ModelT:
    """Reads and validates a YAML file.

    Raises:
        SartmError: unreadable, not YAML, or a field is missing, unknown or invalid; lists its faults at once.
    """
    return check(load_yaml(path), model, str(path))


def load_yaml(path: Path) -> dict[str, Any]:
    """The top-level mapping of a YAML file, not validated further.

    Raises:
        SartmError: unreadable, not YAML, or not a mapping.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise ValueError(f"expected at most {LARGEST_FILE} bytes")
        content = yaml.load(data.decode("utf-8"), Loader=_UniqueKeyLoader)  # noqa: S506 (a SafeLoader)
    except OSError as error:
        raise SartmError(f"{path.absolute()}: cannot be read: {error.strerror}. Is the path right?") from error
    except RecursionError as error:
        raise SartmError(f"{path}: is not a YAML file: it is nested too deeply.") from error
    except Exception as error:  # for `!!int abc` and the like the library raises whatever comes
        raise SartmError(f"{path}: is not a YAML file: {error or type(error).__name__}") from error
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
        lines = [f"  {_describe(fault, model)}" for fault in own[:_FAULTS_LISTED]]
        if len(own) > _FAULTS_LISTED:
            lines.append(f"  and {len(own) - _FAULTS_LISTED} more.")
        faults = "\n".join(lines)
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
