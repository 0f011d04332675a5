"""Variations of a frame presented to a model: all sensors, subsets, broken sensors.

Two protocols for missing sensors exist in the literature and are never mixed: DROP, the sensor is absent (what a robot
sees when a topic dies), and ZERO, it delivers blank images (a dead camera that keeps publishing). A third, EMM, is of
`robustness_benchmark`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from sartm_core.errors import SartmError
from sartm_core.kinds import Modality

Planes = dict[str, NDArray[Any]]
Change = Callable[[Planes, Generator], Planes]

GAUSSIAN_SIGMA, UNIFORM_REACH = 50.0, 100.0
"""MLE-SAM's noise test, on the scale 0 to 255."""


@dataclass(frozen=True, slots=True)
class Variation:
    """One variation of the input.

    Attributes:
        group: `clean`, `drop`, `zero`, `noise`, or a protocol of `robustness_benchmark`.
        name: `rgb+depth` for subsets, `rgb gaussian` for noise.
        change: planes, generator -> planes; modalities it omits are absent.
        fitted: whether `change` takes the planes at the network's size, where papers add noise, instead of the
            sensors': resizing would average it away, and differently for each modality.
    """

    group: str
    name: str
    change: Change = field(compare=False)
    fitted: bool = False


def subsets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Every non-empty subset, by size; the full set comes last."""
    return [kept for size in range(1, len(names) + 1) for kept in combinations(names, size)]


def missing(names: tuple[str, ...]) -> list[Variation]:
    """Every subset but the full one, under DROP and under ZERO."""
    return [
        variation
        for kept in subsets(names)[:-1]
        for variation in (
            Variation("drop", "+".join(kept), _drop(frozenset(kept))),
            Variation("zero", "+".join(kept), _zero(frozenset(kept))),
        )
    ]


def noisy(modalities: Sequence[Modality]) -> list[Variation]:
    """Gaussian and uniform noise on one modality at a time.

    Raises:
        SartmError: see `value_range`.
    """
    return [
        Variation("noise", f"{modality.name} {name}", _noisy(modality, noise), fitted=True)
        for modality in modalities
        for name, noise in (("gaussian", _gaussian), ("uniform", _uniform))
    ]


def value_range(modality: Modality) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What stands for 0 and 255 of an 8-bit image: float64 [3, 1, 1] each.

    Raises:
        SartmError: the rig does not state it.
    """
    stated = modality.value_range
    if stated is None:
        raise SartmError(
            f"{modality.name}: its planes have no stated scale, so a noise of 50 of 255 has no meaning for it. Add "
            "full_scale to it in the data's rig file: what 255 stands for in each plane, such as [60, 255, 10] for a "
            "LiDAR's metres, intensity, and metres of height."
        )
    low, high = (np.array(values, np.float64)[:, None, None] for values in stated)
    return low, high


def _drop(kept: frozenset[str]) -> Change:
    return lambda planes, rng: {name: image for name, image in planes.items() if name in kept}


def _zero(kept: frozenset[str]) -> Change:
    return lambda planes, rng: {name: image if name in kept else np.zeros_like(image) for name, image in planes.items()}


def _noisy(modality: Modality, noise: Callable[[tuple[int, ...], Generator], NDArray[np.float64]]) -> Change:
    low, high = value_range(modality)

    def change(planes: Planes, rng: Generator) -> Planes:
        if modality.name not in planes:
            return planes
        image = planes[modality.name]
        noisy = image + noise(image.shape, rng) * (high - low) / 255
        if modality.eight_bit:  # an image remains one; ranges and counts have no such bounds
            noisy = np.clip(noisy, 0, 255).round()
        return {**planes, modality.name: noisy.astype(image.dtype)}

    return change


def _gaussian(shape: tuple[int, ...], rng: Generator) -> NDArray[np.float64]:
    return rng.normal(0, GAUSSIAN_SIGMA, shape)


def _uniform(shape: tuple[int, ...], rng: Generator) -> NDArray[np.float64]:
    return rng.uniform(-UNIFORM_REACH, UNIFORM_REACH, shape)
