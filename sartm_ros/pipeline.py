"""The way of one set of messages: raw arrays, planes, segmentation. The node and offline tools share it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sartm_core.deploy import Segmenter
from sartm_core.errors import SartmError
from sartm_core.frames import FrameSet, Segmentation
from sartm_core.rig import Rig
from sartm_core.sensing import encode
from sartm_core.sensing.registration import register
from sartm_ros.messages import raw_array
from sartm_ros.point_cloud import cloud_points


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one set.

    Attributes:
        frames: the planes that were segmented.
        segmentation: None when no modality of the set could be used.
        broken: modality -> why its message could not be used; it counts as absent.
        prepare_s, segment_s: seconds spent.
    """

    frames: FrameSet
    segmentation: Segmentation | None
    broken: dict[str, str]
    prepare_s: float
    segment_s: float


class Pipeline:
    """Args: rig, what the messages are; segmenter, a loaded bundle that serves it."""

    def __init__(self, rig: Rig, segmenter: Segmenter) -> None:
        self.rig = rig
        self.segmenter = segmenter
        self._reference_size = rig.modality(rig.reference).size

    def run(self, stamp_ns: int, messages: Mapping[str, Any]) -> Result:
        """Segments one set; never raises for a message that is broken."""
        started = time.perf_counter()
        planes: dict[str, Any] = {}
        broken: dict[str, str] = {}
        for name, message in messages.items():
            try:
                image = register(self.rig, name, _measurement(message))
                planes[name] = encode(self.rig.modality(name), image, self.segmenter.bundle.rig.dtype)
            except SartmError as error:
                broken[name] = str(error)
        if self.rig.reference in planes:
            self._reference_size = planes[self.rig.reference].shape[1:]
        prepared = time.perf_counter()
        segmentation = self.segmenter.segment(planes, self._reference_size) if planes else None
        finished = time.perf_counter()
        return Result(FrameSet(stamp_ns, planes), segmentation, broken, prepared - started, finished - prepared)

    def backdrop(self, frames: FrameSet) -> NDArray[np.uint8] | None:
        """What an overlay is drawn on: the first 8-bit modality that is present, uint8 [H, W, 3] of the mask's size."""
        for modality in self.rig.modalities:
            if modality.eight_bit and modality.name in frames.planes:
                image = np.ascontiguousarray(frames.planes[modality.name].transpose(1, 2, 0)).astype(np.uint8)
                height, width = self._reference_size
                return image if image.shape[:2] == (height, width) else np.asarray(cv2.resize(image, (width, height)))
        return None


def _measurement(message: Any) -> NDArray[Any]:
    """Points [N, 4] of a cloud, pixels of an image."""
    return cloud_points(message) if hasattr(message, "point_step") else raw_array(message)
