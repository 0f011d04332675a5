"""Intersection over union, accumulated over frames."""

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from sartm_core.frames import UNLABELLED


class SegmentationScore:
    """Accumulates a confusion matrix; pixels whose truth is 255 do not count.

    Args:
        classes: number of classes, C.
    """

    def __init__(self, classes: int) -> None:
        self.confusion = torch.zeros(classes, classes, dtype=torch.int64)

    def update(self, mask: Tensor, truth: Tensor) -> None:
        """Adds frames: integer class ids of equal shape."""
        classes = self.confusion.shape[0]
        self.confusion += multiclass_confusion_matrix(
            mask.long(), truth.long(), num_classes=classes, ignore_index=UNLABELLED, validate_args=False
        ).cpu()

    def iou(self) -> Tensor:
        """float64 [C]; NaN for a class that is neither in the truth nor in a mask."""
        hit = self.confusion.diagonal().double()
        union = self.confusion.sum(0) + self.confusion.sum(1) - self.confusion.diagonal()
        return hit / union

    def mean_iou(self) -> float:
        """Mean over the classes that occur; NaN before the first frame."""
        return float(self.iou().nanmean())
