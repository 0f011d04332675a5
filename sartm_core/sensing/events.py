"""Event cameras: the packets of the sensor, and images of event counts."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError

Packet = bytes | bytearray | memoryview | NDArray[np.uint8]

EVENT = np.dtype([("x", "<u2"), ("y", "<u2"), ("t", "<i8"), ("p", "u1")])
"""One event: column, row, microseconds, polarity (0 darker, 1 brighter)."""

_ADDR_Y, _ADDR_X, _VECT_BASE_X, _VECT_12, _VECT_8, _TIME_LOW, _TIME_HIGH = 0x0, 0x2, 0x3, 0x4, 0x5, 0x6, 0x8
_KNOWN = np.zeros(16, np.bool_)
_KNOWN[[0x0, 0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x8, 0xA, 0xE, 0xF]] = True
_PADDING = 0x9999
"""Lucid's cameras fill their packets with it (event_camera_renderer#8)."""
_HIGH_WRAP = 1 << 12
_LONGEST_STEP_BACK = 1 << 11
"""A high time that falls by more than this has wrapped; by less, packets were swapped."""


class Evt3Decoder:
    """Decodes Prophesee's EVT 3.0: 16-bit words that change a state (row, time) or report events.

    Stateful across packets: a packet may begin in the middle of a row. Time begins with the first complete time stamp;
    what comes before is dropped. The sensor's clock wraps after 2^24 microseconds (16.8 s); the decoder's does not.

    Attributes:
        unknown: number of words of the last packet that EVT 3.0 does not define. More than a few: it is another format.
    """

    def __init__(self) -> None:
        self.unknown = 0
        self._y = -1
        self._high = -1  # with the wraps counted in
        self._low = 0
        self._base_x = 0
        self._polarity = 0

    def decode(self, packet: Packet) -> NDArray[Any]:
        """The events of one packet, in the order of the sensor.

        Args:
            packet: the bytes of `event_camera_msgs/EventPacket.events`, encoding `evt3`; an odd last byte is ignored.

        Returns:
            Structured array of `EVENT`.
        """
        words = np.frombuffer(packet, "<u2", count=len(packet) // 2)
        code, value = words >> 12, (words & 0x0FFF).astype(np.int64)
        self.unknown = int(np.count_nonzero(~_KNOWN[code] & (words != _PADDING)))
        y = _hold(code == _ADDR_Y, value & 0x7FF, self._y)
        high = self._unwrapped(code == _TIME_HIGH, value)
        low = _hold(code == _TIME_LOW, value, self._low)
        is_base = code == _VECT_BASE_X
        polarity = _hold(is_base, value >> 11, self._polarity)
        advance = np.where(code == _VECT_12, 12, np.where(code == _VECT_8, 8, 0))
        before = np.cumsum(advance) - advance
        base_x = _hold(is_base, (value & 0x7FF) - before, self._base_x) + before
        if len(words):
            self._y, self._high, self._low = int(y[-1]), int(high[-1]), int(low[-1])
            self._polarity, self._base_x = int(polarity[-1]), int(base_x[-1] + advance[-1])

        single = np.flatnonzero(code == _ADDR_X)
        vector = np.flatnonzero(advance)
        mask = value[vector] & np.where(advance[vector] == 12, 0xFFF, 0xFF)
        bits = (mask[:, None] >> np.arange(12)) & 1
        which, bit = np.nonzero(bits)
        place = np.concatenate([single, vector[which]])
        x = np.concatenate([value[single] & 0x7FF, base_x[vector[which]] + bit])
        p = np.concatenate([value[single] >> 11, polarity[vector[which]]])
        order = np.argsort(place, kind="stable")
        place, x, p = place[order], x[order], p[order]
        known = (high[place] >= 0) & (y[place] >= 0)
        place = place[known]
        events = np.empty(len(place), EVENT)
        events["x"], events["p"] = x[known], p[known]
        events["y"], events["t"] = y[place], (high[place] << 12) | low[place]
        return events

    def _unwrapped(self, is_high: NDArray[np.bool_], value: NDArray[np.int64]) -> NDArray[np.int64]:
        """High time of each word, wraps counted in; -1 before the first."""
        raw = value[is_high]
        if self._high >= 0:
            raw = np.concatenate([[self._high % _HIGH_WRAP], raw])
        wraps = np.cumsum(np.diff(raw, prepend=raw[:1]) < -_LONGEST_STEP_BACK)
        turns = max(self._high, 0) // _HIGH_WRAP
        unwrapped = raw + (wraps + turns) * _HIGH_WRAP
        if self._high >= 0:
            unwrapped = unwrapped[1:]
        spread = np.zeros(len(value), np.int64)
        spread[is_high] = unwrapped
        return _hold(is_high, spread, self._high)


def _hold(sets: NDArray[np.bool_], values: NDArray[np.int64], before: int) -> NDArray[np.int64]:
    """The last value that was set at or before each word."""
    last = np.maximum.accumulate(np.where(sets, np.arange(len(sets)), -1))
    return np.where(last >= 0, values[np.maximum(last, 0)], before) if len(sets) else values


def decode_mono(packet: Packet, time_base_ns: int) -> NDArray[Any]:
    """The events of event_camera_codecs' encoding `mono`: 32 bits of ns since `time_base_ns`, 16 of x, 15 of y, p.

    Raises:
        SartmError: the packet does not consist of whole events.
    """
    words = _words(packet, "<u8")
    events = np.empty(len(words), EVENT)
    events["t"] = (time_base_ns + (words & 0xFFFFFFFF).astype(np.int64)) // 1000
    events["x"], events["y"], events["p"] = words >> 32 & 0xFFFF, words >> 48 & 0x7FFF, words >> 63
    return events


def decode_libcaer(packet: Packet, time_base_ns: int) -> NDArray[Any]:
    """The events of event_camera_codecs' encoding `libcaer`: libcaer's polarity events of iniVation's cameras.

    Each has 32 bits of data, then 31 of microseconds since `time_base_ns`, which may wrap once within a packet.

    Raises:
        SartmError: the packet does not consist of whole events.
    """
    words = _words(packet, "<u8")
    data, low = words & 0xFFFFFFFF, (words >> 32).astype(np.int64)
    wraps = np.cumsum(np.diff(low, prepend=low[:1]) < 0)
    events = np.empty(len(words), EVENT)
    events["t"] = time_base_ns // 1000 + low + (wraps << 31)
    events["x"], events["y"], events["p"] = data >> 17 & 0x7FFF, data >> 2 & 0x7FFF, data >> 1 & 1
    return events


def _words(packet: Packet, kind: str) -> NDArray[Any]:
    size = np.dtype(kind).itemsize
    if len(packet) % size:
        raise SartmError(f"an event packet of {len(packet)} bytes: expected a multiple of {size}, one event each.")
    return np.frombuffer(packet, kind)


def encode_evt3(events: NDArray[Any]) -> bytes:
    """EVT 3.0 words for events sorted by time: each packet can be decoded on its own. `Evt3Decoder`'s inverse."""
    if not len(events):
        return b""
    t, y = events["t"].astype(np.int64), events["y"].astype(np.int64)
    high, low = t >> 12 & 0xFFF, t & 0xFFF
    first = np.arange(len(events)) == 0
    new_high = first | (np.diff(t >> 12, prepend=-1) != 0)
    new_low = new_high | (np.diff(t, prepend=-1) != 0)
    new_y = first | (np.diff(y, prepend=-1) != 0)
    end = np.cumsum(new_high.astype(int) + new_low + new_y + 1)
    words = np.empty(end[-1], "<u2")
    words[end - 1] = _ADDR_X << 12 | events["p"].astype(np.int64) << 11 | events["x"]
    words[(end - 2)[new_y]] = (_ADDR_Y << 12 | y)[new_y]
    words[(end - 2 - new_y)[new_low]] = (_TIME_LOW << 12 | low)[new_low]
    words[(end - 3 - new_y)[new_high]] = (_TIME_HIGH << 12 | high)[new_high]
    return words.tobytes()


def count_events(events: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """How many events each pixel reported: float32 [H, W, 2], brighter and darker; events outside are left out."""
    height, width = size
    inside = events[(events["x"] < width) & (events["y"] < height)]
    cell = (inside["p"] == 0).astype(np.intp) + 2 * (inside["x"].astype(np.intp) + width * inside["y"].astype(np.intp))
    return np.bincount(cell, minlength=height * width * 2).reshape(height, width, 2).astype(np.float32)
