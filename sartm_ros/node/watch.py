"""Judges whether masks come as they should, and keeps a state that flaps from filling the log. No ROS import."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

HUNG_S, HUNG_TIMES = 5.0, 10.0
"""The network hangs when it has worked on one set for so long, and for so many times its usual time."""
NO_MASK_S, NO_MASK_TIMES = 3.0, 3.0
"""The same of sets that come while no mask does."""
LOOKS, LEAST_SETS = 10, 10
"""Over so many looks, and at least so many sets, it is counted how many were dropped: longer than `NO_MASK_S`, so that
a network that hangs is not called slow first."""
LINES, REFILL_S = 10, 60.0
"""Lines that one state may write into the log at once, and after how long it may write another."""


class Fault(NamedTuple):
    """What is wrong with the masks; an error where there are none."""

    is_error: bool
    text: str


class Limits(NamedTuple):
    """What masks must reach; 0: anything will do.

    Attributes:
        max_latency_ms: from the stamp of the measurement until the mask is published, p95.
        min_rate_hz: of masks.
    """

    max_latency_ms: float
    min_rate_hz: float


class Latency(NamedTuple):
    """How old the last masks were when they were published.

    Attributes:
        milliseconds: p95; 0 where there were too few masks to tell.
        stage: that took most of it.
    """

    milliseconds: float
    stage: str


class MaskWatch:
    """Looks at the counters once a second."""

    def __init__(self) -> None:
        self._looks: deque[_Look] = deque(maxlen=LOOKS + 1)
        self._masks: int | None = None
        self._arrivals = self._held_back = 0
        self._waiting_since_s: float | None = None

    def look(
        self,
        now_s: float,
        counts: dict[str, Any],
        masks: int,
        dropped: int,
        busy_s: float,
        usual_s: float,
        latency: Latency,
        limits: Limits,
    ) -> Fault | None:
        """What is wrong; None while nothing is.

        Args:
            now_s: of a clock that never jumps.
            counts: of `Synchronizer.statistics`.
            masks: published so far.
            dropped: sets skipped so far because the network was busy.
            busy_s: how long the network has worked on its present set.
            usual_s: how long it usually does.
            latency: of the last masks.
            limits: what they must reach.
        """
        waited_s = self._waited_s(now_s, counts, masks)
        self._looks.append(_Look(now_s, counts["sets"], dropped, masks))
        if busy_s > max(HUNG_S, HUNG_TIMES * usual_s):
            return Fault(True, f"the network has not answered for {busy_s:.0f} s: no masks. Restart the node.")
        if waited_s >= max(NO_MASK_S, NO_MASK_TIMES * usual_s):
            held_back = counts.get("held_back", 0) - self._held_back
            if held_back:
                lacking = ", ".join(name for name, of in counts["streams"].items() if of.get("holds_back"))
                return Fault(
                    True, f"no mask for {waited_s:.0f} s: {held_back} sets lack what the rig file requires: {lacking}"
                )
            return Fault(True, f"sets come, but no mask for {waited_s:.0f} s")
        short = [*self._dropped(usual_s), *self._late(latency, limits), *self._rare(limits)]
        return Fault(False, " ".join(short)) if short else None

    def _dropped(self, usual_s: float) -> Iterator[str]:
        _, sets, lost, _ = self._lately()
        if len(self._looks) > LOOKS and sets >= LEAST_SETS and 2 * lost > sets:
            yield (
                f"{lost} of the last {sets} sets were dropped: the network takes {usual_s:.2f} s for each. Use a "
                "smaller bundle, a faster backend, or a lower camera rate."
            )

    def _late(self, latency: Latency, limits: Limits) -> Iterator[str]:
        if 0 < limits.max_latency_ms < latency.milliseconds:
            yield (
                f"masks are {latency.milliseconds:.0f} ms old (p95), max_latency_ms is {limits.max_latency_ms:g}; most "
                f"of it is {latency.stage}."
            )

    def _rare(self, limits: Limits) -> Iterator[str]:
        seconds, _, _, masks = self._lately()
        if len(self._looks) > LOOKS and masks < limits.min_rate_hz * seconds:
            yield f"masks come at {masks / seconds:.1f} Hz, min_rate_hz is {limits.min_rate_hz:g}."

    def _lately(self) -> "_Look":
        """What came between the first look that is remembered and the last."""
        first, last = self._looks[0], self._looks[-1]
        return _Look(
            last.at_s - first.at_s, last.sets - first.sets, last.dropped - first.dropped, last.masks - first.masks
        )

    def pause(self) -> None:
        """Nothing is expected now."""
        self._looks.clear()
        self._masks = None

    def _waited_s(self, now_s: float, counts: dict[str, Any], masks: int) -> float:
        """For how long sets have come without a mask."""
        held_back = counts.get("held_back", 0)
        arrivals = counts["sets"] + held_back
        if masks != self._masks:
            self._masks, self._arrivals, self._held_back, self._waiting_since_s = masks, arrivals, held_back, None
        elif self._waiting_since_s is None and arrivals > self._arrivals:
            self._waiting_since_s = now_s
        return 0.0 if self._waiting_since_s is None else now_s - self._waiting_since_s


class _Look(NamedTuple):
    """The counters at one look."""

    at_s: float
    sets: int
    dropped: int
    masks: int


@dataclass(slots=True)
class _Reported:
    """What the log says of one thing, and how many lines it may still write."""

    state: str
    lines: float
    at_s: float
    missed: int = 0


class ChangeLog:
    """Decides which changes of a state get a line in the log: the first ten, then one a minute.

    Args:
        initial: the state that needs no line.
        clock: seconds, never jumps.
    """

    def __init__(self, initial: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._initial, self._clock = initial, clock
        self._reported: dict[str, _Reported] = {}
        self._current: dict[str, str] = {}

    def note(self, name: str, state: str) -> str | None:
        """None for no line; else what to add to it: nothing, or how many changes have had none.

        To be called with unchanged states as well: after many changes, the last one gets its line when it may.
        """
        now_s = self._clock()
        of = self._reported.setdefault(name, _Reported(self._initial, LINES, now_s))
        changed = state != self._current.get(name, self._initial)
        self._current[name] = state
        of.lines, of.at_s = min(of.lines + (now_s - of.at_s) / REFILL_S, LINES), now_s
        if state == of.state and not (changed and of.missed):
            return None
        if of.lines < 1:
            of.missed += changed
            return None
        missed, of.state, of.missed = of.missed, state, 0
        of.lines -= 1
        return f" ({missed} changes before are not listed)" if missed else ""
