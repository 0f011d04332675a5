"""Order of the frames: depends on recipe and position alone, so a run can be interrupted, resumed and distributed."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Sampler

from sartm_core.rig import Size


class Draw(NamedTuple):
    """One sample of a run.

    Attributes:
        number: counts the samples of the run; seeds augmentation and corruption.
        frame: its index in the training set.
        size: height, width of the crop.
    """

    number: int
    frame: int
    size: Size


class StagePlan(NamedTuple):
    """Attributes: size of the crops; steps of the optimiser; batch, samples per step over all devices."""

    size: Size
    steps: int
    batch: int


class RunSampler(Sampler[list[Draw]]):
    """Micro-batches of one process, from the first or a later one.

    Args:
        stages: in order.
        frames: number of frames in the training set.
        weights: of each frame; None: all are drawn once in each epoch. An epoch has as many draws as their sum; in each
            a frame of weight 2.5 is drawn two or three times.
        seed: of the order, which differs in every epoch.
        accumulate: micro-batches per step.
        rank, world: index of this process and number of processes.
        first: number of micro-batches to skip, already done.
    """

    def __init__(
        self, stages: Sequence[StagePlan], frames: int, seed: int, accumulate: int, rank: int, world: int, first: int,
        weights: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        self.stages, self.frames, self.seed = stages, frames, seed
        self.accumulate, self.rank, self.world, self.first = accumulate, rank, world, first
        self.weights = None if weights is None else np.asarray(weights, np.float64)
        self._length = epoch_length(frames, weights)

    def __len__(self) -> int:
        """Of the whole run, including those already done, as Lightning counts."""
        return sum(stage.steps for stage in self.stages) * self.accumulate

    def __iter__(self) -> Iterator[list[Draw]]:
        number, position = 0, 0
        for stage in self.stages:
            share = stage.batch // self.accumulate // self.world
            for _ in range(stage.steps):
                for micro in range(self.accumulate):
                    if position >= self.first:
                        start = number + (micro * self.world + self.rank) * share
                        yield [self._draw(start + offset, stage.size) for offset in range(share)]
                    position += 1
                number += stage.batch

    def _draw(self, number: int, size: Size) -> Draw:
        epoch, index = divmod(number, self._length)
        if epoch != getattr(self, "_epoch", None):
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            order = torch.randperm(self._length, generator=generator).tolist()
            self._epoch, self._order = epoch, order if self.weights is None else self._weighted(epoch)[order].tolist()
        return Draw(number, self._order[index], size)

    def _weighted(self, epoch: int) -> NDArray[np.int64]:
        """The frames of an epoch, sampled systematically: each as often as its weight says, rounded up or down."""
        assert self.weights is not None
        ends = np.cumsum(self.weights) * (self._length / self.weights.sum())
        offset = np.random.default_rng((self.seed, epoch, 0x3E16)).uniform()
        return np.minimum(np.searchsorted(ends, np.arange(self._length) + offset, side="right"), self.frames - 1)


def epoch_length(frames: int, weights: Sequence[float] | None) -> int:
    """Draws in an epoch: every frame once, or as often as its weight says.

    Examples:
        >>> epoch_length(4, None), epoch_length(4, [1, 1, 2.5, 2.5])
        (4, 7)
    """
    return frames if weights is None else max(round(sum(weights)), 1)
