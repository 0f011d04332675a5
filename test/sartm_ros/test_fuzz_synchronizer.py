"""Arrival orders that nobody thought of: what the synchroniser promises holds for all of them."""

import dataclasses
import random
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from fuzzing import fuzz
from hypothesis import example, given
from hypothesis import strategies as st

from sartm_ros.streams import QUEUE_LENGTH, Stream
from sartm_ros.synchronizer import Synchronizer

pytestmark = pytest.mark.slow

MS = 1_000_000
START = 1_000_000 * MS
TICK = 20 * MS
NAMES = ("rgb", "thermal", "depth", "lidar")


@dataclass(frozen=True)
class Message:
    """`now`: its arrival, `effective`: its stamp with the offset of that moment."""

    number: int
    name: str
    effective: int
    now: int


@dataclass
class Delivered:
    stamp: int
    messages: dict[str, Message]
    now: int
    resets: int
    updates: int
    streams: dict[str, Stream]


@dataclass(repr=False)
class Bench:
    """A synchroniser on a clock of the test's own; keeps what came out and when."""

    streams: list[Stream]
    max_wait_s: float = 0.1
    stale_after_s: float = 0.5
    now: int = START
    count: int = 0
    updates: int = 0
    sets: list[Delivered] = field(default_factory=list)
    handover_times: list[int] = field(default_factory=lambda: [0])
    most_queued: int = 0
    most_waiting: int = 0
    newest: dict[str, int] = field(default_factory=dict)
    longest_period: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 0))

    def __post_init__(self) -> None:
        self.current = {stream.name: stream for stream in self.streams}
        self.sync = Synchronizer(self.streams, self.streams[0].name, self.max_wait_s, self.stale_after_s, self._on_set)

    def _on_set(self, stamp: int, messages: dict[str, Message]) -> None:
        resets = self.sync.statistics()["resets"]
        self.sets.append(Delivered(stamp, messages, self.now, resets, self.updates, dict(self.current)))

    def add(self, now: int, name: str, stamp: int) -> None:
        self.now, self.count = now, self.count + 1
        effective = stamp + round(self.current[name].offset_s * 1e9)
        self.longest_period[name] = max(self.longest_period[name], effective - self.newest.get(name, effective))
        self.newest[name] = effective
        self._watch(lambda: self.sync.add(name, stamp, Message(self.count, name, effective, now), now))

    def tick(self, now: int) -> None:
        self.now = now
        self._watch(lambda: self.sync.tick(now))

    def update(self, stream: Stream) -> None:
        self.current[stream.name] = stream
        self.updates += 1
        self.sync.update(stream)

    def _watch(self, step: Any) -> None:
        before, delivered = self._turns(), len(self.sets)
        step()
        if self._turns() != before:
            self.handover_times.append(self.now)
        queues = self.sync._queues.values()
        assert all(len(queue.stamps) == len(queue.messages) for queue in queues)
        assert all(list(queue.stamps) == sorted(set(queue.stamps)) for queue in queues)
        self.most_queued = max(self.most_queued, *(len(queue.stamps) for queue in queues))
        self.most_waiting = max(self.most_waiting, len(self.sync._waiting))
        assert len(self.sets) >= delivered

    def _turns(self) -> tuple[int, int]:
        counts = self.sync.statistics()
        return counts["handovers"], counts["resets"]

    def play(self, arrivals: list[tuple[int, str, int]], updates: list[tuple[int, Stream]] = ()) -> "Bench":
        """Arrivals (now, name, stamp) and updates in the order of the clock, with a tick every 20 ms."""
        end = max([START, *(now for now, *_ in arrivals)]) + 5000 * MS
        events: list[tuple[int, int, Any]] = [(now, 1, (name, stamp)) for now, name, stamp in arrivals]
        events += [(now, 0, stream) for now, stream in updates]
        events += [(now, 2, None) for now in range(START, end, TICK)]
        for now, kind, what in sorted(events, key=lambda event: event[:2]):
            if kind == 0:
                self.update(what)
            elif kind == 1:
                self.add(now, *what)
            else:
                self.tick(now)
        return self


