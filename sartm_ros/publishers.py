"""What the node says: mask, confidence, overlay, camera info, routing weights, labels."""

import copy
import json
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

from sartm_core.frames import LEVELS, UNLABELLED, Segmentation
from sartm_core.rig import Rig
from sartm_ros.messages import image_fields, set_stamp

_OUTPUT_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
_LATCHED_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Publishers:
    """All outputs of one node, under its private names.

    Args:
        node: owns the publishers; they are silent until it is active.
        rig: the bundle's: its modalities are the columns of the routing weights, its classes have the colours.
        overlay_alpha: opacity of the mask in the overlay.
    """

    def __init__(self, node: LifecycleNode, rig: Rig, overlay_alpha: float) -> None:
        self._node = node
        self._rig = rig
        self._palette = rig.palette
        self._alpha = overlay_alpha
        self._mask = node.create_lifecycle_publisher(Image, "~/mask", _OUTPUT_QOS)
        self._confidence = node.create_lifecycle_publisher(Image, "~/confidence", _OUTPUT_QOS)
        self._overlay = node.create_lifecycle_publisher(Image, "~/overlay", _OUTPUT_QOS)
        self._camera_info = node.create_lifecycle_publisher(CameraInfo, "~/camera_info", _OUTPUT_QOS)
        self._routing = node.create_lifecycle_publisher(DiagnosticArray, "~/routing_weights", _OUTPUT_QOS)
        self._labels = node.create_lifecycle_publisher(String, "~/labels", _LATCHED_QOS)
        self._all = (self._mask, self._confidence, self._overlay, self._camera_info, self._routing, self._labels)

    def destroy(self) -> None:
        """Takes all topics away."""
        for publisher in self._all:
            self._node.destroy_publisher(publisher)

    def publish_labels(self) -> None:
        """The classes, as JSON, latched: for everybody who comes later."""
        classes = [
            {"id": index, "name": spec.name, "color": spec.color} for index, spec in enumerate(self._rig.classes)
        ]
        self._labels.publish(String(data=json.dumps({"unlabelled": UNLABELLED, "classes": classes})))

    def publish(
        self,
        segmentation: Segmentation,
        stamp_ns: int,
        frame_id: str,
        reference_image: NDArray[np.uint8] | None,
        camera_info: CameraInfo | None,
        states: dict[str, str],
    ) -> None:
        """Publishes one result; all but the mask only while somebody listens.

        Args:
            segmentation: what the segmenter answered.
            stamp_ns: the anchor's.
            frame_id: the reference camera's.
            reference_image: uint8 [H, W, 3], what the overlay is drawn on; None: on black.
            camera_info: the reference camera's, if one was received.
            states: modality -> present, absent, stale or broken.
        """
        self._mask.publish(self._image(segmentation.mask, "mono8", stamp_ns, frame_id))
        if self._confidence.get_subscription_count():
            self._confidence.publish(self._image(segmentation.confidence, "32FC1", stamp_ns, frame_id))
        if self._overlay.get_subscription_count():
            overlay = self._blend(segmentation.mask, reference_image)
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
        return (image * (1 - self._alpha) + colour * self._alpha).astype(np.uint8)

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
