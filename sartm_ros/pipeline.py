"""The way of one set of messages to its segmentation. The node and offline tools share it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sartm_core.deploy import Segmenter, StagedSegmenter
from sartm_core.deploy.bundle import check_serves
from sartm_core.deploy.provenance import Provenance, provenance_of
from sartm_core.deploy.smoothing import smoother_for
from sartm_core.errors import SartmError
from sartm_core.kinds import Planes
from sartm_core.rig import Rig
from sartm_core.segmentation import Segmentation
from sartm_ros.frame_sets import FrameSet, FrameSetProcessor


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one set.

    Attributes:
        frames: the frame set that was segmented.
        segmentation: None when no modality of the set could be used.
        prepare_s, segment_s: seconds spent.
    """

    frames: FrameSet
    segmentation: Segmentation | None
    prepare_s: float
    segment_s: float


class Pipeline:
    """Turns messages that belong together into a segmentation.

    Args:
        rig: what the messages are.
        segmenter: a loaded bundle.
        smoothing_s: see `deploy.smoothing`; 0: each mask is of its own frame alone.

    Attributes:
        processor: makes the frame sets; its rig may be replaced as calibrations become known.

    Raises:
        SartmError: the bundle does not serve the rig, or cannot be smoothed.
    """

    def __init__(self, rig: Rig, segmenter: Segmenter, smoothing_s: float = 0.0) -> None:
        check_serves(segmenter.bundle.rig, rig)
        self.configured_rig = rig
        self._smoothing_s = smoothing_s
        self._smoother = smoother_for(segmenter.bundle, smoothing_s)
        self.segmenter = segmenter
        self.processor = FrameSetProcessor(rig, segmenter.bundle.rig)
        self._reference_size = rig.modality(rig.reference).size

    @property
    def provenance(self) -> Provenance:
        """Of the masks."""
        return provenance_of(self.segmenter)

    def forget(self) -> None:
        """Resets: what was learned of calibrations and broken sensors may have been corrected since."""
        self.processor = FrameSetProcessor(self.configured_rig, self.segmenter.bundle.rig)

    def replace(self, segmenter: Segmenter) -> None:
        """Segments with another bundle from the next set on; not to be called while a set is segmented.

        Raises:
            SartmError: it does not serve the rig, or cannot be smoothed; the one before stays.
        """
        check_serves(segmenter.bundle.rig, self.configured_rig)
        self._smoother = smoother_for(segmenter.bundle, self._smoothing_s)
        self.segmenter = segmenter
        self.processor.serve(segmenter.bundle.rig)

    def run(self, stamp_ns: int, messages: Mapping[str, Any], **options: Any) -> Result:
        """Segments one set; `options`: of `FrameSetProcessor.process`. A message that is broken never raises.

        Raises:
            SartmError: see `segment`.
        """
        started = time.perf_counter()
        frames = self.processor.process(stamp_ns, messages, **options)
        prepared = time.perf_counter()
        segmentation = self.segment(frames.planes, stamp_ns)
        finished = time.perf_counter()
        return Result(frames, segmentation, prepared - started, finished - prepared)

    def segment(self, planes: dict[str, Planes], stamp_ns: int) -> Segmentation | None:
        """Segments planes at the size of the reference, the last one that was seen; None where there are no planes.

        Args:
            planes: modality -> [3, H, W].
            stamp_ns: of the frame set.

        Raises:
            SartmError: the network's answer holds numbers that are not finite; its mask would mean nothing.
        """
        reference = self.configured_rig.reference
        if reference in planes:
            self._reference_size = planes[reference].shape[1:]
        if not planes:
            return None
        segmentation = self._segmented(planes, stamp_ns)
        if not np.isfinite(segmentation.confidence.sum() + segmentation.routing.sum()):
            raise SartmError(
                f"the answer of {self.segmenter.backend} is not finite (NaN or infinity): no mask. If it is so for all "
                "frames, the weights are damaged, or too large for half precision: try device cpu, or `sartm export "
                "--precision fp32`."
            )
        return segmentation

    def _segmented(self, planes: dict[str, Planes], stamp_ns: int) -> Segmentation:
        segmenter = self.segmenter
        if self._smoother is None:
            return segmenter.segment(planes, self._reference_size)
        assert isinstance(segmenter, StagedSegmenter)
        answer = segmenter.run_network(*segmenter.prepare(planes))
        answer["scores"] = self._smoother.smooth(answer["scores"], stamp_ns)
        return segmenter.finish(planes, self._reference_size, answer)

    def backdrop(self, planes: dict[str, Planes]) -> NDArray[np.uint8] | None:
        """What an overlay is drawn on: the first 8-bit modality that is present, uint8 [H, W, 3] of the mask's size."""
        for modality in self.configured_rig.modalities:
            if modality.eight_bit and modality.name in planes:
                image = np.ascontiguousarray(planes[modality.name].transpose(1, 2, 0)).astype(np.uint8)
                height, width = self._reference_size
                return image if image.shape[:2] == (height, width) else np.asarray(cv2.resize(image, (width, height)))
        return None
