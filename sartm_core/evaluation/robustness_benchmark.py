"""The public benchmark of sensor failures: EMM, RMM and NM (Liao et al., arXiv 2503.18445).

Written from the paper and from the rules of its evaluation code
(Chenfei-Liao/Multi-Modal-Semantic-Segmentation-Robustness-Benchmark @53c7a6e): sensors are damaged on the tensors of
DELIVER's lineage (jamycheung/DELIVER @4981c16), RGB normalised by ImageNet's statistics and every other modality
divided by 255. So a damage is the same whatever a model normalises by, and figures of models compare.

EMM, entirely missing: a lost modality is all zeros *of these tensors*: RGB is mid-grey, the others black. It is still
encoded and averaged. RMM, randomly missing: each element of a damaged modality is 0 with probability r. NM, noisy: salt
and pepper on every modality, then Gaussian noise on all but events, without clipping.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from sartm_core.evaluation.sensor_loss import RATIOS
from sartm_core.evaluation.variations import Change, Planes, Variation, subsets, value_range
from sartm_core.kinds import Modality

NOISE = {"low": (0.05, 0.1), "mid": (0.1, 0.2), "high": (0.2, 0.5)}
"""NM: density of salt and pepper together, standard deviation of the Gaussian noise."""
_RGB_MEAN, _RGB_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def entirely_missing(modalities: Sequence[Modality]) -> list[Variation]:
    """EMM: every set of sound sensors but the full one, named by them."""
    return [
        Variation("emm", "+".join(kept), _damaging(modalities, kept, _zeros), fitted=True)
        for kept in _incomplete(modalities)
    ]


def randomly_missing(modalities: Sequence[Modality]) -> list[Variation]:
    """RMM at each ratio: every set of sound sensors but the full one, named by them."""
    return [
        Variation(f"rmm_{ratio:g}", "+".join(kept), _damaging(modalities, kept, _partly_zero(ratio)), fitted=True)
        for ratio in RATIOS
        for kept in _incomplete(modalities)
    ]


def noisy(modalities: Sequence[Modality]) -> list[Variation]:
    """NM at each level."""
    return [Variation("nm", level, _noisy(modalities, *noise), fitted=True) for level, noise in NOISE.items()]


def elements_zeroed(tensor: Tensor, ratio: float, generator: Generator) -> Tensor:
    """RMM's damage of one modality [..., 3, H, W]."""
    return tensor.masked_fill(torch.rand(tensor.shape, generator=generator) < ratio, 0.0)


def salt_and_pepper(tensor: Tensor, density: float, generator: Generator) -> Tensor:
    """Half of `density` x numel draws become the tensor's maximum, then as many its minimum; draws may coincide.

    Args:
        tensor: one modality of a batch of one, [1, 3, H, W]: elements, not pixels, are hit.
    """
    result, count = tensor.clone(), int(np.ceil(density * tensor.numel() * 0.5))
    for value in (tensor.max(), tensor.min()):
        places = tuple(torch.randint(0, side, (count,), generator=generator) for side in tensor.shape)
        result[places] = value
    return result


def gaussian(tensor: Tensor, deviation: float, generator: Generator) -> Tensor:
    """Noise of this standard deviation on every element, without clipping."""
    return tensor + torch.randn(tensor.shape, generator=generator) * deviation


def _incomplete(modalities: Sequence[Modality]) -> list[tuple[str, ...]]:
    return subsets(tuple(modality.name for modality in modalities))[:-1]


def _zeros(tensor: Tensor, generator: Generator) -> Tensor:
    return torch.zeros_like(tensor)


def _partly_zero(ratio: float) -> Callable[[Tensor, Generator], Tensor]:
    return lambda tensor, generator: elements_zeroed(tensor, ratio, generator)


def _damaging(
    modalities: Sequence[Modality], kept: tuple[str, ...], damage: Callable[[Tensor, Generator], Tensor]
) -> Change:
    scales = {modality.name: _Scale(modality) for modality in modalities if modality.name not in kept}

    def change(planes: Planes, rng: np.random.Generator) -> Planes:
        generator = _seeded(rng)
        damaged = {
            name: scale.planes(damage(scale.tensor(planes[name]), generator))
            for name, scale in scales.items()
            if name in planes
        }
        return planes | damaged

    return change


def _noisy(modalities: Sequence[Modality], density: float, deviation: float) -> Change:
    scales = {modality.name: _Scale(modality) for modality in modalities}
    shaken = [modality.name for modality in modalities if modality.kind != "event"]

    def change(planes: Planes, rng: np.random.Generator) -> Planes:
        generator = _seeded(rng)
        tensors = {name: scale.tensor(planes[name]) for name, scale in scales.items() if name in planes}
        tensors = {name: salt_and_pepper(tensor, density, generator) for name, tensor in tensors.items()}
        for name in shaken:
            if name in tensors:
                tensors[name] = gaussian(tensors[name], deviation, generator)
        return {name: scales[name].planes(tensor) for name, tensor in tensors.items()}

    return change


def _seeded(rng: np.random.Generator) -> Generator:
    return Generator().manual_seed(int(rng.integers(2**62)))


class _Scale:
    """Between one modality's planes and the benchmark's tensors.

    Raises:
        SartmError: the rig states no scale.
    """

    def __init__(self, modality: Modality) -> None:
        low, high = (torch.from_numpy(values) for values in value_range(modality))
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        if modality.kind == "rgb":
            mean, std = _RGB_MEAN, _RGB_STD
        span = high - low
        self._mean = low + span * torch.tensor(mean, dtype=torch.float64)[:, None, None]
        self._std = span * torch.tensor(std, dtype=torch.float64)[:, None, None]

    def tensor(self, planes: NDArray[Any]) -> Tensor:
        """[3, h, w] -> float32 [1, 3, h, w]."""
        return ((torch.from_numpy(planes).double() - self._mean) / self._std).float()[None]

    def planes(self, tensor: Tensor) -> NDArray[Any]:
        """Back, float32."""
        return (tensor[0].double() * self._std + self._mean).float().numpy()
