"""Records live topics into a bag, without deserialising them."""

import time
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from sartm_ros.bag.writer import BagWriter


class Recorder:
    """Subscribes to topics and writes their messages.

    Args:
        node: spun by the caller.
        writer: the bag.
        topics: topic -> message class.
        latched: those of them that are transient local.
    """

    def __init__(self, node: Node, writer: BagWriter, topics: dict[str, Any], latched: frozenset[str]) -> None:
        self._writer = writer
        self.counts = dict.fromkeys(topics, 0)
        self.subscriptions = [self._subscribe(node, topic, kind, topic in latched) for topic, kind in topics.items()]

    def _subscribe(self, node: Node, topic: str, kind: Any, latched: bool) -> Any:
        package = kind.__module__.split(".")[0]
        self._writer.add_topic(topic, f"{package}/msg/{kind.__name__}", latched)
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        qos = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=durability)

        def write(serialized: bytes) -> None:
            self.counts[topic] += 1
            self._writer.write(topic, time.time_ns(), serialized)

        return node.create_subscription(kind, topic, write, qos, raw=True)
