"""Checks every file of a data set before training spends hours on it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sartm_core.datasets.dataset import DataSet, Frame, read_frame
from sartm_core.errors import SartmError
from sartm_core.segmentation import UNLABELLED


@dataclass(frozen=True, slots=True)
class Findings:
    """Result of `check_data`.

    Attributes:
        counts: split -> frames.
        sizes: modality -> how many frames have which (height, width).
        pixels: class name -> labelled pixels.
        faults: must be fixed; each names its file.
        remarks: worth checking, possibly intended.
    """

    counts: dict[str, int]
    sizes: dict[str, dict[tuple[int, int], int]]
    pixels: dict[str, int]
    faults: list[str]
    remarks: list[str]


def check_data(data: DataSet, progress: Callable[[int, int], None] = lambda done, total: None) -> Findings:
    """Reads every file; checks completeness, readability, sizes and labels.

    Args:
        progress: called with frames done, frames in total.
    """
    frames = list(data.frames())
    counts: dict[str, int] = {}
    sizes: dict[str, dict[tuple[int, int], int]] = {}
    labelled = np.zeros(len(data.rig.classes), np.int64)
    faults: list[str] = []
    empty: dict[str, int] = {}
    without_truth: dict[str, list[str]] = {frame.split: [] for frame in frames}
    for done, frame in enumerate(frames, start=1):
        counts[frame.split] = counts.get(frame.split, 0) + 1
        truth_size = None
        if data.path(frame, "truth").is_file():
            try:
                truth = data.truth(frame)
                truth_size = truth.shape
                if not (truth != UNLABELLED).any():
                    empty[frame.split] = empty.get(frame.split, 0) + 1
                labelled += np.bincount(truth[truth != UNLABELLED], minlength=len(labelled))
            except SartmError as error:
                faults.append(str(error))
        else:
            without_truth[frame.split].append(str(data.path(frame, "truth")))
        for name in frame.modalities:
            size = _measure(data, frame, name, faults)
            if size is None:
                continue
            found = sizes.setdefault(name, {})
            found[size] = found.get(size, 0) + 1
            if name == data.rig.reference and truth_size not in (None, size):
                faults.append(
                    f"{data.path(frame, 'truth')}: is {_text(truth_size)}, but its image {data.path(frame, name)} is "
                    f"{_text(size)}."
                )
        progress(done, len(frames))
    for split, missing in without_truth.items():
        if len(missing) < counts[split]:  # if all are missing, they are withheld or not made yet
            faults += [f"{path}: is missing, though other frames of {split} have labels." for path in missing]
    remarks = _remarks(data, counts, sizes, without_truth, empty, labelled)
    names = data.rig.class_names
    return Findings(counts, sizes, dict(zip(names, labelled.tolist(), strict=True)), faults, remarks)


def _measure(data: DataSet, frame: Frame, name: str, faults: list[str]) -> tuple[int, int] | None:
    try:
        planes = read_frame(data, frame, [name]).planes[name]
    except SartmError as error:  # names its file
        faults.append(str(error))
        return None
    return (planes.shape[1], planes.shape[2])


def _remarks(
    data: DataSet,
    counts: dict[str, int],
    sizes: dict[str, dict[tuple[int, int], int]],
    without_truth: dict[str, list[str]],
    empty: dict[str, int],
    labelled: np.ndarray,
) -> list[str]:
    remarks = []
    for splits, expected in data.expected.items():
        found = sum(counts.get(split, 0) for split in splits.split("+"))
        if found != expected:
            remarks.append(f"{splits}: {found} frames; the published data set has {expected}. Is this a subset?")
    for split, count in empty.items():
        remarks.append(f"{split}: {count} of its {counts[split]} label images are empty (255): not labelled yet.")
    for name, measured in sizes.items():
        if len(measured) > 1:
            listed = ", ".join(f"{_text(size)} ({count})" for size, count in measured.items())
            remarks.append(f"{name}: images of several sizes: {listed}. Training resizes them to one.")
    for split, missing in without_truth.items():
        if missing and len(missing) == counts[split]:
            remarks.append(f"{split}: none of its {counts[split]} frames has labels to train on or to score.")
    absent = [name for name, count in zip(data.rig.class_names, labelled, strict=True) if not count]
    if absent:
        remarks.append(f"no pixel is labelled as {', '.join(absent)}.")
    return remarks


def _text(size: tuple[int, ...] | None) -> str:
    return "x".join(str(side) for side in size or ())
