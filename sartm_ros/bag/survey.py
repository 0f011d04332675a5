"""A recording's topics: type, rate, gaps, stamps, content, and which sensor each may be.

One pass in bounded memory; only the first message of a topic is decoded.
"""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from rosbags.interfaces import Nodetype

from sartm_core.errors import SartmError
from sartm_ros.bag.first_messages import Look, look_at
from sartm_ros.bag.order import header_of
from sartm_ros.bag.reader import Bag, Recorded
from sartm_ros.bag.sensor_kinds import Content, kinds_of_topics
from sartm_ros.bag.topic_choice import ANY, Wishes, check_wishes, choose
from sartm_ros.bag.topic_traits import Candidate
from sartm_ros.bag.unread_types import unread

KEPT_VALUES = 4096
KEPT_GAPS = 100
GAP_PERIODS = 2.5
"""A silence of this many typical periods is a gap."""
NEAREST_PERIODS = 0.75
"""The nearest stamp of a regular topic is at most half a period away; with jitter a little more."""
PENDING_STAMPS = 300


@dataclass(frozen=True, slots=True)
class Skew:
    """How far a topic's stamps are from those of the reference topic, each time the nearest.

    Attributes:
        median_ms: of the signed distance; positive: later than the reference.
        largest_ms: 99th percentile of the distance.
    """

    median_ms: float
    largest_ms: float


