"""What the node says: mask, confidence, overlay, camera info, routing weights, labels, diagnostics."""

import copy
import json
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

from sartm_core.frames import LEVELS, UNLABELLED, Segmentation
from sartm_core.rig import Rig
from sartm_ros.message_types import message_class
from sartm_ros.messages import image_fields, set_stamp

_OUTPUT_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
_DIAGNOSTICS_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
_LATCHED_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Publishers:
    """All outputs of one node, under its private names.

    Args:
        node: owns the publishers; they are silent until it is active.
        rig: the bundle's: its modalities are the columns of the routing weights, its classes have the colours.

    Attributes:
        overlay_alpha: opacity of the mask in the overlay.
    """

    def __init__(self, node: LifecycleNode, rig: Rig) -> None:
        self._node = node
        self._rig = rig
        self._palette = rig.palette
        self.overlay_alpha = 0.5
        self._all: list[Any] = []
        self._mask = self._create(Image, "~/mask", _OUTPUT_QOS)
        self._confidence = self._create(Image, "~/confidence", _OUTPUT_QOS)
        self._overlay = self._create(Image, "~/overlay", _OUTPUT_QOS)
        self._camera_info = self._create(CameraInfo, "~/camera_info", _OUTPUT_QOS)
        self._routing = self._create(DiagnosticArray, "~/routing_weights", _OUTPUT_QOS)
        self._labels = self._create(String, "~/labels", _LATCHED_QOS)
        label_info = message_class("vision_msgs/msg/LabelInfo")
        self._label_info = None if label_info is None else self._create(label_info, "~/label_info", _LATCHED_QOS)
        self._diagnostics = self._create(DiagnosticArray, "/diagnostics", _DIAGNOSTICS_QOS)

    def _create(self, kind: Any, topic: str, qos: QoSProfile) -> Any:
        options = QoSOverridingOptions.with_default_policies()
        publisher = self._node.create_lifecycle_publisher(kind, topic, qos, qos_overriding_options=options)
        self._all.append(publisher)
        return publisher

    def destroy(self) -> None:
        """Takes all topics away."""
        # Not every rclpy has it; without, the node goes on managing publishers that are gone.
        destroy = getattr(self._node, "destroy_lifecycle_publisher", self._node.destroy_publisher)
        for publisher in self._all:
            destroy(publisher)

    def publish_diagnostics(self, message: DiagnosticArray) -> None:
        """For robot monitors and greenwave_monitor."""
        self._diagnostics.publish(message)

    def publish_labels(self) -> None:
        """The classes, latched: for everybody who comes later."""
        classes = [
            {"id": index, "name": spec.name, "color": spec.color} for index, spec in enumerate(self._rig.classes)
        ]
        self._labels.publish(String(data=json.dumps({"unlabelled": UNLABELLED, "classes": classes})))
        if self._label_info is not None:
            self._label_info.publish(self._label_info_message())

    def _label_info_message(self) -> Any:
        info, entry = (message_class(f"vision_msgs/msg/{name}") for name in ("LabelInfo", "VisionClass"))
        assert info is not None
        assert entry is not None
        message = info(class_map=[entry(class_id=i, class_name=name) for i, name in enumerate(self._rig.class_names)])
        message.header.stamp = self._node.get_clock().now().to_msg()
        return message

    def publish(
        self,
        segmentation: Segmentation,
        stamp_ns: int,
        frame_id: str,
        backdrop: Callable[[], NDArray[np.uint8] | None],
        camera_info: CameraInfo | None,
        states: dict[str, str],
    ) -> None:
        """Publishes one result; all but the mask only while somebody listens.

        Args:
            segmentation: what the segmenter answered.
            stamp_ns: the anchor's.
            frame_id: the reference camera's.
            backdrop: makes what the overlay is drawn on, uint8 [H, W, 3]; None: on black.
            camera_info: the reference camera's, if one was received.
            states: modality -> present, absent, stale or broken.
        """
        self._mask.publish(self._image(segmentation.mask, "mono8", stamp_ns, frame_id))
        if self._confidence.get_subscription_count():
            self._confidence.publish(self._image(segmentation.confidence, "32FC1", stamp_ns, frame_id))
        if self._overlay.get_subscription_count():
            overlay = self._blend(segmentation.mask, backdrop())
            self._overlay.publish(self._image(overlay, "rgb8", stamp_ns, frame_id))
        if camera_info is not None and self._camera_info.get_subscription_count():
            info = copy.deepcopy(camera_info)
            set_stamp(info, stamp_ns)
            self._camera_info.publish(info)
        if self._routing.get_subscription_count():
            self._routing.publish(self._routing_message(segmentation.routing, stamp_ns, frame_id, states))

    def _image(self, array: NDArray[Any], encoding: str, stamp_ns: int, frame_id: str) -> Image:
        message = Image(**image_fields(array, encoding))
        message.header.frame_id = frame_id
        set_stamp(message, stamp_ns)
        return message

    def _blend(self, mask: NDArray[np.uint8], image: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        colour = self._palette[mask]
        if image is None:
            return colour
        return np.asarray(cv2.addWeighted(image, 1 - self.overlay_alpha, colour, self.overlay_alpha, 0))

    def _routing_message(
        self, routing: NDArray[np.float32], stamp_ns: int, frame_id: str, states: dict[str, str]
    ) -> DiagnosticArray:
        """One status per level; keys are modality names, values weights; then the modalities' states."""
        message = DiagnosticArray()
        message.header.frame_id = frame_id
        set_stamp(message, stamp_ns)
        name = self._node.get_fully_qualified_name().lstrip("/")
        state_values = [KeyValue(key=f"{modality}.state", value=state) for modality, state in states.items()]
        for level, weights in zip(LEVELS, routing, strict=True):
            values = [
                KeyValue(key=modality, value=f"{weight:.6f}")
                for modality, weight in zip(self._rig.names, weights, strict=True)
            ]
            message.status.append(
                DiagnosticStatus(
                    level=DiagnosticStatus.OK, name=f"{name}: routing {level}", values=values + state_values
                )
            )
        return message
