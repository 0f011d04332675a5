"""Buffers an event camera's packets: how many events each pixel reported in a window before an instant."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError, shown
from sartm_core.kinds import EventModality
from sartm_core.sensing.event_formats import decode_libcaer, decode_mono
from sartm_core.sensing.events import Events, count_cells, event_cells
from sartm_core.sensing.evt3 import Evt3Decoder

KEPT_S = 1.0
"""Events older than this, or than twice the window if that is longer, are dropped."""
KEPT_EVENTS = 4_000_000
"""Memory bound, 50 MB: a burst shortens the history."""
TOLERATED = 0.01
"""Share of a packet that may be damaged: words that its format does not define, events outside of the sensor."""
MARK_NS = 10_000_000
"""Drivers send up to 1000 packets per second; at most one per this interval is offered to the synchroniser."""
LARGEST_PACKET = 2**21
"""Bytes of a packet, a million words of EVT 3.0: one of them may stand for twelve events."""
LONGEST_LOSS = 100_000
"""A sequence number that leaps further is another driver's, not a loss."""

BACKLOG_S = 0.06
"""Packets this much older than the newest that was added with them are late: sets that need them have gone."""
MOST_AT_ONCE = 1 << 17
"""Bytes of packets that are decoded together: what a core's cache holds."""

