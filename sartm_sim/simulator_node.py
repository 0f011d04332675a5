"""The simulated rig as a ROS 2 node: publishes its sensors' topics, CameraInfo, the truth and the running phase."""

import heapq
import threading
import time
from collections import Counter
from itertools import count
from typing import Any

from numpy.typing import NDArray
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

from sartm_core.errors import SartmError
from sartm_core.rig import Modality, load_rig
from sartm_ros.decoding.images import header, image_message
from sartm_ros.decoding.message_types import live_message, message_class
from sartm_ros.node.process import catch_signals, ros_process
from sartm_sim.messages import (
    PHASE_TOPIC,
    TF_STATIC_TOPIC,
    TRUTH_TOPIC,
    camera_info,
    frame_id,
    phase_text,
    sensor_messages,
    static_transforms,
)
from sartm_sim.simulation import SimulatedRig
from sartm_sim.simulation.clocks import stamp_and_arrival
from sartm_sim.simulation.geometry import CAMERA_HEIGHT_M
from sartm_sim.simulation.scenario import load_scenario

WAIT_FOR_SUBSCRIBERS_S = 20.0
SETTLE_S = 0.5
"""A publisher discovers its subscribers a moment before they discover it."""
DELIVERY_S = 0.002
"""How precisely messages arrive."""

_SENSOR_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
_PACKETS_QOS = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
"""All packets since the last instant are published at once."""
_LATCHED_QOS = QoSProfile(
    depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)


