"""Overhead of the node without the network: two 640x480 streams at 30 Hz, a segmenter that returns at once.

Compared in the same run with a bare rclpy node that receives the same images and publishes one of the mask's size as
soon as both have arrived. `python bench/node.py`; `--seconds`, `--memory-frames` for longer runs.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import Image

from sartm_core.deploy.bundle import read_bundle
from sartm_core.resources import resolve_bundle
from sartm_core.rig import load_rig
from sartm_core.segmentation import Segmentation
from sartm_ros.decoding.images import image_fields, set_stamp, stamp_ns
from sartm_ros.node.lifecycle import PerceptionNode, run
from sartm_ros.node.middleware import private_environment
from sartm_ros.node.process import catch_signals, ros_process

RIG, RATE_HZ = "rgbt", 30.0
HEIGHT, WIDTH = 480, 640
MASK = "/perception/mask"
SENSOR_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


class InstantSegmenter:
    """Returns a constant segmentation immediately."""

    def __init__(self) -> None:
        self.bundle = read_bundle(resolve_bundle("any_sensor_simrig5"))
        self.backend = "none"
        routing = np.full((3, len(self.bundle.rig.names)), 1 / len(self.bundle.rig.names), np.float32)
        confidence = np.zeros((HEIGHT, WIDTH), np.float32)
        self.answer = Segmentation(np.zeros((HEIGHT, WIDTH), np.uint8), confidence, routing)

    def segment(self, planes: dict[str, Any], size: tuple[int, int] | None = None) -> Segmentation:
        return self.answer


def serve() -> None:
    """Runs the real node with the instant segmenter."""
    arguments = ["node", "--ros-args", "-p", f"rig:={RIG}"]
    with ros_process("perception", arguments):
        run(PerceptionNode(load=lambda *_, **__: InstantSegmenter()))


def echo() -> None:
    """Runs the bare loopback node."""
    with ros_process("echo", ["echo"]):
        node = rclpy.create_node("echo")
        publisher = node.create_publisher(Image, MASK, 1)
        mask = image_fields(np.zeros((HEIGHT, WIDTH), np.uint8), "mono8")
        arrived: dict[int, int] = {}

        def take(message: Image) -> None:
            stamp = stamp_ns(message)
            arrived[stamp] = arrived.get(stamp, 0) + 1
            if arrived[stamp] == 2:
                answer = Image(**mask)
                set_stamp(answer, stamp)
                publisher.publish(answer)
                arrived.clear()

        for modality in load_rig(RIG).modalities:
            node.create_subscription(Image, modality.topic, take, SENSOR_QOS)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        interrupted = catch_signals()
        while not interrupted.is_set():
            executor.spin_once(timeout_sec=0.1)


class Robot:
    """Publishes both cameras and receives the masks, in this process."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("robot")
        rng = np.random.default_rng(0)
        images = {"rgb": (rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), "rgb8"),
                  "thermal": (rng.integers(2**13, 2**14, (HEIGHT, WIDTH), np.uint16), "mono16")}  # fmt: skip
        self.messages = {name: Image(**image_fields(*image)) for name, image in images.items()}
        rig = load_rig(RIG)
        self.publishers = {
            name: self.node.create_publisher(Image, rig.modality(name).topic, 5) for name in self.messages
        }
        self.latencies_ms: dict[int, float] = {}
        self.node.create_subscription(Image, MASK, self._mask, 50)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)

    def _mask(self, message: Image) -> None:
        stamp = stamp_ns(message)
        self.latencies_ms[stamp] = (self.now_ns() - stamp) / 1e6

    def now_ns(self) -> int:
        return int(self.node.get_clock().now().nanoseconds)

    def wait_for_listeners(self) -> None:
        deadline = time.monotonic() + 60
        while any(publisher.get_subscription_count() == 0 for publisher in self.publishers.values()):
            if time.monotonic() > deadline:
                raise SystemExit("the other process does not subscribe")
            self.spin_until(time.monotonic() + 0.1)
        self.spin_until(time.monotonic() + 1.0)

    def spin_until(self, deadline: float) -> None:
        while (left := deadline - time.monotonic()) > 0:
            self.executor.spin_once(timeout_sec=left)

    def drive(self, frames: int, rate_hz: float, names: tuple[str, ...] = ("rgb", "thermal")) -> list[int]:
        """Publishes; returns the stamps."""
        started, stamps = time.monotonic(), []
        for frame in range(frames):
            stamp = self.now_ns()
            for name in names:
                set_stamp(self.messages[name], stamp)
                self.publishers[name].publish(self.messages[name])
            stamps.append(stamp)
            self.spin_until(started + (frame + 1) / rate_hz)
        return stamps


