"""Frames of several data sets of one rig as one source: a week of drives, each with a weight."""

import bisect
import itertools
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sartm_core.errors import SartmError
from sartm_core.learning.augmentation import Planes
from sartm_core.learning.sampler import Draw
from sartm_core.learning.sources import Source
from sartm_core.rig import Rig

log = logging.getLogger(__name__)


class JoinedSource:
    """The frames of one split of several folders, one after the other.

    Args:
        sources: folder -> its frames; at least one.

    Attributes:
        rig: of the first.

    Raises:
        SartmError: their rigs differ in what the network sees.
    """

    def __init__(self, sources: Mapping[Path, Source]) -> None:
        self._sources = list(sources.values())
        self._ends = list(itertools.accumulate(len(source) for source in self._sources))
        first, *others = sources
        self.rig = self._sources[0].rig
        for other in others:
            _check_alike(first, self.rig, other, sources[other].rig)

    def __len__(self) -> int:
        return self._ends[-1]

    def read(self, draw: Draw) -> tuple[Planes, np.ndarray]:
        place = bisect.bisect_right(self._ends, draw.frame)
        return self._sources[place].read(draw._replace(frame=draw.frame - self._begin(place)))

    def representative(self, count: int, seed: int) -> list[int]:
        """See `Source`; of each folder in proportion to its frames, and one at least."""
        chosen: list[int] = []
        for place, source in enumerate(self._sources):
            share = max(round(count * len(source) / len(self)), 1)
            chosen += [self._begin(place) + index for index in source.representative(share, seed)]
        return chosen

    def per_frame(self, weights: list[float]) -> list[float]:
        """The weight of each frame, given that of each folder."""
        return [w for w, source in zip(weights, self._sources, strict=True) for _ in range(len(source))]

    def _begin(self, place: int) -> int:
        return self._ends[place - 1] if place else 0


def _check_alike(first: Path, rig: Rig, other: Path, others: Rig) -> None:
    """Sizes and calibration may differ from drive to drive: frames are registered already."""
    for what, here, there in (
        ("modalities", rig.names, others.names),
        ("classes", rig.class_names, others.class_names),
        ("reference", rig.reference, others.reference),
        *((f"modalities.{m.name}", m.input_fields, others.modality(m.name).input_fields)
          for m in rig.modalities if m.name in others.names),
    ):  # fmt: skip
        if here != there:
            raise SartmError(
                f"{other}: is of another rig than {first}: {what}: expected {_text(here)}, got {_text(there)}. Give "
                "folders of one rig; data.modalities leaves out sensors that only some of them have."
            )


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value)
