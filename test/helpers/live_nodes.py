"""A robot in the test's process and nodes of ours beside it: fixtures for tests that speak DDS."""

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
from preloaded import PreloadedProcess
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import String

from sartm_core.rig import Rig, load_rig
from sartm_ros.decoding.images import image_fields, set_stamp
from sartm_ros.node.middleware import private_environment
from sartm_sim.record import record
from sartm_sim.simulation import SimulatedFrame
from sartm_sim.simulation.scenario import load_scenario

MASKS = "/perception/mask"
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


DRIVE = """
name: drive
phases:
  - {name: day, seconds: 1.5, condition: day}
  - {name: "night, thermal frozen", seconds: 0.8, condition: night, faults: {thermal: frozen}}
  - {name: "night, RGB unplugged", seconds: 1.6, condition: night, unplugged: [rgb]}
"""


@pytest.fixture(scope="session")
def drive(made_once: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of five sensors, 20 instants at 5 Hz, with truth and phases; RGB is unplugged in the last eight."""
    file = tmp_path_factory.mktemp("scenario") / "scenario.yaml"
    file.write_text(DRIVE)
    scenario = load_scenario(str(file))
    return made_once("drive", lambda out: record(load_rig("simrobot"), scenario, 7, 5.0, out, lambda seconds: None))


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
        self.send(topic, message)

    def send(self, topic: str, message: Any, qos: Any = 10) -> None:
        """Publishes any message; before the first of a topic it waits for a subscriber."""
        if topic not in self._publishers:
            self._publishers[topic] = self.node.create_publisher(type(message), topic, qos)
            self.until(lambda: self._publishers[topic].get_subscription_count() > 0, 10)
        self._publishers[topic].publish(message)

    def listeners(self, topic: str) -> int:
        return self._publishers[topic].get_subscription_count()

    def call(self, kind: Any, service: str, request: Any) -> Any:
        client = self.node.create_client(kind, service)
        assert self.until(client.service_is_ready, 90), f"no service {service}"
        future = client.call_async(request)
        assert self.until(future.done, 90), f"no answer from {service}"  # configuring loads a model, on a busy machine
        return future.result()

    def set_parameter(self, name: str, value: Any) -> Any:
        """Asks /perception to change a parameter; the answer has `successful` and `reason`."""
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        return self.call(SetParameters, "/perception/set_parameters", request).results[0]

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

    def told(self, name: str) -> set[str]:
        """What /diagnostics has said of one status so far."""
        return {
            status.message for message in self.heard["/diagnostics"] for status in message.status if status.name == name
        }

    def diagnostics(self) -> dict[str, dict[str, str]]:
        """Status name -> key -> value, the newest of each."""
        result = {}
        for message in self.heard["/diagnostics"]:
            for status in message.status:
                result[status.name] = {pair.key: pair.value for pair in status.values}
        return result


@pytest.fixture(scope="session")
def middleware() -> dict[str, str]:
    """A ROS domain of this process's own, apart from those of other pytest-xdist workers that have none yet."""
    environment, _ = private_environment(participants=3)
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    environment["ROS_DOMAIN_ID"] = str(1 + (int(environment["ROS_DOMAIN_ID"]) // 4 * 4 + worker) % 100)
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

    def __init__(self, popen: subprocess.Popen | PreloadedProcess, log: Path) -> None:
        self.popen, self.log_file = popen, log

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def interrupt(self) -> int:
        self.popen.send_signal(signal.SIGINT)
        return self.popen.wait(timeout=15)


@pytest.fixture
def start(middleware: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """`start("sartm_ros.node", rig="rgbt")` or `start("sartm_ros.cli", "bag", "play", bag)`.

    The shipped bundle serves the rig `sim`, unless another is given. `own_interpreter`: not a fork of a preloaded one.
    """
    running: list[NodeProcess] = []

    def begin(module: str, *arguments: str, own_interpreter: bool = False, **parameters: Any) -> NodeProcess:
        if module == "sartm_ros.node" and "bundle" not in parameters:
            parameters = {"rig": "sim"} | parameters
        ros = [part for key, value in parameters.items() for part in ("-p", f"{key}:={value}")]
        log = tmp_path / f"{module}.{len(running)}.log"
        command = [module, *arguments, *(["--ros-args", *ros] if ros else [])]
        if own_interpreter:
            with log.open("wb") as stream:
                popen = subprocess.Popen(
                    [sys.executable, "-m", *command], env=middleware, stdout=stream, stderr=subprocess.STDOUT
                )
        else:
            log.touch()
            popen = PreloadedProcess(command, middleware, log)
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


@pytest.fixture
def node(host: Host, start: Callable[..., NodeProcess]) -> NodeProcess:
    """The perception node with the shipped bundle, active."""
    process = start("sartm_ros.node", silence_warning_s=1.0)
    assert host.until(lambda: host.heard["/perception/labels"] != [], 40), process.log()
    return process


@pytest.fixture
def feed(host: Host, sim_rig: Rig, day_frame: SimulatedFrame) -> Callable[..., list[int]]:
    """Publishes frames at 10 Hz; returns their stamps."""
    encodings = {"rgb": "rgb8", "thermal": "mono16", "depth": "16UC1"}

    def publish(count: int, *names: str, shift_ns: dict[str, int] | None = None, **broken: dict) -> list[int]:
        """`shift_ns`: added to the stamps of a modality; `broken`: fields of its messages that shall be wrong."""
        stamps = []
        for _ in range(count):
            stamps.append(host.now())
            for name in names:
                topic, array = sim_rig.modality(name).topic, day_frame.raw[name]
                stamp = stamps[-1] + (shift_ns or {}).get(name, 0)
                host.publish(topic, array, encodings[name], stamp, broken.get(name, {}))
            host.spin(0.1)
        return stamps

    return publish
