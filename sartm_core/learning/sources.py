"""Training and validation samples as tensors, from a data set on disk or rendered by the simulated rig."""

import logging
from typing import Any, Protocol, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sartm_core.datasets.dataset import TRUTH, DataSet, Frame, NoFramesError, read_frame, seen_by
from sartm_core.datasets.files import is_labelled
from sartm_core.errors import SartmError
from sartm_core.learning.augmentation import Augmentation, Planes, augment
from sartm_core.learning.sampler import Draw
from sartm_core.learning.statistics import representative_frames
from sartm_core.rig import Rig, Size
from sartm_core.sensing import FitMode, encode_frame
from sartm_core.sensing.fit import fit_planes

log = logging.getLogger(__name__)

DRIVE_S = 40.0
FIRST_SEED = {"train": 0, "val": 1_000_000_000}
"""First street of each split; the splits share no street with each other nor with simrig-5's tests."""


class TrainingSample(TypedDict):
    """Attributes: planes [M, 3, H, W] of the rig's dtype; truth [H, W], int64 or, for validation, uint8; availability
    bool [M]; number.
    """

    planes: Tensor
    truth: Tensor
    availability: Tensor
    number: int


class Source(Protocol):
    """Encoded frames of one split: modality -> planes [3, H, W], truth uint8 [H, W]; what is absent is not a key."""

    rig: Rig

    def __len__(self) -> int: ...
    def read(self, draw: Draw) -> tuple[Planes, np.ndarray]: ...
    def representative(self, count: int, seed: int) -> list[int]:
        """About so many frames that stand for all."""


class DiskSource:
    """Frames of a data set on disk.

    Args:
        data: the data set.
        rig: it, or a part of its modalities.
        split: `train`, `val` or `test`; frames without labels, or without any of the rig's modalities, are left out.
        on_unreadable: `stop` or `skip`; the next frame takes the place of one that is skipped.

    Raises:
        NoFramesError: the split has no labelled frame.
    """

    def __init__(self, data: DataSet, rig: Rig, split: str, on_unreadable: str = "stop") -> None:
        self.data, self.rig, self._on_unreadable = seen_by(data, rig), rig, on_unreadable
        labelled = [frame for frame in data.frames(split) if is_labelled(data.path(frame, TRUTH))]
        if not labelled:
            raise NoFramesError(
                f"{data.name}: no labelled frames in split '{split}'. `sartm data check` says what is there."
            )
        self.frames: list[Frame] = [frame for frame in labelled if {*frame.modalities} & {*rig.names}]
        if not self.frames:
            raise NoFramesError(f"{data.name}: no labelled frame of split '{split}' has any of {', '.join(rig.names)}.")
        if len(self.frames) < len(labelled):
            log.warning(
                "%s, split %s: %d of %d frames are left out: they have none of %s",
                data.name, split, len(labelled) - len(self.frames), len(labelled), ", ".join(rig.names),
            )  # fmt: skip

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, draw: Draw) -> tuple[Planes, np.ndarray]:
        for attempt in range(len(self.frames)):
            frame = self.frames[(draw.frame + attempt) % len(self.frames)]
            try:
                return self._read(frame)
            except SartmError as error:
                if self._on_unreadable == "stop":
                    raise SartmError(f"{error} (Set data.on_unreadable: skip to go on without such frames.)") from error
                log.warning("skipped: %s", error)
        raise SartmError(f"{self.data.name}: none of its {len(self.frames)} frames can be read.")

    def representative(self, count: int, seed: int) -> list[int]:
        """See `statistics.representative_frames`."""
        return representative_frames(self.frames, self.rig.names, count, seed)

    def _read(self, frame: Frame) -> tuple[Planes, np.ndarray]:
        planes = read_frame(self.data, frame, self.rig.names, self.rig.dtype).planes
        return {name: planes[name] for name in self.rig.names if name in planes}, self.data.truth(frame)


