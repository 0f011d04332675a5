"""The live part of the demo: simulator and node in two processes; this one records."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import String

from sartm_core.errors import SartmError
from sartm_core.rig import Rig
from sartm_ros.bag.writer import BagWriter
from sartm_ros.node.middleware import private_environment
from sartm_sim.demo.recorder import Recorder
from sartm_sim.messages import PHASE_TOPIC, TRUTH_TOPIC
from sartm_sim.simulation.scenario import Scenario

START_TIMEOUT_S = 60.0
NODE = "/perception"
SEED = 7
"""Of the street."""
LABELS_TOPIC = f"{NODE}/labels"
LOGS = NODE_LOG, SIMULATOR_LOG = "perception.log", "simulator.log"

Say = Callable[[str], None]
Progress = Callable[[float, int], None]


def record_drive(
    rig: Rig, scenario: Scenario, scenario_name: str, rate_hz: float, writer: BagWriter, say: Say, progress: Progress
) -> None:
    """Runs simulator and perception node, and records their topics.

    Args:
        rig: the simulated rig.
        scenario, scenario_name: the scenario, and the name by which the simulator finds it.
        rate_hz: of every sensor.
        writer: the bag; the processes' logs go beside it.
        say: called with a line for each step.
        progress: called with the seconds driven and the number of masks so far.

    Raises:
        SartmError: a process did not start, or died; quotes the end of its log.
    """
    environment, description = private_environment(participants=3)
    say(f"Middleware: {description}.")
    os.environ.update(environment)  # this process takes part too; the middleware reads them at init
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("demo_recorder")
    try:
        recorder = _recorder(node, writer, rig)
        say("Starting the perception node: loads the model, warms up.")
        arguments = ["--ros-args", "-p", f"rig:={rig.name}"]
        with _process("sartm_ros.node", arguments, environment, writer.folder / NODE_LOG) as perception:
            _spin_until(node, perception, lambda: recorder.counts[LABELS_TOPIC] > 0, "the perception node's labels")
            phases = "; ".join(phase.name for phase in scenario.phases)
            say(f"Driving {scenario.seconds:.0f} s at {rate_hz:g} Hz: {phases}.")
            settings = (
                f"scenario:={scenario_name}",
                f"rate_hz:={rate_hz:f}",
                "wait_for_subscribers:=2",
                f"rig:={rig.name}",
                f"seed:={SEED}",
            )
            arguments = ["--ros-args", *(part for setting in settings for part in ("-p", setting))]
            with _process(
                "sartm_sim.simulator_node", arguments, environment, writer.folder / SIMULATOR_LOG
            ) as simulator:
                while simulator.running():
                    perception.check()
                    _spin_for(node, 0.2)
                    progress(recorder.counts[TRUTH_TOPIC] / rate_hz, recorder.counts[f"{NODE}/mask"])
                simulator.check()
            _spin_for(node, 2.5)  # the last masks, and diagnostics that count them
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def _recorder(node: Node, writer: BagWriter, rig: Rig) -> Recorder:
    topics: dict[str, Any] = {m.topic: PointCloud2 if m.delivers_points else Image for m in rig.modalities}
    topics |= {modality.camera_info: CameraInfo for modality in rig.modalities if modality.camera_info}
    topics |= {TRUTH_TOPIC: Image, PHASE_TOPIC: String, LABELS_TOPIC: String}
    topics |= {f"{NODE}/{name}": Image for name in ("mask", "confidence", "overlay")}
    topics |= {
        f"{NODE}/camera_info": CameraInfo,
        f"{NODE}/points": PointCloud2,
        f"{NODE}/routing_weights": DiagnosticArray,
        "/diagnostics": DiagnosticArray,
    }
    return Recorder(node, writer, topics, latched=frozenset({PHASE_TOPIC, LABELS_TOPIC}))


class _Process:
    """A child with a log file."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name, self.popen, self.log = name, popen, log

    def running(self) -> bool:
        return self.popen.poll() is None

    def check(self) -> None:
        """Raises if it has died."""
        if self.popen.poll() not in (None, 0):
            end = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise SartmError(f"{self.name} ended with status {self.popen.returncode}. The end of its log:\n{end}")


@contextlib.contextmanager
def _process(module: str, arguments: list[str], environment: dict[str, str], log: Path) -> Iterator[_Process]:
    """One of sartm's modules in a process of its own: interrupted at the end of the block, ended with this process."""
    with log.open("wb") as stream:
        popen = subprocess.Popen(
            [sys.executable, "-m", "sartm_sim.demo.child", str(os.getpid()), module, *arguments],
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            yield _Process(module, popen, log)
        finally:
            popen.send_signal(signal.SIGINT)
            try:
                popen.wait(timeout=10)
            except subprocess.TimeoutExpired:
                popen.kill()
                popen.wait()


def _spin_until(node: Node, process: _Process, condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not condition():
        process.check()
        if time.monotonic() > deadline:
            end = "\n".join(process.log.read_text(errors="replace").splitlines()[-15:])
            raise SartmError(
                f"timed out after {START_TIMEOUT_S:.0f} s waiting for {what}. The end of {process.name}'s log:\n{end}"
            )
        _spin_for(node, 0.2)


def _spin_for(node: Node, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        rclpy.spin_once(node, timeout_sec=left)
