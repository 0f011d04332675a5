"""Reads the JSON of annotation tools, with errors that name the file and the field."""

import base64
import binascii
import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sartm_core.errors import SartmError

SHOWN_FAULTS = 3
"""A fault of the tool repeats itself in every annotation."""

Coordinate = Annotated[float, Field(ge=-100_000, le=100_000)]
"""Drawing takes as long as an edge is long."""

Point = tuple[Coordinate, Coordinate]
"""x, y."""


class Foreign(BaseModel):
    """A value in another program's file, of which only what is needed here is read."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


ModelT = TypeVar("ModelT", bound=Foreign)


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        SartmError: unreadable, or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise SartmError(f"{path}: is not valid JSON ({error}). Export it again.") from error


def parse(content: Any, model: type[ModelT], source: object) -> ModelT:
    """Validates what was read from `source` (named in the error message).

    Raises:
        SartmError: a field is missing or invalid; lists the first few.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        lines = [f"  {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in found[:SHOWN_FAULTS]]
        more = f"\n  and {len(found) - SHOWN_FAULTS} more" if len(found) > SHOWN_FAULTS else ""
        raise SartmError(f"{source}: is damaged, or edited by hand:\n" + "\n".join(lines) + more) from error


def decode_base64(text: str, where: str) -> bytes:
    """The bytes of a base64 string.

    Raises:
        SartmError: not base64.
    """
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError) as error:
        raise SartmError(f"{where}: its mask is not base64 ({error}).") from error
