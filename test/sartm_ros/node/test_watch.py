"""What /diagnostics says of the masks, and which changes get a line in the log; on a clock that the test owns."""

import re
from typing import Any

from sartm_ros.node.watch import ChangeLog, Fault, Latency, Limits, MaskWatch


class Bench:
    """Looks once a second while sets come at 10 Hz."""

    def __init__(self, max_latency_ms: float = 0.0, min_rate_hz: float = 0.0) -> None:
        self.watch, self.limits = MaskWatch(), Limits(max_latency_ms, min_rate_hz)
        self.now = self.sets = self.held_back = self.masks = self.dropped = 0

    def second(
        self, sets: int = 10, held_back: int = 0, masks: int = 10, busy_s: float = 0.0, latency_ms: float = 80.0
    ) -> Fault | None:
        self.now += 1
        self.sets, self.held_back = self.sets + sets, self.held_back + held_back
        self.masks, self.dropped = self.masks + masks, self.dropped + max(sets - masks, 0)
        streams = {"rgb": {"holds_back": False}, "thermal": {"holds_back": held_back > 0}}
        counts: dict[str, Any] = {"sets": self.sets, "held_back": self.held_back, "streams": streams}
        latency = Latency(latency_ms, "segment")
        return self.watch.look(self.now, counts, self.masks, self.dropped, busy_s, 0.05, latency, self.limits)


def test_a_sound_pipeline_has_no_fault_however_slow_its_camera() -> None:
    bench = Bench()
    assert [bench.second() for _ in range(20)] == [None] * 20
    slow = Bench()
    for now in range(40):  # a set each 4 s
        assert slow.second(sets=now % 4 == 0, masks=now % 4 == 0) is None


def test_a_network_that_hangs_is_an_error_after_five_seconds() -> None:
    bench = Bench()
    bench.second()
    found = [bench.second(masks=0, busy_s=float(busy)) for busy in range(1, 8)]
    assert found[1] is None
    assert found[-1] == Fault(True, "the network has not answered for 7 s: no masks. Restart the node.")


def test_sets_that_are_held_back_name_what_they_lack() -> None:
    bench = Bench()
    bench.second()
    found = [bench.second(sets=0, held_back=10, masks=0) for _ in range(5)]
    assert found[-1] == Fault(True, "no mask for 4 s: 50 sets lack what the rig file requires: thermal")
    assert bench.second() is None


def test_sets_without_masks_are_an_error_and_a_pause_is_none() -> None:
    bench = Bench()
    bench.second()
    assert [bench.second(masks=0) for _ in range(4)][-1] == Fault(True, "sets come, but no mask for 3 s")
    bench.watch.pause()
    assert [bench.second(sets=0, masks=0) for _ in range(8)] == [None] * 8


def test_sets_that_are_mostly_dropped_are_a_warning() -> None:
    bench = Bench()
    found = [bench.second(masks=1) for _ in range(15)][-1]
    assert found is not None
    assert not found.is_error
    assert "90 of the last 100 sets were dropped: the network takes 0.05 s" in found.text
    assert [bench.second() for _ in range(12)][-1] is None


def test_masks_that_are_late_or_rare_are_a_warning_by_the_users_own_limits() -> None:
    bench = Bench(max_latency_ms=200, min_rate_hz=5)
    assert [bench.second(latency_ms=199, masks=6, sets=6) for _ in range(15)] == [None] * 15
    found = bench.second(latency_ms=2800)
    assert found == Fault(False, "masks are 2800 ms old (p95), max_latency_ms is 200; most of it is segment.")
    found = [bench.second(sets=4, masks=4) for _ in range(12)][-1]
    assert found == Fault(False, "masks come at 4.0 Hz, min_rate_hz is 5.")
    both = bench.second(sets=4, masks=4, latency_ms=300)
    assert both is not None
    assert "300 ms old" in both.text
    assert "4.0 Hz" in both.text


def test_without_limits_nothing_is_late_or_rare() -> None:
    bench = Bench()
    assert [bench.second(sets=1, masks=1, latency_ms=60_000) for _ in range(20)] == [None] * 20


class Log:
    """States of one modality, twenty a second for some time; keeps the lines."""

    def __init__(self) -> None:
        self.now, self.lines = 0.0, []
        self.changes = ChangeLog("present", lambda: self.now)

    def play(self, seconds: float, *states: str) -> list[str]:
        before = len(self.lines)
        for number in range(round(seconds * 20)):
            self.now += 0.05
            more = self.changes.note("thermal", states[number % len(states)])
            if more is not None:
                self.lines.append(states[number % len(states)] + more)
        return self.lines[before:]


def test_each_of_a_few_changes_has_its_line() -> None:
    log = Log()
    assert log.play(5, "present") == []
    assert log.play(5, "stale") + log.play(5, "present") + log.play(5, "broken") == ["stale", "present", "broken"]


def test_a_sensor_that_flaps_for_a_day_fills_no_log_and_its_last_state_is_logged() -> None:
    log = Log()
    lines = log.play(3600, "present", "broken")
    assert len(lines) <= 10 + 61
    missed = [int(found[1]) for line in lines if (found := re.search(r"\((\d+) changes before", line))]
    assert sum(missed) + len(lines) >= 3600 * 20 - 1300
    assert log.play(70, "stale")[-1].startswith("stale")
    assert log.play(600, "stale") == []
