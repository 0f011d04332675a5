"""What training does to its inputs so that the network learns to do without some of them."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

SUBSET_SHARE = 0.5
"""Share of the samples that lose modalities."""
CORRUPTED_SHARE = 0.2
"""Share of the remaining modalities that are corrupted."""


class Degraded(NamedTuple):
    """Attributes: planes [B, M, 3, H, W]; availability bool [B, M]; sound bool [B, M], false where corrupted."""

    planes: Tensor
    availability: Tensor
    sound: Tensor


def degrade(planes: Tensor, std: Tensor, generator: torch.Generator) -> Degraded:
    """Drops random modalities of some samples and corrupts some of the others.

    Args:
        planes: float [B, M, 3, H, W].
        std: [M, 3], the planes' deviations: the unit of the noise.
        generator: makes it repeatable.
    """
    batch, modalities = planes.shape[:2]
    availability = random_subsets(batch, modalities, generator)
    clean = torch.rand(batch, 1, generator=generator) >= SUBSET_SHARE
    availability = availability | clean
    sound = torch.rand(batch, modalities, generator=generator) >= CORRUPTED_SHARE
    # With every sensor corrupted there is nothing to learn but noise.
    sound |= ~(sound & availability).any(dim=1, keepdim=True)
    planes = planes.clone()
    for sample, modality in (~sound & availability).nonzero().tolist():
        planes[sample, modality] = _corrupt(planes[sample, modality], std[modality], generator)
    return Degraded(planes, availability, sound)


def random_subsets(batch: int, modalities: int, generator: torch.Generator) -> Tensor:
    """Bool [B, M]: k present modalities, k uniform from 1 to M, which ones uniform."""
    count = torch.randint(1, modalities + 1, (batch, 1), generator=generator)
    rank = torch.rand(batch, modalities, generator=generator).argsort(dim=1).argsort(dim=1)
    return rank < count


def _corrupt(planes: Tensor, std: Tensor, generator: torch.Generator) -> Tensor:  # [3, H, W]
    unit = std[:, None, None]
    fault = int(torch.randint(4, (1,), generator=generator))
    strength = float(torch.rand(1, generator=generator))
    if fault == 0:  # noise
        return planes + unit * (0.7 + 2 * strength) * torch.randn(planes.shape, generator=generator)
    if fault == 1:  # blank or saturated
        return torch.zeros_like(planes) + (planes.amax() if strength > 0.5 else 0.0)
    if fault == 2:  # out of focus
        kernel = 7 + 2 * int(6 * strength)
        return F.avg_pool2d(planes[None], kernel, stride=1, padding=kernel // 2, count_include_pad=False)[0]
    return planes * (0.05 + 0.2 * strength)  # under-exposed
