"""Matches messages into frame sets while sensors are late, silent or dead. Pure Python, no ROS import.

Each anchor message is matched with the nearest message of every other stream within its tolerance. A message may be
reused: a slow sensor appears in every set of a fast one. A set is emitted once all live streams have answered, or
after `max_wait_s` with whatever has arrived. A stream silent for `stale_after_s` is no longer waited for. When the
anchor itself falls silent, the fastest live stream takes over until the anchor returns. Tolerances are set against the
anchor, which may trigger the others; against a stand-in they are at least half a period of the slower of the two. Time
is passed in as an argument, on the clock of the stamps: the same code serves a live node, simulated time and clockless
bag replay.
"""

import bisect
import math
import threading
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from sartm_ros.strays import CONVINCING, LEAP_NS, Held
from sartm_ros.streams import NS_PER_S, QUEUE_LENGTH, RECENT, Stream, StreamQueue

SLOW_PERIODS = 2.5
"""A stream with a period longer than `stale_after_s` counts as silent after this many of its own periods."""
YOUNG_NS = 2 * NS_PER_S
"""How long sets wait (up to max_wait each) for a stream that has sent only one or two messages."""
HALF_PERIOD = 0.55
"""The nearest stamp of a regular stream is at most half a period away; with jitter a little more."""

OnSet = Callable[[int, dict[str, Any]], None]


class _Emitted(NamedTuple):
    """A set that was emitted: its stamp, when that was, and the streams that it lacks."""

    stamp_ns: int
    now_ns: int
    missing: set[str]


