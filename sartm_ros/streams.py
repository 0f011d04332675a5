"""What the synchroniser keeps of one input: its messages by stamp, its pace, and what became of them. No ROS import."""

import bisect
from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import Any

NS_PER_S = 1_000_000_000
QUEUE_LENGTH = 30
"""Messages kept per stream; one second at 30 Hz."""
RECENT = 50
"""Sets over which it is counted in how many a stream was missing."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One input.

    Attributes:
        name: modality name.
        tolerance_s: largest difference between its stamp and the anchor's. While another stream stands in for the
            anchor, it is at least half a period of the slower of the two.
        offset_s: added to its stamps to compensate a constant driver delay.
        required: no set is emitted without it.
        enabled: if False, its messages are refused and not waited for.
        gathered: its messages are parts of measurements, such as packets of events: it stands in for the anchor only
            when no other stream is live.
    """

    name: str
    tolerance_s: float
    offset_s: float = 0.0
    required: bool = False
    enabled: bool = True
    gathered: bool = False


@dataclass(slots=True)
class StreamQueue:
    """One stream's messages, sorted by stamp, and its counters.

    The last emitted message is kept: it may be the nearest for the next set, too.
    """

    stream: Stream
    stamps: deque[int] = field(default_factory=deque)
    messages: deque[Any] = field(default_factory=deque)
    newest_ns: int | None = None
    last_arrival_ns: int | None = None
    gaps_ns: deque[int] = field(default_factory=lambda: deque(maxlen=2))
    periods_ns: deque[int] = field(default_factory=lambda: deque(maxlen=2))
    used: set[int] = field(default_factory=set)
    """Stamps of messages in the queue that were in a set already."""
    skew_ns: int | None = None
    missed: deque[bool] = field(default_factory=lambda: deque(maxlen=RECENT))
    """Of each of the last sets, whether it was missing there."""
    late_ns: deque[int] = field(default_factory=lambda: deque(maxlen=RECENT))
    """Of each of its last messages, how long it came after the set it belonged to; 0 for one in time."""
    received_before: int = 0
    matched_before: int = 0
    received: int = 0
    matched: int = 0
    unmatched: int = 0
    refused: int = 0

    def note_arrival(self, stamp_ns: int, now_ns: int) -> None:
        """Takes the pace of stamps and arrivals."""
        if self.newest_ns is not None and stamp_ns > self.newest_ns:
            self.periods_ns.append(stamp_ns - self.newest_ns)
        self.newest_ns = stamp_ns if self.newest_ns is None else max(stamp_ns, self.newest_ns)
        if self.last_arrival_ns is not None:
            self.gaps_ns.append(now_ns - self.last_arrival_ns)
        self.last_arrival_ns = now_ns

    def insert(self, stamp_ns: int, message: Any) -> None:
        at = bisect.bisect(self.stamps, stamp_ns)
        self.stamps.insert(at, stamp_ns)
        self.messages.insert(at, message)
        if len(self.stamps) > QUEUE_LENGTH:
            self.drop_before(self.stamps[1])

    def take(self, index: int) -> Any:
        """Returns the message at an index and removes all older ones: sets are emitted in stamp order."""
        if index > 0:
            self.drop_before(self.stamps[index])
        if self.stamps[0] not in self.used:
            self.used.add(self.stamps[0])
            self.matched += 1
        return self.messages[0]

    def drop_before(self, stamp_ns: int) -> None:
        while self.stamps and self.stamps[0] < stamp_ns:
            oldest = self.stamps.popleft()
            self.unmatched += oldest not in self.used
            self.used.discard(oldest)  # a late message with the same stamp is another one
            self.messages.popleft()

    def closest(self, stamp_ns: int) -> int | None:
        """Index of the message nearest to a stamp, however far away."""
        if not self.stamps:
            return None
        at = bisect.bisect_left(self.stamps, stamp_ns)
        before = at == len(self.stamps) or (at > 0 and stamp_ns - self.stamps[at - 1] <= self.stamps[at] - stamp_ns)
        return at - 1 if before else at

    def nearest(self, stamp_ns: int, tolerance_ns: int) -> int | None:
        """Index of the message nearest to a stamp, within the tolerance."""
        at = self.closest(stamp_ns)
        if at is None or abs(self.stamps[at] - stamp_ns) > tolerance_ns:
            return None
        return at

    def period_ns(self) -> int | None:
        """The smaller of the last two periods: a message may have been lost in the other. None before the second."""
        return min(self.periods_ns, default=None)

    def never_matched(self) -> bool:
        return self.matched == self.matched_before

    def lateness_ns(self) -> int | None:
        """By how much its messages come after their sets; None unless most of the last ones did."""
        late = [late for late in self.late_ns if late > 0]
        return round(median(late)) if 2 * len(late) > len(self.late_ns) else None

    def statistics(self) -> dict[str, Any]:
        """See `Synchronizer.statistics`."""
        lateness_ns = self.lateness_ns()
        return {
            "received": self.received,
            "matched": self.matched,
            "unmatched": self.unmatched,
            "refused": self.refused,
            "skew_ms": None if self.skew_ns is None else self.skew_ns / 1e6,
            "late_ms": None if lateness_ns is None else lateness_ns / 1e6,
            "missed": sum(self.missed),
            "never_matched": self.received - self.received_before if self.never_matched() else 0,
        }

    def start_again(self) -> None:
        """Forgets what was counted to judge its offset: it is another one now."""
        self.clear()
        self.skew_ns, self.received_before, self.matched_before = None, self.received, self.matched

    def is_required(self) -> bool:
        return self.stream.required and self.stream.enabled

    def clear(self) -> None:
        self.unmatched += len(self.stamps) - len(self.used)
        for kept in (self.stamps, self.messages, self.used, self.gaps_ns, self.periods_ns, self.missed, self.late_ns):
            kept.clear()
        self.newest_ns = self.last_arrival_ns = None
