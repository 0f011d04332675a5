"""An event camera at full pace beside RGB at 30 Hz: in how many sets are its events, and are they all there?

The node, with a segmenter that returns at once, is bound to one core; the sensors are on another. Packets hold 1 ms of
events of a 1280x720 sensor. `requirements/messages.sh .venv` builds event_camera_msgs; PYTHONPATH=.venv/messages.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rclpy
import yaml
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import Image

from sartm_core.deploy.bundle import read_bundle
from sartm_core.resources import resolve_bundle
from sartm_core.segmentation import Segmentation
from sartm_core.sensing.events import EVENT
from sartm_core.sensing.evt3 import encode_evt3
from sartm_ros.decoding.images import image_fields, set_stamp
from sartm_ros.decoding.message_types import live_message
from sartm_ros.node.lifecycle import PerceptionNode, run
from sartm_ros.node.middleware import private_environment
from sartm_ros.node.process import ros_process

HEIGHT, WIDTH = 720, 1280
PACKET_S, WINDOW_S, RGB_HZ = 0.001, 0.03, 30.0
EVENT_PACKET = "event_camera_msgs/msg/EventPacket"
RIG = {
    "name": "events",
    "reference": "rgb",
    "modalities": {
        "rgb": {"kind": "rgb", "size": [480, 640], "topic": "/rgb"},
        "event": {"kind": "event", "encoding": "counts", "size": [HEIGHT, WIDTH], "topic": "/events"},
    },
}


class CountingSegmenter:
    """Returns a constant segmentation at once, and notes how many events each set had."""

    def __init__(self) -> None:
        self.bundle = read_bundle(resolve_bundle("any_sensor_simrig5"))
        self.backend = "none"
        routing = np.full((3, len(self.bundle.rig.names)), 1 / len(self.bundle.rig.names), np.float32)
        self.answer = Segmentation(np.zeros((480, 640), np.uint8), np.zeros((480, 640), np.float32), routing)
        self.events: list[float] = []

    def segment(self, planes: dict[str, Any], size: tuple[int, int] | None = None) -> Segmentation:
        self.events.append(float(planes["event"].sum()) if "event" in planes else 0.0)
        return self.answer


def serve(rig: str, report: Path) -> None:
    """Runs the real node on one core; leaves the number of events of each set, and the CPU time used."""
    os.sched_setaffinity(0, {0})
    segmenter = CountingSegmenter()
    with ros_process("perception", ["node", "--ros-args", "-p", f"rig:={rig}", "-p", "max_wait_s:=0.1"]):
        run(PerceptionNode(load=lambda *_, **__: segmenter))
    report.write_text(json.dumps({"events": segmenter.events, "cpu_s": time.process_time()}))


def packets(events_per_second: float, count: int) -> list[Any]:
    """Packets of random events, each of a millisecond."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        events = np.zeros(round(events_per_second * PACKET_S), EVENT)
        events["t"] = np.sort(rng.integers(0, 1000, len(events))) + number * 1000
        events["x"], events["y"] = rng.integers(0, WIDTH, len(events)), rng.integers(0, HEIGHT, len(events))
        events["p"] = rng.integers(0, 2, len(events))
        fields = {"height": HEIGHT, "width": WIDTH, "encoding": "evt3", "events": encode_evt3(events)}
        made.append(live_message(EVENT_PACKET, **fields))
    return made


def send(packets: list[Any], seconds: float) -> tuple[int, float]:
    """Publishes both sensors at their pace; returns how many packets, and how long that took."""
    node = rclpy.create_node("robot")
    to_events = node.create_publisher(type(packets[0]), "/events", 1000)
    to_rgb = node.create_publisher(Image, "/rgb", 5)
    image = Image(**image_fields(np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8), "rgb8"))
    while not to_events.get_subscription_count():
        time.sleep(0.1)
    time.sleep(1.0)
    began = time.monotonic()
    sent = images = 0
    while (passed := time.monotonic() - began) < seconds:
        for _ in range(int(passed / PACKET_S) - sent):
            packet = packets[sent % len(packets)]
            set_stamp(packet, node.get_clock().now().nanoseconds)
            packet.seq = sent
            to_events.publish(packet)
            sent += 1
        if passed * RGB_HZ >= images:
            set_stamp(image, node.get_clock().now().nanoseconds)
            to_rgb.publish(image)
            images += 1
        time.sleep(0.0002)
    time.sleep(0.5)
    node.destroy_node()
    return sent, passed


def measure(events_per_second: float, seconds: float, environment: dict[str, str]) -> list[str]:
    """A row of the table."""
    with TemporaryDirectory() as folder:
        rig, report = Path(folder) / "rig.yaml", Path(folder) / "report.json"
        classes = [
            spec.model_dump(mode="json") for spec in read_bundle(resolve_bundle("any_sensor_simrig5")).rig.classes
        ]
        rig.write_text(yaml.safe_dump({**RIG, "classes": classes}))
        popen = subprocess.Popen([sys.executable, __file__, "serve", str(rig), str(report)], env=environment)
        with contextlib.ExitStack() as stack:
            stack.callback(popen.kill)
            sent, took_s = send(packets(events_per_second, 100), seconds)
            popen.terminate()
            popen.wait(timeout=60)
        found = json.loads(report.read_text())
    counts = np.array(found["events"])[5:]
    whole = events_per_second * WINDOW_S
    with_events = counts > 0
    return [
        f"{events_per_second / 1e6:g}",
        f"{sent / took_s:.0f}",
        f"{100 * with_events.mean():.1f} % of {len(counts)}",
        f"{np.median(counts[with_events]) / whole:.2f}" if with_events.any() else "-",
        f"{len(counts) / took_s:.1f}",
        f"{found['cpu_s'] / took_s:.2f}",
    ]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("serve", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.3, 1, 5, 10], help="million events a second")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve[1], Path(options.serve[2]))
        return
    environment, _ = private_environment(participants=2)
    os.environ.update(environment)
    rclpy.init()
    os.sched_setaffinity(0, set(range(1, os.cpu_count() or 2)))
    table = Table(title=f"{WIDTH}x{HEIGHT}, packets of 1 ms, RGB at {RGB_HZ:g} Hz, the node on one core")
    for column in (
        "million events/s", "packets/s sent", "sets with events", "of the window's events", "sets/s", "cores used",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    for rate in options.rates:
        table.add_row(*measure(rate * 1e6, options.seconds, environment))
    Console().print(table)
    rclpy.shutdown()


if __name__ == "__main__":
    main()