class SimulatorNode(Node):
    """Publishes one scenario; `finished` is set at its end.

    Parameters: rig, scenario (names or paths), seed, rate_hz, wait_for_subscribers (how many the reference topic needs
    before the drive begins), loop, float_depth (32FC1 metres instead of 16UC1 millimetres), shared_clock (all sensors
    have one stamp and no delay; by default see `simulation.clocks`).
    """

    def __init__(self) -> None:
        super().__init__("simulator")
        self.declare_parameter("rig", "sim")
        self.declare_parameter("scenario", "demo")
        self.declare_parameter("seed", 7)
        self.declare_parameter("rate_hz", 8.0, ParameterDescriptor(dynamic_typing=True))  # 8 is as valid as 8.0
        self.declare_parameter("wait_for_subscribers", 0)
        self.declare_parameter("loop", False)
        self.declare_parameter("float_depth", False)
        self.declare_parameter("shared_clock", False)
        rig = load_rig(self._parameter("rig"))
        self._scenario = load_scenario(self._parameter("scenario"))
        self._simulated = SimulatedRig(rig, self._parameter("seed"), float_depth=self._parameter("float_depth"))
        self._rate_hz = self._parameter("rate_hz")
        if type(self._rate_hz) not in (int, float) or self._rate_hz <= 0:
            raise SartmError(f"parameter 'rate_hz': expected a number greater than 0, got {self._rate_hz}.")
        self._scenario.check_fits(rig)
        self._sensors = {}
        for modality in rig.modalities:
            kind = message_class(modality.message)
            if kind is None:
                self.get_logger().warning(
                    f"'{modality.name}' is not published: {modality.message.split('/')[0]} is not installed"
                )
                continue
            qos = _PACKETS_QOS if modality.delivers_packets else _SENSOR_QOS
            self._sensors[modality.name] = self.create_publisher(kind, modality.topic, qos)
        self._infos = {
            m.name: self.create_publisher(CameraInfo, m.camera_info, _SENSOR_QOS)
            for m in rig.modalities
            if m.camera_info is not None
        }
        self._truth = self.create_publisher(Image, TRUTH_TOPIC, _SENSOR_QOS)
        self._phase = self.create_publisher(String, PHASE_TOPIC, _LATCHED_QOS)
        self._reference = rig.reference
        self._publish_transforms()
        self._frame = 0
        self._sent: Counter[str] = Counter()
        self._on_their_way: list[tuple[int, int, Publisher[Any], Any]] = []  # arrival, a number, publisher, message
        self._numbers = count()
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._delivery = threading.Thread(target=self._deliver, name="delivery", daemon=True)
        self._phase_index: int | None = None
        self.finished = False

    def wait_for_subscribers(self, interrupted: threading.Event) -> None:
        """Waits for the number of subscribers in the parameter; continues, with a warning, after 20 s."""
        wanted, deadline = self._parameter("wait_for_subscribers"), time.monotonic() + WAIT_FOR_SUBSCRIBERS_S
        while (listening := self._sensors[self._reference].get_subscription_count()) < wanted:
            if time.monotonic() > deadline:
                self.get_logger().warning(f"expected {wanted} subscribers, found {listening}: starting anyway")
                return
            if interrupted.wait(0.05):
                return
        interrupted.wait(SETTLE_S if wanted else 0)

    def start(self) -> None:
        """Begins the drive."""
        self._timer = self.create_timer(1 / self._rate_hz, self._step)
        self._delivery.start()

    def stop(self) -> None:
        """Delivers no more."""
        self._stopped.set()
        if self._delivery.is_alive():
            self._delivery.join()

    def _parameter(self, name: str) -> Any:
        return self.get_parameter(name).value

    def _step(self) -> None:
        time_s = self._frame / self._rate_hz
        phase_time_s = time_s % self._scenario.seconds if self._parameter("loop") else time_s
        index = self._scenario.index_at(phase_time_s)
        if index is None:
            self.finished = not self._on_their_way
            return
        phase = self._scenario.phases[index]
        broken = self._scenario.broken_at(phase_time_s)
        frame = self._simulated.capture(time_s, phase.weather, broken, events_since_s=time_s - 1 / self._rate_hz)
        stamp = self.get_clock().now().nanoseconds  # a camera delivers at the end of the exposure
        if index != self._phase_index:
            self._phase_index = index
            self._phase.publish(String(data=phase_text(phase, stamp)))
            self.get_logger().info(phase.name)
        rig = self._simulated.rig
        reference = header(live_message, stamp, frame_id(rig, rig.reference))
        self._truth.publish(image_message(live_message, frame.truth, "mono8", reference))
        for modality in rig.modalities:
            if modality.name not in phase.unplugged and modality.name in self._sensors:
                self._send(modality, frame.raw[modality.name], stamp, stamp - round(time_s * 1e9))
        self._frame += 1

    def _send(self, modality: Modality, raw: NDArray[Any], instant: int, drive_start_ns: int) -> None:
        rig, name = self._simulated.rig, modality.name
        stamp, arrival = stamp_and_arrival(rig, name, instant, self._simulated.seed, self._parameter("shared_clock"))
        messages = sensor_messages(live_message, rig, modality, raw, stamp, drive_start_ns, self._sent[name])
        self._sent[name] += len(messages)
        outgoing = [(self._sensors[name], message) for _, message in messages]
        if name in self._infos:
            stamped = header(live_message, stamp, frame_id(rig, name))
            info = camera_info(live_message, self._simulated.intrinsics(name), modality.size, stamped)
            outgoing.insert(0, (self._infos[name], info))
        with self._lock:
            for publisher, message in outgoing:
                heapq.heappush(self._on_their_way, (arrival, next(self._numbers), publisher, message))

    def _deliver(self) -> None:
        """Publishes what has arrived, in a thread of its own: what is rendered next must not hold it up."""
        while not self._stopped.wait(DELIVERY_S):
            now = self.get_clock().now().nanoseconds
            while (arrived := self._arrived(now)) is not None:
                publisher, message = arrived
                publisher.publish(message)

    def _arrived(self, now_ns: int) -> tuple[Publisher[Any], Any] | None:
        with self._lock:
            if not self._on_their_way or self._on_their_way[0][0] > now_ns:
                return None
            _, _, publisher, message = heapq.heappop(self._on_their_way)
            return publisher, message

    def _publish_transforms(self) -> None:
        kind = message_class("tf2_msgs/msg/TFMessage")
        if kind is None:
            self.get_logger().info("no /tf_static: tf2_msgs is not installed")
            return
        self._transforms = self.create_publisher(kind, TF_STATIC_TOPIC, _LATCHED_QOS)
        now = self.get_clock().now().nanoseconds
        self._transforms.publish(static_transforms(live_message, self._simulated.rig, CAMERA_HEIGHT_M, now))


def main(arguments: list[str] | None = None) -> None:
    """Entry point: drives the scenario once (or in a loop), then exits."""
    with ros_process("simulator", arguments):
        node = SimulatorNode()
        interrupted = catch_signals()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        node.wait_for_subscribers(interrupted)
        node.start()
        while not (interrupted.is_set() or node.finished):
            executor.spin_once(timeout_sec=0.1)
        node.stop()
        interrupted.wait(0.5)  # reliable messages that are still in flight


if __name__ == "__main__":
    main()
