"""Prophesee's EVT 3.0: 16-bit words that change a state (row, time) or report events."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.sensing.events import OUTSIDE, Events

Packet = bytes | bytearray | memoryview | NDArray[np.uint8]

_ADDR_Y, _ADDR_X, _VECT_BASE_X, _VECT_12, _VECT_8, _TIME_LOW, _TIME_HIGH = 0x0, 0x2, 0x3, 0x4, 0x5, 0x6, 0x8
_LAST_X = 0x7FF


def _table(*codes: int) -> NDArray[np.bool_]:
    """Which of the sixteen codes are these."""
    table = np.zeros(16, np.bool_)
    table[list(codes)] = True
    return table


_DEFINED = _table(0x0, 0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x8, 0xA, 0xE, 0xF)
_PADDING = 0x9999
"""Lucid's cameras fill their packets with it (event_camera_renderer#8)."""
_HIGH_WRAP = 1 << 12
_LONGEST_STEP_BACK = 1 << 11
"""A high time that falls by more than this has wrapped; by less, packets were swapped."""


@dataclass(frozen=True, slots=True)
class Runs:
    """What holds for events from one to another.

    Attributes:
        values: [n].
        begins: the first event of each, intp [n]; the first begins at 0.
        count: of events.
    """

    values: NDArray[Any]
    begins: NDArray[np.intp]
    count: int

    def expanded(self) -> NDArray[Any]:
        """The value of each event, [count]."""
        return np.repeat(self.values, np.diff(self.begins, append=self.count))

    def at(self, places: NDArray[np.intp]) -> NDArray[Any]:
        """The value of each of these events."""
        return np.asarray(self.values[np.searchsorted(self.begins, places, side="right") - 1])

    def after(self, first: int) -> "Runs":
        """Without the events before one."""
        if first == 0:
            return self
        kept = np.searchsorted(self.begins, first, side="right") - 1
        return Runs(self.values[kept:], np.maximum(self.begins[kept:] - first, 0), self.count - first)


@dataclass(frozen=True, slots=True)
class Evt3Events:
    """What packets report. Rows and times are runs: to spell them out for each event costs more than to decode them.

    Attributes:
        sites: column (11 bits) and polarity (bit 11) of each event, uint16 [N].
        rows: uint16.
        times: microseconds, int64.
        ends: the number of events up to the end of each packet, intp [packets].
    """

    sites: NDArray[np.uint16]
    rows: Runs
    times: Runs
    ends: NDArray[np.intp]

    def events(self) -> Events:
        """Spelt out."""
        polarity = (self.sites >> 11).astype(np.uint8)
        return Events(self.sites & np.uint16(_LAST_X), self.rows.expanded(), self.times.expanded(), polarity)

    def cells(self, size: tuple[int, int]) -> NDArray[np.int32]:
        """As `events.event_cells`, far faster; negative for one outside of the sensor."""
        height, width = size
        x = np.arange(_LAST_X + 1, dtype=np.int32)
        x[width:] = OUTSIDE
        cell_of_site = np.concatenate([x + height * width, x])
        row = self.rows.values * np.int32(width)
        row[self.rows.values >= height] = OUTSIDE
        cells = cell_of_site.take(self.sites)
        cells += np.repeat(row, np.diff(self.rows.begins, append=self.rows.count))
        return cells


