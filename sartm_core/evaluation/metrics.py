"""Scores from a confusion matrix, accumulated over frames and processes."""

import torch
import torch.distributed as distributed
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from sartm_core.segmentation import UNLABELLED


class SegmentationScore:
    """Accumulates a confusion matrix; pixels whose truth is 255 do not count.

    Two conventions exist for classes that occur neither in the truth nor in a mask: exclude them from the mean
    (`absent="skip"`, torchmetrics and most papers), or count them as 0 (`absent="zero"`, code derived from DELIVER's).
    The choice matters for conditions and small subsets.

    Args:
        classes: number of classes, C.
    """

    def __init__(self, classes: int) -> None:
        self.confusion = torch.zeros(classes, classes, dtype=torch.int64)
        """Rows: truth, columns: mask."""
        self.unmapped = torch.zeros(classes, dtype=torch.int64)
        """Pixels of each true class whose predicted class has no counterpart in the data."""

    def reset(self) -> None:
        """Discards all frames."""
        self.confusion.zero_()
        self.unmapped.zero_()

    def update(self, mask: Tensor, truth: Tensor) -> None:
        """Adds frames: integer class ids of equal shape."""
        classes = self.confusion.shape[0]
        nowhere = (mask == UNLABELLED) & (truth != UNLABELLED)  # what a fit that crops did not see: never right
        if nowhere.any():
            self.unmapped += torch.bincount(truth[nowhere].long(), minlength=classes).cpu()
            mask, truth = mask.where(~nowhere, 0), truth.where(~nowhere, UNLABELLED)
        self.confusion += multiclass_confusion_matrix(
            mask.long(), truth.long(), num_classes=classes, ignore_index=UNLABELLED, validate_args=False
        ).cpu()

    def reduce(self) -> None:
        """Sums the matrices of all processes; exact, since they are integers."""
        if distributed.is_available() and distributed.is_initialized():
            device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
            total = torch.cat([self.confusion, self.unmapped[:, None]], dim=1).to(device)
            distributed.all_reduce(total)
            self.confusion, self.unmapped = total[:, :-1].cpu(), total[:, -1].cpu()

    def iou(self) -> Tensor:
        """float64 [C]; NaN for a class that is neither in the truth nor in a mask."""
        hit = self.confusion.diagonal().double()
        union = self.confusion.sum(0) + self._pixels() - self.confusion.diagonal()
        return hit / union

    def accuracy(self) -> Tensor:
        """float64 [C], recall of each class; NaN for a class without pixels."""
        return self.confusion.diagonal().double() / self._pixels()

    def f1(self) -> Tensor:
        """float64 [C], harmonic mean of precision and recall; NaN where `iou` is."""
        hit = self.confusion.diagonal().double()
        return 2 * hit / (self.confusion.sum(0) + self._pixels())

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
        return float(self.confusion.diagonal().sum() / self._pixels().sum())

    def _pixels(self) -> Tensor:
        return self.confusion.sum(1) + self.unmapped


def _mean(values: Tensor, absent: str) -> float:
    if absent == "zero" and not values.isnan().all():
        values = values.nan_to_num(0.0)
    return float(values.nanmean())
