"""`sartm bag play`: publishes a recording through rclpy, in recorded order and at the recorded pace."""

import importlib
import time
from pathlib import Path
from typing import Any

import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.highlevel import AnyReader, AnyReaderError
from rosgraph_msgs.msg import Clock

from sartm_core.errors import SartmError
from sartm_ros.bag import TYPESTORE

WAIT_FOR_SUBSCRIBERS_S = 10.0


def play(path: Path, rate: float, clock: bool, wait_for_subscribers: int) -> int:
    """Publishes every message of a bag under its recorded topic.

    Args:
        path: a rosbag2 folder.
        rate: 2.0 plays twice as fast.
        clock: also publish /clock, for nodes that run with use_sim_time.
        wait_for_subscribers: begin when this many topics are listened to, or after 10 s.

    Returns:
        Number of messages.

    Raises:
        SartmError: no bag, or a message type that is not installed.
    """
    try:
        reader = AnyReader([path], default_typestore=TYPESTORE)
        reader.open()
    except AnyReaderError as error:
        raise SartmError(
            f"{path}: cannot be read as a bag: {error}. Give the folder that holds metadata.yaml."
        ) from error
    rclpy.init()
    node = rclpy.create_node("bag_player")
    try:
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        latched = QoSProfile(
            depth=10, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
        publishers = {
            connection.topic: node.create_publisher(
                _message_class(connection.msgtype), connection.topic, latched if _latched(connection) else qos
            )
            for connection in reader.connections
        }
        clock_publisher = node.create_publisher(Clock, "/clock", qos) if clock else None
        _wait(publishers, wait_for_subscribers)
        started, first_ns, count = time.monotonic(), None, 0
        for connection, time_ns, serialized in reader.messages():
            first_ns = time_ns if first_ns is None else first_ns
            delay = (time_ns - first_ns) / 1e9 / rate - (time.monotonic() - started)
            if delay > 0:
                time.sleep(delay)
            if clock_publisher is not None:
                message = Clock()
                message.clock.sec, message.clock.nanosec = divmod(time_ns, 1_000_000_000)
                clock_publisher.publish(message)
            publishers[connection.topic].publish(bytes(serialized))
            count += 1
        time.sleep(0.5)  # reliable messages that are still under way
        return count
    finally:
        reader.close()
        node.destroy_node()
        rclpy.try_shutdown()


def _message_class(name: str) -> Any:
    package, _, kind = name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), kind)
    except (ImportError, AttributeError):
        raise SartmError(f"message type {name} is not installed: install the ROS package {package}.") from None


def _latched(connection: Any) -> bool:
    profiles = connection.ext.offered_qos_profiles
    return bool(profiles) and profiles[0].durability.name == "TRANSIENT_LOCAL"


def _wait(publishers: dict[str, Any], wanted: int) -> None:
    deadline = time.monotonic() + WAIT_FOR_SUBSCRIBERS_S
    while sum(publisher.get_subscription_count() > 0 for publisher in publishers.values()) < wanted:
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)