class SimulatedSource:
    """Frames that are rendered on demand: no storage, every draw another street, in a condition of its own.

    Args:
        rig: a rig that the simulator can serve.
        split: `train` or `val`.
        count: frames per pass.
        condition: the only one; by default every frame draws its own.
    """

    def __init__(self, rig: Rig, split: str, count: int, condition: str | None = None) -> None:
        self.rig, self._count, self._first, self._condition = rig, count, FIRST_SEED[split], condition

    def __len__(self) -> int:
        return self._count

    def representative(self, count: int, seed: int) -> list[int]:
        """The first ones: each draws its street and its condition."""
        return list(range(min(count, self._count)))

    def read(self, draw: Draw) -> tuple[Planes, np.ndarray]:
        from sartm_sim.simulation import CONDITIONS, SimulatedRig  # an installation that never trains has no need of it

        seed = self._first + draw.number
        rng = np.random.default_rng((seed, 0xDA7A))
        drawn = str(rng.choice(sorted(CONDITIONS)))
        condition = CONDITIONS[self._condition or drawn]
        simulated = SimulatedRig(self.rig, seed, draw.size)
        frame = simulated.capture(rng.uniform(0, DRIVE_S), condition)
        return encode_frame(simulated.rig, frame.raw).planes, frame.truth


class TrainingFrames(Dataset[TrainingSample]):
    """Augmented crops; indexed by a `Draw`, which decides everything.

    Args:
        source: the training split.
        fit: how inference brings a frame to the network's size.
        settings: augmentation, relative to it.
        seed: of the augmentation.
    """

    def __init__(self, source: Source, fit: FitMode, settings: Augmentation, seed: int) -> None:
        self.source, self._fit, self._settings, self._seed = source, fit, settings, seed
        self._modalities = {modality.name: modality for modality in source.rig.modalities}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, draw: Draw) -> TrainingSample:
        planes, truth = self.source.read(draw)
        rng = np.random.default_rng((self._seed, draw.number, 0xA06))
        planes, truth = augment(planes, truth, self._modalities, draw.size, self._settings, rng, self._fit)
        return as_sample(self.source.rig, planes, torch.from_numpy(truth.astype(np.int64)), draw.size, draw.number)


class ValidationFrames(Dataset[TrainingSample]):
    """Whole frames, fitted as inference fits them; each truth keeps its own size, uint8 [H, W].

    Args:
        source: the validation split.
        fit: how inference brings a frame to the network's size; with `window` planes have the truth's size, of which
            windows are cut.
    """

    def __init__(self, source: Source, fit: FitMode) -> None:
        self.source, self._fit = source, fit

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, draw: Draw) -> TrainingSample:
        planes, truth = self.source.read(draw)
        fitted = fit_planes(self.source.rig, planes, truth.shape, draw.size, self._fit)
        size = truth.shape if self._fit == "window" else draw.size
        return as_sample(self.source.rig, fitted, torch.from_numpy(truth), size, draw.number)


def as_sample(rig: Rig, planes: Planes, truth: Tensor, size: Size, number: int) -> TrainingSample:
    """Stacks planes of one size in rig order; absent modalities are 0."""
    stacked = np.zeros((len(rig.names), 3, *size), rig.dtype)
    for index, name in enumerate(rig.names):
        if name in planes:
            stacked[index] = planes[name]
    return {
        "planes": torch.from_numpy(stacked),
        "truth": truth,
        "availability": torch.tensor([name in planes for name in rig.names]),
        "number": number,
    }


def collate_validation(samples: list[TrainingSample]) -> dict[str, Any]:
    """A batch whose truths stay a list: their sizes may differ."""
    return {
        "planes": torch.stack([sample["planes"] for sample in samples]),
        "truth": [sample["truth"] for sample in samples],
        "availability": torch.stack([sample["availability"] for sample in samples]),
    }


def validation_draws(count: int, size: Size) -> list[Draw]:
    """The frames of a validation, in order."""
    return [Draw(index, index, size) for index in range(count)]
