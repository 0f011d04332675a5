"""Messages of a recording in the order of their header stamps."""

import heapq
import struct
from collections.abc import Iterator
from typing import Generic, TypeVar

from sartm_core.errors import SartmError
from sartm_ros.strays import LEAP_NS
from sartm_ros.streams import NS_PER_S

ItemT = TypeVar("ItemT")
_HEADER_BYTES = 16
"""Representation, seconds, nanoseconds, length of frame_id."""
CLOCKS = 8
"""How many clocks a timeline keeps in mind."""
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


class Timeline:
    """One timeline for stamps of several clocks: a recording that loops, a driver whose clock was set, two publishers.

    A stamp that goes on from its stream's last one keeps its distance to it. One that leaps has the place that its time
    of recording gives it, and later stamps of the same clock are shifted as it was.
    """

    def __init__(self) -> None:
        self._shifts = [0]
        self._last: dict[str, tuple[int, int]] = {}
        self._newest: tuple[int, int] | None = None

    def place(self, name: str, stamp_ns: int, time_ns: int) -> int:
        """The place of a stream's next message, given its stamp and when it was recorded (all in nanoseconds)."""
        last = self._last.get(name, self._newest)
        place_ns = stamp_ns if last is None else self._after(last, stamp_ns, time_ns)
        self._last[name] = (place_ns, time_ns)
        if self._newest is None or place_ns > self._newest[0]:
            self._newest = (place_ns, time_ns)
        return place_ns

    def _after(self, last: tuple[int, int], stamp_ns: int, time_ns: int) -> int:
        last_place, last_time = last
        expected = last_place + max(time_ns - last_time, 0)
        for shift in reversed(self._shifts):
            # Where the recorder's clock leaps and the stamps do not, the stamps are believed.
            if last_place - LEAP_NS <= stamp_ns + shift <= expected + LEAP_NS:
                return stamp_ns + shift
        self._shifts = [*self._shifts[-CLOCKS:], expected - stamp_ns]
        return expected


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
