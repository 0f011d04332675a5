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
from sartm_ros.decoding.images import MessageFactory, image_message

IMAGE, ROUTING, CAMERA_INFO, LABELS = (
    "sensor_msgs/msg/Image", "diagnostic_msgs/msg/DiagnosticArray", "sensor_msgs/msg/CameraInfo", "std_msgs/msg/String",
)  # fmt: skip
COMPRESSED = "sensor_msgs/msg/CompressedImage"
JPEG_QUALITY = 85
OUTPUT_TYPES = {
    "mask": IMAGE,
    "confidence": IMAGE,
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


def confidence_message(make: MessageFactory, segmentation: Segmentation, stamped: Any) -> Any:
    """Softmax probability of the chosen class, 32FC1."""
    return image_message(make, segmentation.confidence, "32FC1", stamped)


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