@dataclass(frozen=True)
class Habit:
    """How one sensor sends: milliseconds and probabilities."""

    period: int
    phase: int
    jitter: int
    delay: int
    delay_jitter: int
    lost: float
    repeated: float
    unstamped: float
    begins: int
    ends: int

    def arrivals(self, name: str, duration: int, rng: random.Random) -> list[tuple[int, str, int]]:
        result = []
        for at in range(self.phase, duration, self.period):
            if not self.begins <= at < self.ends or rng.random() < self.lost:
                continue
            stamp = START + (at + rng.randint(-self.jitter, self.jitter)) * MS
            now = max(stamp, START) + (self.delay + rng.randint(0, self.delay_jitter)) * MS
            result.append((now, name, 0 if rng.random() < self.unstamped else stamp))
            if rng.random() < self.repeated:
                result.append((now + rng.randint(0, 50) * MS, name, stamp))
        return result


ORDERLY = {"jitter": 0, "delay_jitter": 0, "repeated": 0.0, "unstamped": 0.0}


@st.composite
def habits(draw: Any, **fixed: Any) -> Habit:
    values = {
        "period": draw(st.sampled_from([10, 20, 33, 50, 66, 100, 300, 1000])),
        "phase": draw(st.integers(0, 100)),
        "jitter": draw(st.sampled_from([0, 0, 3, 30])),
        "delay": draw(st.sampled_from([0, 0, 30, 150])),
        "delay_jitter": draw(st.sampled_from([0, 0, 10, 250])),
        "lost": draw(st.sampled_from([0.0, 0.0, 0.2, 0.9])),
        "repeated": draw(st.sampled_from([0.0, 0.2])),
        "unstamped": draw(st.sampled_from([0.0, 0.1])),
        "begins": draw(st.sampled_from([0, 0, 0, 700])),
        "ends": draw(st.sampled_from([9999, 9999, 9999, 0, 1200])),
    }
    return Habit(**values | fixed)


@st.composite
def stream_lists(draw: Any, least: int = 1, **fixed: Any) -> list[Stream]:
    streams = []
    for name in NAMES[: draw(st.integers(least, 4))]:
        values = {
            "tolerance_s": draw(st.sampled_from([0.0, 0.005, 0.02, 0.05, 0.3])),
            "offset_s": draw(st.sampled_from([0.0, 0.0, 0.03, -0.15])),
            "required": draw(st.sampled_from([False, False, False, True])),
        }
        streams.append(Stream(name, **values | fixed))
    return streams


@st.composite
def traffic(draw: Any, updates: bool = False, jump: bool = True, **fixed: Any) -> Bench:
    """A bench after two seconds and a half of anything."""
    streams = draw(stream_lists())
    rng = random.Random(draw(st.integers(0, 2**32)))
    arrivals = [one for s in streams for one in draw(habits(**fixed)).arrivals(s.name, 2500, rng)]
    if jump and draw(st.booleans()):  # back by two seconds, at half time
        half = START + 1250 * MS
        arrivals = [(now, name, stamp - 2000 * MS if stamp > half else stamp) for now, name, stamp in arrivals]
    rng.shuffle(arrivals)  # what arrives at one instant arrives in any order
    changes = []
    for _ in range(draw(st.integers(1, 4)) if updates else 0):
        changed = draw(stream_lists(least=len(streams)))[: len(streams)]
        enabled = draw(st.booleans())
        stream = dataclasses.replace(draw(st.sampled_from(changed)), enabled=enabled)
        changes.append((START + draw(st.integers(0, 2500)) * MS, stream))
    bench = Bench(streams, max_wait_s=draw(st.sampled_from([0.0, 0.05, 0.1])))
    return bench.play(arrivals, changes)


anything = st.booleans().flatmap(lambda updates: traffic(updates=updates))


@fuzz
@given(anything)
def test_stamps_strictly_increase_between_resets(bench: Bench) -> None:
    for before, after in pairwise(bench.sets):
        if after.updates == before.updates:  # a smaller offset moves all that follows it back
            assert after.resets > before.resets or after.stamp > before.stamp


@fuzz
@given(anything)
def test_every_message_is_of_the_stream_that_it_stands_for(bench: Bench) -> None:
    assert all(message.name == name for one in bench.sets for name, message in one.messages.items())


@fuzz
@given(anything)
def test_every_member_is_within_its_tolerance(bench: Bench) -> None:
    for one in bench.sets:
        for name, message in one.messages.items():
            stream = one.streams[name]
            assert stream.enabled
            anchor = one.messages.get(bench.streams[0].name)
            stood_in = anchor is None or anchor.effective != one.stamp
            widest = 0.55 * max(bench.longest_period.values()) + 1 if stood_in else 0
            assert abs(message.effective - one.stamp) <= max(stream.tolerance_s * 1e9, widest)


