"""Recorders whose clock was not set yet: messages at time 0, and jumps from 1970 to now."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from bag_files import STRING, T0, both_storages, string
from foreign_files import Channel, write_channels, write_database
from rosbags.rosbag2 import StoragePlugin

from sartm_ros.bag import player
from sartm_ros.bag.player import paced
from sartm_ros.bag.reader import Recorded, open_bag
from sartm_ros.bag.spans import Span, longest, spans_of

SECOND = 1_000_000_000
DAY = 24 * 3600 * SECOND
UNSET = 100 * SECOND
"""The clock of a computer without a battery, 100 s after it was switched on."""


def write(folder: Path, times: Sequence[int], storage: StoragePlugin = StoragePlugin.MCAP) -> Path:
    channel = Channel("/a", STRING, [(at, string(str(at))) for at in times], schema=b"string data\n")
    if storage == StoragePlugin.MCAP:
        return write_channels(folder / "x.mcap", [channel])
    return write_database(folder / "x.db3", [channel])


def steps(start_ns: int, count: int) -> list[int]:
    return [start_ns + n * SECOND for n in range(count)]


@both_storages
@pytest.mark.parametrize(
    ("early", "late", "span", "said"),
    [
        # ros2/rosbag2#1276: /tf_static before the first /clock
        (
            [0, 0],
            steps(T0, 30),
            (T0, T0 + 29 * SECOND),
            "left out of span and duration: 2 from 1970-01-01 00:00:00 on.",
        ),
        # ros/ros_comm#2317: a Jetson without a battery for its clock
        (steps(UNSET, 30), steps(T0, 30), (T0, T0 + 29 * SECOND), "30 from 1970-01-01 00:01:40 on."),
        (steps(UNSET, 10), steps(T0, 30), (T0, T0 + 29 * SECOND), "10 from 1970-01-01 00:01:40 on."),
        (steps(UNSET, 30), steps(T0, 10), (UNSET, UNSET + 29 * SECOND), "10 from 2023-11-14 22:13:20 on."),
        # the clock file of a computer that was off for months
        (steps(T0 - 90 * DAY, 5), steps(T0, 30), (T0, T0 + 29 * SECOND), "5 from 2023-08-16 22:13:20 on."),
    ],
    ids=["zero", "jump", "short before", "long before", "off for months"],
)
def test_what_was_recorded_before_is_left_out_of_the_span(
    tmp_path: Path, storage: StoragePlugin, early: list[int], late: list[int], span: tuple[int, int], said: str
) -> None:
    path = write(tmp_path, early + late, storage)
    with open_bag(path) as bag:
        assert (bag.start_ns, bag.end_ns) == span
        assert [message.time_ns for message in bag.messages()] == early + late, "all are read"
        kept = {at for at in early + late if span[0] <= at <= span[1]}
        assert {message.time_ns for message in bag.messages() if bag.within(message.time_ns)} == kept
        (line,) = bag.losses
        assert line.startswith(f"{path}: its clock jumps, as when NTP sets it: {len(kept)} messages from ")
        assert line.endswith(said)


def test_a_simulators_clock_begins_at_zero_and_a_night_between_two_drives_is_no_jump(tmp_path: Path) -> None:
    for times in (steps(0, 30), steps(T0, 5) + steps(T0 + 2 * DAY, 5)):
        with open_bag(write(tmp_path, times)) as bag:
            assert (bag.start_ns, bag.end_ns) == (times[0], times[-1])
            assert bag.losses == []
            assert bag.within(times[0])


def test_spans() -> None:
    assert spans_of([]) == []
    spans = spans_of([T0 + 5, 0, T0, 3, 2**63])
    assert spans == [Span(0, 3, 2), Span(T0, T0 + 5, 2), Span(2**63, 2**63, 1)]
    assert longest(spans) == Span(T0, T0 + 5, 2)


class Clock:
    """Instead of waiting, it notes for how long."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 50.0
        self.waited: list[float] = []
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.waited.append(round(seconds, 6))
        self.now += seconds


class TestPace:
    def play(self, times: Sequence[int], rate: float = 1.0) -> list[str]:
        told: list[str] = []
        played = list(paced((Recorded("/a", at, b"") for at in times), rate, told.append))
        assert [message.time_ns for message in played] == list(times)
        return told

    def test_messages_come_at_their_recorded_distances(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock(monkeypatch)
        assert self.play([T0, T0 + SECOND, T0 + SECOND, T0 + 4 * SECOND], rate=2.0) == []
        assert clock.waited == [0.5, 1.5]

    @pytest.mark.parametrize("early", [[0], [0, 0], steps(UNSET, 2)])
    def test_a_jump_forward_is_told_and_not_waited_for(self, monkeypatch: pytest.MonkeyPatch, early: list[int]) -> None:
        clock = Clock(monkeypatch)
        (line,) = self.play([*early, T0, T0 + SECOND])
        assert line.startswith("the recording's clock jumps by 19675.9 days: it goes on after 1 s")
        assert clock.waited[-2:] == [player.JUMP_PAUSE_S, 1.0]
        assert sum(clock.waited) < 4

    def test_a_long_silence_is_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock(monkeypatch)
        assert self.play([T0, T0 + 1800 * SECOND]) == []
        assert clock.waited == [1800.0]

    def test_a_clock_that_is_set_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock(monkeypatch)
        (line,) = self.play([*steps(T0, 3), *steps(T0 - 600 * SECOND, 3)])
        assert line == "the recording's clock jumps back by 602.0 s: it goes on from there."
        assert clock.waited == [1.0] * 4

    def test_messages_a_little_out_of_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock(monkeypatch)
        times = [at - 20_000_000 * (n % 2) for n, at in enumerate(range(T0, T0 + SECOND, 10_000_000))]
        assert self.play(times) == []
        assert sum(clock.waited) == pytest.approx(0.98, abs=0.02)
