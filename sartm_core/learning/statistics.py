"""Mean and standard deviation of each modality's planes."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sartm_core.learning.augmentation import Planes


@dataclass(frozen=True, slots=True)
class PlaneStatistics:
    """Attributes: mean, std, float64 [M, 3]; frames, int64 [M], how many each modality was seen in."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    frames: NDArray[np.int64]


def plane_statistics(names: tuple[str, ...], frames: Iterable[Planes]) -> PlaneStatistics:
    """Over all pixels of the frames, empty ones of sparse modalities included, as the network sees them.

    Sums of squares are taken about each frame's mean and merged (Chan et al. 1979): no cancellation.

    Args:
        names: M modalities, in rig order.
        frames: modality -> planes [3, H, W] each.
    """
    mean, spread = np.zeros((len(names), 3)), np.zeros((len(names), 3))
    pixels, seen = np.zeros(len(names)), np.zeros(len(names), np.int64)
    for frame in frames:
        for name, planes in frame.items():
            index, count = names.index(name), planes[0].size
            values = planes.astype(np.float64)
            here, total = values.mean(axis=(1, 2)), pixels[index] + count
            spread[index] += values.var(axis=(1, 2)) * count
            spread[index] += (here - mean[index]) ** 2 * pixels[index] * count / total
            mean[index] += (here - mean[index]) * count / total
            pixels[index] = total
            seen[index] += 1
    std = np.sqrt(spread / np.maximum(pixels, 1)[:, None])
    return PlaneStatistics(mean, np.maximum(std, 1e-3), seen)