@contextlib.contextmanager
def process(role: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Runs this script in another process, in one of its roles."""
    popen = subprocess.Popen([sys.executable, __file__, role], env=environment)
    try:
        yield popen
    finally:
        popen.terminate()
        popen.wait(timeout=20)


def resident_mb(pid: int) -> float:
    """Resident memory of a process, MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def measure(robot: Robot, seconds: float) -> dict[str, float]:
    """Latency and losses after a one-second warm-up."""
    robot.wait_for_listeners()
    robot.drive(round(RATE_HZ), RATE_HZ)
    stamps = robot.drive(round(seconds * RATE_HZ), RATE_HZ)
    robot.spin_until(time.monotonic() + 1.0)
    latencies = [robot.latencies_ms[stamp] for stamp in stamps if stamp in robot.latencies_ms]
    p50, p95 = np.percentile(latencies, [50, 95])
    return {"p50": float(p50), "p95": float(p95), "lost": len(stamps) - len(latencies), "sent": len(stamps)}


def pull_the_cable(robot: Robot) -> float:
    """Seconds from the last RGB image to the arrival of the first mask without RGB."""
    last_rgb = robot.drive(30, RATE_HZ)[-1]
    without = robot.drive(45, RATE_HZ, ("thermal",))
    robot.spin_until(time.monotonic() + 0.5)
    first = min(stamp + robot.latencies_ms[stamp] * 1e6 for stamp in without if stamp in robot.latencies_ms)
    return (first - last_rgb) / 1e9


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", nargs="?", choices=["serve", "echo"], help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--memory-frames", type=int, default=1000)
    options = parser.parse_args()
    if options.role is not None:
        return {"serve": serve, "echo": echo}[options.role]()
    environment, _ = private_environment(participants=3)
    os.environ.update(environment)
    rclpy.init()
    robot = Robot()
    with process("echo", environment):
        bare = measure(robot, options.seconds)
    with process("serve", environment) as popen:
        node = measure(robot, options.seconds)
        pulled_s = pull_the_cable(robot)
        robot.drive(options.memory_frames // 5, 60.0)
        before = resident_mb(popen.pid)
        robot.drive(options.memory_frames, 60.0)
        grown = resident_mb(popen.pid) - before
    table = Table(title=f"two {WIDTH}x{HEIGHT} streams at {RATE_HZ:g} Hz, message to mask between processes, ms")
    for column in ("", "p50", "p95", "lost", "sent"):
        table.add_column(column, justify="right")
    for name, row in (("bare rclpy", bare), ("the node", node)):
        table.add_row(name, f"{row['p50']:.2f}", f"{row['p95']:.2f}", f"{row['lost']:.0f}", f"{row['sent']:.0f}")
    console = Console()
    console.print(table)
    waits = load_rig(RIG).synchronizer
    console.print(f"the node's p50 above the bare one: {node['p50'] - bare['p50']:.2f} ms")
    console.print(
        f"RGB cable pulled to first mask without it: {pulled_s:.3f} s "
        f"(stale_after {waits.stale_after_s:g} s + one frame = {waits.stale_after_s + 1 / RATE_HZ:.3f} s)"
    )
    console.print(f"resident memory over {options.memory_frames} frames at 60 Hz: {grown:+.1f} MB")
    robot.node.destroy_node()
    rclpy.shutdown()
    return None


if __name__ == "__main__":
    main()
