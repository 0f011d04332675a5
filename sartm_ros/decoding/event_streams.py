"""Buffers an event camera's packets: the events of a window before an instant. For rclpy and rosbags messages."""

import threading
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError
from sartm_core.kinds import EventModality
from sartm_core.sensing.events import EVENT, Evt3Decoder, decode_libcaer, decode_mono

KEPT_S = 1.0
"""Events older than this, or than twice the window if that is longer, are dropped."""
KEPT_EVENTS = 4_000_000
"""Memory bound, 60 MB: a burst shortens the history."""
TOLERATED = 0.01
"""Share of a packet that may be damaged: words that its format does not define, events outside of the sensor."""
MARK_NS = 10_000_000
"""Drivers send up to 1000 packets per second; at most one per this interval is offered to the synchroniser."""

_STATELESS = {"mono": decode_mono, "libcaer": decode_libcaer}


class EventStream:
    """Reads `event_camera_msgs/EventPacket` (evt3, mono, libcaer) and `dvs_msgs/EventArray`. Thread-safe.

    The sensor's clock has its own origin and wraps: the first event of a packet is assigned the packet's stamp, the
    others are timed relative to it.
    """

    def __init__(self, modality: EventModality) -> None:
        self._modality = modality
        self._decoder = Evt3Decoder()
        self._chunks: deque[tuple[NDArray[np.int64], NDArray[Any]]] = deque()  # (nanoseconds, events) of each packet
        self._count = 0
        self._marked_ns: int | None = None
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
            times_ns, events = self._decode_packet(message, stamp_ns)
        else:
            times_ns, events = _decode_array(message)
        outside = int(np.count_nonzero((events["x"] >= size[1]) | (events["y"] >= size[0])))
        if outside > TOLERATED * len(events):
            self._decoder = Evt3Decoder()
            raise SartmError(
                f"event packet: {outside} of {len(events)} events lie off the sensor's {size[1]}x{size[0]} pixels. "
                "The data are damaged, or not in the encoding that the message says."
            )
        with self._lock:
            if self._chunks and stamp_ns < int(self._chunks[-1][0][0]) - round(KEPT_S * 1e9):
                self._forget()  # time jumped back: a looping recording
            if len(events):
                self._chunks.append((times_ns, events))
                self._count += len(events)
                self._drop_old(int(times_ns[-1]))
            if self._marked_ns is not None and 0 <= stamp_ns - self._marked_ns < MARK_NS:
                return False
            self._marked_ns = stamp_ns
            return True

    def until(self, stamp_ns: int) -> NDArray[Any]:
        """The events of the modality's window ending at a stamp: structured array of `EVENT`."""
        begin_ns = stamp_ns - round(self._modality.window_s * 1e9)
        with self._lock:
            chunks = [chunk for chunk in self._chunks if chunk[0][0] <= stamp_ns and chunk[0][-1] > begin_ns]
        if not chunks:
            return np.zeros(0, EVENT)
        times_ns = np.concatenate([times for times, _ in chunks])
        events = np.concatenate([events for _, events in chunks])
        return events[(times_ns > begin_ns) & (times_ns <= stamp_ns)]

    def _decode_packet(self, message: Any, stamp_ns: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
        if message.encoding == "evt3":
            events = self._decode_evt3(message)
        elif message.encoding in _STATELESS:
            events = _STATELESS[message.encoding](message.events, int(message.time_base))
        else:
            raise SartmError(
                f"event packet with encoding '{message.encoding}': expected evt3, {' or '.join(_STATELESS)}. Change it "
                "in the driver, or run event_camera_renderer and set encoding: image in the rig file."
            )
        since_us = events["t"] - events["t"][0] if len(events) else events["t"]
        return stamp_ns + since_us * 1000, events

    def _decode_evt3(self, message: Any) -> NDArray[Any]:
        events = self._decoder.decode(message.events)
        unknown, words = self._decoder.unknown, len(message.events) // 2
        if unknown > TOLERATED * words:
            self._decoder = Evt3Decoder()
            raise SartmError(
                f"event packet with encoding 'evt3': {unknown} of its {words} words are not EVT 3.0. The driver labels "
                "another format so, such as a GenX320's EVT 2.1. Change its format to EVT 3.0, or update it."
            )
        return events

    def _drop_old(self, newest_ns: int) -> None:
        oldest_ns = newest_ns - round(max(KEPT_S, 2 * self._modality.window_s) * 1e9)
        while len(self._chunks) > 1 and (self._chunks[0][0][-1] < oldest_ns or self._count > KEPT_EVENTS):
            self._count -= len(self._chunks.popleft()[1])

    def _forget(self) -> None:
        self._chunks.clear()
        self._count, self._marked_ns, self._decoder = 0, None, Evt3Decoder()


def _decode_array(message: Any) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """dvs_msgs/EventArray: a message per event, each with its own time."""
    rows = [(e.x, e.y, e.ts.sec * 1_000_000_000 + e.ts.nanosec, e.polarity) for e in message.events]
    events = np.zeros(len(rows), EVENT)
    times_ns = np.array([row[2] for row in rows], np.int64)
    if rows:
        events["x"], events["y"] = [row[0] for row in rows], [row[1] for row in rows]
        events["t"], events["p"] = times_ns // 1000, [row[3] for row in rows]
    return times_ns, events
