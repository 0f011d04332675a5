import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import String

from sartm_ros.messages import image_fields, set_stamp
from sartm_ros.middleware import private_environment

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Host:
    """A robot in the test's process: publishes sensors, hears what the node says."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("host")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.heard: dict[str, list[Any]] = {}
        self._publishers: dict[str, Any] = {}
        for topic, kind in (
            ("/perception/mask", Image),
            ("/perception/confidence", Image),
            ("/perception/overlay", Image),
            ("/perception/routing_weights", DiagnosticArray),
            ("/diagnostics", DiagnosticArray),
        ):
            self.listen(topic, kind, 50)
        self.listen("/perception/labels", String, LATCHED)

    def listen(self, topic: str, kind: Any, qos: Any) -> None:
        self.heard[topic] = []
        self.node.create_subscription(kind, topic, self.heard[topic].append, qos)

    def publish(self, topic: str, array: Any, encoding: str, stamp: int, changes: dict[str, Any] | None = None) -> None:
        """`changes`: fields of the message that shall be wrong."""
        message = Image(**image_fields(array, encoding) | (changes or {}))
        message.header.frame_id = "camera_optical"
        set_stamp(message, stamp)
        if topic not in self._publishers:
            self._publishers[topic] = self.node.create_publisher(Image, topic, 10)
            self.until(lambda: self._publishers[topic].get_subscription_count() > 0, 10)
        self._publishers[topic].publish(message)

    def now(self) -> int:
        return int(self.node.get_clock().now().nanoseconds)

    def spin(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.02)

    def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            self.executor.spin_once(timeout_sec=0.02)
        return True

    def routing(self, index: int = -1) -> dict[str, str]:
        """Key -> value of the finest level of one routing message."""
        return {pair.key: pair.value for pair in self.heard["/perception/routing_weights"][index].status[0].values}

    def diagnostics(self) -> dict[str, dict[str, str]]:
        """Status name -> key -> value, the newest of each."""
        result = {}
        for message in self.heard["/diagnostics"]:
            for status in message.status:
                result[status.name] = {pair.key: pair.value for pair in status.values}
        return result


@pytest.fixture(scope="session")
def middleware() -> dict[str, str]:
    """A ROS domain of this test run's own."""
    environment, _ = private_environment(participants=3)
    os.environ.update(environment)
    return environment


@pytest.fixture
def host(middleware: dict[str, str]) -> Iterator[Host]:
    rclpy.init()
    result = Host()
    yield result
    result.node.destroy_node()
    rclpy.try_shutdown()


class NodeProcess:
    """A node of ours in a process of its own."""

    def __init__(self, popen: subprocess.Popen, log: Path) -> None:
        self.popen, self.log_file = popen, log

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def interrupt(self) -> int:
        self.popen.send_signal(signal.SIGINT)
        return self.popen.wait(timeout=15)


@pytest.fixture
def start(middleware: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """`start("sartm_ros.node", rig="rgbt")` or `start("sartm_ros.cli", "bag", "play", bag)`."""
    running: list[NodeProcess] = []

    def begin(module: str, *arguments: str, **parameters: Any) -> NodeProcess:
        ros = [part for key, value in parameters.items() for part in ("-p", f"{key}:={value}")]
        log = tmp_path / f"{module}.{len(running)}.log"
        with log.open("wb") as stream:
            popen = subprocess.Popen(
                [sys.executable, "-m", module, *arguments, *(["--ros-args", *ros] if ros else [])],
                env=middleware,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        running.append(NodeProcess(popen, log))
        return running[-1]

    yield begin
    for process in running:
        if process.popen.poll() is None:
            process.popen.terminate()  # in order: a killed node leaves its shared-memory segments behind
    for process in running:
        try:
            process.popen.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.popen.kill()
            process.popen.wait()
