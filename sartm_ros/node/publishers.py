"""The node's outputs: mask, confidence, overlay, points, camera info, routing weights, labels, diagnostics."""

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import String

from sartm_core.deploy.provenance import Provenance
from sartm_core.rig import Rig
from sartm_core.segmentation import Segmentation
from sartm_ros.decoding.images import header, set_stamp
from sartm_ros.decoding.message_types import live_message, message_class
from sartm_ros.decoding.point_clouds import point_cloud_message
from sartm_ros.labelled_cloud import Cloud
from sartm_ros.node.parameters import Settings
from sartm_ros.outputs import Output
from sartm_ros.result_messages import (
    compressed_overlay_message,
    confidence_message,
    labels_text,
    mask_message,
    output_message,
    overlay,
    overlay_message,
    routing_message,
)

_OUTPUT_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
_DIAGNOSTICS_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
_LATCHED_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Publishers:
    """All outputs of one node, under its private names.

    Args:
        node: owns the publishers, which are silent until it is active.
        rig, provenance: see `describe`.
        settings: as configured.
        outputs: of the parameters `outputs`.
        has_points: whether the robot can give labelled points.

    Attributes:
        overlay_alpha: opacity of the mask in the overlay.
    """

    def __init__(
        self,
        node: LifecycleNode,
        rig: Rig,
        provenance: Provenance,
        settings: Settings,
        outputs: Sequence[Output],
        has_points: bool,
    ) -> None:
        self._node, self._settings = node, settings
        self.describe(rig, provenance)
        self.overlay_alpha = 0.5
        self._all: list[Any] = []
        self._mask = self._create(Image, "~/mask", _OUTPUT_QOS)
        self._confidence = self._create(Image, "~/confidence", _OUTPUT_QOS)
        self._overlay = self._create(Image, "~/overlay", _OUTPUT_QOS)
        self._compressed = self._create(CompressedImage, "~/overlay/compressed", _OUTPUT_QOS)
        self._points = self._create(PointCloud2, "~/points", _OUTPUT_QOS) if has_points else None
        self._outputs = [
            (one, self._create(PointCloud2 if one.form == "points" else Image, f"~/outputs/{one.name}", _OUTPUT_QOS))
            for one in outputs
        ]
        self._camera_info = self._create(CameraInfo, "~/camera_info", _OUTPUT_QOS)
        self._routing = self._create(DiagnosticArray, "~/routing_weights", _OUTPUT_QOS)
        self._labels = self._create(String, "~/labels", _LATCHED_QOS)
        label_info = message_class("vision_msgs/msg/LabelInfo")
        self._label_info = None if label_info is None else self._create(label_info, "~/label_info", _LATCHED_QOS)
        self._diagnostics = self._create(DiagnosticArray, "/diagnostics", _DIAGNOSTICS_QOS)

    def describe(self, rig: Rig, provenance: Provenance) -> None:
        """What is published from now on.

        Args:
            rig: the bundle's: its modalities are the columns of the routing weights, its classes have the colours.
            provenance: of the masks.
        """
        self._rig, self._provenance = rig, provenance

    def _create(self, kind: Any, topic: str, qos: QoSProfile) -> Any:
        options = QoSOverridingOptions.with_default_policies()
        publisher = self._node.create_lifecycle_publisher(kind, topic, qos, qos_overriding_options=options)
        self._all.append(publisher)
        return publisher

    def destroy(self) -> None:
        """Destroys all publishers."""
        # Not every rclpy has it; without it, the node keeps managing destroyed publishers.
        destroy = getattr(self._node, "destroy_lifecycle_publisher", self._node.destroy_publisher)
        for publisher in self._all:
            destroy(publisher)

    def publish_diagnostics(self, message: DiagnosticArray) -> None:
        """For robot monitors and greenwave_monitor."""
        self._diagnostics.publish(message)

    def publish_labels(self) -> None:
        """The classes and the masks' provenance, latched, for late subscribers."""
        self._labels.publish(String(data=labels_text(self._rig, self._provenance)))
        if self._label_info is not None:
            self._label_info.publish(self._label_info_message())

    def _label_info_message(self) -> Any:
        info, entry = (message_class(f"vision_msgs/msg/{name}") for name in ("LabelInfo", "VisionClass"))
        assert info is not None
        assert entry is not None
        classes = [entry(class_id=i, class_name=name) for i, name in enumerate(self._rig.class_names)]
        message = info(class_map=classes, threshold=float(self._settings.min_confidence))
        message.header.stamp = self._node.get_clock().now().to_msg()
        return message

    def publish(
        self,
        segmentation: Segmentation,
        stamp_ns: int,
        frame_id: str,
        backdrop: Callable[[], NDArray[np.uint8] | None],
        cloud: Callable[[bool], Cloud | None],
        camera_info: CameraInfo | None,
        states: dict[str, str],
    ) -> None:
        """Publishes one result; all but the mask only if subscribed to.

        Args:
            segmentation: the segmenter's result.
            stamp_ns: the anchor's.
            frame_id: the reference camera's.
            backdrop: makes the image the overlay is drawn on, uint8 [H, W, 3]; None: on black.
            cloud: makes the labelled points, as an image of points where it is told so; None: nothing measures them.
            camera_info: the reference camera's, if one was received.
            states: modality -> present, absent, stale, broken or empty.
        """
        stamped = header(live_message, stamp_ns, frame_id)
        self._mask.publish(mask_message(live_message, segmentation, stamped))
        if self._confidence.get_subscription_count():
            encoding = self._settings.confidence_encoding
            self._confidence.publish(confidence_message(live_message, segmentation, stamped, encoding))
        self._publish_overlay(segmentation, backdrop, stamped)
        self._publish_camera_info(camera_info, stamp_ns)
        if self._routing.get_subscription_count():
            name = self._node.get_fully_qualified_name().lstrip("/")
            self._routing.publish(routing_message(live_message, name, self._rig, segmentation, states, stamped))
        self._publish_points(segmentation, functools.cache(cloud), stamped)

    def _publish_overlay(
        self, segmentation: Segmentation, backdrop: Callable[[], NDArray[np.uint8] | None], stamped: Any
    ) -> None:
        raw, compressed = self._overlay.get_subscription_count(), self._compressed.get_subscription_count()
        if raw or compressed:
            picture = overlay(segmentation, backdrop(), self._rig, self.overlay_alpha)
            if raw:
                self._overlay.publish(overlay_message(live_message, picture, stamped))
            if compressed:
                self._compressed.publish(compressed_overlay_message(live_message, picture, stamped))

    def _publish_camera_info(self, camera_info: CameraInfo | None, stamp_ns: int) -> None:
        if camera_info is not None and self._camera_info.get_subscription_count():
            info = copy.deepcopy(camera_info)
            set_stamp(info, stamp_ns)
            self._camera_info.publish(info)

    def _publish_points(self, segmentation: Segmentation, cloud: Callable[[bool], Cloud | None], stamped: Any) -> None:
        """The labelled points, and `outputs`."""
        if self._points is not None and self._points.get_subscription_count():
            points = cloud(False)
            if points is not None:
                self._points.publish(point_cloud_message(live_message, points, stamped))
        for output, publisher in self._outputs:
            if publisher.get_subscription_count():
                points = cloud(output.size is not None) if output.form == "points" else None
                message = output_message(live_message, output, segmentation, points, stamped)
                if message is not None:
                    publisher.publish(message)
