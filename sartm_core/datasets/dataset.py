"""A labelled or unlabelled frame set, and the interface of every data set."""

import copy
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sartm_core.checked_yaml import Checked
from sartm_core.errors import SartmError
from sartm_core.rig import Rig
from sartm_core.sensing import EncodedFrame, encode_frame

TRUTH = "truth"
"""Stands for the labels wherever a modality is named."""


class NoFramesError(SartmError):
    """A split has no frame, or none that can be used."""


class Frame(Checked):
    """One frame set.

    Attributes:
        split: `train`, `val` or `test`.
        id: unique within the split.
        modalities: those present, in rig order.
        tags: metadata, such as condition and fault.
    """

    split: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    id: str = Field(pattern=r"^[^/.][^/]*(/[^/.][^/]*)*$")
    modalities: tuple[str, ...]
    tags: dict[str, str] = Field(default_factory=dict)


class DataSet(Protocol):
    """A data set on disk: a published layout or a frame folder."""

    @property
    def name(self) -> str: ...
    @property
    def rig(self) -> Rig: ...
    @property
    def expected(self) -> dict[str, int]:
        """Split -> number of frames in the published data set; empty if unknown."""
        ...

    def frames(self, split: str | None = None) -> Sequence[Frame]:
        """The frames of a split, by default of all; raises SartmError if there are none."""
        ...

    def image(self, frame: Frame, modality: str) -> NDArray[Any]:
        """A modality's measurement, as `sensing.encode` takes it; raises SartmError that names the file."""
        ...

    def truth(self, frame: Frame) -> NDArray[np.uint8]:
        """Class ids [H, W], 255 = unlabelled; raises SartmError that names the file."""
        ...

    def path(self, frame: Frame, what: str) -> Path:
        """The file of a modality, or of `truth`."""
        ...


def seen_by(data: DataSet, model: Rig) -> DataSet:
    """The data set with LiDAR points and events as large as a model sees them (`enlarge` of its rig)."""
    pixels = {modality.name: modality.enlarge for modality in model.modalities if hasattr(modality, "enlarge")}
    rig = data.rig.enlarged(pixels)
    if rig.modalities == data.rig.modalities:
        return data
    seen: Any = copy.copy(data)
    seen.rig = rig
    return cast(DataSet, seen)


def read_frame(data: DataSet, frame: Frame, names: Collection[str] | None = None, dtype: Any = None) -> EncodedFrame:
    """The images and planes of one frame, which lie in the reference's geometry already.

    Args:
        names: only these modalities; by default all that the frame has.
        dtype: of the planes; by default the data's rig's.

    Raises:
        SartmError: an image is missing or cannot be encoded; names the file.
    """
    chosen = [name for name in frame.modalities if names is None or name in names]
    raws = {name: data.image(frame, name) for name in chosen}
    encoded = encode_frame(data.rig, raws, dtype=dtype, registered=True)
    for name, fault in encoded.faults.items():
        raise SartmError(f"{data.path(frame, name)}: {fault}")
    return encoded
