"""Variations of a frame presented to a model: all sensors, subsets, broken sensors.

Two protocols for missing sensors exist in the literature and are never mixed: DROP, the sensor is absent (what a robot
sees when a topic dies), and ZERO, it delivers blank images (a dead camera that keeps publishing).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Planes = dict[str, NDArray[Any]]

PROTOCOLS = ("clean", "subsets", "noise", "conditions", "faults")
GAUSSIAN_SIGMA, UNIFORM_REACH = 50.0, 100.0
"""MLE-SAM's noise test, on the scale 0 to 255."""


@dataclass(frozen=True, slots=True)
class Variation:
    """One variation of the input.

    Attributes:
        group: `clean`, `drop`, `zero` or `noise`.
        name: `rgb+depth` for subsets, `rgb gaussian` for noise.
        change: planes, generator -> planes; modalities it omits are absent.
    """

    group: str
    name: str
    change: Callable[[Planes, Generator], Planes] = field(compare=False)


def subsets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Every non-empty subset, by size; the full set comes last."""
    return [kept for size in range(1, len(names) + 1) for kept in combinations(names, size)]


def variations(names: tuple[str, ...], protocols: Iterable[str], eight_bit: frozenset[str]) -> list[Variation]:
    """All variations of the chosen protocols; the clean one always comes first.

    Args:
        names: the modalities that data and model share.
        protocols: of `PROTOCOLS`.
        eight_bit: those of them whose values are 0 to 255 (`Modality.eight_bit`): the scale of the noise.
    """
    chosen = set(protocols)
    result = [Variation("clean", "+".join(names), lambda planes, rng: planes)]
    if "subsets" in chosen:
        for kept in subsets(names)[:-1]:
            result.append(Variation("drop", "+".join(kept), _drop(frozenset(kept))))
            result.append(Variation("zero", "+".join(kept), _zero(frozenset(kept))))
    if "noise" in chosen:
        for name in names:
            result.append(Variation("noise", f"{name} gaussian", _noisy(name, name in eight_bit, _gaussian)))
            result.append(Variation("noise", f"{name} uniform", _noisy(name, name in eight_bit, _uniform)))
    return result


def _drop(kept: frozenset[str]) -> Callable[[Planes, Generator], Planes]:
    return lambda planes, rng: {name: image for name, image in planes.items() if name in kept}


def _zero(kept: frozenset[str]) -> Callable[[Planes, Generator], Planes]:
    return lambda planes, rng: {name: image if name in kept else np.zeros_like(image) for name, image in planes.items()}


def _noisy(target: str, eight_bit: bool, noise: Callable[[tuple[int, ...], Generator], NDArray[np.float64]]) -> Any:
    def change(planes: Planes, rng: Generator) -> Planes:
        if target not in planes:
            return planes
        image = planes[target]
        return {**planes, target: with_noise(image, noise(image.shape, rng), eight_bit)}

    return change


def with_noise(image: NDArray[Any], noise: NDArray[np.float64], eight_bit: bool) -> NDArray[Any]:
    """Adds noise.

    Args:
        image: of any numeric dtype, which is preserved.
        noise: of its shape, on the scale 0 to 255.
        eight_bit: whether the image is on that scale; otherwise (metres, counts) noise is scaled to the range of the
            pixels that were measured: of a LiDAR's image, filled below one in a hundred, that of all pixels would be 0.
    """
    if eight_bit:
        return np.clip(image + noise, 0, 255).astype(image.dtype)
    measured = image[np.isfinite(image) & (image != 0)]
    if not measured.size:
        return image
    low, high = np.percentile(measured, (1, 99))
    if measured.size < image.size:  # the others are 0
        low = min(low, 0.0)
    changed = image + noise * (high - low) / 255
    if np.issubdtype(image.dtype, np.integer):
        limits = np.iinfo(image.dtype)
        changed = np.clip(changed, limits.min, limits.max)
    return changed.astype(image.dtype)


def _gaussian(shape: tuple[int, ...], rng: Generator) -> NDArray[np.float64]:
    return rng.normal(0, GAUSSIAN_SIGMA, shape)


def _uniform(shape: tuple[int, ...], rng: Generator) -> NDArray[np.float64]:
    return rng.uniform(-UNIFORM_REACH, UNIFORM_REACH, shape)