class Evt3Decoder:
    """Stateful across packets: a packet may begin in the middle of a row.

    Time begins with the first complete time stamp; what comes before is dropped. The sensor's clock wraps after 2^24
    microseconds (16.8 s); the decoder's does not.

    Attributes:
        unknown: words of the last packets that EVT 3.0 does not define. More than a few: it is another format.
    """

    def __init__(self) -> None:
        self.unknown = 0
        self._y = -1
        self._high = -1  # with the wraps counted in
        self._low = 0
        self._base_x = 0
        self._polarity = 0

    def decode(self, packets: Sequence[Packet]) -> Evt3Events:
        """The events of packets that follow one another, in the order of the sensor.

        Args:
            packets: the bytes of `event_camera_msgs/EventPacket.events`, encoding `evt3`; an odd last byte is ignored.
        """
        parts = [np.frombuffer(packet, "<u2", count=len(packet) // 2) for packet in packets]
        words = parts[0] if len(parts) == 1 else np.concatenate(parts)
        code = (words >> 12).astype(np.uint8)
        self.unknown = _count_unknown(words, code)
        has_vectors = (code >= _VECT_BASE_X) & (code <= _VECT_8)
        reports = (code == _ADDR_X) | (has_vectors & (code != _VECT_BASE_X))
        reported = np.zeros(len(words) + 1, np.int32)  # how many words before each report
        np.cumsum(reports, out=reported[1:])
        at = np.flatnonzero(reports)  # far faster than a mask
        sites = words.take(at) & np.uint16(0xFFF)
        place: NDArray[Any] = reported
        if has_vectors.any():
            vectors = np.flatnonzero(has_vectors)
            sites, passed = self._expanded(words[vectors], code[vectors], sites, code[at])
            place = passed[reported]  # events, not words: a vector reports several
        rows, rowless = self._rows(words, code, place, len(sites))
        times, timeless = self._times(words, code, place, len(sites))
        first = max(rowless, timeless)
        ends = np.maximum(place[np.cumsum([len(part) for part in parts])] - first, 0).astype(np.intp)
        return Evt3Events(sites[first:], rows.after(first), times.after(first), ends)

    def _rows(self, words: NDArray[Any], code: NDArray[Any], place: NDArray[Any], count: int) -> tuple[Runs, int]:
        """Rows, and how many events come before the first is known."""
        at = np.flatnonzero(code == _ADDR_Y)
        values = words[at] & np.uint16(0x7FF)
        unknown = 0 if self._y >= 0 else _before(place, at, count)
        runs = _runs(np.uint16(max(self._y, 0)), values, place[at], count)
        self._y = int(values[-1]) if len(at) else self._y
        return runs, unknown

    def _times(self, words: NDArray[Any], code: NDArray[Any], place: NDArray[Any], count: int) -> tuple[Runs, int]:
        """Microseconds, and how many events come before the first high time is known."""
        at = np.flatnonzero((code == _TIME_LOW) | (code == _TIME_HIGH))
        is_high = code[at] == _TIME_HIGH
        values = (words[at] & 0xFFF).astype(np.int64)
        unknown = 0 if self._high >= 0 else _before(place, at[is_high], count)
        high, low = np.int64(max(self._high, 0)), np.int64(self._low)
        number = np.arange(len(at))
        highs = _runs(high, self._unwrapped(values[is_high]), number[is_high], len(at)).expanded()
        lows = _runs(low, values[~is_high], number[~is_high], len(at)).expanded()
        if len(at):
            self._low = int(lows[-1])
            self._high = int(highs[-1]) if is_high.any() or self._high >= 0 else -1
        return _runs(high << 12 | low, highs << 12 | lows, place[at], count), unknown

    def _unwrapped(self, raw: NDArray[np.int64]) -> NDArray[np.int64]:
        """High times with the wraps counted in."""
        before = raw[:1] if self._high < 0 else np.array([self._high % _HIGH_WRAP])
        wraps = np.cumsum(np.diff(raw, prepend=before) < -_LONGEST_STEP_BACK)
        return raw + (wraps + max(self._high, 0) // _HIGH_WRAP) * _HIGH_WRAP

    def _expanded(
        self, steering: NDArray[Any], codes: NDArray[Any], sites: NDArray[np.uint16], site_codes: NDArray[Any]
    ) -> tuple[NDArray[np.uint16], NDArray[np.intp]]:
        """Vectors report up to twelve events: the sites of all, and how many come before each word that reports.

        Args:
            steering, codes: the vectors, and the words that say where the next begins.
            sites, site_codes: the words that report; of a vector `sites` has the bits.
        """
        is_base = codes == _VECT_BASE_X
        width = np.where(is_base, 0, np.where(codes == _VECT_12, 12, 8))
        passed = np.cumsum(width) - width
        number = np.flatnonzero(is_base)
        bases = (steering[is_base] & _LAST_X).astype(np.int64) - passed[is_base]
        begins = _runs(np.int64(self._base_x), bases, number, len(codes)).expanded() + passed
        polarity = _runs(np.int64(self._polarity), (steering[is_base] >> 11 & 1).astype(np.int64), number, len(codes))
        polarities = polarity.expanded()
        self._base_x, self._polarity = int(begins[-1] + width[-1]), int(polarities[-1])

        is_vector = site_codes != _ADDR_X
        bits = np.ones(len(sites), "<u2")
        bits[is_vector] = sites[is_vector] & np.where(site_codes[is_vector] == _VECT_12, 0xFFF, 0xFF)
        x, p = (sites & _LAST_X).astype(np.int64), (sites >> 11).astype(np.int64)
        x[is_vector], p[is_vector] = begins[~is_base], polarities[~is_base]
        set_bits = np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little").view(np.bool_))
        which = set_bits >> 4
        columns = np.clip(x[which] + (set_bits & 15), 0, _LAST_X)
        before = np.searchsorted(which, np.arange(len(sites) + 1))
        return (columns | p[which] << 11).astype(np.uint16), before


def _runs(first: Any, values: NDArray[Any], begins: NDArray[Any], count: int) -> Runs:
    """`first` holds from 0 on, and from each of `begins` on the next of `values`."""
    return Runs(np.concatenate([[first], values]).astype(first.dtype), np.concatenate([[0], begins]), count)


def _before(place: NDArray[Any], at: NDArray[Any], count: int) -> int:
    """How many events come before the first of these words."""
    return int(place[at[0]]) if len(at) else count


def _count_unknown(words: NDArray[Any], code: NDArray[Any]) -> int:
    defined = _DEFINED.take(code)
    return 0 if defined.all() else int(np.count_nonzero(words[~defined] != _PADDING))


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
