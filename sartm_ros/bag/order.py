"""Messages of a recording in the order of their header stamps."""

import heapq
import struct
from collections.abc import Iterator
from typing import Generic, TypeVar

from sartm_core.errors import SartmError
from sartm_ros.streams import NS_PER_S

ItemT = TypeVar("ItemT")
_HEADER_BYTES = 16
"""Representation, seconds, nanoseconds, length of frame_id."""
_BYTE_ORDERS = {b"\0\0": ">", b"\0\1": "<"}
"""By the representation that a message in CDR begins with; XCDR2 (00 06 and up) aligns otherwise."""


def header_of(data: bytes) -> tuple[int, str]:
    """Stamp (nanoseconds) and frame_id of a message in CDR that begins with a std_msgs/Header; the rest is not decoded.

    Raises:
        SartmError: too short for a header, in another encoding than CDR, or a stamp that ROS's Time cannot hold.
    """
    if len(data) < _HEADER_BYTES:
        raise SartmError(f"a message of {len(data)} bytes is too short for a header.")
    order = _BYTE_ORDERS.get(data[:2])
    if order is None:
        raise SartmError(f"a message is not in CDR: it begins with {data[:4].hex(' ')}, expected 00 00 or 00 01.")
    seconds, nanoseconds, length = struct.unpack_from(f"{order}iII", data, 4)
    if nanoseconds >= NS_PER_S:
        raise SartmError(f"a message's stamp has {nanoseconds} nanoseconds, expected less than {NS_PER_S}.")
    return seconds * NS_PER_S + nanoseconds, data[16 : 16 + max(length - 1, 0)].decode(errors="replace")


def representable(stamp_ns: int) -> int:
    """A stamp (nanoseconds), unchanged.

    Raises:
        SartmError: ROS's Time cannot hold it: its seconds are an int32.
    """
    if not -(1 << 31) <= stamp_ns // NS_PER_S < 1 << 31:
        raise SartmError(f"a message's time, {stamp_ns} ns, is beyond what a ROS stamp can hold.")
    return stamp_ns


class Sorter(Generic[ItemT]):
    """Reorders items by a key, within a window of time."""

    def __init__(self, window_ns: int) -> None:
        self._window_ns = window_ns
        self._by_key: list[tuple[int, int, ItemT]] = []
        self._by_time: list[tuple[int, int]] = []
        self._gone: set[int] = set()
        self._count = 0

    def push(self, key_ns: int, time_ns: int, item: ItemT) -> Iterator[tuple[int, ItemT]]:
        """Adds an item; yields (key, item) of those that have waited long enough."""
        self._count += 1
        heapq.heappush(self._by_key, (key_ns, self._count, item))
        heapq.heappush(self._by_time, (time_ns, self._count))
        while self._by_time and self._by_time[0][0] <= time_ns - self._window_ns:
            yield self._pop()

    def flush(self) -> Iterator[tuple[int, ItemT]]:
        """Yields the remaining items."""
        while self._by_key:
            yield self._pop()

    def _pop(self) -> tuple[int, ItemT]:
        key_ns, number, item = heapq.heappop(self._by_key)
        self._gone.add(number)
        while self._by_time and self._by_time[0][1] in self._gone:
            self._gone.discard(heapq.heappop(self._by_time)[1])
        return key_ns, item
