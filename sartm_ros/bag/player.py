"""`sartm bag play`: publishes a recording through rclpy, in recorded order and at the recorded pace."""

import itertools
import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import rclpy
from rclpy.exceptions import InvalidTopicNameException
from rclpy.signals import SignalHandlerOptions
from rclpy.validate_full_topic_name import validate_full_topic_name
from rosgraph_msgs.msg import Clock

from sartm_core.errors import SartmError
from sartm_ros.bag.played_qos import qos_of
from sartm_ros.bag.reader import Bag, Recorded, open_bag
from sartm_ros.bag.topics import CDR, FoundTopic
from sartm_ros.decoding.message_types import message_class
from sartm_ros.node.middleware import log_folder, shared_memory

WAIT_FOR_SUBSCRIBERS_S = 10.0
SETTLE_S = 0.5
"""A publisher discovers its subscribers before they discover it; a best-effort one would miss the first message."""

LONGEST_PAUSE_S = 3600.0
"""Between two messages; a longer one is a jump of the clock, before NTP set it, and nobody waits for it."""
JUMP_PAUSE_S = 1.0
SET_BACK_S = 1.0
"""A step back by more is a clock set back, or another recording; the pace goes on from there."""
_TYPE = re.compile(r"[A-Za-z]\w*/\w+/[A-Za-z]\w*")


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
        warn: called with a line for each topic left out because its type is not installed, when it waits, and when the
            recording's clock jumps.

    Returns:
        Number of messages.

    Raises:
        SartmError: not a bag, or none of its message types is installed.
    """
    with open_bag(path) as bag:
        for loss in bag.losses:
            warn(loss)
        kinds = _installed(bag, warn)
        os.environ.update(shared_memory(os.environ, participants=1) | log_folder(os.environ))
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        node = rclpy.create_node("bag_player")
        count = 0
        try:
            publishers = {
                topic: node.create_publisher(kind, topic, qos_of(topic, bag.topics[topic]))
                for topic, kind in kinds.items()
            }
            clock_publisher = node.create_publisher(Clock, "/clock", 10) if clock else None
            _wait(publishers, len(publishers) if wait_for_subscribers is None else wait_for_subscribers, warn)
            passes = itertools.repeat(bag) if loop else [bag]
            for recorded in itertools.chain.from_iterable(_played(one, kinds, rate, warn) for one in passes):
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


def _played(bag: Bag, kinds: Collection[str], rate: float, warn: Callable[[str], None]) -> Iterator[Recorded]:
    """The messages in their time; of a topic with several types those of the one that its publisher has."""
    of_type = (m for m in bag.messages(kinds) if m.message_type == bag.topics[m.topic].message_type)
    return paced(of_type, rate, warn)


def paced(messages: Iterable[Recorded], rate: float, warn: Callable[[str], None]) -> Iterator[Recorded]:
    """The messages at their recorded distances; jumps of the clock are told, not waited for."""
    started, due_s, latest_ns = time.monotonic(), 0.0, None
    for recorded in messages:
        step_s = 0.0 if latest_ns is None else (recorded.time_ns - latest_ns) / 1e9
        if step_s > LONGEST_PAUSE_S:
            warn(f"the recording's clock jumps by {_long(step_s)}: it goes on after {JUMP_PAUSE_S:g} s.")
            due_s = max(due_s, time.monotonic() - started) + JUMP_PAUSE_S
        elif step_s < -SET_BACK_S:
            warn(f"the recording's clock jumps back by {_long(-step_s)}: it goes on from there.")
        else:
            due_s += max(step_s, 0.0) / rate
        if latest_ns is None or step_s > 0 or step_s < -SET_BACK_S:
            latest_ns = recorded.time_ns
        delay = due_s - (time.monotonic() - started)
        if delay > 0:
            time.sleep(delay)
        yield recorded


def _long(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 3600 else f"{seconds / 86400:.1f} days"


def _installed(bag: Bag, warn: Callable[[str], None]) -> dict[str, Any]:
    """Topic -> message class, of those that can be played."""
    kinds = {}
    for topic, found in bag.topics.items():
        others = [kind for name, kind in bag.kinds if name == topic and kind != found.message_type]
        reason = _why_not(topic, found)
        if reason:
            warn(f"{topic} is left out: {reason}")
        else:
            kinds[topic] = message_class(found.message_type)
            for kind in others:
                warn(f"{topic}: its messages of {kind} are left out; a publisher has one type.")
    if not kinds:
        raise SartmError(f"{bag.path}: none of its topics can be played.")
    return kinds


def _why_not(topic: str, found: FoundTopic) -> str:
    """Why a topic cannot be published; "" where it can."""
    if found.encoding != CDR:
        return f"its messages are encoded as {found.encoding}, not as ROS 2's CDR."
    if not _TYPE.fullmatch(found.message_type):
        return f"{found.message_type!r} is not a type of ROS 2's messages."
    if message_class(found.message_type) is None:
        return f"{found.message_type} is not installed (ROS package {found.message_type.split('/')[0]})."
    try:
        validate_full_topic_name(topic)
    except InvalidTopicNameException as error:
        return " ".join(str(error).split())
    return ""


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
