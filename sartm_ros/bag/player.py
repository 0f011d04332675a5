"""`sartm bag play`: publishes a recording through rclpy, in recorded order and at the recorded pace."""

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock

from sartm_core.errors import SartmError
from sartm_ros.bag.reader import Bag, Recorded, open_bag
from sartm_ros.decoding.message_types import message_class
from sartm_ros.node.middleware import shared_memory

WAIT_FOR_SUBSCRIBERS_S = 10.0
SETTLE_S = 0.5
"""A publisher discovers its subscribers before they discover it; a best-effort one would miss the first message."""

_RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
_LATCHED = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def play(
    path: Path, rate: float, clock: bool, wait_for_subscribers: int | None, loop: bool, warn: Callable[[str], None]
) -> int:
    """Publishes every message of a bag under its recorded topic.

    Args:
        path: a rosbag2 folder.
        rate: 2.0 plays twice as fast.
        clock: also publish /clock, for nodes that run with use_sim_time.
        wait_for_subscribers: begin when this many topics have subscribers, by default all, or after 10 s.
        loop: start again at the end, until interrupted; stamps and /clock jump back then.
        warn: called with a line for each topic left out because its type is not installed, and when it waits.

    Returns:
        Number of messages.

    Raises:
        SartmError: not a bag, or none of its message types is installed.
    """
    with open_bag(path) as bag:
        for loss in bag.losses:
            warn(loss)
        kinds = _installed(bag, warn)
        os.environ.update(shared_memory(os.environ, participants=1))
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        node = rclpy.create_node("bag_player")
        count = 0
        try:
            publishers = {
                topic: node.create_publisher(kind, topic, _LATCHED if bag.topics[topic].latched else _RELIABLE)
                for topic, kind in kinds.items()
            }
            clock_publisher = node.create_publisher(Clock, "/clock", _RELIABLE) if clock else None
            _wait(publishers, len(publishers) if wait_for_subscribers is None else wait_for_subscribers, warn)
            passes = itertools.repeat(bag) if loop else [bag]
            for recorded in itertools.chain.from_iterable(_paced(one.messages(kinds), rate) for one in passes):
                if clock_publisher is not None:
                    message = Clock()
                    message.clock.sec, message.clock.nanosec = divmod(recorded.time_ns, 1_000_000_000)
                    clock_publisher.publish(message)
                publishers[recorded.topic].publish(recorded.data)
                count += 1
            time.sleep(0.5)  # reliable messages that are still in flight
        except KeyboardInterrupt:
            pass  # how a loop normally ends
        finally:
            node.destroy_node()
            rclpy.try_shutdown()
    return count


def _paced(messages: Iterable[Recorded], rate: float) -> Iterator[Recorded]:
    """The messages, each at its recorded distance from the first."""
    started, first_ns = time.monotonic(), None
    for recorded in messages:
        first_ns = recorded.time_ns if first_ns is None else first_ns
        delay = (recorded.time_ns - first_ns) / 1e9 / rate - (time.monotonic() - started)
        if delay > 0:
            time.sleep(delay)
        yield recorded


def _installed(bag: Bag, warn: Callable[[str], None]) -> dict[str, Any]:
    """Topic -> message class, of those that are installed."""
    kinds = {}
    for topic, found in bag.topics.items():
        kind = message_class(found.message_type)
        if kind is None:
            package = found.message_type.split("/")[0]
            warn(f"{topic} is left out: {found.message_type} is not installed (ROS package {package}).")
        else:
            kinds[topic] = kind
    if not kinds:
        raise SartmError(f"{bag.path}: none of its message types is installed.")
    return kinds


def _wait(publishers: dict[str, Any], wanted: int, warn: Callable[[str], None]) -> None:
    started, warned = time.monotonic(), False
    while (
        len(silent := [t for t, p in publishers.items() if not p.get_subscription_count()]) > len(publishers) - wanted
    ):
        waited_s = time.monotonic() - started
        if waited_s > WAIT_FOR_SUBSCRIBERS_S:
            return
        if waited_s > 1.0 and not warned:
            warned = True
            warn(f"waiting up to {WAIT_FOR_SUBSCRIBERS_S:.0f} s for subscribers to {', '.join(silent)}")
        time.sleep(0.05)
    if wanted:
        time.sleep(SETTLE_S)
