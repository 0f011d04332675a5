"""Inputs and results of an evaluation."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.evaluation.tally import Tally
from sartm_core.rig import Rig

WINDOW = "window"
"""The tag that holds the time window of a recording's sample."""
LIST = "list"
"""The tag that holds the name of a sample's frame list, such as rgb-hard."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a sample of a recording was taken.

    Attributes:
        recording: its name.
        time_s: seconds since its start.
        states: modality -> present, absent, stale or broken.
    """

    recording: str
    time_s: float
    states: dict[str, str]


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """One labelled frame set.

    Attributes:
        id: unique.
        images: modality -> its measurement, as `sensing.encode` takes it; for pictures.
        planes: modality -> the same encoded, for the model's modalities.
        truth: uint8 [H, W], the data's class ids, 255 = unlabelled.
        tags: metadata, such as condition and fault.
        moment: when it was taken; None outside of recordings.
    """

    id: str
    images: dict[str, NDArray[Any]]
    planes: dict[str, NDArray[Any]]
    truth: NDArray[np.uint8]
    tags: dict[str, str] = field(default_factory=dict)
    moment: Moment | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """A sample, its mask (in the data's classes, all sensors) and its mean IoU."""

    sample: LabelledSet
    mask: NDArray[np.uint8]
    miou: float


@dataclass(frozen=True, slots=True)
class Instant:
    """One sample of a recording in the plot over time.

    Attributes:
        id, moment: the sample's.
        miou: of its mask, all sensors.
        routing: float per modality of the model, mean over the levels.
    """

    id: str
    moment: Moment
    miou: float
    routing: tuple[float, ...]


@dataclass(slots=True)
class Evaluation:
    """Results of an evaluation.

    Attributes:
        data, split, model: names.
        rig: the data's.
        network: from the bundle: size, preset, backbone.
        modalities: those that data and model share, in the model's order.
        model_modalities: all of the model's.
        protocols: as requested.
        convention: of `convention.CONVENTIONS`.
        variations: (group, name) -> tally.
        tags: (tag, value) -> tally of the clean variation.
        frame_scores: (sample id, mean IoU) of the clean variation, best first.
        best, worst: examples to show.
        course: samples with a time, in chronological order.
        latency_s: (group, name) -> median duration of a `segment` call, seconds.
    """

    data: str
    split: str
    model: str
    rig: Rig
    network: dict[str, Any]
    modalities: tuple[str, ...]
    model_modalities: tuple[str, ...]
    protocols: tuple[str, ...]
    convention: str
    variations: dict[tuple[str, str], Tally]
    tags: dict[tuple[str, str], Tally]
    frame_scores: list[tuple[str, float]]
    best: list[Scored]
    worst: list[Scored]
    course: list[Instant]
    latency_s: dict[tuple[str, str], float]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The data's classes."""
        return self.rig.class_names
