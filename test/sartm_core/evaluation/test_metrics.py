import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from sartm_core.evaluation.metrics import SegmentationScore


def numpy_iou(mask: np.ndarray, truth: np.ndarray, classes: int) -> list[float]:
    valid = truth != 255
    result = []
    for c in range(classes):
        a, b = (mask == c) & valid, (truth == c) & valid
        result.append((a & b).sum() / (a | b).sum() if (a | b).any() else np.nan)
    return result


def test_against_numpy_and_torchmetrics(rng: np.random.Generator) -> None:
    truth = rng.integers(0, 5, (4, 20, 30)).astype(np.uint8)
    mask = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, 5, truth.shape)).astype(np.uint8)
    truth[:, :4] = 255
    score = SegmentationScore(6)  # class 5 occurs nowhere
    for frame_mask, frame_truth in zip(mask, truth, strict=True):
        score.update(frame_mask, frame_truth)
    np.testing.assert_allclose(score.iou(), numpy_iou(mask, truth, 6), rtol=1e-12)
    jaccard = MulticlassJaccardIndex(5, ignore_index=255)
    expected = float(jaccard(torch.from_numpy(mask).long(), torch.from_numpy(truth).long()))
    assert score.mean_iou() == pytest.approx(expected, rel=1e-6)


def test_nothing_seen_is_not_a_number() -> None:
    assert np.isnan(SegmentationScore(3).mean_iou())
