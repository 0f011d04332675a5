"""Sensors whose stamps cannot be trusted: each costs itself alone, and no more than if it were unplugged."""

import random
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from sartm_ros.explanations import explain_mismatch
from sartm_ros.node.diagnostics import InputMonitor
from sartm_ros.streams import Stream
from sartm_ros.synchronizer import Synchronizer

MS = 1_000_000
SECOND = 1000 * MS
START = 10**18
PERIOD = 33 * MS
FRAMES = 300
Arrival = tuple[int, str, int]


class Bench:
    """30 Hz; rgb leads, thermal comes 7 ms and depth 15 ms later."""

    def __init__(self) -> None:
        self.sets: list[tuple[int, set[str]]] = []
        streams = [Stream(name, 0.05) for name in ("rgb", "thermal", "depth")]
        self.sync = Synchronizer(streams, "rgb", 0.1, 0.5, lambda stamp, found: self.sets.append((stamp, set(found))))
        self.now = START

    def play(self, arrivals: list[Arrival]) -> "Bench":
        for self.now, name, stamp in sorted(arrivals):
            self.sync.add(name, stamp, None, self.now)
            self.sync.tick(self.now)
        self.sync.tick(self.now + SECOND)
        return self

    def state(self, name: str) -> str:
        return self.sync.state(name, self.now)

    def of(self, name: str) -> dict[str, Any]:
        return self.sync.statistics()["streams"][name]

    @property
    def turns_back(self) -> int:
        return sum(after <= before for (before, _), (after, _) in pairwise(self.sets))


def arrivals(**stamps: Callable[[int, int], int]) -> list[Arrival]:
    """Of each sensor frame by frame; `stamps` make one's stamp from the frame's number and its time."""
    result = []
    for number in range(FRAMES):
        time = START + number * PERIOD
        for name, delay in (("rgb", 5), ("thermal", 12), ("depth", 20)):
            result.append((time + delay * MS, name, stamps.get(name, lambda _, same: same)(number, time)))
    return result


@pytest.mark.parametrize(
    ("wrong", "stamp"),
    [
        (150, lambda number, time: time - 5 * SECOND if number % 2 else time),
        (30, lambda number, time: time + 10 * SECOND if number % 10 == 0 else time),
        (100, lambda number, time: time - 1100 * MS if number % 3 == 0 else time),
        (5, lambda number, time: time + 3600 * SECOND if number % 60 == 0 else time),
        (297, lambda number, time: time + random.Random(number).randrange(2, 10**6) * SECOND if number > 2 else time),
    ],
    ids=["every second 5 s behind", "every tenth 10 s ahead", "every third 1 s behind", "an hour ahead", "at random"],
)
def test_one_sensor_with_bad_stamps_costs_no_set(wrong: int, stamp: Callable[[int, int], int]) -> None:
    bench = Bench().play(arrivals(thermal=stamp))
    assert len([found for _, found in bench.sets if {"rgb", "depth"} <= found]) == FRAMES
    assert bench.turns_back == bench.sync.statistics()["resets"] == 0
    assert (bench.state("rgb"), bench.state("depth")) == ("present", "present")
    # Its sound measurements are used, and the others are counted.
    assert sum("thermal" in found for _, found in bench.sets) >= 0.95 * (FRAMES - wrong) - 2
    assert wrong - 2 <= bench.of("thermal")["strayed"] <= wrong
    assert bench.of("rgb")["strayed"] == bench.of("depth")["strayed"] == 0


@pytest.mark.parametrize("phase_ms", [0, 9, 16])
def test_two_publishers_of_the_anchor_with_two_clocks_never_turn_the_output_back(phase_ms: int) -> None:
    other = [(now + phase_ms * MS, name, stamp - 3600 * SECOND) for now, name, stamp in arrivals() if name == "rgb"]
    bench = Bench().play(arrivals() + other)
    assert sum(len(found) == 3 for _, found in bench.sets) >= FRAMES - 1  # the first stamps may be the other's
    assert bench.turns_back == 0
    assert bench.of("rgb")["strayed"] >= FRAMES - 3
    assert bench.of("rgb")["stray_s"] == pytest.approx(-3600, abs=0.1)


