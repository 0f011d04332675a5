"""Labelled frame sets from the simulated rig, rendered on demand: no storage, no end of new streets."""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sartm_core.rig import Rig
from sartm_core.sensing import encode
from sartm_core.simulation import CONDITIONS, SimulatedRig

DRIVE_S = 40.0
"""Samples are taken from this many seconds of each drive."""

SPLIT_SEEDS = {"train": 0, "val": 1_000_000_000}
"""First street of each split; the splits share no street."""


class SimulatedDataset(Dataset[dict[str, Tensor]]):
    """Sample i is one instant in street `first_seed + i`, in a condition of its own; equal on every machine.

    Args:
        rig: a rig that the simulator can serve.
        length: number of samples.
        split: `train` or `val`.
        size: height, width of the rendering.
        condition: name of the only condition; by default each sample draws one.
        start: index of the first sample within the split.
    """

    def __init__(
        self, rig: Rig, length: int, split: str, size: tuple[int, int], condition: str | None = None, start: int = 0
    ) -> None:
        self.rig, self.length, self.size, self.condition = rig, length, size, condition
        self.first_seed = SPLIT_SEEDS[split] + start

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """`planes` [M, 3, H, W] of the rig's dtype; `truth` int64 [H, W]."""
        if not 0 <= index < self.length:
            raise IndexError(index)
        seed = self.first_seed + index
        rng = np.random.default_rng((seed, 0xDA7A))
        condition = CONDITIONS[self.condition or rng.choice(sorted(CONDITIONS))]
        simulated = SimulatedRig(self.rig, seed, self.size)
        frame = simulated.capture(rng.uniform(0, DRIVE_S), condition)
        images = simulated.registered(frame)
        planes = [encode(modality, images[modality.name], self.rig.dtype) for modality in self.rig.modalities]
        return {"planes": torch.from_numpy(np.stack(planes)), "truth": torch.from_numpy(frame.truth).long()}


def plane_statistics(dataset: SimulatedDataset, samples: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each modality's planes over the first samples, float32 [M, 3] each."""
    planes = torch.stack([dataset[index]["planes"].float() for index in range(samples)])
    return planes.mean(dim=(0, 3, 4)), planes.std(dim=(0, 3, 4)).clamp_min(1e-3)
