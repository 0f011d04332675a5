"""What the synchroniser keeps of one input: its messages by stamp, its pace, and what became of them. No ROS import."""

import bisect
from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from sartm_ros.strays import LEAP_NS, Held, Strays

NS_PER_S = 1_000_000_000
QUEUE_LENGTH = 30
"""Messages kept per stream; one second at 30 Hz."""
RECENT = 50
"""Sets over which it is counted in how many a stream was missing."""
SETS_TO_JUDGE = 10
"""A stream that none of the last sets has matches no more, whatever it did before."""


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
    strays: Strays = field(default_factory=Strays)
    used: set[int] = field(default_factory=set)
    """Stamps of messages in the queue that were in a set already."""
    skew_ns: int | None = None
    missed: deque[bool] = field(default_factory=lambda: deque(maxlen=RECENT))
    """Of each of the last sets, whether it was missing there."""
    late_ns: deque[int] = field(default_factory=lambda: deque(maxlen=RECENT))
    """Of each of its last messages, how long it came after the set it belonged to; 0 for one in time."""
    received_at_match: int = 0
    """How many had been received when one last matched."""
    received: int = 0
    matched: int = 0
    unmatched: int = 0
    refused: int = 0
    strayed: int = 0
    """Of the refused ones, those with stamps of another clock than the others'."""
    repeated: int = 0
    """Of the refused ones, those with a stamp that was there before."""

    def repeats(self, stamp_ns: int) -> bool:
        """Whether it is the stamp of a message before; the newest one may no longer be in the queue."""
        if stamp_ns == self.newest_ns or any(stamp_ns == one.stamp_ns for one in self.strays.held):
            return True
        return self.newest_ns is not None and stamp_ns < self.newest_ns and stamp_ns in self.stamps

    def leap_ns(self, stamp_ns: int, now_ns: int) -> int:
        """How far a stamp lies from where this stream's next one may be, negative: back; 0 if it may be the next."""
        if self.newest_ns is None or self.last_arrival_ns is None:
            return 0
        ahead_ns = stamp_ns - self.newest_ns
        expected_ns = max(now_ns - self.last_arrival_ns, 0) + max(LEAP_NS, 2 * (self.period_ns() or 0))
        return 0 if -LEAP_NS <= ahead_ns <= expected_ns else ahead_ns

    def hold(self, one: Held, leap_ns: int) -> None:
        """Keeps back a message that leaps."""
        self._refuse_strays(self.strays.hold(one, leap_ns))

    def settle(self) -> None:
        """A message goes on as before: those that leapt are refused."""
        self._refuse_strays(self.strays.drop())

    def is_near(self, stamp_ns: int) -> bool:
        """Whether its newest stamps, followed yet or not, are of the same clock as one of another stream."""
        own = self.newest_ns is not None and abs(stamp_ns - self.newest_ns) <= LEAP_NS
        return own or self.strays.near(stamp_ns)

    def _refuse_strays(self, count: int) -> None:
        self.refused += count
        self.strayed += count

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
        self.received_at_match = self.received
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

    def unmatched_since(self) -> int:
        """How many messages have come since one last matched; 0 unless the last sets lack it."""
        lately = list(self.missed)[-SETS_TO_JUDGE:]
        return self.received - self.received_at_match if lately and all(lately) else 0

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
            "strayed": self.strayed,
            "repeated": self.repeated,
            "stray_s": self.strays.leap_ns / NS_PER_S if self.strayed else None,
            "skew_ms": None if self.skew_ns is None else self.skew_ns / 1e6,
            "late_ms": None if lateness_ns is None else lateness_ns / 1e6,
            "missed": sum(self.missed),
            "never_matched": self.unmatched_since(),
            "holds_back": self.is_required() and bool(self.missed) and self.missed[-1],
        }

    def start_again(self) -> None:
        """Forgets what was counted to judge its offset: it is another one now."""
        self.clear()
        self.skew_ns, self.received_at_match = None, self.received

    def is_required(self) -> bool:
        return self.stream.required and self.stream.enabled

    def clear(self) -> None:
        self.unmatched += len(self.stamps) - len(self.used)
        self.settle()
        for kept in (self.stamps, self.messages, self.used, self.gaps_ns, self.periods_ns, self.missed, self.late_ns):
            kept.clear()
        self.newest_ns = self.last_arrival_ns = None