_STATELESS = {"mono": decode_mono, "libcaer": decode_libcaer}


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Events of packets that were added at once.

    Attributes:
        first_ns, last_ns: the earliest and the latest.
        cells: see `events.event_cells`; none lies outside of the sensor.
        times_ns: when each was, int64; spelt out only where a window ends among them.
    """

    first_ns: int
    last_ns: int
    cells: NDArray[np.int32]
    times_ns: Callable[[], NDArray[np.int64]]


class EventStream:
    """Reads `event_camera_msgs/EventPacket` (evt3, mono, libcaer) and `event_arrays.EventArray`. Thread-safe.

    The sensor's clock has its own origin and wraps: the first event of a packet is assigned the packet's stamp, the
    others are timed relative to it.

    Attributes:
        lost: packets that never came, by the gaps of their sequence numbers; EventArray has none.
        skipped: packets that were not decoded, since they were too old already when they were added.
    """

    def __init__(self, modality: EventModality) -> None:
        self._modality = modality
        self._decoder = Evt3Decoder()
        self._chunks: deque[_Chunk] = deque()
        self._count = 0
        self._marked_ns: int | None = None
        self._sequence: int | None = None
        self.lost = self.skipped = 0
        self._lock = threading.Lock()

    def add(self, packets: Sequence[Any], stamps_ns: Sequence[int]) -> bool:
        """Adds packets that follow one another. Many at once are far cheaper than one by one.

        Returns:
            Whether to match the last of them with other sensors; at most one packet per `MARK_NS`.

        Raises:
            SartmError: a packet that is too long, a size that differs from the rig file's, an unsupported encoding, or
                data that are damaged or in another encoding than the message says. The packets from there on are not
                used.
        """
        for packet in packets:
            self._check_size(packet)
            _check_length(packet)
            self._count_lost(packet)
        behind = self._behind(stamps_ns)
        self.skipped += behind
        packets, stamps_ns = packets[behind:], stamps_ns[behind:]
        for part in _parts(packets):
            self._keep(self._decoded(packets[part], stamps_ns[part]), stamps_ns[part][-1])
        if self._marked_ns is not None and 0 <= stamps_ns[-1] - self._marked_ns < MARK_NS:
            return False
        self._marked_ns = stamps_ns[-1]
        return True

    def until(self, stamp_ns: int) -> NDArray[np.float32]:
        """Events per pixel, brighter and darker, of the modality's window ending at a stamp: [H, W, 2]."""
        begin_ns = stamp_ns - round(self._modality.window_s * 1e9)
        with self._lock:
            chunks = [chunk for chunk in self._chunks if chunk.first_ns <= stamp_ns and chunk.last_ns > begin_ns]
        inside = [np.zeros(0, np.int32)]
        for chunk in chunks:
            if begin_ns < chunk.first_ns and chunk.last_ns <= stamp_ns:
                inside.append(chunk.cells)
            else:
                times_ns = chunk.times_ns()
                inside.append(chunk.cells[(times_ns > begin_ns) & (times_ns <= stamp_ns)])
        return count_cells(np.concatenate(inside), self._modality.size)

    def _check_size(self, packet: Any) -> None:
        height, width = self._modality.size
        if (packet.height, packet.width) != (height, width):
            raise SartmError(
                f"event packet of {packet.width}x{packet.height} pixels: the rig file says size: [{height}, {width}]. "
                "Correct it (and the calibration, if there is one)."
            )

    def _behind(self, stamps_ns: Sequence[int]) -> int:
        """How many of the first packets to skip: a machine that cannot decode all decodes those that still count."""
        oldest_ns = stamps_ns[-1] - round(max(BACKLOG_S, 2 * self._modality.window_s) * 1e9)
        return next((number for number, stamp in enumerate(stamps_ns) if stamp >= oldest_ns), 0)

    def _count_lost(self, packet: Any) -> None:
        sequence = getattr(packet, "seq", None)  # EventArray has none
        if sequence is None:
            return
        if self._sequence is not None and self._sequence < sequence <= self._sequence + LONGEST_LOSS:
            self.lost += sequence - self._sequence - 1
        self._sequence = int(sequence)

    def _decoded(self, packets: Sequence[Any], stamps_ns: Sequence[int]) -> _Chunk | None:
        if all(getattr(packet, "encoding", "") == "evt3" for packet in packets):
            return self._decoded_evt3(packets, np.asarray(stamps_ns, np.int64))
        decoded = [_decoded_alone(packet, stamp_ns) for packet, stamp_ns in zip(packets, stamps_ns, strict=True)]
        times_ns = np.concatenate([times_ns for times_ns, _ in decoded])
        cells = np.concatenate([event_cells(events, self._modality.size) for _, events in decoded])
        return self._chunk(cells, lambda: times_ns, times_ns, times_ns)

    def _decoded_evt3(self, packets: Sequence[Any], stamps_ns: NDArray[np.int64]) -> _Chunk | None:
        events = self._decoder.decode([packet.events for packet in packets])
        unknown, words = self._decoder.unknown, sum(len(packet.events) // 2 for packet in packets)
        if unknown > TOLERATED * words:
            self._decoder = Evt3Decoder()
            raise SartmError(
                f"event packet with encoding 'evt3': {unknown} of its {words} words are not EVT 3.0. The driver labels "
                "another format so, such as a GenX320's EVT 2.1. Change its format to EVT 3.0, or update it."
            )
        counts = np.diff(events.ends, prepend=0)
        filled = counts > 0
        last = events.ends[filled]
        firsts_ns = stamps_ns[filled]
        zeros_ns = firsts_ns - events.times.at(last - counts[filled]) * 1000  # of the sensor's clock
        lasts_ns = zeros_ns + events.times.at(last - 1) * 1000

        def times_ns() -> NDArray[np.int64]:
            return events.times.expanded() * 1000 + np.repeat(zeros_ns, counts[filled])

        return self._chunk(events.cells(self._modality.size), times_ns, firsts_ns, lasts_ns)

    def _chunk(
        self,
        cells: NDArray[np.int32],
        times_ns: Callable[[], NDArray[np.int64]],
        firsts_ns: NDArray[np.int64],
        lasts_ns: NDArray[np.int64],
    ) -> _Chunk | None:
        """Of what lies on the sensor; None where nothing does."""
        outside = int(np.count_nonzero(cells < 0))
        if outside > TOLERATED * len(cells):
            self._decoder = Evt3Decoder()
            height, width = self._modality.size
            raise SartmError(
                f"event packet: {outside} of {len(cells)} events lie off the sensor's {width}x{height} pixels. "
                "The data are damaged, or not in the encoding that the message says."
            )
        if outside:
            kept_ns, cells = times_ns()[cells >= 0], cells[cells >= 0]
            times_ns = lambda: kept_ns  # noqa: E731
        return _Chunk(int(firsts_ns.min()), int(lasts_ns.max()), cells, times_ns) if len(cells) else None

    def _keep(self, chunk: _Chunk | None, stamp_ns: int) -> None:
        with self._lock:
            if self._chunks and stamp_ns < self._chunks[-1].first_ns - round(KEPT_S * 1e9):
                self._forget()  # time jumped back: a looping recording
            if chunk is not None:
                self._chunks.append(chunk)
                self._count += len(chunk.cells)
                self._drop_old(chunk.last_ns)

    def _drop_old(self, newest_ns: int) -> None:
        oldest_ns = newest_ns - round(max(KEPT_S, 2 * self._modality.window_s) * 1e9)
        while len(self._chunks) > 1 and (self._chunks[0].last_ns < oldest_ns or self._count > KEPT_EVENTS):
            self._count -= len(self._chunks.popleft().cells)

    def _forget(self) -> None:
        self._chunks.clear()
        self._count, self._marked_ns, self._decoder = 0, None, Evt3Decoder()


def _parts(packets: Sequence[Any]) -> Iterator[slice]:
    """Packets that are decoded together."""
    begin = size = 0
    for number, packet in enumerate(packets):
        size += len(packet.events)
        if size >= MOST_AT_ONCE:
            yield slice(begin, number + 1)
            begin, size = number + 1, 0
    if begin < len(packets):
        yield slice(begin, len(packets))


def _check_length(packet: Any) -> None:
    """Raises SartmError for a packet that would take seconds and gigabytes; not for EventArray, which spells out."""
    if hasattr(packet, "encoding") and len(packet.events) > LARGEST_PACKET:
        raise SartmError(
            f"event packet of {len(packet.events):,} bytes: at most {LARGEST_PACKET:,} are accepted. Let the driver "
            "send packets more often (metavision_driver: event_message_time_threshold)."
        )


def _decoded_alone(packet: Any, stamp_ns: int) -> tuple[NDArray[np.int64], Events]:
    """When each event was, nanoseconds, and the events of a packet that needs no memory of those before."""
    if not hasattr(packet, "encoding"):
        return packet.times_ns, packet.events
    if packet.encoding not in _STATELESS:
        raise SartmError(
            f"event packet with encoding '{shown(packet.encoding)}': expected evt3, {' or '.join(_STATELESS)}. Change "
            "it in the driver, or run event_camera_renderer and set encoding: image in the rig file."
        )
    events = _STATELESS[packet.encoding](packet.events, int(packet.time_base))
    return stamp_ns + (events.t - events.t[:1]) * 1000, events
