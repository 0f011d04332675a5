"""The subscriptions of a rig: one per enabled modality, CameraInfo, /tf_static."""

import functools
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo

from sartm_core.errors import SartmError
from sartm_core.kinds.stream import EVENT_ARRAY
from sartm_core.rig import Modality, Rig
from sartm_ros.decoding.message_types import message_class, required_message_class
from sartm_ros.node.packets import PacketReceiver

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # ROS 2 Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

OnMessage = Callable[[str, Any], None]

_RELIABILITY = {"best_effort": ReliabilityPolicy.BEST_EFFORT, "reliable": ReliabilityPolicy.RELIABLE}
_LATCHED_QOS = QoSProfile(
    depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
_OVERRIDABLE = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY)
SILENT = SubscriptionEventCallbacks(use_default_callbacks=False)
"""An event handler wakes the executor with every message; `diagnostics.explain_silence` finds the mismatch, too."""
DEPTH, PACKET_DEPTH = 5, 500
"""Queue lengths of the subscriptions; the synchroniser, not the middleware, decides what is too old. Packets of events
come up to a thousand times a second, and a lost one is a hole in the picture."""


def check_installed(rig: Rig) -> None:
    """Raises SartmError for a modality whose message type is not installed on this machine."""
    for modality in rig.modalities:
        required_message_class(modality.message, f"rig '{rig.name}', modality '{modality.name}':")


def installed_part(rig: Rig, warn: Callable[[str], Any]) -> Rig:
    """The rig without the modalities whose message type is not installed; warns which, and how to install it.

    Raises:
        SartmError: nothing is left.
    """
    kept = []
    for modality in rig.modalities:
        try:
            check_installed(rig.only([modality.name]))
            kept.append(modality.name)
        except SartmError as error:
            warn(f"left out: {error}")
    return rig.only(kept)


class Inputs:
    """Opens and closes the inputs of one rig.

    Args:
        node: owns the subscriptions.
        rig: gives topics and types.
        reliability: `best_effort` or `reliable`; `qos_overrides.<topic>.subscription.*` parameters override it.
        on_message, on_camera_info: called with the modality's name and the message.
        on_packets: called with the modality's name and packets of events, in a thread of its own; of
            dvs_msgs/EventArray as `event_arrays.EventArray`.
        on_fault: called with the modality's name and why what came is not a packet.
        on_mismatch: called with the modality's name and the fault, when a publisher's QoS is incompatible.
    """

    def __init__(
        self,
        node: Node,
        rig: Rig,
        reliability: str,
        on_message: OnMessage,
        on_packets: Callable[[str, list[Any]], None],
        on_camera_info: OnMessage,
        on_fault: Callable[[str, str], None],
        on_mismatch: Callable[[str, str], None],
    ) -> None:
        self._node = node
        self._rig = rig
        self._reliability = _RELIABILITY[reliability]
        self._on_message, self._on_camera_info, self._on_mismatch = on_message, on_camera_info, on_mismatch
        self._packets = PacketReceiver(on_packets, on_fault)
        self._open: dict[str, list[Any]] = {}
        self._transforms: Any = None

    def set_open(self, names: set[str]) -> None:
        """Opens the inputs of these modalities and closes all others."""
        for modality in self._rig.modalities:
            if modality.name in names and modality.name not in self._open:
                self._open[modality.name] = self._subscribe(modality)
            elif modality.name not in names:
                self._close(modality.name)

    def open_transforms(self, callback: Callable[[Any], None]) -> None:
        """Listens to /tf_static; the package of its messages must be installed."""
        kind = message_class("tf2_msgs/msg/TFMessage")
        self._transforms = self._node.create_subscription(kind, "/tf_static", callback, _LATCHED_QOS)

    def close(self) -> None:
        """Closes everything."""
        self.set_open(set())
        self._packets.stop()
        if self._transforms is not None:
            self._node.destroy_subscription(self._transforms)
            self._transforms = None

    def _close(self, name: str) -> None:
        self._packets.remove(name)
        for subscription in self._open.pop(name, []):
            self._node.destroy_subscription(subscription)

    def _subscribe(self, modality: Modality) -> list[Any]:
        depth = PACKET_DEPTH if modality.delivers_packets else DEPTH
        qos = QoSProfile(depth=depth, reliability=self._reliability)

        def create(kind: Any, topic: str, callback: OnMessage, raw: bool = False) -> Any:
            def mismatch(event: Any) -> None:
                policy = qos_policy_name_from_kind(event.last_policy_kind)
                self._on_mismatch(
                    modality.name,
                    f"a publisher of {self._node.resolve_topic_name(topic)} offers an incompatible QoS ({policy}): "
                    "none of its messages arrive. Set the parameter input_reliability or "
                    f"qos_overrides.{self._node.resolve_topic_name(topic)}.subscription.*, see docs/node.md.",
                )

            return self._node.create_subscription(
                kind,
                topic,
                functools.partial(callback, modality.name),
                qos,
                event_callbacks=SILENT
                if modality.delivers_packets
                else SubscriptionEventCallbacks(incompatible_qos=mismatch),
                qos_overriding_options=QoSOverridingOptions(policy_kinds=_OVERRIDABLE),
                raw=raw,
            )

        kind = required_message_class(modality.message, f"modality '{modality.name}':")
        opened = [create(kind, modality.topic, self._on_message, raw=modality.message == EVENT_ARRAY)]
        if modality.delivers_packets:
            self._packets.add(modality.name, opened[0])
        if modality.camera_info is not None and (modality.name == self._rig.reference or modality.calibration == "ros"):
            opened.append(create(CameraInfo, modality.camera_info, self._on_camera_info))
            opened.append(self._subscribe_latched(modality))
        return opened

    def _subscribe_latched(self, modality: Modality) -> Any:
        """For drivers that publish CameraInfo once, before the node starts; others do not match it."""
        return self._node.create_subscription(
            CameraInfo,
            modality.camera_info,
            functools.partial(self._on_camera_info, modality.name),
            QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL),
            event_callbacks=SILENT,
        )
