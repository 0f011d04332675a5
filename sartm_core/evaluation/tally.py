"""Counts accumulated over frames. Integers only, so sums are bit-exact for any number of processes."""

import numpy as np
from numpy.typing import NDArray

from sartm_core.evaluation.metrics import SegmentationScore
from sartm_core.segmentation import UNLABELLED

BINS = 15
"""Number of bins of the calibration error."""
_FIXED = 1 << 16


class Tally:
    """Scores, calibration and routing of one group of frames.

    Args:
        classes: number of classes, C.
        modalities: number of the model's modalities, M.
    """

    def __init__(self, classes: int, modalities: int) -> None:
        self._shape = (classes, modalities)
        # The last column counts predicted classes without a counterpart in the data; never correct.
        self._score = SegmentationScore(classes + 1)
        self._bins = np.zeros((3, BINS), np.int64)  # pixels, correct pixels, sum of confidence
        self._routing = np.zeros(modalities, np.int64)
        self.frames = 0

    def add(
        self,
        mask: NDArray[np.uint8],
        truth: NDArray[np.uint8],
        confidence: NDArray[np.float32],
        routing: NDArray[np.float32],
    ) -> None:
        """Adds a frame: class ids [H, W] of the data; 255 in the mask for a class they do not have."""
        classes = self._score.confusion.shape[0]
        predicted = np.where(mask == UNLABELLED, classes - 1, mask)
        self._score.update(predicted, truth)
        labelled = truth != UNLABELLED
        sure = np.clip(confidence[labelled], 0, 1)
        index = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
        correct = (mask == truth)[labelled]
        self._bins[0] += np.bincount(index, minlength=BINS)
        self._bins[1] += np.bincount(index[correct], minlength=BINS)
        fixed = np.round(sure * _FIXED).astype(np.int64)
        self._bins[2] += np.bincount(index, weights=fixed, minlength=BINS).astype(np.int64)
        self._routing += np.round(routing.mean(axis=0) * _FIXED).astype(np.int64)
        self.frames += 1

    def __add__(self, other: "Tally") -> "Tally":
        """The frames of both: exactly the tally that would have counted them together."""
        result = Tally(*self._shape)
        for one in (self, other):
            result._score.add(one._score)
        result._bins, result._routing = self._bins + other._bins, self._routing + other._routing
        result.frames = self.frames + other.frames
        return result

    @property
    def score(self) -> SegmentationScore:
        """The score over the data's classes."""
        result = SegmentationScore(self._score.confusion.shape[0] - 1)
        result.confusion = self._score.confusion[:-1, :-1].copy()
        result.unmapped = self._score.confusion[:-1, -1].copy()
        return result

    def calibration_error(self) -> float:
        """Expected calibration error (Guo et al. 2017): mean over pixels of |confidence - accuracy| of their bin."""
        pixels, correct, confidence = self._bins.astype(np.float64)
        used = pixels > 0
        gap = np.abs(confidence[used] / _FIXED - correct[used])
        return float(gap.sum() / max(pixels.sum(), 1))

    def routing(self) -> list[float]:
        """Mean weight of each modality over levels and frames."""
        return [float(weight) / _FIXED / max(self.frames, 1) for weight in self._routing]
