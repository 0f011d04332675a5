"""Buffers an event camera's packets: how many events each pixel reported in a window before an instant."""

import threading
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError
from sartm_core.kinds import EventModality
from sartm_core.sensing.event_formats import Evt3Decoder, decode_libcaer, decode_mono
from sartm_core.sensing.events import Events, count_cells, event_cells

KEPT_S = 1.0
"""Events older than this, or than twice the window if that is longer, are dropped."""
KEPT_EVENTS = 4_000_000
"""Memory bound, 50 MB: a burst shortens the history."""
TOLERATED = 0.01
"""Share of a packet that may be damaged: words that its format does not define, events outside of the sensor."""
MARK_NS = 10_000_000
"""Drivers send up to 1000 packets per second; at most one per this interval is offered to the synchroniser."""
LONGEST_LOSS = 100_000
"""A sequence number that leaps further is another driver's, not a loss."""

_STATELESS = {"mono": decode_mono, "libcaer": decode_libcaer}


class EventStream:
    """Reads `event_camera_msgs/EventPacket` (evt3, mono, libcaer) and `event_arrays.EventArray`. Thread-safe.

    The sensor's clock has its own origin and wraps: the first event of a packet is assigned the packet's stamp, the
    others are timed relative to it.

    Attributes:
        lost: packets that never came, by the gaps of their sequence numbers; EventArray has none.
    """

    def __init__(self, modality: EventModality) -> None:
        self._modality = modality
        self._decoder = Evt3Decoder()
        self._chunks: deque[tuple[NDArray[np.int64], NDArray[np.int32]]] = deque()  # (nanoseconds, cells) of a packet
        self._count = 0
        self._marked_ns: int | None = None
        self._sequence: int | None = None
        self.lost = 0
        self._lock = threading.Lock()

    def add(self, message: Any, stamp_ns: int) -> bool:
        """Adds one packet.

        Returns:
            Whether to match it with other sensors; at most one packet per `MARK_NS`.

        Raises:
            SartmError: a size that differs from the rig file's, an unsupported encoding, or data that are damaged or in
                another encoding than the message says.
        """
        size = (int(message.height), int(message.width))
        if size != self._modality.size:
            raise SartmError(
                f"event packet of {size[1]}x{size[0]} pixels: the rig file says size: [{self._modality.size[0]}, "
                f"{self._modality.size[1]}]. Correct it (and the calibration, if there is one)."
            )
        if hasattr(message, "encoding"):
            self._count_lost(int(message.seq))
            events = self._decode_packet(message)
            times_ns = stamp_ns + (events.t - events.t[:1]) * 1000
        else:
            events, times_ns = message.events, message.times_ns
        times_ns, cells = self._on_the_sensor(times_ns, event_cells(events, size))
        with self._lock:
            if self._chunks and stamp_ns < int(self._chunks[-1][0][0]) - round(KEPT_S * 1e9):
                self._forget()  # time jumped back: a looping recording
            if len(cells):
                self._chunks.append((times_ns, cells))
                self._count += len(cells)
                self._drop_old(int(times_ns[-1]))
            if self._marked_ns is not None and 0 <= stamp_ns - self._marked_ns < MARK_NS:
                return False
            self._marked_ns = stamp_ns
            return True

    def until(self, stamp_ns: int) -> NDArray[np.float32]:
        """Events per pixel, brighter and darker, of the modality's window ending at a stamp: [H, W, 2]."""
        begin_ns = stamp_ns - round(self._modality.window_s * 1e9)
        with self._lock:
            chunks = [chunk for chunk in self._chunks if chunk[0][0] <= stamp_ns and chunk[0][-1] > begin_ns]
        inside = [np.zeros(0, np.int32)]
        for times_ns, cells in chunks:
            whole = times_ns[0] > begin_ns and times_ns[-1] <= stamp_ns
            inside.append(cells if whole else cells[(times_ns > begin_ns) & (times_ns <= stamp_ns)])
        return count_cells(np.concatenate(inside), self._modality.size)

    def _count_lost(self, sequence: int) -> None:
        if self._sequence is not None and self._sequence < sequence <= self._sequence + LONGEST_LOSS:
            self.lost += sequence - self._sequence - 1
        self._sequence = sequence

    def _decode_packet(self, message: Any) -> Events:
        if message.encoding == "evt3":
            return self._decode_evt3(message)
        if message.encoding in _STATELESS:
            return _STATELESS[message.encoding](message.events, int(message.time_base))
        raise SartmError(
            f"event packet with encoding '{message.encoding}': expected evt3, {' or '.join(_STATELESS)}. Change it "
            "in the driver, or run event_camera_renderer and set encoding: image in the rig file."
        )

    def _decode_evt3(self, message: Any) -> Events:
        events = self._decoder.decode(message.events)
        unknown, words = self._decoder.unknown, len(message.events) // 2
        if unknown > TOLERATED * words:
            self._decoder = Evt3Decoder()
            raise SartmError(
                f"event packet with encoding 'evt3': {unknown} of its {words} words are not EVT 3.0. The driver labels "
                "another format so, such as a GenX320's EVT 2.1. Change its format to EVT 3.0, or update it."
            )
        return events

    def _on_the_sensor(
        self, times_ns: NDArray[np.int64], cells: NDArray[np.int32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        inside = cells >= 0
        outside = len(cells) - int(np.count_nonzero(inside))
        if outside > TOLERATED * len(cells):
            self._decoder = Evt3Decoder()
            height, width = self._modality.size
            raise SartmError(
                f"event packet: {outside} of {len(cells)} events lie off the sensor's {width}x{height} pixels. "
                "The data are damaged, or not in the encoding that the message says."
            )
        return (times_ns[inside], cells[inside]) if outside else (times_ns, cells)

    def _drop_old(self, newest_ns: int) -> None:
        oldest_ns = newest_ns - round(max(KEPT_S, 2 * self._modality.window_s) * 1e9)
        while len(self._chunks) > 1 and (self._chunks[0][0][-1] < oldest_ns or self._count > KEPT_EVENTS):
            self._count -= len(self._chunks.popleft()[1])

    def _forget(self) -> None:
        self._chunks.clear()
        self._count, self._marked_ns, self._decoder = 0, None, Evt3Decoder()
