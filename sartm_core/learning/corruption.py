"""Drops and corrupts inputs in training, to make the network robust to missing sensors.

Every sample has its own generator, seeded by its number in the run, so results do not depend on the process count.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


class Degraded(NamedTuple):
    """Attributes: planes [B, M, 3, H, W]; availability bool [B, M]; sound bool [B, M], false where corrupted."""

    planes: Tensor
    availability: Tensor
    sound: Tensor


def degrade(
    planes: Tensor,
    availability: Tensor,
    std: Tensor,
    generators: Sequence[Generator],
    subset_share: float,
    corrupted_share: float,
    corruptions: Sequence[str],
) -> Degraded:
    """Drops random modalities of some samples and corrupts some of the others.

    Args:
        planes: float [B, M, 3, H, W].
        availability: bool [B, M], what each sample has; every sample keeps at least one.
        std: [M, 3], the planes' deviations: the unit of the noise.
        generators: one per sample, on the CPU.
        subset_share: probability that a sample loses modalities: k remain, with k and the choice uniform.
        corrupted_share: probability that a remaining modality is corrupted; one stays sound.
        corruptions: names of `CORRUPTIONS`, equally likely.
    """
    planes, left = planes.clone(), availability.clone()
    sound = torch.ones_like(availability)
    for index, generator in enumerate(generators):
        present = availability[index].nonzero().flatten()
        if _uniform(generator) < subset_share:
            left[index] = False
            left[index, present[_random_subset(len(present), generator)]] = True
        remaining = left[index].nonzero().flatten().tolist()
        broken = [modality for modality in remaining if _uniform(generator) < corrupted_share]
        if broken and len(broken) == len(remaining):  # with every sensor corrupted, there is only noise to learn
            broken.pop(int(torch.randint(len(broken), (1,), generator=generator)))
        for modality in broken:
            name = corruptions[int(torch.randint(len(corruptions), (1,), generator=generator))]
            unit = std[modality][:, None, None]
            planes[index, modality] = CORRUPTIONS[name](planes[index, modality], unit, generator)
            sound[index, modality] = False
    return Degraded(planes, left, sound)


def _uniform(generator: Generator) -> float:
    return float(torch.rand(1, generator=generator))


def _random_subset(count: int, generator: Generator) -> Tensor:
    """Indices of a non-empty subset of `count` items."""
    chosen = int(torch.randint(1, count + 1, (1,), generator=generator))
    return torch.randperm(count, generator=generator)[:chosen]


def _normal(like: Tensor, generator: Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator).to(like.device)


def _noise(planes: Tensor, unit: Tensor, generator: Generator) -> Tensor:
    return planes + unit * (0.7 + 2 * _uniform(generator)) * _normal(planes, generator)


def _weak_noise(planes: Tensor, unit: Tensor, generator: Generator) -> Tensor:
    """Noise a network can learn to tolerate; covers the papers' noise tests."""
    return planes + unit * (0.1 + 0.6 * _uniform(generator)) * _normal(planes, generator)


def _blank(planes: Tensor, unit: Tensor, generator: Generator) -> Tensor:
    return torch.zeros_like(planes)


def _saturated(planes: Tensor, unit: Tensor, generator: Generator) -> Tensor:
    return torch.full_like(planes, float(planes.amax())) + 0.02 * unit * _normal(planes, generator)


def _blur(planes: Tensor, unit: Tensor, generator: Generator) -> Tensor:
    kernel = 7 + 2 * int(6 * _uniform(generator))
    return F.avg_pool2d(planes[None], kernel, stride=1, padding=kernel // 2, count_include_pad=False)[0]


def _motion_blur(planes: Tensor, unit: Tensor, generator: Generator) -> Tensor:
    """Along a row or a column: a cheap version of DELIVER's fault."""
    length = 2 * int(planes.shape[-1] * (0.03 + 0.05 * _uniform(generator))) + 1
    kernel = (1, length) if _uniform(generator) < 0.7 else (length, 1)
    padding = (kernel[0] // 2, kernel[1] // 2)
    return F.avg_pool2d(planes[None], kernel, stride=1, padding=padding, count_include_pad=False)[0]


def _dim(planes: Tensor, unit: Tensor, generator: Generator) -> Tensor:
    return planes * (0.05 + 0.2 * _uniform(generator))


def _bright(planes: Tensor, unit: Tensor, generator: Generator) -> Tensor:
    """Over-exposed: values above the maximum are clipped."""
    return torch.minimum(planes * (2.5 + 4 * _uniform(generator)), planes.amax())


def _jitter(planes: Tensor, unit: Tensor, generator: Generator) -> Tensor:
    """Shifts each row sideways by its own amount, like a shaking LiDAR."""
    height, width = planes.shape[1:]
    shift = (torch.randn(height, 1, generator=generator) * 0.03 * width).round().long()
    columns = (torch.arange(width) + shift) % width
    return planes.gather(2, columns.to(planes.device).expand(3, height, width))


def _coarse(planes: Tensor, unit: Tensor, generator: Generator) -> Tensor:
    """Low resolution: blocks of 4x4 or 8x8 pixels."""
    step = 4 if _uniform(generator) < 0.5 else 8
    small = planes[None, :, ::step, ::step]
    return F.interpolate(small, size=planes.shape[1:], mode="nearest")[0]


def _shifted(planes: Tensor, unit: Tensor, generator: Generator) -> Tensor:
    """Miscalibration, as of a camera that was knocked."""
    limit = max(planes.shape[-1] // 8, 2)
    down, right = (torch.randint(-limit, limit + 1, (2,), generator=generator)).tolist()
    return planes.roll((down, right), dims=(1, 2))


def _frozen(planes: Tensor, unit: Tensor, generator: Generator) -> Tensor:
    """An intact image of another place in the same light: its own, mirrored and rolled."""
    width = planes.shape[-1]
    return planes.flip(2).roll(int(torch.randint(width, (1,), generator=generator)), dims=2)


Corruption = Callable[[Tensor, Tensor, Generator], Tensor]

CORRUPTIONS: dict[str, Corruption] = {
    "noise": _noise,
    "weak_noise": _weak_noise,
    "blank": _blank,
    "saturated": _saturated,
    "blur": _blur,
    "motion_blur": _motion_blur,
    "dim": _dim,
    "bright": _bright,
    "jitter": _jitter,
    "coarse": _coarse,
    "shifted": _shifted,
    "frozen": _frozen,
}
"""(planes [3, H, W], deviation [3, 1, 1], generator) -> planes."""
