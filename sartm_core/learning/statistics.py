"""Mean and standard deviation of each modality's planes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sartm_core.datasets.dataset import Frame
from sartm_core.learning.augmentation import Planes

LEAST_FRAMES = 8
"""Of every modality, where the data have as many."""


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


def representative_frames(frames: Sequence[Frame], names: tuple[str, ...], count: int, seed: int) -> list[int]:
    """Which frames to measure: spread over all of them, each condition in proportion and at least once.

    Data sets list their frames by scene and weather: the first ones are of one kind.

    Args:
        frames: of the training split.
        names: modalities; of each at least `LEAST_FRAMES` frames are taken, where there are as many.
        count: how many frames to take; a few more where a condition or a modality would be missing.
        seed: of the choice.

    Returns:
        Indices, ascending.
    """
    order = np.random.default_rng((seed, 0x57A7)).permutation(len(frames))
    by_condition = sorted(order.tolist(), key=lambda index: frames[index].tags.get("condition", ""))  # stable
    places = np.linspace(0, len(frames), min(count, len(frames)), endpoint=False).astype(int)
    chosen = {by_condition[place] for place in places}
    conditions = {frames[index].tags.get("condition", "") for index in chosen}
    for index in by_condition:
        condition = frames[index].tags.get("condition", "")
        if condition not in conditions:
            chosen.add(index)
            conditions.add(condition)
    for name in names:
        missing = LEAST_FRAMES - sum(name in frames[index].modalities for index in chosen)
        having = (index for index in order.tolist() if name in frames[index].modalities and index not in chosen)
        chosen |= {index for index, _ in zip(having, range(missing), strict=False)}
    return sorted(chosen)
