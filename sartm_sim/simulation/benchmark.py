"""simrig-5: the benchmark of the simulated rig. Five modalities, 14 classes, fixed seeds."""

from dataclasses import dataclass

import numpy as np

from sartm_core.rig import Rig
from sartm_sim.simulation.conditions import CONDITIONS
from sartm_sim.simulation.faults import FAULTS, Fault
from sartm_sim.simulation.rig import SimulatedFrame, SimulatedRig

NAME = "simrig-5"
GENERATOR_VERSION = 1
"""Incremented by every change that alters a byte of the frames."""

SPLITS = {"train": 3000, "val": 300, "test": 600}
"""Frames per split. Every frame has a street of its own."""

_FIRST_SEED = {"train": 0, "val": 1_000_000_000, "test": 2_000_000_000}
_DRIVE_S = 40.0
_FAULT_AGE_S = 1.5


@dataclass(frozen=True, slots=True)
class BenchmarkFrame:
    """One frame of the benchmark.

    Attributes:
        seed, time_s, condition: see `SimulatedRig.capture`.
        faulty: the modality that is broken, None in a sound frame.
        fault: its fault.
        novel: whether the street consists of shapes never seen in training.
    """

    seed: int
    time_s: float
    condition: str
    faulty: str | None
    fault: str | None
    novel: bool

    def render(self, rig: Rig, size: tuple[int, int] | None = None) -> tuple[SimulatedRig, SimulatedFrame]:
        """The simulated rig and its measurement."""
        simulated = SimulatedRig(rig, self.seed, size, self.novel)
        broken = {}
        if self.faulty is not None and self.fault is not None and self.faulty in rig.names:
            broken[self.faulty] = Fault(self.fault, self.time_s - _FAULT_AGE_S)
        return simulated, simulated.capture(self.time_s, CONDITIONS[self.condition], broken)


def samples(rig: Rig, split: str, count: int | None = None) -> list[BenchmarkFrame]:
    """The frames of a split; the first `count`, by default all.

    Conditions alternate. Training frames are fault-free. Every second frame of val and test has one fault; (modality,
    fault) pairs alternate, so that each occurs in every condition.
    """
    pairs = [(m.name, fault) for fault, kinds in FAULTS.items() for m in rig.modalities if m.kind in kinds]
    conditions = list(CONDITIONS)
    result = []
    for index in range(SPLITS[split] if count is None else min(count, SPLITS[split])):
        seed = _FIRST_SEED[split] + index
        turn, condition = divmod(index, len(conditions))
        faulty, fault = None, None
        if split != "train" and turn % 2:
            faulty, fault = pairs[(turn // 2 + index * 5) % len(pairs)]
        time_s = float(np.random.default_rng((seed, 0x71E)).uniform(_FAULT_AGE_S, _DRIVE_S))
        result.append(BenchmarkFrame(seed, time_s, conditions[condition], faulty, fault, split == "test"))
    return result
