"""Rates as a robot monitor shows them."""

from sartm_ros.node.diagnostics import InputMonitor

START, PERIOD = 10**12, 33_333_333


def feed(monitor: InputMonitor, first: int, count: int, shift_ns: int = 0) -> int:
    for number in range(first, first + count):
        monitor.arrived(START + number * PERIOD + shift_ns, START + number * PERIOD)
    return first + count


def test_a_slow_sensor_is_named_and_a_sound_one_is_not() -> None:
    monitor = InputMonitor(rate_hz=30.0)
    feed(monitor, 0, 50)
    assert monitor.slow() is None
    slow = InputMonitor(rate_hz=60.0)
    feed(slow, 0, 50)
    assert slow.slow() == "slow: 30.0 Hz, the rig file says 60"


def test_an_outage_and_a_loop_are_no_part_of_the_rate() -> None:
    monitor = InputMonitor(rate_hz=30.0)
    after = feed(monitor, 0, 100)
    after = feed(monitor, after + 2000, 5)
    assert monitor.slow() is None
    feed(monitor, after, 5, shift_ns=-60_000_000_000)
    assert monitor.slow() is None
    assert 29 < monitor.values(START)["frame_rate_msg"] < 31


def test_a_dead_sensor_has_no_rate() -> None:
    monitor = InputMonitor(rate_hz=30.0)
    last_ns = START + (feed(monitor, 0, 100) - 1) * PERIOD
    assert 29 < monitor.values(last_ns + 1_000_000_000)["frame_rate_node"] < 31
    silent = monitor.values(last_ns + 3_000_000_000)
    assert (silent["frame_rate_node"], silent["frame_rate_msg"]) == (0, 0)
