"""Checks every file of a data set before training spends hours on it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sartm_core.datasets.dataset import TRUTH, DataSet, Frame, read_frame
from sartm_core.datasets.files import check_view
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
        truth = None
        if data.path(frame, TRUTH).is_file():
            truth = _truth(data, frame, faults)
        else:
            without_truth[frame.split].append(str(data.path(frame, TRUTH)))
        if truth is not None:
            known = truth[truth != UNLABELLED]
            if not known.size:
                empty[frame.split] = empty.get(frame.split, 0) + 1
            labelled += np.bincount(known, minlength=len(labelled))
        for name in frame.modalities:
            size = _measure(data, frame, name, faults)
            if size is None:
                continue
            found = sizes.setdefault(name, {})
            found[size] = found.get(size, 0) + 1
            if name == data.rig.reference and truth is not None:
                _compare(data, frame, truth.shape, size, faults)
        progress(done, len(frames))
    for split, missing in without_truth.items():
        if len(missing) < counts[split]:  # if all are missing, they are withheld or not made yet
            faults += [f"{path}: is missing, though other frames of {split} have labels." for path in missing]
    remarks = _remarks(data, counts, sizes, without_truth, empty, labelled)
    names = data.rig.class_names
    return Findings(counts, sizes, dict(zip(names, labelled.tolist(), strict=True)), faults, remarks)


def _truth(data: DataSet, frame: Frame, faults: list[str]) -> NDArray[np.uint8] | None:
    try:
        return data.truth(frame)
    except SartmError as error:  # names its file
        faults.append(str(error))
        return None


def _compare(
    data: DataSet, frame: Frame, truth_size: tuple[int, ...], size: tuple[int, int], faults: list[str]
) -> None:
    try:
        check_view(data.path(frame, TRUTH), truth_size, data.path(frame, data.rig.reference), size)
    except SartmError as error:
        faults.append(str(error))


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


def _text(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))
