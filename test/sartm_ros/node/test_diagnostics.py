"""Rates as a robot monitor shows them."""

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from sartm_ros.node.diagnostics import InputMonitor, PipelineMonitor
from sartm_ros.node.usage import Usage

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


def test_latency_is_that_of_the_last_seconds_and_names_its_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr("sartm_ros.node.diagnostics.time.monotonic", lambda: next(clock))
    monitor = PipelineMonitor()
    for _ in range(20):  # at 0 s to 19 s
        monitor.finished(wait=0.02, prepare=0.01, segment=2.7, publish=0.01, stamp_to_mask=2.8)
    assert monitor.latency(19.0) == (pytest.approx(2800), "segment")
    for _ in range(12):
        monitor.finished(wait=0.3, prepare=0.01, segment=0.05, publish=0.01, stamp_to_mask=0.4)
    assert monitor.latency(31.0) == (pytest.approx(400), "wait")
    assert monitor.values()["stamp_to_mask_ms_p95"] > 2000  # of all
    assert monitor.latency(60.0) == (0.0, "")


def test_a_recording_without_its_clock_has_no_latency() -> None:
    monitor = PipelineMonitor()
    for _ in range(20):
        monitor.finished(wait=1e8, prepare=0.01, segment=0.05, publish=0.01, stamp_to_mask=1e8)
    assert monitor.latency(time.monotonic()) == (0.0, "")


def test_the_process_is_measured_as_the_kernel_measures_it() -> None:
    usage = Usage()
    deadline = time.process_time() + 0.1
    while time.process_time() < deadline:
        pass
    values = usage.values()
    assert values["cpu_percent"] > 20
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    assert values["memory_mb"] == pytest.approx(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, rel=0.2)
    assert 0 < values["machine_memory_percent"] <= 100


def test_of_a_gpu_is_told_what_its_driver_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVML of a Jetson knows no utilisation (NVMLError_NotSupported)."""

    def refused(handle: str) -> None:
        raise RuntimeError("Not Supported")

    fake = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: f"gpu {index}",
        nvmlDeviceGetUtilizationRates=lambda gpu: SimpleNamespace(gpu=37) if gpu == "gpu 1" else refused(gpu),
        nvmlDeviceGetMemoryInfo=lambda gpu: SimpleNamespace(used=2_000_000_000),
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    values = {name: value for name, value in Usage().values().items() if name.startswith("gpu")}
    assert values == {"gpu0_memory_mb": 2000.0, "gpu1_memory_mb": 2000.0, "gpu1_percent": 37.0}
