"""Which frame is drawn when: a function of recipe and position alone, so that a run can be cut, resumed and spread."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch.utils.data import Sampler

from sartm_core.rig import Size


class Draw(NamedTuple):
    """One sample of a run.

    Attributes:
        number: counts the samples of the run; seeds augmentation and corruption.
        frame: its place in the training set.
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
    """Micro-batches of one process, from the first or from a later one on.

    Args:
        stages: in order.
        frames: number of frames in the training set.
        seed: of the order; every pass over the frames has another.
        accumulate: micro-batches per step.
        rank, world: this process of how many.
        first: micro-batches that are done already.
    """

    def __init__(
        self, stages: Sequence[StagePlan], frames: int, seed: int, accumulate: int, rank: int, world: int, first: int
    ) -> None:
        self.stages, self.frames, self.seed = stages, frames, seed
        self.accumulate, self.rank, self.world, self.first = accumulate, rank, world, first

    def __len__(self) -> int:
        """Of the whole run, those that are done included, as Lightning counts."""
        return sum(stage.steps for stage in self.stages) * self.accumulate

    def __iter__(self) -> Iterator[list[Draw]]:
        number, position = 0, 0
        for stage in self.stages:
            share = stage.batch // self.accumulate // self.world
            for _ in range(stage.steps):
                for micro in range(self.accumulate):
                    if position >= self.first:
                        begin = number + (micro * self.world + self.rank) * share
                        yield [self._draw(begin + offset, stage.size) for offset in range(share)]
                    position += 1
                number += stage.batch

    def _draw(self, number: int, size: Size) -> Draw:
        turn, place = divmod(number, self.frames)
        if turn != getattr(self, "_turn", None):
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + turn)
            self._turn, self._order = turn, torch.randperm(self.frames, generator=generator).tolist()
        return Draw(number, self._order[place], size)
