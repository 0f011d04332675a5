"""Tasks and their outcomes: all that goes to workers and comes back."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from sartm_ros.fleet.plan import Recording

ATTEMPTS = 3
"""A task whose worker is lost is begun at most so often: one that kills its worker would otherwise go on for ever."""


@dataclass(frozen=True, slots=True)
class Task:
    """Attributes: recording; step: of it; index, count: of the slice, and of all slices."""

    recording: Recording
    step: Literal["whole", "slice", "join"] = "whole"
    index: int = 0
    count: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """Attributes: task; failure: why it failed, None when its result is there; seconds: spent on it."""

    task: Task
    failure: str | None
    seconds: float


class Workers(Protocol):
    """Who performs tasks: processes of this machine, or a Ray cluster."""

    def submit(self, task: Task) -> None:
        """Adds a task; they begin in this order."""

    def next(self) -> Outcome:
        """Waits until one of those that were submitted ends, however it ends."""

    def close(self) -> None:
        """Ends what is under way; what is complete stays."""


def tasks_of(recording: Recording, slice_bytes: int | None) -> Iterable[Task]:
    """One task, or those of the slices.

    Args:
        recording: to be done.
        slice_bytes: what a slice has at most; None: recordings are not cut.
    """
    count = 1 if slice_bytes is None else -(-recording.size // slice_bytes)
    if count <= 1:
        return [Task(recording)]
    return [Task(recording, "slice", index, count) for index in range(count)]
