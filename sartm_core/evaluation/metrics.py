"""Scores from a confusion matrix, accumulated over frames and processes."""

import warnings

import numpy as np
from numpy.typing import NDArray

from sartm_core.segmentation import UNLABELLED


class SegmentationScore:
    """Accumulates a confusion matrix; pixels whose truth is 255 do not count.

    Two conventions exist for classes that occur neither in the truth nor in a mask: exclude them from the mean
    (`absent="skip"`, torchmetrics and most papers), or count them as 0 (`absent="zero"`, code derived from DELIVER's).
    The choice matters for conditions and small subsets. NumPy alone, since a robot has no torch.

    Args:
        classes: number of classes, C.
    """

    def __init__(self, classes: int) -> None:
        self.confusion = np.zeros((classes, classes), np.int64)
        """Rows: truth, columns: mask."""
        self.unmapped = np.zeros(classes, np.int64)
        """Pixels of each true class whose predicted class has no counterpart in the data."""

    def reset(self) -> None:
        """Discards all frames."""
        self.confusion[:], self.unmapped[:] = 0, 0

    def update(self, mask: NDArray[np.integer], truth: NDArray[np.integer]) -> None:
        """Adds frames: class ids of equal shape; 255 in the mask for a class that the data do not have."""
        classes = len(self.confusion)
        labelled = truth != UNLABELLED
        true, chosen = truth[labelled].astype(np.int64), mask[labelled].astype(np.int64)
        known = chosen != UNLABELLED
        self.unmapped += np.bincount(true[~known], minlength=classes)
        pairs = true[known] * classes + chosen[known]
        self.confusion += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)

    def add(self, other: "SegmentationScore") -> None:
        """Adds the frames of another."""
        self.confusion += other.confusion
        self.unmapped += other.unmapped

    def iou(self) -> NDArray[np.float64]:
        """[C]; NaN for a class that is neither in the truth nor in a mask."""
        hit = self.confusion.diagonal()
        return _ratio(hit, self.confusion.sum(0) + self._pixels() - hit)

    def accuracy(self) -> NDArray[np.float64]:
        """[C], recall of each class; NaN for a class without pixels."""
        return _ratio(self.confusion.diagonal(), self._pixels())

    def f1(self) -> NDArray[np.float64]:
        """[C], harmonic mean of precision and recall; NaN where `iou` is."""
        return _ratio(2 * self.confusion.diagonal(), self.confusion.sum(0) + self._pixels())

    def mean_iou(self, absent: str = "skip") -> float:
        """Mean over the classes; NaN before the first frame."""
        return _mean(self.iou(), absent)

    def mean_accuracy(self, absent: str = "skip") -> float:
        """mAcc: mean over the classes."""
        return _mean(self.accuracy(), absent)

    def mean_f1(self, absent: str = "skip") -> float:
        """Macro F1."""
        return _mean(self.f1(), absent)

    def pixel_accuracy(self) -> float:
        """Share of all labelled pixels that are correct."""
        return float(_ratio(self.confusion.diagonal().sum(), self._pixels().sum()))

    def _pixels(self) -> NDArray[np.int64]:
        return np.asarray(self.confusion.sum(1) + self.unmapped)


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """NaN where the whole is nothing."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.float64(part) / whole)


def _mean(values: NDArray[np.float64], absent: str) -> float:
    if absent == "zero" and not np.isnan(values).all():
        values = np.nan_to_num(values, nan=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a mean of nothing, which is NaN
        return float(np.nanmean(values))