class Synchronizer:
    """Matches messages into sets. Thread-safe; `on_set` is called outside any lock, one set at a time, in order.

    Args:
        streams: at least one; `update` changes them later.
        anchor: name of the stream whose stamps the sets carry.
        max_wait_s: how long a set waits for live streams, counted from the arrival of its anchor message.
        stale_after_s: a stream silent for this long (a slow one: for 2.5 of its periods) is not waited for.
        on_set: called with the anchor's stamp (nanoseconds) and the messages by name.

    Raises:
        ValueError: the anchor is not one of the streams, or a name is duplicated.
    """

    def __init__(
        self, streams: list[Stream], anchor: str, max_wait_s: float, stale_after_s: float, on_set: OnSet
    ) -> None:
        self._queues: dict[str, StreamQueue] = {stream.name: StreamQueue(stream) for stream in streams}
        if len(self._queues) != len(streams):
            raise ValueError("streams: expected unique names, got a duplicate")
        if anchor not in self._queues:
            raise ValueError(f"anchor: '{anchor}' is not one of the streams {list(self._queues)}")
        self._first_anchor = self._anchor = anchor
        self.set_waits(max_wait_s, stale_after_s)
        self._on_set = on_set
        self._started_ns: int | None = None
        self._waiting: deque[tuple[int, int]] = deque()  # (stamp, arrival) of anchor messages without a set yet
        self._ready: deque[tuple[int, dict[str, Any]]] = deque()
        self._emitted: deque[_Emitted] = deque(maxlen=RECENT)
        self._delivering = False
        self._last_output_ns: int | None = None
        self._counts = dict.fromkeys(("sets", "incomplete", "held_back", "late", "resets", "handovers"), 0)
        self._lock = threading.Lock()

    def add(self, name: str, stamp_ns: int, message: Any, now_ns: int) -> None:
        """Adds one message and delivers the sets it completes.

        Messages with a zero or repeated stamp are refused and counted, and so are those with a stamp of another clock
        than the others of their stream. Such ones are kept back until it is clear that neither time nor the stream's
        clock jumped: a sensor whose stamps cannot be trusted costs the others nothing.
        """
        with self._lock:
            if self._accept(self._queues[name], stamp_ns, message, now_ns):
                self._advance(now_ns)
        self._deliver()

    def tick(self, now_ns: int) -> None:
        """Delivers the sets whose waiting time has expired; call it periodically."""
        with self._lock:
            self._choose_anchor(now_ns)
            self._advance(now_ns)
        self._deliver()

    def update(self, stream: Stream) -> None:
        """Changes the tolerance, offset or flags of the stream of that name, from the next message on."""
        with self._lock:
            queue = self._queues[stream.name]
            if (stream.offset_s, stream.enabled) != (queue.stream.offset_s, queue.stream.enabled):
                queue.start_again()  # its stamps were shifted by the old offset
                if stream.name == self._anchor:
                    self._waiting.clear()
                    if stream.offset_s != queue.stream.offset_s:
                        self._last_output_ns = None  # with a smaller offset, its next stamps would all count as late
            queue.stream = stream
            if not any(one.stream.enabled for one in self._queues.values()):
                self._last_output_ns = None  # a pause; a different recording may follow

    def set_waits(self, max_wait_s: float, stale_after_s: float) -> None:
        """Changes the waiting times."""
        self._max_wait_ns = round(max_wait_s * NS_PER_S)
        self._stale_after_ns = round(stale_after_s * NS_PER_S)

    def state(self, name: str, now_ns: int) -> str:
        """`disabled`, `absent` (no message yet), `stale` (silent for too long) or `present`."""
        with self._lock:
            queue = self._queues[name]
            if not queue.stream.enabled:
                return "disabled"
            if queue.last_arrival_ns is None:
                return "absent"
            return "present" if self._live(queue, now_ns) else "stale"

    def statistics(self) -> dict[str, Any]:
        """The anchor, the counters (sets, incomplete, held_back, late, resets, handovers), and per-stream figures.

        `streams`: received, matched, unmatched, refused; of those `strayed`, of another clock (see `add`), `stray_s`
        away, and `repeated`, with an old stamp; `missed`: how many of the last sets, at most 50, lack it;
        `skew_ms`: the stamp of the message nearest to the last set minus the set's stamp (None before the first set);
        `late_ms`: how long after the set they belong to its messages arrive, if most of the last ones do;
        `never_matched`: messages since one of them last matched, or since its offset or `enabled` flag last changed, if
        the last sets lack it; `holds_back`: whether the last set was not emitted for want of it.
        """
        with self._lock:
            streams = {name: queue.statistics() for name, queue in self._queues.items()}
            return {"anchor": self._anchor, **self._counts, "streams": streams}

    def _deliver(self) -> None:
        while True:
            with self._lock:
                if self._delivering or not self._ready:
                    return  # another thread, or a caller further up this stack, delivers the rest
                self._delivering = True
                stamp_ns, messages = self._ready.popleft()
            try:
                self._on_set(stamp_ns, messages)
            finally:
                with self._lock:
                    self._delivering = False

    def _accept(self, queue: StreamQueue, stamp_ns: int, message: Any, now_ns: int) -> bool:
        """Whether sets may be complete now."""
        queue.received += 1
        stamp = stamp_ns + round(queue.stream.offset_s * NS_PER_S)
        repeats = queue.repeats(stamp)
        if stamp_ns <= 0 or repeats or not queue.stream.enabled:
            queue.refused += 1
            queue.repeated += repeats
            return False
        leap_ns = queue.leap_ns(stamp, now_ns)
        if leap_ns == 0:
            queue.settle()
            self._take_in(queue, Held(now_ns, stamp, message), now_ns)
            return True
        queue.hold(Held(now_ns, stamp, message), leap_ns)
        followed = self._followed(queue, now_ns)
        self._follow(followed, now_ns)
        return bool(followed)

    def _followed(self, queue: StreamQueue, now_ns: int) -> list[StreamQueue]:
        """The streams whose leaps are not one sensor's fault, now that one of them leapt.

        Most of the others leapt to the same time, or were there already; or the stream keeps to its new time.
        """
        stamp = queue.strays.held[-1].stamp_ns
        others = [
            other
            for other in self._queues.values()
            if other is not queue and other.stream.enabled and (other.strays.held or self._live(other, now_ns))
        ]
        agreeing = [other for other in others if other.is_near(stamp)]
        if 2 * len(agreeing) > len(others):
            return [queue, *(other for other in agreeing if other.strays.near(stamp))]
        return [queue] if queue.strays.doubt >= CONVINCING else []

    def _follow(self, queues: list[StreamQueue], now_ns: int) -> None:
        released = [(one, queue) for queue in queues for one in queue.strays.release()]
        for queue in queues:
            begin_ns = min(one.stamp_ns for one, of in released if of is queue)
            if queue.newest_ns is None or begin_ns > queue.newest_ns:
                continue
            if queue.stream.name == self._anchor:
                self._start_again(begin_ns)
            queue.clear()
        for one, queue in sorted(released, key=lambda pair: pair[0].arrival_ns):
            self._take_in(queue, one, now_ns)

    def _take_in(self, queue: StreamQueue, one: Held, now_ns: int) -> None:
        stamp = one.stamp_ns
        if self._started_ns is None:
            self._started_ns = now_ns
        if not self._live(queue, now_ns):
            queue.missed.clear()  # while it was silent it could not be in a set
            queue.late_ns.clear()
        queue.note_arrival(stamp, one.arrival_ns)
        if queue.stream.name == self._anchor and len(queue.stamps) == QUEUE_LENGTH and self._waiting:
            self._take(self._waiting.popleft()[0], now_ns)  # emit early rather than lose it
        queue.insert(stamp, one.message)
        if queue.stream.name != self._anchor:
            queue.late_ns.append(self._late_ns(queue, stamp, now_ns))
        self._choose_anchor(now_ns)
        if queue.stream.name == self._anchor and all(stamp != waiting for waiting, _ in self._waiting):
            if self._last_output_ns is not None and stamp <= self._last_output_ns:
                self._counts["late"] += 1
            elif stamp >= queue.stamps[0]:  # otherwise the queue was full of newer messages
                bisect.insort(self._waiting, (stamp, one.arrival_ns))

    def _start_again(self, stamp_ns: int) -> None:
        """The anchor's time jumped back to this stamp: what is left from later must not be matched again."""
        for queue in self._queues.values():
            if queue.newest_ns is not None and queue.newest_ns > stamp_ns + LEAP_NS:
                queue.clear()
        self._waiting.clear()
        self._emitted.clear()
        self._anchor = self._first_anchor
        self._started_ns = self._last_output_ns = None
        self._counts["resets"] += 1

    def _late_ns(self, queue: StreamQueue, stamp: int, now_ns: int) -> int:
        """How long ago the newest set that this message would have completed was emitted; 0 if there is none."""
        tolerance_ns = self._tolerance_ns(queue)
        for emitted in reversed(self._emitted):
            if emitted.stamp_ns < stamp - tolerance_ns:
                break
            if queue.stream.name in emitted.missing and emitted.stamp_ns <= stamp + tolerance_ns:
                return now_ns - emitted.now_ns
        return 0

    def _live(self, queue: StreamQueue, now_ns: int) -> bool:
        if queue.last_arrival_ns is None:
            return False
        # A slow sensor is not silent between its messages. The smaller of two gaps is its period; the other may be an
        # outage that has just ended.
        period_ns = min(queue.gaps_ns) if len(queue.gaps_ns) == 2 else 0
        return now_ns - queue.last_arrival_ns <= max(self._stale_after_ns, SLOW_PERIODS * period_ns)

    def _expected(self, queue: StreamQueue, now_ns: int) -> bool:
        """Whether a message may still arrive: the stream is live, or too new for its period to be known."""
        if not queue.stream.enabled:
            return False
        if queue.last_arrival_ns is None:
            return self._started_ns is not None and now_ns - self._started_ns <= self._stale_after_ns
        is_new = len(queue.gaps_ns) < 2 and now_ns - queue.last_arrival_ns <= YOUNG_NS
        return is_new or self._live(queue, now_ns)

    def _choose_anchor(self, now_ns: int) -> None:
        """The configured anchor while live; else the current one while live; else the fastest live stream."""
        first = self._queues[self._first_anchor]
        if first.last_arrival_ns is None and self._expected(first, now_ns):
            return
        queues = self._queues
        by_period = sorted(
            queues, key=lambda name: (queues[name].stream.gathered, queues[name].period_ns() or math.inf)
        )
        candidates = (self._first_anchor, self._anchor, *by_period)
        chosen = next((name for name in candidates if self._live(self._queues[name], now_ns)), self._anchor)
        if chosen == self._anchor:
            return
        self._anchor = chosen
        self._counts["handovers"] += 1
        floor = self._last_output_ns or 0
        queue = self._queues[chosen]
        # A measurement that was in a set already leads no other.
        self._waiting = deque((stamp, now_ns) for stamp in queue.stamps if stamp > floor and stamp not in queue.used)

    def _advance(self, now_ns: int) -> None:
        while self._waiting:
            stamp = self._waiting[0][0]
            # Sets are emitted in stamp order: one whose waiting time has expired releases the older ones, too.
            expired = any(now_ns - arrival >= self._max_wait_ns for _, arrival in self._waiting)
            if not expired and not self._complete(stamp, now_ns):
                return
            self._waiting.popleft()
            self._take(stamp, now_ns)

    def _complete(self, stamp: int, now_ns: int) -> bool:
        """Whether no better match can arrive: each live stream has passed the stamp or has its best match."""
        for queue in self._queues.values():
            if queue.stream.name == self._anchor:
                continue
            if not queue.is_required() and not self._expected(queue, now_ns):
                continue
            if queue.newest_ns is not None and queue.newest_ns >= stamp:
                continue
            if queue.nearest(stamp, self._tolerance_ns(queue)) is None or self._next_is_nearer(queue, stamp):
                return False
        return True

    @staticmethod
    def _next_is_nearer(queue: StreamQueue, stamp: int) -> bool:
        """Whether the next message of a stream that has not reached the stamp will be a better match, at its period."""
        if queue.newest_ns is None:
            return False
        period_ns = queue.period_ns()
        if period_ns is None:
            return queue.stamps[-1] in queue.used  # period unknown: avoid reusing a message
        return abs(queue.newest_ns + period_ns - stamp) < abs(queue.stamps[-1] - stamp)

    def _tolerance_ns(self, queue: StreamQueue) -> int:
        """Of the rig file, which is made for the configured anchor; wider while another stream stands in for it."""
        own_ns = round(queue.stream.tolerance_s * NS_PER_S)
        if self._anchor == self._first_anchor:
            return own_ns
        periods_ns = (queue.period_ns() or 0, self._queues[self._anchor].period_ns() or 0)
        return max(own_ns, round(HALF_PERIOD * max(periods_ns)))

    def _take(self, stamp: int, now_ns: int) -> None:
        """Queues the set at an anchor stamp for delivery."""
        for queue in self._queues.values():
            closest = queue.closest(stamp)
            queue.skew_ns = queue.skew_ns if closest is None else queue.stamps[closest] - stamp
        matches = {name: queue.nearest(stamp, self._tolerance_ns(queue)) for name, queue in self._queues.items()}
        found = {name: index for name, index in matches.items() if index is not None}
        self._last_output_ns = stamp
        self._note_missing(stamp, now_ns, found.keys())
        if any(queue.is_required() and name not in found for name, queue in self._queues.items()):
            self._counts["held_back"] += 1
            self._queues[self._anchor].drop_before(
                stamp + 1
            )  # otherwise its queue fills up with messages that are never emitted
            return
        messages = {name: self._queues[name].take(index) for name, index in found.items()}
        for queue in self._queues.values():
            queue.drop_before(stamp - self._tolerance_ns(queue))
        self._counts["sets"] += 1
        self._counts["incomplete"] += len(messages) < len(self._queues)
        self._ready.append((stamp, messages))

    def _note_missing(self, stamp: int, now_ns: int, found: Collection[str]) -> None:
        missing = {name for name, queue in self._queues.items() if queue.stream.enabled and name not in found}
        self._emitted.append(_Emitted(stamp, now_ns, missing))
        for name, queue in self._queues.items():
            queue.missed.append(name in missing)
