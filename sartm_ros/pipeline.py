"""The way of one set of messages to its segmentation. The node and offline tools share it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sartm_core.deploy import Segmenter
from sartm_core.rig import Rig
from sartm_core.segmentation import FrameSet, Segmentation
from sartm_ros.preparation import Images, Preparation


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
    """Turns messages that belong together into a segmentation.

    Args:
        rig: what the messages are.
        segmenter: a loaded bundle that serves it.

    Attributes:
        preparation: whose rig may be replaced as calibrations become known.
    """

    def __init__(self, rig: Rig, segmenter: Segmenter) -> None:
        self.configured_rig = rig
        self.preparation = Preparation(rig)
        self.segmenter = segmenter
        self._reference_size = rig.modality(rig.reference).size

    def run(self, stamp: int, messages: Mapping[str, Any], offsets_s: Mapping[str, float] | None = None) -> Result:
        """Segments one set; never raises for a message that is broken. Arguments as `Preparation.images`."""
        started = time.perf_counter()
        images, broken = self.preparation.images(stamp, messages, offsets_s)
        planes, faults = self.preparation.planes(images, self.segmenter.bundle.rig.dtype)
        prepared = time.perf_counter()
        segmentation = self.segment(planes)
        finished = time.perf_counter()
        return Result(FrameSet(stamp, planes), segmentation, broken | faults, prepared - started, finished - prepared)

    def segment(self, planes: Images) -> Segmentation | None:
        """Segments planes at the size of the reference, the last one that was seen; None where there are no planes."""
        reference = self.configured_rig.reference
        if reference in planes:
            self._reference_size = planes[reference].shape[1:]
        return self.segmenter.segment(planes, self._reference_size) if planes else None

    def backdrop(self, planes: Images) -> NDArray[np.uint8] | None:
        """What an overlay is drawn on: the first 8-bit modality that is present, uint8 [H, W, 3] of the mask's size."""
        for modality in self.configured_rig.modalities:
            if modality.eight_bit and modality.name in planes:
                image = np.ascontiguousarray(planes[modality.name].transpose(1, 2, 0)).astype(np.uint8)
                height, width = self._reference_size
                return image if image.shape[:2] == (height, width) else np.asarray(cv2.resize(image, (width, height)))
        return None
