"""A segmentation as ROS messages: what the node publishes and `sartm bag segment` writes is the same."""

import json
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sartm_core.deploy.provenance import Provenance
from sartm_core.rig import Rig
from sartm_core.segmentation import LEVELS, UNLABELLED, Segmentation
from sartm_ros.decoding.images import MessageFactory, image_fields, image_message
from sartm_ros.decoding.point_clouds import point_cloud_message
from sartm_ros.labelled_cloud import Cloud
from sartm_ros.outputs import ConfidenceEncoding, Output, image_of, points_of, run_lengths

IMAGE, POINT_CLOUD, CAMERA_INFO = (f"sensor_msgs/msg/{name}" for name in ("Image", "PointCloud2", "CameraInfo"))
ROUTING, LABELS = "diagnostic_msgs/msg/DiagnosticArray", "std_msgs/msg/String"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
JPEG_QUALITY = 85
OUTPUT_TYPES = {
    "mask": IMAGE,
    "confidence": IMAGE,
    "points": POINT_CLOUD,
    "overlay": IMAGE,
    "camera_info": CAMERA_INFO,
    "routing_weights": ROUTING,
    "labels": LABELS,
}
"""Topic under the node's name -> message type."""

_OK = b"\x00"


def mask_message(make: MessageFactory, segmentation: Segmentation, stamped: Any) -> Any:
    """Class ids, mono8."""
    return image_message(make, segmentation.mask, "mono8", stamped)


def confidence_message(
    make: MessageFactory, segmentation: Segmentation, stamped: Any, encoding: ConfidenceEncoding = "mono8"
) -> Any:
    """Softmax probability of the chosen class; mono8: 0 to 255, what costmaps read; 32FC1: 0 to 1."""
    if encoding == "32FC1":
        return image_message(make, segmentation.confidence, encoding, stamped)
    return image_message(make, cv2.convertScaleAbs(segmentation.confidence, alpha=255), encoding, stamped)


def output_message(
    make: MessageFactory, output: Output, segmentation: Segmentation, cloud: Cloud | None, stamped: Any
) -> Any | None:
    """One of `outputs`; None of points where nothing measured any (`cloud` is None)."""
    if output.form == "points":
        return None if cloud is None else point_cloud_message(make, points_of(output, cloud), stamped)
    image = image_of(output, segmentation)
    if output.form == "channels":
        return image_message(make, image, f"32FC{image.shape[2]}", stamped)
    fields = image_fields(image, "mono8")
    return make(IMAGE, header=stamped, **fields | ({"data": run_lengths(image)} if output.run_lengths else {}))


def overlay(
    segmentation: Segmentation, backdrop: NDArray[np.uint8] | None, rig: Rig, alpha: float
) -> NDArray[np.uint8]:
    """The classes' colours over a backdrop (uint8 [H, W, 3]; None: black); uint8 [H, W, 3], red, green, blue."""
    colour = rig.palette[segmentation.mask]
    return colour if backdrop is None else np.asarray(cv2.addWeighted(backdrop, 1 - alpha, colour, alpha, 0), np.uint8)


def overlay_message(make: MessageFactory, picture: NDArray[np.uint8], stamped: Any) -> Any:
    """What `overlay` drew, rgb8."""
    return image_message(make, picture, "rgb8", stamped)


def compressed_overlay_message(make: MessageFactory, picture: NDArray[np.uint8], stamped: Any) -> Any:
    """What `overlay` drew as JPEG, described as image_transport's compressed plugin describes it."""
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return make(COMPRESSED, header=stamped, format="rgb8; jpeg compressed bgr8", data=data.tobytes())


def routing_message(
    make: MessageFactory, node: str, rig: Rig, segmentation: Segmentation, states: Mapping[str, str], stamped: Any
) -> Any:
    """One status per level, named `<node>: routing <level>`: modality -> weight, `<modality>.state` -> state."""

    def pair(key: str, value: str) -> Any:
        return make("diagnostic_msgs/msg/KeyValue", key=key, value=value)

    state_values = [pair(f"{modality}.state", state) for modality, state in states.items()]
    statuses = []
    for level, weights in zip(LEVELS, segmentation.routing, strict=True):
        values = [pair(modality, f"{weight:.6f}") for modality, weight in zip(rig.names, weights, strict=True)]
        statuses.append(
            make(
                "diagnostic_msgs/msg/DiagnosticStatus",
                level=_OK,
                name=f"{node}: routing {level}",
                message="",
                hardware_id="",
                values=values + state_values,
            )
        )
    return make(ROUTING, header=stamped, status=statuses)


def labels_text(rig: Rig, provenance: Provenance) -> str:
    """What `~/labels` says: JSON with the classes of the masks' ids, and which model makes them."""
    classes = [{"id": index, "name": spec.name, "color": spec.color} for index, spec in enumerate(rig.classes)]
    return json.dumps({"classes": classes, "unlabelled": UNLABELLED, "provenance": provenance.as_dict()})