@fuzz
@given(anything)
def test_what_is_required_is_in_each_set(bench: Bench) -> None:
    for one in bench.sets:
        assert {s.name for s in one.streams.values() if s.required and s.enabled} <= set(one.messages)


@fuzz
@given(traffic())
def test_each_set_carries_the_stamp_of_a_message_in_it(bench: Bench) -> None:
    for one in bench.sets:
        assert one.stamp in {message.effective for message in one.messages.values()}


@pytest.mark.parametrize(
    "changed", [Stream("rgb", 0.02, offset_s=0.01), Stream("rgb", 0.02, enabled=False)], ids=["offset", "off"]
)
def test_a_change_of_the_anchor_sends_no_set_without_its_anchor_message(changed: Stream) -> None:
    """A message of it waits for the others; the change throws it away."""
    bench = Bench([Stream("rgb", 0.02), Stream("thermal", 0.02), Stream("depth", 0.02)])
    bench.add(START, "thermal", START + 3 * MS)
    bench.add(START, "rgb", START)
    bench.update(changed)
    bench.tick(START + 100 * MS)
    for one in bench.sets:
        assert one.stamp in {message.effective for message in one.messages.values()}


def waits(bench: Bench) -> list[int]:
    """How long each set waited: from its anchor message's arrival, or from the handover that made it the anchor's.

    A message that leapt is kept back until the jump is certain, which counts as a handover.
    """
    result = []
    for one in bench.sets:
        leaders = [message for message in one.messages.values() if message.effective == one.stamp]
        handover = max(time for time in bench.handover_times if time <= one.now)
        result.append(one.now - max([handover, *(message.now for message in leaders)]))
    return result


@fuzz
@given(traffic(jitter=0, delay_jitter=0, repeated=0.0))
def test_no_set_waits_longer_than_max_wait(bench: Bench) -> None:
    assert all(wait <= bench.max_wait_s * 1e9 + TICK for wait in waits(bench))


@fuzz
@given(traffic())
def test_no_set_waits_longer_than_max_wait_even_in_disorder(bench: Bench) -> None:
    assert all(wait <= bench.max_wait_s * 1e9 + TICK for wait in waits(bench))


def test_older_anchor_messages_that_come_late_do_not_hold_up_the_newer() -> None:
    bench = Bench([Stream("rgb", 0.02), Stream("thermal", 0.02)])
    bench.add(START, "thermal", START)
    bench.add(START, "rgb", START)
    bench.add(START + 100 * MS, "rgb", START + 100 * MS)
    bench.add(START + 190 * MS, "rgb", START + 90 * MS)
    bench.tick(START + 200 * MS)
    assert START + 100 * MS in [one.stamp for one in bench.sets]


@fuzz
@given(anything)
def test_memory_is_bounded(bench: Bench) -> None:
    assert bench.most_queued <= QUEUE_LENGTH
    assert bench.most_waiting <= QUEUE_LENGTH


def test_memory_is_bounded_while_the_clock_stands_still() -> None:
    """use_sim_time without /clock: now is 0 for ever, and one of the sensors is dead."""
    bench = Bench([Stream("rgb", 0.02), Stream("thermal", 0.02)])
    for number in range(10 * QUEUE_LENGTH):
        bench.add(0, "rgb", START + number * 33 * MS)
    assert bench.most_waiting <= QUEUE_LENGTH


@pytest.mark.parametrize("max_wait_s", [0.2, 2.0])
def test_a_long_wait_loses_no_anchor_message(max_wait_s: float) -> None:
    """The parameter allows 60 s. At 30 Hz a queue of 30 holds one."""
    bench = Bench([Stream("rgb", 0.02), Stream("thermal", 0.02)], max_wait_s=max_wait_s, stale_after_s=5.0)
    arrivals = [(START, "thermal", START)]
    arrivals += [(START + n * 33 * MS, "rgb", START + n * 33 * MS) for n in range(100)]
    bench.play(arrivals)
    assert all("rgb" in one.messages for one in bench.sets)
    assert [one.stamp for one in bench.sets] == [stamp for _, name, stamp in arrivals if name == "rgb"]


def books(bench: Bench) -> dict[str, int]:
    """Messages of each stream of which the statistics do not say what became of them."""
    return {
        name: counts["received"]
        - counts["matched"]
        - counts["unmatched"]
        - counts["refused"]
        - sum(stamp not in bench.sync._queues[name].used for stamp in bench.sync._queues[name].stamps)
        for name, counts in bench.sync.statistics()["streams"].items()
    }