@pytest.mark.parametrize("step", [-40 * SECOND, 40 * SECOND])
def test_a_sensor_whose_clock_is_set_is_followed_and_costs_no_other(step: int) -> None:
    bench = Bench().play(arrivals(thermal=lambda number, time: time + step if number >= 150 else time))
    assert len(bench.sets) == FRAMES
    assert bench.of("thermal")["strayed"] == 0
    assert bench.state("thermal") == "present"
    assert bench.of("thermal")["skew_ms"] == pytest.approx(step / MS, abs=1100)  # the queue is a second long


def test_an_anchor_whose_clock_is_set_back_turns_the_output_back_once() -> None:
    bench = Bench().play(arrivals(rgb=lambda number, time: time - 40 * SECOND if number >= 150 else time))
    assert len([found for _, found in bench.sets if "rgb" in found]) == FRAMES
    assert bench.turns_back == bench.sync.statistics()["resets"] == 1


def test_sensors_of_different_pace_lose_nothing_when_a_recording_loops() -> None:
    """RGB at 30 Hz, depth at 10 Hz, thermal at 9 Hz; time itself goes on."""
    loop = [
        (START + at * MS, name, START + at * MS)
        for name, period in (("rgb", 33), ("depth", 99), ("thermal", 111))
        for at in range(0, 10_000, period)
    ]
    again = [(now + 10_100 * MS, name, stamp) for now, name, stamp in loop]
    bench = Bench().play(loop + again)
    stamps = [stamp for stamp, _ in bench.sets if (stamp - START) % (33 * MS) == 0]
    assert len(stamps) >= 2 * len(range(0, 10_000, 33)) - 2
    assert bench.turns_back == bench.sync.statistics()["resets"] == 1
    second = bench.sets[len(bench.sets) // 2 :]
    first = bench.sets[: len(bench.sets) // 2]
    for name in ("thermal", "depth"):
        counts = [sum(name in found for _, found in half) for half in (first, second)]
        assert abs(counts[0] - counts[1]) <= 5, name


def test_stamps_that_stand_still_make_a_sensor_stale() -> None:
    bench = Bench().play(arrivals(thermal=lambda number, time: min(time, START + 150 * PERIOD)))
    assert len(bench.sets) == FRAMES
    assert bench.state("thermal") == "stale"
    assert bench.of("thermal")["repeated"] == FRAMES - 151


def test_a_clock_that_slips_in_mid_run_is_explained_though_it_matched_before() -> None:
    bench = Bench().play(arrivals(thermal=lambda number, time: time - 310 * MS if number >= 150 else time))
    assert bench.state("thermal") == "present"
    text = explain_mismatch(bench.of("thermal"), Stream("thermal", 0.05), "rgb")
    assert text is not None
    assert re.search(r"of the last 1[45]\d messages received, none matched: .* set thermal.offset_s: 0\.", text)
    assert explain_mismatch(bench.of("depth"), Stream("depth", 0.05), "rgb") is None


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        (lambda number, time: min(time, START + 100 * PERIOD), "its stamps stand still"),
        (lambda number, time: time - 5 * SECOND * (number % 2), r"1\d\d of its last 300 .* stamped 4.9\d\d s before"),
        (lambda number, time: time, None),
    ],
    ids=["frozen", "two clocks", "sound"],
)
def test_diagnostics_say_why_messages_are_refused(stamp: Callable[[int, int], int], expected: str | None) -> None:
    bench, monitor = Bench(), InputMonitor(None)
    monitor.refused(bench.of("thermal"))
    bench.play(arrivals(thermal=stamp))
    text = monitor.refused(bench.of("thermal"))
    assert text is None if expected is None else re.match(expected, text or "")
    for _ in range(6):
        later = monitor.refused(bench.of("thermal"))
    assert later is None  # it is no longer so
