"""The simulated rig as a ROS 2 node: publishes its sensors' topics, CameraInfo, the truth and the running phase."""

import json
import threading
import time
from typing import Any

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

from sartm_core.errors import SartmError
from sartm_core.rig import load_rig
from sartm_core.simulation import SimulatedRig
from sartm_core.simulation.scenario import load_scenario
from sartm_ros.messages import image_fields, set_stamp
from sartm_ros.process import catch_signals, ros_process

FRAME_ID = "sim_rgb_optical"
TRUTH_TOPIC, PHASE_TOPIC = "/sim/truth", "/sim/phase"
ENCODINGS = {"rgb": "rgb8", "thermal": "mono16", "depth": "16UC1"}
WAIT_FOR_SUBSCRIBERS_S = 20.0
SETTLE_S = 0.5
"""A publisher knows its subscribers a moment before they know it."""

_SENSOR_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
_PHASE_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class SimulatorNode(Node):
    """Publishes one scenario; `finished` tells when it is over.

    Parameters: rig, scenario (names or paths), seed, rate_hz, wait_for_subscribers (how many the reference topic needs
    before the drive begins), loop.
    """

    def __init__(self) -> None:
        super().__init__("simulator")
        self.declare_parameter("rig", "sim")
        self.declare_parameter("scenario", "demo")
        self.declare_parameter("seed", 7)
        self.declare_parameter("rate_hz", 8.0)
        self.declare_parameter("wait_for_subscribers", 0)
        self.declare_parameter("loop", False)
        rig = load_rig(self._parameter("rig"))
        self._scenario = load_scenario(self._parameter("scenario"))
        self._simulated = SimulatedRig(rig, self._parameter("seed"))
        self._rate_hz = self._parameter("rate_hz")
        if self._rate_hz <= 0:
            raise SartmError(f"parameter 'rate_hz': expected more than 0, got {self._rate_hz}.")
        for phase in self._scenario.phases:
            for name in phase.unplugged:
                rig.modality(name)
        self._images = {m.name: self.create_publisher(Image, m.topic, _SENSOR_QOS) for m in rig.modalities}
        self._infos = {
            m.name: self.create_publisher(CameraInfo, m.camera_info, _SENSOR_QOS)
            for m in rig.modalities
            if m.camera_info is not None
        }
        self._truth = self.create_publisher(Image, TRUTH_TOPIC, _SENSOR_QOS)
        self._phase = self.create_publisher(String, PHASE_TOPIC, _PHASE_QOS)
        self._reference = rig.reference
        self._frame = 0
        self._phase_index: int | None = None
        self.finished = False

    def wait_for_subscribers(self, interrupted: threading.Event) -> None:
        """Until as many listen as the parameter asks for; gives up, with a warning, after 20 s."""
        wanted, deadline = self._parameter("wait_for_subscribers"), time.monotonic() + WAIT_FOR_SUBSCRIBERS_S
        while (listening := self._images[self._reference].get_subscription_count()) < wanted:
            if time.monotonic() > deadline:
                self.get_logger().warning(f"expected {wanted} subscribers, found {listening}: driving all the same")
                return
            if interrupted.wait(0.05):
                return
        interrupted.wait(SETTLE_S if wanted else 0)

    def start(self) -> None:
        """Begins the drive."""
        self._timer = self.create_timer(1 / self._rate_hz, self._step)

    def _parameter(self, name: str) -> Any:
        return self.get_parameter(name).value

    def _step(self) -> None:
        time_s = self._frame / self._rate_hz
        phase_time_s = time_s % self._scenario.seconds if self._parameter("loop") else time_s
        index = self._scenario.index_at(phase_time_s)
        if index is None:
            self.finished = True
            self._timer.cancel()
            return
        phase = self._scenario.phases[index]
        frame = self._simulated.capture(time_s, phase.weather)
        stamp = self.get_clock().now().nanoseconds  # a camera delivers when the exposure has ended
        if index != self._phase_index:
            self._phase_index = index
            text = {"start_ns": stamp, **phase.model_dump(mode="json", include={"name", "condition", "unplugged"})}
            self._phase.publish(String(data=json.dumps(text)))
            self.get_logger().info(phase.name)
        self._publish_image(self._truth, frame.truth, "mono8", stamp)
        for modality in self._simulated.rig.modalities:
            if modality.name not in phase.unplugged:
                self._publish_camera_info(modality.name, stamp)
                self._publish_image(
                    self._images[modality.name], frame.raw[modality.name], ENCODINGS[modality.kind], stamp
                )
        self._frame += 1

    def _publish_image(self, publisher: Publisher[Image], array: Any, encoding: str, stamp: int) -> None:
        message = Image(**image_fields(array, encoding))
        message.header.frame_id = FRAME_ID
        set_stamp(message, stamp)
        publisher.publish(message)

    def _publish_camera_info(self, name: str, stamp: int) -> None:
        if name not in self._infos:
            return
        k = self._simulated.intrinsics
        message = CameraInfo(distortion_model="plumb_bob", d=[0.0] * 5, k=k.ravel(), r=[1.0, 0, 0, 0, 1, 0, 0, 0, 1])
        message.height, message.width = self._simulated.size
        message.p = [*k[0], 0.0, *k[1], 0.0, *k[2], 0.0]
        message.header.frame_id = FRAME_ID
        set_stamp(message, stamp)
        self._infos[name].publish(message)


def main(arguments: list[str] | None = None) -> None:
    """Entry point: drives the scenario once (or in a loop), then ends."""
    with ros_process("simulator", arguments):
        node = SimulatorNode()
        interrupted = catch_signals()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        node.wait_for_subscribers(interrupted)
        node.start()
        while not (interrupted.is_set() or node.finished):
            executor.spin_once(timeout_sec=0.1)
        interrupted.wait(0.5)  # reliable messages that are still under way


if __name__ == "__main__":
    main()
