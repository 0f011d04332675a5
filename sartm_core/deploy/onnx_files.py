"""Which other files an ONNX model takes its tensors from; without the `onnx` package, which robots do not have."""

import mmap
from collections.abc import Iterator
from pathlib import Path

from sartm_core.errors import SartmError

_PARTS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
"""Message -> number of a field -> the message in it: the way to every tensor's `external_data` in onnx.proto."""
_KEY, _VALUE = 1, 2
_FIXED_BYTES = {1: 8, 5: 4}
"""Wire type -> length; 0 is a varint, 2 has its length in front (protobuf.dev, Encoding)."""


def external_files(path: Path) -> set[str]:
    """The `location` of every tensor with external data, also in subgraphs and functions.

    Raises:
        SartmError: not an ONNX model.
    """
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return set(_locations(data))
    except (ValueError, IndexError) as error:
        raise SartmError(f"{path}: is not an ONNX model ({error}). Export the bundle again.") from error


def _locations(data: mmap.mmap) -> Iterator[str]:
    waiting = [("model", 0, len(data))]
    while waiting:
        message, begin, end = waiting.pop()
        if message == "entry":
            entry = {number: data[start:stop] for number, start, stop in _fields(data, begin, end)}
            if entry.get(_KEY) == b"location":
                yield entry.get(_VALUE, b"").decode(errors="replace")
            continue
        parts = _PARTS[message]
        waiting += [
            (parts[number], start, stop) for number, start, stop in _fields(data, begin, end) if number in parts
        ]


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of the fields with a length; the others hold no messages."""
    while at < end:
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            _, at = _varint(data, at)
        elif kind == 2:
            length, at = _varint(data, at)
            if at + length > end:
                raise ValueError(f"a field at byte {at} is cut off")
            yield number, at, at + length
            at += length
        elif kind in _FIXED_BYTES:
            at += _FIXED_BYTES[kind]
        else:
            raise ValueError(f"a field of unknown kind before byte {at}")
    if at > end:
        raise ValueError(f"a field before byte {at} is cut off")


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    """The integer, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError(f"a number at byte {at} is too long")