@fuzz
@given(traffic(jump=False))
def test_the_statistics_add_up(bench: Bench) -> None:
    statistics = bench.sync.statistics()
    assert statistics["sets"] == len(bench.sets)
    assert statistics["incomplete"] == sum(len(one.messages) < len(bench.streams) for one in bench.sets)
    assert sum(counts["received"] for counts in statistics["streams"].values()) == bench.count
    for name, counts in statistics["streams"].items():
        out = [one.messages[name].number for one in bench.sets if name in one.messages]
        assert counts["matched"] == len(set(out))
    if statistics["resets"] == 0:
        assert set(books(bench).values()) == {0}


@fuzz
@given(anything)
def test_the_statistics_never_count_a_message_twice(bench: Bench) -> None:
    assert min(books(bench).values()) >= 0


def test_what_a_jump_back_throws_away_is_counted() -> None:
    """Of DESIGN 7: counters for everything."""
    bench = Bench([Stream("rgb", 0.02), Stream("thermal", 0.02)])
    for number in range(5):
        bench.add(START + number * 100 * MS, "thermal", START + number * 100 * MS)
    for number in range(5, 8):
        bench.add(START + number * 100 * MS, "thermal", START - 2000 * MS + number * 100 * MS)
    assert bench.sync.statistics()["streams"]["thermal"]["unmatched"] == 5
    assert books(bench) == {"rgb": 0, "thermal": 0}


def test_the_skew_is_that_of_the_last_set() -> None:
    bench = Bench([Stream("rgb", 0.02), Stream("thermal", 0.02)])
    for stamp in (START, START + 100 * MS):
        bench.add(stamp, "thermal", stamp + 5 * MS)
        bench.add(stamp, "rgb", stamp)
    assert len(bench.sets) == 2
    bench.add(START + 150 * MS, "thermal", START + 150 * MS)
    bench.add(START + 200 * MS, "rgb", START + 200 * MS)  # waits for its thermal image
    assert len(bench.sets) == 2
    assert bench.sync.statistics()["streams"]["thermal"]["skew_ms"] == 5


@pytest.mark.parametrize("delay", [0, 30])
def test_a_slow_sensor_is_in_every_set_of_a_fast_one(delay: int) -> None:
    """A thermal camera of 9 Hz beside a camera of 30 Hz, with half of its period as tolerance."""
    bench = Bench([Stream("rgb", 0.02), Stream("thermal", 0.056)], max_wait_s=0.15)
    arrivals = [(START + n * 33 * MS, "rgb", START + n * 33 * MS) for n in range(60)]
    arrivals += [(START + (n * 111 + delay) * MS, "thermal", START + n * 111 * MS) for n in range(19)]
    bench.play(arrivals)
    bench.sets = bench.sets[:60]  # then thermal takes over
    assert [one.stamp for one in bench.sets] == [START + n * 33 * MS for n in range(60)]
    assert all("thermal" in one.messages for one in bench.sets)
    check_nearest(bench, arrivals, START)
    assert bench.sync.statistics()["streams"]["thermal"]["matched"] == 19


def test_an_older_message_is_no_reason_not_to_wait_for_the_newer() -> None:
    """Two cameras of one pace, wide tolerance: the second one answers 10 ms later, and once not at all."""
    bench = Bench([Stream("rgb", 0.1), Stream("thermal", 0.1)])
    arrivals = [(START + n * 33 * MS, "rgb", START + n * 33 * MS) for n in range(30)]
    arrivals += [(START + (n * 33 + 10) * MS, "thermal", START + n * 33 * MS) for n in range(30) if n != 10]
    bench.play(arrivals)
    partners = [one.messages["thermal"].effective for one in bench.sets]
    assert [p == one.stamp for p, one in zip(partners, bench.sets, strict=True)] == [n != 10 for n in range(30)]
    assert partners[10] in (START + 9 * 33 * MS, START + 11 * 33 * MS)


# Streams that behave


@st.composite
def frames(draw: Any, least: int) -> tuple[list[Stream], int, list[list[str]]]:
    """Streams, their common period, and for each instant the order in which they arrive."""
    streams = draw(stream_lists(least=least, offset_s=0.0, required=False))
    period = draw(st.sampled_from([33, 50, 66, 100, 200]))
    names = [stream.name for stream in streams]
    rng = random.Random(draw(st.integers(0, 2**32)))
    return streams, period, [rng.sample(names, len(names)) for _ in range(draw(st.integers(1, 50)))]


