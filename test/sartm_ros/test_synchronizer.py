"""Sensors that are late, silent, dead or out of order, on a clock that the test owns."""

import re
from typing import Any

import numpy as np
import pytest

from sartm_ros.explanations import explain_mismatch, explain_missing
from sartm_ros.streams import QUEUE_LENGTH, Stream
from sartm_ros.synchronizer import Synchronizer

MS = 1_000_000
PERIOD = 100 * MS
START = 1_000_000 * MS


class Bench:
    """A synchroniser of rgb (anchor), thermal, depth; 100 ms wait, 500 ms until stale, 20 ms tolerance."""

    def __init__(self, **changes: Stream) -> None:
        streams = {name: Stream(name, tolerance_s=0.02) for name in ("rgb", "thermal", "depth")} | changes
        self.sets: list[tuple[int, dict[str, Any]]] = []
        self.sync = Synchronizer(
            list(streams.values()), "rgb", 0.1, 0.5, lambda stamp, messages: self.sets.append((stamp, messages))
        )

    def add(self, stamp: int, *names: str, now: int | None = None) -> None:
        for name in names:
            self.sync.add(name, stamp, f"{name}@{stamp}", stamp if now is None else now)

    def run(self, first: int, count: int, *names: str) -> int:
        """`count` frames at 10 Hz from frame number `first`; returns the next number."""
        for index in range(first, first + count):
            self.add(START + index * PERIOD, *names)
            self.sync.tick(START + index * PERIOD + 50 * MS)
        return first + count

    @property
    def numbers(self) -> list[int]:
        return [(stamp - START) // PERIOD for stamp, _ in self.sets]


def test_complete_sets_go_out_at_once() -> None:
    bench = Bench()
    bench.run(0, 5, "depth", "rgb", "thermal")
    assert bench.numbers == [0, 1, 2, 3, 4]
    assert all(set(messages) == {"rgb", "thermal", "depth"} for _, messages in bench.sets)
    assert all(message == f"{name}@{stamp}" for stamp, messages in bench.sets for name, message in messages.items())


def test_a_late_modality_is_waited_for_but_not_for_ever() -> None:
    bench = Bench()
    bench.run(0, 3, "rgb", "thermal", "depth")
    stamp = START + 3 * PERIOD
    bench.add(stamp, "rgb", "depth")
    bench.sync.tick(stamp + 99 * MS)
    assert len(bench.sets) == 3
    bench.sync.tick(stamp + 100 * MS)
    assert set(bench.sets[3][1]) == {"rgb", "depth"}
    stamp += PERIOD
    bench.add(stamp, "rgb", "depth")
    bench.add(stamp, "thermal", now=stamp + 60 * MS)
    assert set(bench.sets[4][1]) == {"rgb", "thermal", "depth"}


def test_a_dead_modality_stops_nothing_and_costs_no_time() -> None:
    bench = Bench()
    after = bench.run(0, 3, "rgb", "thermal", "depth")
    bench.run(after, 20, "rgb", "depth")
    assert bench.numbers == list(range(23))
    assert bench.sync.state("thermal", START + 23 * PERIOD) == "stale"
    # Once it is stale the set goes out on arrival, before the tick.
    bench.add(START + 23 * PERIOD, "rgb", "depth")
    assert bench.numbers[-1] == 23


def test_a_modality_that_never_comes() -> None:
    bench = Bench()
    bench.run(0, 10, "rgb", "depth")
    assert bench.numbers == list(range(10))
    assert bench.sync.state("thermal", START + 10 * PERIOD) == "absent"


def test_the_first_sets_wait_for_sensors_that_start_a_moment_later() -> None:
    bench = Bench()
    bench.add(START, "rgb")
    bench.add(START, "depth", "thermal", now=START + 30 * MS)
    assert [set(messages) for _, messages in bench.sets] == [{"rgb", "thermal", "depth"}]


def test_the_lead_goes_over_and_comes_back() -> None:
    bench = Bench()
    after = bench.run(0, 5, "rgb", "thermal", "depth")
    pulled = after
    after = bench.run(after, 20, "thermal", "depth")
    assert bench.sync.statistics()["anchor"] == "thermal"
    # Every instant gets its set in the end, without RGB, in order.
    assert bench.numbers == list(range(after))
    assert all("rgb" not in messages for stamp, messages in bench.sets if stamp >= START + pulled * PERIOD)
    after = bench.run(after, 5, "rgb", "thermal", "depth")
    assert bench.sync.statistics()["anchor"] == "rgb"
    assert bench.numbers == list(range(after))
    assert set(bench.sets[-1][1]) == {"rgb", "thermal", "depth"}


def test_the_first_set_without_the_anchor_comes_within_stale_after_and_a_frame() -> None:
    bench = Bench()
    bench.run(0, 5, "rgb", "thermal", "depth")
    last_rgb = START + 4 * PERIOD
    for number in range(5, 20):
        bench.add(START + number * PERIOD, "thermal", "depth")
        if len(bench.sets) > 5:
            break
    assert START + number * PERIOD - last_rgb <= 500 * MS + PERIOD


def test_an_anchor_that_never_speaks() -> None:
    bench = Bench()
    bench.run(0, 12, "thermal", "depth")
    assert bench.numbers == list(range(12))


def test_stamps_within_tolerance_match_to_the_nearest() -> None:
    """A fast stream matches before the anchor and, a moment later, more nearly: its pace says so, it is awaited."""
    bench = Bench()
    arrivals = [(START + number * PERIOD, name) for number in range(10) for name in ("rgb", "depth")]
    arrivals += [(START - 55 * MS + number * 20 * MS, "thermal") for number in range(50)]
    for stamp, name in sorted(arrivals):
        bench.add(stamp, name)
    assert len(bench.sets) >= 9
    for stamp, messages in bench.sets:
        assert messages["thermal"] == f"thermal@{stamp + 5 * MS}"


def test_beyond_the_tolerance_is_absent() -> None:
    bench = Bench()
    for number in range(5):
        stamp = START + number * PERIOD
        bench.add(stamp + 21 * MS, "thermal", now=stamp)
        bench.add(stamp, "rgb", "depth")
    bench.sync.tick(START + 10 * PERIOD)
    assert all(set(messages) == {"rgb", "depth"} for _, messages in bench.sets)


def test_an_offset_takes_out_a_constant_delay() -> None:
    bench = Bench(thermal=Stream("thermal", tolerance_s=0.02, offset_s=-0.5))
    for number in range(5):
        stamp = START + number * PERIOD
        bench.add(stamp, "rgb", "depth")
        bench.add(stamp + 500 * MS, "thermal", now=stamp + 10 * MS)
    assert bench.numbers == list(range(5))
    assert all("thermal" in messages for _, messages in bench.sets)


def test_a_slow_sensor_is_not_taken_for_a_dead_one() -> None:
    """1 Hz, with stale_after at 0.5 s: every set is waited for; when it dies, that is noticed after 2.5 s."""
    bench = Bench()
    for number in range(10):
        stamp = START + number * 10 * PERIOD
        bench.add(stamp, "rgb", "depth")
        bench.add(stamp, "thermal", now=stamp + 40 * MS)
    complete = [set(messages) == {"rgb", "thermal", "depth"} for _, messages in bench.sets]
    assert all(complete)
    assert len(complete) == 10
    last = START + 90 * PERIOD + 40 * MS
    assert bench.sync.state("thermal", last + 2400 * MS) == "present"
    assert bench.sync.state("thermal", last + 2600 * MS) == "stale"


def test_an_outage_is_not_taken_for_a_slow_pace() -> None:
    bench = Bench()
    after = bench.run(0, 5, "rgb", "thermal", "depth")
    after = bench.run(after, 50, "rgb", "depth")
    after = bench.run(after, 3, "rgb", "thermal", "depth")
    assert bench.sync.state("thermal", START + (after - 1) * PERIOD + 600 * MS) == "stale"


def test_a_required_modality_holds_sets_back() -> None:
    bench = Bench(depth=Stream("depth", tolerance_s=0.02, required=True))
    after = bench.run(0, 3, "rgb", "thermal", "depth")
    after = bench.run(after, 10, "rgb", "thermal")
    bench.run(after, 3, "rgb", "thermal", "depth")
    assert all("depth" in messages for _, messages in bench.sets)
    assert bench.sync.statistics()["held_back"] == 10


def test_a_required_modality_that_comes_late_does_not_silence_it_for_ever() -> None:
    """More sets are held back than a queue holds, then RGB pauses; thermal's messages take 40 ms."""
    bench = Bench(thermal=Stream("thermal", 0.02, required=True))
    period, first = PERIOD // 3, QUEUE_LENGTH + 10
    for index in range(first + 90):
        stamp = START + index * period + (150 * MS if index > first - 5 else 0)
        bench.add(stamp, "rgb", "depth")
        bench.sync.tick(stamp + 20 * MS)
        if index >= first:
            bench.add(stamp - period, "thermal", now=stamp + 25 * MS)
        bench.sync.tick(stamp + 30 * MS)
    assert bench.sync.statistics()["held_back"] > QUEUE_LENGTH
    assert len(bench.sets) >= 80


def test_a_bag_that_loops_starts_anew() -> None:
    bench = Bench()
    bench.run(0, 30, "rgb", "thermal", "depth")
    bench.run(0, 30, "rgb", "thermal", "depth")
    assert len(bench.sets) == 60
    assert bench.sync.statistics()["resets"] == 1


def test_small_disorder_never_turns_the_output_back(rng: np.random.Generator) -> None:
    bench = Bench()
    arrivals = []
    for number in range(200):
        for name in ("rgb", "thermal", "depth"):
            stamp = START + number * PERIOD + int(rng.integers(0, 10 * MS))
            arrivals.append((stamp + int(rng.integers(0, 250 * MS)), name, stamp))
    for now, name, stamp in sorted(arrivals):
        bench.sync.add(name, stamp, None, now)
        bench.sync.tick(now)
    stamps = [stamp for stamp, _ in bench.sets]
    assert stamps == sorted(set(stamps))
    statistics = bench.sync.statistics()
    assert len(stamps) + statistics["late"] + 3 >= 200  # the last few may still wait


def test_zero_stamps_and_duplicates_are_refused_and_counted() -> None:
    bench = Bench()
    bench.sync.add("rgb", 0, "unstamped", START)
    bench.add(START, "rgb", "rgb", "thermal", "depth")
    counts = bench.sync.statistics()["streams"]["rgb"]
    assert (counts["received"], counts["refused"], counts["matched"]) == (3, 2, 1)


def test_memory_is_bounded_when_nothing_matches() -> None:
    bench = Bench()
    for number in range(10 * QUEUE_LENGTH):
        bench.sync.add("thermal", START + number * PERIOD + 50 * MS, np.zeros(1), START)
    queue = bench.sync._queues["thermal"]
    assert len(queue.messages) == len(queue.stamps) == QUEUE_LENGTH


def test_a_callback_that_fails_or_calls_back_leaves_it_alive() -> None:
    got: list[int] = []

    def on_set(stamp: int, messages: dict[str, Any]) -> None:
        got.append(stamp)
        sync.tick(stamp)  # message_filters would wait for its own lock here for ever
        if len(got) == 1:
            raise RuntimeError("the user's code")

    sync = Synchronizer([Stream("rgb", 0.02)], "rgb", 0.1, 0.5, on_set)
    with pytest.raises(RuntimeError, match="the user's code"):
        sync.add("rgb", START, None, START)
    sync.add("rgb", START + PERIOD, None, START + PERIOD)
    assert got == [START, START + PERIOD]


def test_a_stream_that_is_switched_off_is_neither_used_nor_waited_for() -> None:
    bench = Bench()
    after = bench.run(0, 5, "rgb", "thermal", "depth")
    bench.sync.update(Stream("thermal", tolerance_s=0.02, required=True, enabled=False))
    after = bench.run(after, 5, "thermal", "rgb", "depth")
    assert all(set(messages) == {"rgb", "depth"} for _, messages in bench.sets[5:])
    assert len(bench.sets) == after
    assert bench.sync.state("thermal", START + after * PERIOD) == "disabled"
    assert bench.sync.statistics()["streams"]["thermal"]["refused"] == 5
    bench.sync.update(Stream("thermal", tolerance_s=0.02))
    bench.run(after, 5, "thermal", "rgb", "depth")
    assert all(set(messages) == {"rgb", "thermal", "depth"} for _, messages in bench.sets[-4:])


def test_the_lead_goes_over_when_the_anchor_is_switched_off() -> None:
    bench = Bench()
    after = bench.run(0, 5, "rgb", "thermal", "depth")
    bench.sync.update(Stream("rgb", tolerance_s=0.02, enabled=False))
    bench.run(after, 5, "rgb", "thermal", "depth")
    assert bench.numbers == list(range(10))
    assert all(set(messages) == {"thermal", "depth"} for _, messages in bench.sets[5:])


def test_stamps_do_not_turn_back_when_the_anchor_is_switched_off() -> None:
    bench = Bench()
    for index in range(5):
        bench.add(START + index * PERIOD, "rgb", "depth")
        if index >= 1:  # it is a frame and a half late
            bench.add(START + (index - 1) * PERIOD - 50 * MS, "thermal", now=START + index * PERIOD)
    bench.sync.tick(START + 4 * PERIOD + 99 * MS)
    last = bench.sets[-1][0]
    bench.sync.update(Stream("rgb", 0.02, enabled=False))
    for index in range(5, 10):
        bench.add(START + (index - 1) * PERIOD - 50 * MS, "thermal", now=START + index * PERIOD)
        bench.add(START + index * PERIOD, "depth")
        bench.sync.tick(START + index * PERIOD + 50 * MS)
    after = [stamp for stamp, _ in bench.sets if stamp > last]
    stamps = [stamp for stamp, _ in bench.sets]
    assert after
    assert stamps == sorted(set(stamps))


def test_after_a_pause_an_older_recording_may_follow() -> None:
    bench = Bench()
    bench.run(20, 5, "rgb", "thermal", "depth")
    for enabled in (False, True):
        for name in ("rgb", "thermal", "depth"):
            bench.sync.update(Stream(name, 0.02, enabled=enabled))
    bench.run(0, 5, "rgb", "thermal", "depth")
    assert bench.numbers == [20, 21, 22, 23, 24, 0, 1, 2, 3, 4]


def test_tolerance_and_offset_change_while_it_runs() -> None:
    bench = Bench()

    def run(first: int) -> set[str]:
        for number in range(first, first + 5):
            stamp = START + number * PERIOD
            bench.add(stamp, "rgb", "depth")
            bench.add(stamp + 40 * MS, "thermal", now=stamp + 10 * MS)
            bench.sync.tick(stamp + 90 * MS)
        return set(bench.sets[-1][1])

    assert run(0) == {"rgb", "depth"}
    assert bench.sync.statistics()["streams"]["thermal"]["skew_ms"] == 40
    bench.sync.update(Stream("thermal", tolerance_s=0.045))
    assert run(5) == {"rgb", "thermal", "depth"}
    bench.sync.update(Stream("thermal", tolerance_s=0.001, offset_s=-0.04))
    assert run(10) == {"rgb", "thermal", "depth"}
    assert bench.sync.statistics()["streams"]["thermal"]["skew_ms"] == 0
    bench.sync.set_waits(0.02, 0.5)
    bench.add(START + 15 * PERIOD, "rgb", "depth")
    count = len(bench.sets)
    bench.sync.tick(START + 15 * PERIOD + 20 * MS)
    assert len(bench.sets) == count + 1


def test_an_anchor_whose_offset_is_lowered_goes_on_at_once() -> None:
    bench = Bench()
    after = bench.run(0, 5, "rgb", "thermal", "depth")
    bench.sync.update(Stream("rgb", tolerance_s=0.02, offset_s=-10.0))
    bench.run(after, 3, "rgb", "thermal", "depth")
    assert bench.numbers[-2:] == [after + 1 - 100, after + 2 - 100]


def test_what_never_matched_counts_from_the_last_change() -> None:
    bench = Bench(thermal=Stream("thermal", tolerance_s=0.02, offset_s=0.4))
    for number in range(6):
        stamp = START + number * PERIOD
        bench.add(stamp, "rgb", "depth")
        bench.add(stamp - 440 * MS, "thermal", now=stamp)
        bench.sync.tick(stamp + 99 * MS)
    counts = bench.sync.statistics()["streams"]["thermal"]
    assert counts["never_matched"] == 6
    assert counts["skew_ms"] == -40
    bench.sync.update(Stream("thermal", tolerance_s=0.02, offset_s=0.44))
    assert bench.sync.statistics()["streams"]["thermal"]["never_matched"] == 0


@pytest.mark.parametrize("phase_ms", [0, 7, 16, 25])
def test_a_dead_camera_costs_neither_rate_nor_a_healthy_sensor(phase_ms: int) -> None:
    """RGB and depth share a trigger at 30 Hz (10 ms are allowed); thermal runs freely at 9 Hz, earlier in the rig.

    When RGB dies depth leads, being the fastest, and thermal is in nearly every set: its stamps are up to half of its
    period away, though the rig file's tolerance is for RGB.
    """
    streams = {"rgb": Stream("rgb", 0.02), "thermal": Stream("thermal", 0.03), "depth": Stream("depth", 0.01)}
    bench = Bench(**streams)
    arrivals = [(START + index * 1000 * MS // 30, name) for index in range(300) for name in ("rgb", "depth")]
    arrivals += [(START + phase_ms * MS + index * 1000 * MS // 9, "thermal") for index in range(90)]
    for stamp, name in sorted(arrivals):
        if name != "rgb" or stamp < START + 3000 * MS:
            bench.add(stamp, name)
        bench.sync.tick(stamp)
    after = [messages for stamp, messages in bench.sets if 4000 * MS <= stamp - START < 9000 * MS]
    assert len(after) >= 148  # 5 s at 30 Hz
    assert sum("depth" in messages for messages in after) == len(after)
    assert sum("thermal" in messages for messages in after) >= 0.95 * len(after)


def test_packets_of_events_lead_only_when_nothing_else_is_left() -> None:
    bench = Bench(event=Stream("event", 0.02, gathered=True))
    arrivals = [(START + index * 10 * MS, "event") for index in range(500)]
    arrivals += [(START + index * PERIOD, name) for index in range(30) for name in ("rgb", "thermal")]
    for stamp, name in sorted(arrivals):
        if name != "rgb" or stamp < START + 1000 * MS:
            bench.add(stamp, name)
        bench.sync.tick(stamp)
    led = [stamp for stamp, _ in bench.sets if START + 1600 * MS < stamp < START + 2900 * MS]
    assert np.diff(led).tolist() == [PERIOD] * (len(led) - 1)  # by thermal
    alone = [stamp for stamp, _ in bench.sets if stamp > START + 4000 * MS]
    assert np.diff(alone).tolist() == [10 * MS] * (len(alone) - 1)


def test_wrong_construction() -> None:
    with pytest.raises(ValueError, match="not one of the streams"):
        Synchronizer([Stream("rgb", 0.1)], "thermal", 0.1, 0.5, lambda *_: None)
    with pytest.raises(ValueError, match="expected unique names"):
        Synchronizer([Stream("rgb", 0.1), Stream("rgb", 0.2)], "rgb", 0.1, 0.5, lambda *_: None)


def test_a_slow_way_is_not_called_a_wrong_clock() -> None:
    """Measurements that arrive after their sets: from here both look the same, and both remedies are named."""
    bench = Bench()
    bench.run(0, 5, "rgb", "thermal", "depth")
    for number in range(5, 45):
        now = START + number * PERIOD
        bench.add(now, "rgb", "depth")
        bench.add(now - 4 * PERIOD, "thermal", now=now + 5 * MS)  # 405 ms on its way, where 100 ms are waited
        bench.sync.tick(now + 99 * MS)
    counts = bench.sync.statistics()["streams"]["thermal"]
    assert counts["missed"] == 39  # the last set still waits
    assert 200 <= counts["late_ms"] <= 405
    text = explain_missing(counts, Stream("thermal", tolerance_s=0.02), "rgb")
    assert re.search(r"39 of the last 50 sets lack it.* arrive 0\.[234]\d* s after the sets .* raise max_wait_s", text)
    bench.sync.update(Stream("thermal", tolerance_s=0.02, offset_s=0.001))
    for number in range(45, 75):
        now = START + number * PERIOD
        bench.add(now, "rgb", "depth")
        bench.add(now - 4 * PERIOD, "thermal", now=now + 5 * MS)
        bench.sync.tick(now + 99 * MS)
    text = explain_mismatch(bench.sync.statistics()["streams"]["thermal"], Stream("thermal", 0.02, 0.001), "rgb")
    assert "none matched: its messages arrive" in text
    assert "If they are slow on their way, raise max_wait_s by as much" in text
    assert "If its clock is behind, synchronise the clocks, or set thermal.offset_s: 0." in text


def test_a_sensor_that_misses_most_sets_is_named_and_one_that_returns_is_not() -> None:
    bench = Bench()
    for number in range(60):
        bench.add(START + number * PERIOD, *("rgb", "thermal", "depth") if number % 4 == 0 else ("rgb", "depth"))
        bench.sync.tick(START + number * PERIOD + 99 * MS)
    counts = bench.sync.statistics()["streams"]
    assert counts["thermal"]["missed"] in (37, 38)
    text = explain_missing(counts["thermal"], Stream("thermal", tolerance_s=0.02), "rgb")
    assert "within its tolerance of 0.02 s from those of rgb. If it is slower than rgb" in text
    assert explain_missing(counts["depth"], Stream("depth", tolerance_s=0.02), "rgb") is None
    after = bench.run(60, 60, "rgb", "depth")  # unplugged
    bench.run(after, 3, "rgb", "thermal", "depth")
    assert bench.sync.statistics()["streams"]["thermal"]["missed"] == 0


def test_a_handover_gives_no_second_set_of_the_same_instant() -> None:
    """Depth is stamped 5 ms after RGB; its image that was with the last RGB one does not lead a set of its own."""
    bench = Bench()
    for number in range(20):
        stamp = START + number * PERIOD
        bench.add(stamp, *["rgb"] if number < 5 else [], now=stamp + 10 * MS)
        bench.add(stamp + 5 * MS, "depth", "thermal", now=stamp + 15 * MS)
        bench.sync.tick(stamp + 90 * MS)
    assert bench.numbers == list(range(20))
    assert bench.sync.statistics()["handovers"] == 1
