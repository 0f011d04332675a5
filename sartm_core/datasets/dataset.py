"""A labelled or unlabelled frame set, and the interface of every data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sartm_core.checked_yaml import Checked
from sartm_core.rig import Rig

TRUTH = "truth"
"""Stands for the labels wherever a modality is named."""


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
