"""The formats in which event cameras send their packets."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError
from sartm_core.sensing.events import Events

Packet = bytes | bytearray | memoryview | NDArray[np.uint8]

_ADDR_Y, _ADDR_X, _VECT_BASE_X, _VECT_12, _VECT_8, _TIME_LOW, _TIME_HIGH = 0x0, 0x2, 0x3, 0x4, 0x5, 0x6, 0x8


def _table(*codes: int) -> NDArray[np.bool_]:
    """Which of EVT 3.0's sixteen codes are these."""
    table = np.zeros(16, np.bool_)
    table[list(codes)] = True
    return table


_DEFINED = _table(0x0, 0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x8, 0xA, 0xE, 0xF)
_REPORTS = _table(_ADDR_X, _VECT_12, _VECT_8)
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

    def decode(self, packet: Packet) -> Events:
        """The events of one packet, in the order of the sensor.

        Args:
            packet: the bytes of `event_camera_msgs/EventPacket.events`, encoding `evt3`; an odd last byte is ignored.
        """
        words = np.frombuffer(packet, "<u2", count=len(packet) // 2)
        code = (words >> 12).astype(np.uint8)
        self.unknown = _count_unknown(words, code)
        reports = _REPORTS.take(code)
        reporting = words[reports]
        reported = np.cumsum(reports, dtype=np.int32)  # how many words up to each word report
        y, rowless = self._rows(words, code, reported, len(reporting))
        t, timeless = self._times(words, code, reported, len(reporting))
        first = max(rowless, timeless)
        x: NDArray[np.uint16] = reporting & np.uint16(0x7FF)
        p = (reporting >> 11 & 1).astype(np.uint8)
        vectors = np.flatnonzero((code >= _VECT_BASE_X) & (code <= _VECT_8))
        if not len(vectors):
            return Events(x[first:], y[first:], t[first:], p[first:])
        which, x, p = self._expanded(words[vectors], code[vectors], reporting, code[reports], x, p)
        kept = which >= first
        which = which[kept]
        return Events(x[kept], y[which], t[which], p[kept])

    def _rows(
        self, words: NDArray[Any], code: NDArray[Any], reported: NDArray[Any], count: int
    ) -> tuple[NDArray[np.uint16], int]:
        """Row of each reporting word, and how many come before the first row is known."""
        at = np.flatnonzero(code == _ADDR_Y)
        values = words[at] & 0x7FF
        unknown = 0 if self._y >= 0 else _before(reported, at, count)
        rows = _held(np.uint16(max(self._y, 0)), values, reported[at], count)
        self._y = int(values[-1]) if len(at) else self._y
        return rows, unknown

    def _times(
        self, words: NDArray[Any], code: NDArray[Any], reported: NDArray[Any], count: int
    ) -> tuple[NDArray[np.int64], int]:
        """Microseconds of each reporting word, and how many come before the first high time is known."""
        at = np.flatnonzero((code == _TIME_LOW) | (code == _TIME_HIGH))
        is_high = code[at] == _TIME_HIGH
        values = (words[at] & 0xFFF).astype(np.int64)
        unknown = 0 if self._high >= 0 else _before(reported, at[is_high], count)
        before = max(self._high, 0) << 12 | self._low
        number = np.arange(len(at))
        highs = _held(np.int64(max(self._high, 0)), self._unwrapped(values[is_high]), number[is_high], len(at))
        lows = _held(np.int64(self._low), values[~is_high], number[~is_high], len(at))
        times = _held(np.int64(before), highs << 12 | lows, reported[at], count)
        if len(at):
            self._low = int(lows[-1])
            self._high = int(highs[-1]) if is_high.any() or self._high >= 0 else -1
        return times, unknown

    def _unwrapped(self, raw: NDArray[np.int64]) -> NDArray[np.int64]:
        """High times with the wraps counted in."""
        before = raw[:1] if self._high < 0 else np.array([self._high % _HIGH_WRAP])
        wraps = np.cumsum(np.diff(raw, prepend=before) < -_LONGEST_STEP_BACK)
        return raw + (wraps + max(self._high, 0) // _HIGH_WRAP) * _HIGH_WRAP

    def _expanded(
        self,
        steering: NDArray[Any],
        codes: NDArray[Any],
        reporting: NDArray[Any],
        reporting_code: NDArray[Any],
        x: NDArray[Any],
        p: NDArray[Any],
    ) -> tuple[NDArray[np.intp], NDArray[np.uint16], NDArray[np.uint8]]:
        """Vectors report up to twelve events: for each event which word reported it, its column and its polarity.

        Args:
            steering, codes: the vectors, and the words that set where the next begins.
            reporting, reporting_code: the words that report.
            x, p: columns and polarities of those that report one event.
        """
        is_base = codes == _VECT_BASE_X
        width = np.where(is_base, 0, np.where(codes == _VECT_12, 12, 8))
        passed = np.cumsum(width) - width
        number = np.flatnonzero(is_base)
        bases = (steering[is_base] & 0x7FF).astype(np.int64) - passed[is_base]
        begins = _held(np.int64(self._base_x), bases, number, len(codes)) + passed
        polarity = _held(np.uint8(self._polarity), (steering[is_base] >> 11 & 1).astype(np.uint8), number, len(codes))
        self._base_x, self._polarity = int(begins[-1] + width[-1]), int(polarity[-1])

        is_vector = reporting_code != _ADDR_X
        x[is_vector], p[is_vector] = begins[~is_base], polarity[~is_base]
        bits = np.ones(len(reporting), "<u2")
        bits[is_vector] = reporting[is_vector] & np.where(reporting_code[is_vector] == _VECT_12, 0xFFF, 0xFF)
        places = np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little").view(np.bool_))
        which = places >> 4
        return which, x[which] + (places & 15).astype(np.uint16), p[which]


def _held(first: Any, values: NDArray[Any], begins: NDArray[Any], count: int) -> NDArray[Any]:
    """The value that holds at each of `count` places: `first`, and from each of `begins` on the next of `values`."""
    lengths = np.diff(begins, prepend=0, append=count)
    return np.repeat(np.concatenate([[first], values]).astype(first.dtype), lengths)


def _before(reported: NDArray[Any], at: NDArray[Any], count: int) -> int:
    """How many words report before the first of these places."""
    return int(reported[at[0]]) if len(at) else count


def _count_unknown(words: NDArray[Any], code: NDArray[Any]) -> int:
    unknown = ~_DEFINED.take(code)
    return int(np.count_nonzero(words[unknown] != _PADDING)) if unknown.any() else 0


def decode_mono(packet: Packet, time_base_ns: int) -> Events:
    """The events of event_camera_codecs' encoding `mono`: 32 bits of ns since `time_base_ns`, 16 of x, 15 of y, p.

    Raises:
        SartmError: the packet does not consist of whole events.
    """
    words = _words(packet, "<u8")
    return Events(
        x=(words >> 32 & 0xFFFF).astype(np.uint16),
        y=(words >> 48 & 0x7FFF).astype(np.uint16),
        t=(time_base_ns + (words & 0xFFFFFFFF).astype(np.int64)) // 1000,
        p=(words >> 63).astype(np.uint8),
    )


def decode_libcaer(packet: Packet, time_base_ns: int) -> Events:
    """The events of event_camera_codecs' encoding `libcaer`: libcaer's polarity events of iniVation's cameras.

    Each has 32 bits of data, then 31 of microseconds since `time_base_ns`, which may wrap once within a packet.

    Raises:
        SartmError: the packet does not consist of whole events.
    """
    words = _words(packet, "<u8")
    data, low = words & 0xFFFFFFFF, (words >> 32).astype(np.int64)
    wraps = np.cumsum(np.diff(low, prepend=low[:1]) < 0)
    return Events(
        x=(data >> 17 & 0x7FFF).astype(np.uint16),
        y=(data >> 2 & 0x7FFF).astype(np.uint16),
        t=time_base_ns // 1000 + low + (wraps << 31),
        p=(data >> 1 & 1).astype(np.uint8),
    )


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