@fuzz
@given(frames(least=1), st.sampled_from([0.0, 0.1, 0.5]))
def test_perfect_streams_give_one_complete_set_for_each_instant(
    case: tuple[list[Stream], int, list[list[str]]], offset_s: float
) -> None:
    streams, period, orders = case
    streams[-1] = dataclasses.replace(streams[-1], offset_s=-offset_s)
    late = {streams[-1].name: round(offset_s * 1e9)}
    bench = Bench(streams)
    for number, order in enumerate(orders):
        stamp = START + number * period * MS
        for name in order:
            bench.add(stamp, name, stamp + late.get(name, 0))
        assert [one.stamp for one in bench.sets] == [START + n * period * MS for n in range(number + 1)]  # at once
    assert all(len(one.messages) == len(streams) for one in bench.sets)
    assert all(message.effective == one.stamp for one in bench.sets for message in one.messages.values())


@fuzz
@given(frames(least=2), st.data())
def test_one_dead_stream_costs_no_set(case: tuple[list[Stream], int, list[list[str]]], data: Any) -> None:
    streams, period, orders = case
    dead = data.draw(st.sampled_from([stream.name for stream in streams]))
    dies = data.draw(st.just(0) | st.integers(0, len(orders)))
    orders += [orders[-1]] * (1200 // period + dies - len(orders) + 1)  # the others live on: one of them takes over
    bench = Bench(streams)
    arrivals = [
        (START + number * period * MS, name, START + number * period * MS)
        for number, order in enumerate(orders)
        for name in order
        if name != dead or number < dies
    ]
    bench.play(arrivals)
    assert [one.stamp for one in bench.sets] == [START + n * period * MS for n in range(len(orders))]
    reach = next(s.tolerance_s for s in streams if s.name == dead) * 1000 / period  # its last message is near enough
    for number, one in enumerate(bench.sets):
        in_it = number < dies or (dies > 0 and number - (dies - 1) <= reach)
        assert set(one.messages) == {s.name for s in streams if s.name != dead or in_it}


def nearest(stamps: list[int], stamp: int, tolerance_ns: float) -> int | None:
    """The oracle: by looking at all of them. Of two that are equally near the older."""
    left = [one for one in stamps if abs(one - stamp) <= tolerance_ns]
    return min(left, key=lambda one: (abs(one - stamp), one), default=None)


def check_nearest(bench: Bench, arrivals: list[tuple[int, str, int]], settled: int) -> None:
    """From a stream's third message on; `settled`: sets before this stamp are excused."""
    for one in bench.sets:
        for stream in bench.streams[1:]:
            stamps = [stamp for _, name, stamp in arrivals if name == stream.name]
            expected = nearest(stamps, one.stamp, stream.tolerance_s * 1e9)
            got = one.messages.get(stream.name)
            if one.stamp >= settled:
                assert (got.effective if got else None) == expected, (stream, one)


@fuzz
@given(st.data())
def test_every_anchor_message_gets_the_nearest_of_each_stream(data: Any) -> None:
    """Any pace, in order, without delay; waits longer than the tolerances."""
    streams = data.draw(stream_lists(least=2, offset_s=0.0, required=False))
    arrivals = []
    for index, stream in enumerate(streams):
        period, phase = data.draw(st.sampled_from([10, 20, 33, 50, 66, 100, 300])), data.draw(st.integers(0, 100))
        streams[index] = dataclasses.replace(stream, tolerance_s=min(stream.tolerance_s, 0.09))
        arrivals += [(START + at * MS, stream.name, START + at * MS) for at in range(phase, 2500, period)]
    bench = Bench(streams).play(arrivals)
    anchors = [stamp for _, name, stamp in arrivals if name == "rgb"]
    assert [one.stamp for one in bench.sets if one.stamp <= anchors[-1]] == anchors  # then another takes over
    bench.sets = bench.sets[: len(anchors)]
    check_nearest(bench, arrivals, START + 1000 * MS)


@fuzz
@given(st.integers(1, 65))
@example(21)
def test_two_cameras_of_one_pace_are_paired_with_the_nearer_neighbour(phase: int) -> None:
    """15 Hz both, the second one `phase` milliseconds later and running first."""
    streams = [Stream("rgb", 0.05), Stream("thermal", 0.05)]
    arrivals = [(START + n * 66 * MS, "rgb", START + n * 66 * MS) for n in range(1, 40)]
    arrivals += [(START + (n * 66 + phase) * MS, "thermal", START + (n * 66 + phase) * MS) for n in range(40)]
    bench = Bench(streams).play(arrivals)
    check_nearest(bench, arrivals, START + 500 * MS)
