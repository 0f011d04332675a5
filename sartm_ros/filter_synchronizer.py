"""The policies `exact` and `approximate`: message_filters' synchronisers behind the interface of `Synchronizer`.

For users who need their familiar behaviour. Nothing is emitted unless every enabled stream sends messages;
`Synchronizer` has no such requirement.
"""

import threading
from types import SimpleNamespace
from typing import Any

from builtin_interfaces.msg import Time

from sartm_core.errors import SartmError
from sartm_ros.streams import NS_PER_S, Stream
from sartm_ros.synchronizer import OnSet

QUEUE_LENGTH = 10


def required_library(policy: str) -> Any:
    """message_filters.

    Raises:
        SartmError: it is not installed.
    """
    try:
        import message_filters
    except ImportError as error:
        raise SartmError(
            f"sync_policy '{policy}' needs message_filters, which is not installed: apt install "
            "ros-$ROS_DISTRO-message-filters, and source ROS; or use sync_policy 'anchor'."
        ) from error
    return message_filters


class FilterSynchronizer:
    """Has the methods of `sartm_ros.synchronizer.Synchronizer`.

    Args:
        streams: the largest tolerance becomes the slop of `approximate`.
        anchor: name of the stream whose stamps the sets carry.
        max_wait_s: ignored.
        stale_after_s: a stream silent for this long is reported as stale.
        on_set: called with the anchor's stamp (nanoseconds) and the messages by name.
        policy: `exact` or `approximate`.

    Raises:
        SartmError: message_filters is not installed.
    """

    def __init__(
        self, streams: list[Stream], anchor: str, max_wait_s: float, stale_after_s: float, on_set: OnSet, policy: str
    ) -> None:
        self._library = required_library(policy)
        self._streams = {stream.name: stream for stream in streams}
        self._anchor = anchor
        self._policy = policy
        self._on_set = on_set
        self._counts = dict.fromkeys(("sets", "refused"), 0)
        self._received = dict.fromkeys(self._streams, 0)
        self._matched = dict.fromkeys(self._streams, 0)
        self._last_arrival_ns: dict[str, int] = {}
        self._ready: list[tuple[int, dict[str, Any]]] = []
        self._lock = threading.Lock()
        self.set_waits(max_wait_s, stale_after_s)
        self._build()

    def add(self, name: str, stamp_ns: int, message: Any, now_ns: int) -> None:
        """Adds one message and delivers the set it completes. Zero stamps are refused and counted."""
        stream = self._streams[name]
        with self._lock:
            self._received[name] += 1
            if stamp_ns <= 0 or not stream.enabled:
                self._counts["refused"] += 1
                return
            self._last_arrival_ns[name] = now_ns
            seconds, nanoseconds = divmod(max(0, stamp_ns + round(stream.offset_s * NS_PER_S)), NS_PER_S)
            header = SimpleNamespace(stamp=Time(sec=seconds, nanosec=nanoseconds))
            self._filters[name].signalMessage(SimpleNamespace(header=header, name=name, message=message))
            ready, self._ready = self._ready, []
        for stamp, messages in ready:
            self._on_set(stamp, messages)

    def tick(self, now_ns: int) -> None:
        """Does nothing: message_filters has no timeout."""

    def update(self, stream: Stream) -> None:
        """Changes a stream; the queues are cleared."""
        with self._lock:
            if self._streams[stream.name] != stream:
                self._streams[stream.name] = stream
                self._build()

    def set_waits(self, max_wait_s: float, stale_after_s: float) -> None:
        """Changes the stale threshold."""
        self._stale_after_ns = round(stale_after_s * NS_PER_S)

    def state(self, name: str, now_ns: int) -> str:
        """`disabled`, `absent` (no message yet), `stale` (silent for too long) or `present`."""
        if not self._streams[name].enabled:
            return "disabled"
        if name not in self._last_arrival_ns:
            return "absent"
        return "present" if now_ns - self._last_arrival_ns[name] <= self._stale_after_ns else "stale"

    def statistics(self) -> dict[str, Any]:
        """What message_filters exposes: the anchor, sets, resets, and per stream received and matched."""
        streams = {
            name: {
                "received": self._received[name],
                "matched": self._matched[name],
                "skew_ms": None,
                "late_ms": None,
                "missed": 0,
                "never_matched": 0,
            }
            for name in self._streams
        }
        return {"anchor": self._anchor, "resets": 0, **self._counts, "streams": streams}

    def _build(self) -> None:
        enabled = [name for name, stream in self._streams.items() if stream.enabled]
        self._filters = {name: self._library.SimpleFilter() for name in self._streams}
        if not enabled:
            return
        filters = [self._filters[name] for name in enabled]
        if self._policy == "exact":
            self._synchronizer = self._library.TimeSynchronizer(filters, QUEUE_LENGTH)
        else:
            slop = max(self._streams[name].tolerance_s for name in enabled)
            self._synchronizer = self._library.ApproximateTimeSynchronizer(filters, queue_size=QUEUE_LENGTH, slop=slop)
        self._synchronizer.registerCallback(self._matched_set)

    def _matched_set(self, *found: Any) -> None:
        """Called while holding the library's lock, which an exception would never release: only records the set."""
        messages = {one.name: one.message for one in found}
        leader = next((one for one in found if one.name == self._anchor), found[0])
        self._counts["sets"] += 1
        for name in messages:
            self._matched[name] += 1
        stamp = leader.header.stamp
        self._ready.append((stamp.sec * NS_PER_S + stamp.nanosec, messages))
