"""A network that hangs, fails or answers nonsense: the node of the test's own process, over real DDS."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from sartm_core.deploy.bundle import read_bundle
from sartm_core.resources import resolve_bundle
from sartm_core.segmentation import Segmentation
from sartm_ros.node import session, worker
from sartm_ros.node.lifecycle import PerceptionNode

ALL = ("rgb", "thermal", "depth")


class OddSegmenter:
    """Answers at once; `confidence` and `release` may be changed by a test."""

    def __init__(self) -> None:
        self.bundle = read_bundle(resolve_bundle("any_sensor_simrig5"))
        self.backend = "odd"
        self.confidence = 0.5
        self.release = threading.Event()
        self.release.set()

    def segment(self, planes: dict[str, Any], size: tuple[int, int] | None = None) -> Segmentation:
        self.release.wait()
        size = size or self.bundle.size
        routing = np.full((3, len(self.bundle.rig.names)), 0.2, np.float32)
        return Segmentation(np.zeros(size, np.uint8), np.full(size, self.confidence, np.float32), routing)


@pytest.fixture
def odd() -> Iterator[OddSegmenter]:
    segmenter = OddSegmenter()
    yield segmenter
    segmenter.release.set()


@pytest.fixture
def perception(host, odd, monkeypatch: pytest.MonkeyPatch) -> Iterator[PerceptionNode]:
    """Active, spun by the host."""
    monkeypatch.setattr(worker, "STOP_S", 0.5)
    monkeypatch.setattr(session, "DIAGNOSTICS_S", 0.2)
    node = PerceptionNode(load=lambda *_, **__: odd)
    node.set_parameters([Parameter("rig", value="sim")])
    host.executor.add_node(node)
    assert node.trigger_configure() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    yield node
    odd.release.set()
    node.stop()
    host.executor.remove_node(node)
    node.destroy_node()


def errors(host) -> str:
    """What /diagnostics has called an error of the pipeline."""
    every = [status for message in host.heard["/diagnostics"] for status in message.status]
    return "; ".join(one.message for one in every if one.name == "perception: pipeline" and one.level in (2, b"\x02"))


def test_an_answer_that_is_not_finite_is_an_error_and_no_mask(host, perception, odd, feed) -> None:
    feed(4, *ALL)
    masks = len(host.heard["/perception/mask"])
    assert masks > 0
    odd.confidence = float("nan")
    feed(8, *ALL)
    assert "the answer of odd is not finite" in errors(host)
    assert len(host.heard["/perception/mask"]) <= masks + 1
    odd.confidence = 0.5
    feed(8, *ALL)
    assert len(host.heard["/perception/mask"]) > masks + 1


def test_a_network_that_hangs_stops_neither_diagnostics_nor_deactivation(host, perception, odd, feed) -> None:
    feed(2, *ALL)
    odd.release.clear()
    feed(45, *ALL)
    assert "sets come, but no mask for 3 s" in errors(host)
    begun = time.monotonic()
    assert perception.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert time.monotonic() - begun < 5
    assert perception.trigger_activate() == TransitionCallbackReturn.FAILURE  # two threads in one network
    odd.release.set()
    time.sleep(0.2)
    assert perception.trigger_activate() == TransitionCallbackReturn.SUCCESS
    masks = len(host.heard["/perception/mask"])
    feed(5, *ALL)
    assert host.until(lambda: len(host.heard["/perception/mask"]) > masks, 5)


HANGING = """
import threading
from sartm_ros.node.lifecycle import PerceptionNode, run
from sartm_ros.node.process import ros_process
from test_faults_of_the_network import OddSegmenter
class Hanging(OddSegmenter):
    calls = 0
    def segment(self, planes, size=None):
        self.calls += 1
        if self.calls > 4:  # three sensors are warmed with four frames
            print("hangs", flush=True)
            threading.Event().wait()
        return super().segment(planes, size)
with ros_process("perception", ["node", "--ros-args", "-p", "rig:=sim"]):
    run(PerceptionNode(load=lambda *_, **__: Hanging()))
"""


@pytest.mark.parametrize("signals", [1, 2])
def test_a_process_whose_network_hangs_ends(host, middleware, feed, signals: int) -> None:
    """After a signal in `STOP_S`, after a second one at once."""
    paths = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    environment = middleware | {"PYTHONPATH": paths}
    with subprocess.Popen([sys.executable, "-c", HANGING], env=environment, stdout=subprocess.PIPE) as process:
        assert host.until(lambda: host.heard["/perception/labels"] != [], 40)
        feed(5, *ALL)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        if signals == 2:
            time.sleep(1.2)
            process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=25)
        assert status == (1 if signals == 1 else 128 + signal.SIGTERM)
        assert time.monotonic() - begun < (20 if signals == 1 else 4)