@dataclass(frozen=True, slots=True)
class TopicSurvey:
    """One topic.

    Attributes:
        topic, message_type, latched, count: as recorded.
        stamped: whether its messages have a header.
        rate_hz: from the stamps, or the times of recording where there are none.
        jitter_ms: standard deviation of the periods.
        gaps: (seconds since the beginning of the recording, seconds long), the longest first; at most `KEPT_GAPS`.
        unstamped: messages with stamp 0.
        backwards: number of stamps earlier than the one before.
        lag_ms: median of the time from stamp to recording; None without stamps.
        clock_ms: median of how much this lag exceeds that of the reference at the same time: a clock that is behind.
        frame_id: of the first message.
        content: of the first message; None if it is not from a sensor, or undecodable.
        fault: why the first message cannot be used, or what converts a type that is not read; "" if nothing is wrong.
        kinds: the kinds of modality it could be, the likeliest first.
        skew: against the reference topic.
        times_s: some of the times of recording, for plotting.
    """

    topic: str
    message_type: str
    latched: bool
    count: int
    stamped: bool
    rate_hz: float | None
    jitter_ms: float | None
    gaps: tuple[tuple[float, float], ...]
    unstamped: int
    backwards: int
    lag_ms: float | None
    clock_ms: float | None
    frame_id: str
    content: Content | None
    fault: str
    kinds: tuple[str, ...]
    skew: Skew | None
    times_s: tuple[float, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Survey:
    """A recording.

    Attributes:
        seconds: of recording.
        reference: the topic that the others' stamps are compared with; "" where there is no sensor.
        topics: by name, sorted.
        losses: what could not be read.
    """

    seconds: float
    reference: str
    topics: dict[str, TopicSurvey]
    losses: tuple[str, ...]

    def sensors(self) -> list[TopicSurvey]:
        """The topics that could be a modality."""
        return [topic for topic in self.topics.values() if topic.kinds]

    def candidates(self) -> list[Candidate]:
        """The topics that hold a sensor's messages, also those that are computed from others, such as masks."""
        return [
            Candidate(topic.topic, topic.content, topic.kinds, topic.frame_id, topic.count, topic.fault)
            for topic in self.topics.values()
            if topic.content is not None
        ]


class Thinned:
    """At most `KEPT_VALUES` of any number of values, evenly spaced."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self._stride, self._count = 1, 0

    def add(self, value: float) -> None:
        if self._count % self._stride == 0:
            self.values.append(value)
            if len(self.values) >= KEPT_VALUES:
                self.values = self.values[::2]
                self._stride *= 2
        self._count += 1


class _Skews:
    """The nearest stamp of one topic to each stamp of the reference."""

    def __init__(self) -> None:
        self.ms = Thinned()
        self._pending: deque[int] = deque(maxlen=PENDING_STAMPS)
        self._before: int | None = None

    def reference(self, stamp_ns: int) -> None:
        self._pending.append(stamp_ns)

    def add(self, stamp_ns: int) -> None:
        while self._pending and self._pending[0] <= stamp_ns:
            wanted = self._pending.popleft()
            near = [stamp for stamp in (self._before, stamp_ns) if stamp is not None]
            self.ms.add(min((stamp - wanted for stamp in near), key=abs) / 1e6)
        self._before = stamp_ns

    def result(self, rate_hz: float | None) -> Skew | None:
        """`rate_hz`: the topic's; while it is silent, its nearest stamps say nothing about its clock."""
        for wanted in self._pending:  # what the topic has not reached
            if self._before is not None:
                self.ms.add((self._before - wanted) / 1e6)
        if not self.ms.values:
            return None
        values = np.array(self.ms.values)
        regular = values[np.abs(values) < NEAREST_PERIODS * 1e3 / rate_hz] if rate_hz else values
        values = regular if 2 * len(regular) >= len(values) else values
        return Skew(round(float(np.median(values)), 3), round(float(np.percentile(np.abs(values), 99)), 3))


class _TopicCount:
    """Statistics of one topic."""

    def __init__(self, start_ns: int, stamped: bool) -> None:
        self._start_ns, self.stamped = start_ns, stamped
        self.count = self.unstamped = self.backwards = 0
        self.last_lag_ms: float | None = None
        self._last_stamp = self._last_time = 0
        self._periods, self._lags, self.times_s, self._clock = Thinned(), Thinned(), Thinned(), Thinned()
        self._longest: list[tuple[float, float]] = []  # (seconds long, seconds since the beginning): a heap
        self.skews = _Skews()

    def add(self, message: Recorded) -> int:
        """Returns the stamp, 0 without one."""
        self.count += 1
        at_s = (message.time_ns - self._start_ns) / 1e9
        self.times_s.add(at_s)
        try:
            stamp = header_of(message.data)[0] if self.stamped else 0
        except SartmError:
            stamp = 0
        self.unstamped += self.stamped and stamp <= 0
        clock, before = (stamp, self._last_stamp) if stamp > 0 else (message.time_ns, self._last_time)
        if before:
            self.backwards += clock < before
            period_s = (clock - before) / 1e9
            if period_s >= 0:
                self._periods.add(period_s)
                heapq.heappush(self._longest, (period_s, at_s - period_s))
                if len(self._longest) > KEPT_GAPS:
                    heapq.heappop(self._longest)
        if stamp > 0:
            self.last_lag_ms = (message.time_ns - stamp) / 1e6
            self._lags.add(self.last_lag_ms)
            self._last_stamp = stamp
        self._last_time = message.time_ns
        return stamp

    def pace(self, seconds: float) -> tuple[float | None, float | None, tuple[tuple[float, float], ...]]:
        """Rate (Hz), jitter (ms), gaps; `seconds` of recording: a topic may begin late or end early."""
        periods = np.array(self._periods.values)
        usual = float(np.median(periods)) if len(periods) else 0.0
        if usual <= 0:
            return None, None, ()
        regular = periods[periods < GAP_PERIODS * usual]
        last_s = (self._last_time - self._start_ns) / 1e9
        first_s = self.times_s.values[0] if self.times_s.values else 0.0
        silences = [*self._longest, (first_s, 0.0), (seconds - last_s, last_s)]
        gaps = sorted((long for long in silences if long[0] >= GAP_PERIODS * usual), reverse=True)[:KEPT_GAPS]
        rate, jitter = 1 / float(regular.mean()), 1e3 * float(regular.std())
        return round(rate, 2), round(jitter, 3), tuple((round(at, 3), round(length, 3)) for length, at in gaps)

    def beside(self, reference: "_TopicCount") -> None:
        """Compares the clock of the last message with that of the reference's last one."""
        if self.last_lag_ms is not None and reference.last_lag_ms is not None:
            self._clock.add(self.last_lag_ms - reference.last_lag_ms)

    def clock_ms(self) -> float | None:
        return round(float(np.median(self._clock.values)), 2) if self._clock.values else None

    def lag_ms(self) -> float | None:
        return round(float(np.median(self._lags.values)), 2) if self._lags.values else None


def survey(
    bag: Bag,
    reference: str | None = None,
    progress: Callable[[int], None] = lambda read_ns: None,
    wishes: Wishes = ANY,
) -> Survey:
    """Looks at every message once.

    Args:
        bag: the recording.
        reference: the topic that stamps are compared with; by default that of the rig which `rig init` would draft.
        progress: called with how far the recording was read, its time in nanoseconds.
        wishes: for this rig.

    Raises:
        SartmError: the reference is not one of its topics, or a wish cannot be fulfilled.
    """
    if reference is not None and reference not in bag.topics:
        raise SartmError(f"{bag.path}: has no topic {reference}. It has: {', '.join(sorted(bag.topics))}.")
    looks = look_at(bag)
    kinds = kinds_of_topics({topic: look.content for topic, look in looks.items() if look.content is not None})
    candidates = [
        Candidate(topic, look.content, kinds[topic], look.frame_id, bag.topics[topic].count, look.fault)
        for topic, look in looks.items()
        if look.content is not None
    ]
    wishes = replace(wishes, reference=reference)
    check_wishes(wishes, candidates, {topic: found.message_type for topic, found in bag.topics.items()})
    if reference is None:
        reference = next((one.taken.topic for one in choose(candidates, wishes).choices), "")
    counts = {topic: _TopicCount(bag.start_ns, _has_header(bag, topic)) for topic in bag.topics}
    for message in bag.messages():
        progress(message.time_ns)
        if not bag.within(message.time_ns):  # before the recorder's clock was set
            counts[message.topic].count += 1
            continue
        stamp = counts[message.topic].add(message)
        if stamp <= 0:
            continue
        if message.topic == reference:
            for topic in kinds:
                counts[topic].skews.reference(stamp)
        if message.topic in kinds:
            counts[message.topic].skews.add(stamp)
            if reference:  # no topic could be the reference
                counts[message.topic].beside(counts[reference])
    topics = {
        topic: _result(bag, topic, count, looks.get(topic), kinds.get(topic, ()), topic == reference)
        for topic, count in sorted(counts.items())
    }
    return Survey((bag.end_ns - bag.start_ns) / 1e9, reference, topics, tuple(bag.losses))


def _result(
    bag: Bag, topic: str, count: _TopicCount, look: Look | None, kinds: tuple[str, ...], is_reference: bool
) -> TopicSurvey:
    rate, jitter, gaps = count.pace((bag.end_ns - bag.start_ns) / 1e9)
    found = bag.topics[topic]
    frame_id, content, fault = look or Look("", None, unread(topic, found.message_type) or "")
    return TopicSurvey(
        topic=topic,
        message_type=found.message_type,
        latched=found.latched,
        count=count.count,
        stamped=count.stamped,
        rate_hz=None if found.latched else rate,
        jitter_ms=None if found.latched else jitter,
        gaps=() if found.latched else gaps,
        unstamped=count.unstamped,
        backwards=count.backwards,
        lag_ms=count.lag_ms(),
        clock_ms=None if is_reference or not kinds else count.clock_ms(),
        frame_id=frame_id,
        content=content,
        fault=fault,
        kinds=kinds,
        skew=None if is_reference or not kinds else count.skews.result(rate),
        times_s=tuple(count.times_s.values),
    )


def _has_header(bag: Bag, topic: str) -> bool:
    kind = bag.topics[topic].message_type
    fields = bag.typestore.fielddefs.get(kind, ([], []))[1]
    return bool(fields) and fields[0][1] == (Nodetype.NAME, "std_msgs/msg/Header")
