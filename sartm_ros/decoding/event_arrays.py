"""dvs_msgs/EventArray from its bytes: a Python object for each event would take longer than the events themselves."""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError
from sartm_core.sensing.events import Events

_ENCAPSULATION = 4
_BYTES, _STRIDE = 15, 16
"""x, y, seconds, nanoseconds and polarity of an event that does not begin at a multiple of 4, and to the next one."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """As builtin_interfaces/Time."""

    sec: int
    nanosec: int


@dataclass(frozen=True, slots=True)
class Header:
    """As std_msgs/Header."""

    stamp: Stamp
    frame_id: str


@dataclass(frozen=True, slots=True)
class EventArray:
    """A dvs_msgs/EventArray.

    Attributes:
        header: of the message.
        height, width: of the sensor.
        events: all of them.
        times_ns: when each was, nanoseconds, int64 [N]; `events` has microseconds.
    """

    header: Header
    height: int
    width: int
    events: Events
    times_ns: NDArray[np.int64]


def event_array(data: bytes) -> EventArray:
    """Reads a serialised dvs_msgs/EventArray (CDR).

    Raises:
        SartmError: the data end before the message does.
    """
    order = "<" if data[1:2] == b"\x01" else ">"
    body = data[_ENCAPSULATION:]
    try:
        seconds, nanoseconds, length = struct.unpack_from(f"{order}iII", body)
        frame_id = body[12 : 12 + max(length - 1, 0)].decode(errors="replace")
        at = _aligned(12 + length, 4)
        height, width, count = struct.unpack_from(f"{order}III", body, at)
        first = at + 12
        rows = _rows(body, first, count, order)
    except (struct.error, ValueError):
        raise SartmError(f"a dvs_msgs/EventArray of {len(data)} bytes ends before its events do.") from None
    times_ns = rows["sec"].astype(np.int64) * 1_000_000_000 + rows["nanosec"]
    events = Events(
        rows["x"].astype(np.uint16), rows["y"].astype(np.uint16), times_ns // 1000, (rows["p"] != 0).astype(np.uint8)
    )
    return EventArray(Header(Stamp(seconds, nanoseconds), frame_id), height, width, events, times_ns)


def _rows(body: bytes, first: int, count: int, order: str) -> NDArray[Any]:
    """The events as records. Only the first begins at a multiple of 4; its seconds follow its row without a gap."""
    if count == 0:
        return np.zeros(0, _record(order, 4, _BYTES - 2))
    begin = np.frombuffer(body, _record(order, 4, _BYTES - 2), 1, first)
    second = _aligned(first + _BYTES - 2, 2)
    if len(body) < second + (count - 2) * _STRIDE + _BYTES and count > 1:
        raise ValueError
    rest = np.ndarray(count - 1, _record(order, 6, _STRIDE), body + b"\0" * _STRIDE, second)
    rows = np.empty(count, rest.dtype)
    for field in ("x", "y", "sec", "nanosec", "p"):
        rows[field][0], rows[field][1:] = begin[field][0], rest[field]
    return rows


def _record(order: str, seconds_at: int, size: int) -> Any:
    return np.dtype({
        "names": ["x", "y", "sec", "nanosec", "p"],
        "formats": [f"{order}u2", f"{order}u2", f"{order}i4", f"{order}u4", "u1"],
        "offsets": [0, 2, seconds_at, seconds_at + 4, seconds_at + 8],
        "itemsize": size,
    })  # fmt: skip


def _aligned(offset: int, size: int) -> int:
    return -(-offset // size) * size
