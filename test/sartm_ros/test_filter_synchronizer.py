"""The policies of message_filters, where it is installed: any ROS 2."""

import importlib.util
from typing import Any

import pytest

from sartm_core.errors import SartmError
from sartm_ros.filter_synchronizer import FilterSynchronizer
from sartm_ros.streams import Stream
from sartm_ros.synchronizer import Synchronizer

MS, START, PERIOD = 1_000_000, 10**12, 100_000_000
INSTALLED = importlib.util.find_spec("message_filters") is not None
NAMES = ("rgb", "thermal", "depth")


def make(policy: str, sets: list[tuple[int, dict[str, Any]]]) -> FilterSynchronizer:
    streams = [Stream(name, tolerance_s=0.02) for name in NAMES]
    return FilterSynchronizer(streams, "rgb", 0.1, 0.5, lambda stamp, messages: sets.append((stamp, messages)), policy)


@pytest.mark.skipif(INSTALLED, reason="message_filters is installed: there is nothing to miss")
def test_without_message_filters_the_remedy_is_named() -> None:
    with pytest.raises(SartmError, match="'exact' needs message_filters.*or use sync_policy 'anchor'"):
        make("exact", [])


@pytest.mark.skipif(not INSTALLED, reason="message_filters is part of ROS 2 and not on PyPI")
class TestWithMessageFilters:
    def test_exact_wants_equal_stamps(self) -> None:
        sets: list[tuple[int, dict[str, Any]]] = []
        sync = make("exact", sets)
        for frame in range(5):
            for index, name in enumerate(NAMES):
                sync.add(name, START + frame * PERIOD + (index if frame == 2 else 0), f"{name}{frame}", START)
        assert [stamp for stamp, _ in sets] == [START + frame * PERIOD for frame in (0, 1, 3, 4)]
        assert sets[0][1] == {name: f"{name}0" for name in NAMES}

    def test_approximate_takes_the_anchors_stamp_and_offsets(self) -> None:
        sets: list[tuple[int, dict[str, Any]]] = []
        sync = make("approximate", sets)
        sync.update(Stream("thermal", tolerance_s=0.02, offset_s=-0.5))
        for frame in range(5):
            stamp = START + frame * PERIOD
            sync.add("thermal", stamp + 505 * MS, "thermal", stamp)
            sync.add("depth", stamp - 5 * MS, "depth", stamp)
            sync.add("rgb", stamp, "rgb", stamp)
        assert [stamp for stamp, _ in sets] == [START + frame * PERIOD for frame in range(5)]
        thermal = sync.statistics()["streams"]["thermal"]
        assert (thermal["received"], thermal["matched"]) == (5, 5)
        ours = Synchronizer([Stream("thermal", tolerance_s=0.02)], "thermal", 0.1, 0.5, print)
        assert thermal.keys() <= ours.statistics()["streams"]["thermal"].keys()

    def test_a_silent_sensor_stops_everything_until_it_is_switched_off(self) -> None:
        sets: list[tuple[int, dict[str, Any]]] = []
        sync = make("approximate", sets)
        for frame in range(5):
            sync.add("rgb", START + frame * PERIOD, "rgb", START)
            sync.add("depth", START + frame * PERIOD, "depth", START)
        assert sets == []
        assert sync.state("thermal", START) == "absent"
        sync.update(Stream("thermal", tolerance_s=0.02, enabled=False))
        for name in ("rgb", "depth"):
            sync.add(name, START + 9 * PERIOD, name, START)
        assert [set(messages) for _, messages in sets] == [{"rgb", "depth"}]
        assert sync.state("thermal", START) == "disabled"
        assert sync.state("rgb", START + 600 * MS) == "stale"

    def test_a_zero_stamp_is_refused(self) -> None:
        sync = make("exact", [])
        sync.add("rgb", 0, "rgb", START)
        assert sync.statistics()["refused"] == 1
