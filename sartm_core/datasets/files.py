"""Reads data set files, with errors that name the file."""

import hashlib
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sartm_core.datasets.dataset import Frame
from sartm_core.errors import SartmError
from sartm_core.segmentation import UNLABELLED

LARGEST_EMPTY_BYTES = 1 << 16
"""A single-valued PNG of up to 12 megapixels is smaller."""


def read_image(path: Path, stored_by_opencv: bool = False) -> NDArray[Any]:
    """An image file as stored: [H, W] or [H, W, 3 or 4] in the order red, green, blue, alpha; 8 or 16 bit.

    Args:
        stored_by_opencv: for three planes that are not colours, written with `cv2.imwrite`: keeps their order.

    Raises:
        SartmError: missing, or not an image.
    """
    if not path.is_file():
        raise SartmError(f"{path}: is missing.")
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise SartmError(f"{path}: is not a readable image. Download or write it again.")
    if image.ndim == 3 and image.shape[2] in (3, 4) and not stored_by_opencv:
        order = [2, 1, 0, 3][: image.shape[2]]
        return np.ascontiguousarray(image[..., order])
    return np.asarray(image)


def read_array(path: Path, key: str | None = None) -> NDArray[Any]:
    """A `.npy`, or one array of a `.npz`: `key`, by default the first.

    Raises:
        SartmError: missing, or not an array.
    """
    if not path.is_file():
        raise SartmError(f"{path}: is missing.")
    try:
        with path.open("rb") as stream:
            content = np.load(stream)
            if isinstance(content, np.ndarray):
                return content
            return np.asarray(content[key if key is not None else content.files[0]])
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise SartmError(f"{path}: is not a readable array ({error}). Download or write it again.") from error


def first_channel(image: NDArray[Any]) -> NDArray[Any]:
    """[H, W]: grey images are sometimes stored with three equal channels."""
    return image if image.ndim == 2 else np.ascontiguousarray(image[..., 0])


def colour(image: NDArray[Any]) -> NDArray[Any]:
    """[H, W, 3]: a grey image is repeated, alpha is dropped."""
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=2)
    return np.ascontiguousarray(image[..., :3])


def eight_bit(image: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8; deeper images are scaled to 0..255."""
    return np.asarray(image if image.dtype == np.uint8 else np.round(image / 257.0), np.uint8)


def class_ids(path: Path | str, stored: NDArray[Any], classes: int, shift: int = 0) -> NDArray[np.uint8]:
    """Converts stored label values to class ids: of a file, or of a topic.

    Args:
        path: named in errors.
        stored: integers [H, W], or [H, W, 3 or 4] with equal channels (and alpha).
        classes: number of classes.
        shift: stored value of the first class: 1 where 0 means unlabelled. 255 is always unlabelled.

    Raises:
        SartmError: colours; a value that is neither a class nor unlabelled: names it and how many pixels have it.
    """
    is_colour = stored.ndim == 3 and bool((stored[..., :3] != stored[..., :1]).any())
    if is_colour or not np.issubdtype(stored.dtype, np.integer):
        raise SartmError(
            f"{path}: expected class ids (8 bit, one channel), got "
            f"{'colours' if is_colour else stored.dtype}. Labels of a palette or in colours: sartm data import-labels."
        )
    values = first_channel(stored).astype(np.int32)
    ids = np.where((values == UNLABELLED) | (values < shift), UNLABELLED, values - shift)
    wrong = (ids >= classes) & (ids != UNLABELLED)
    if wrong.any():
        value = int(values[wrong][0])
        raise SartmError(
            f"{path}: holds the label {value} in {int((values == value).sum())} pixels; expected {shift} to "
            f"{classes - 1 + shift}, or 255 for unlabelled. Is it a colour image, or from another data set?"
        )
    return ids.astype(np.uint8)


def is_labelled(path: Path) -> bool:
    """Whether a label image exists and is not empty (all 255, as `sartm bag extract` leaves it to be filled)."""
    if not path.is_file():
        return False
    if path.stat().st_size > LARGEST_EMPTY_BYTES:
        return True
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return image is None or bool((image != UNLABELLED).any())  # an unreadable one is reported when it is read


def read_list(path: Path) -> list[str]:
    """The first word of each line of a split list; empty lines are skipped.

    Raises:
        SartmError: missing.
    """
    if not path.is_file():
        raise SartmError(f"{path}: is missing. It lists the frames of this split and comes with the data set.")
    return [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def some(frames: list[Frame], root: Path, split: str | None, known: Sequence[str]) -> list[Frame]:
    """Returns the frames after checking that there are any.

    Raises:
        SartmError: the split is unknown or empty.
    """
    if split is not None and split not in known:
        raise SartmError(f"{root}: has no split '{split}'. It has: {', '.join(known)}; choose one with --split.")
    if not frames:
        raise SartmError(f"{root}: holds no frames{'' if split is None else f' of split {split}'}. Is it complete?")
    return frames


def frames_of_folders(root: Path, folder: str, modalities: tuple[str, ...], split: str | None) -> list[Frame]:
    """The frames of a data set with `train/` and `test/`, one PNG per frame in `folder`, and no validation split.

    Raises:
        SartmError: the split is unknown or empty.
    """
    names = {name: sorted(path.stem for path in (root / name / folder).glob("*.png")) for name in ("train", "test")}
    validation = carved_out(names["train"])
    splits = {
        "train": [name for name in names["train"] if name not in validation],
        "val": sorted(validation),
        "test": names["test"],
    }
    frames = [
        Frame(split=wanted, id=name, modalities=modalities)
        for wanted, members in splits.items()
        for name in members
        if split in (None, wanted)
    ]
    return some(frames, root, split, tuple(splits))


def carved_out(ids: Iterable[str], share: float = 0.1) -> set[str]:
    """A fixed validation set for data without one: the ids whose hash falls into the first `share`.

    Depends on each id alone: the same on every machine, and adding frames never reassigns existing ones.
    """
    return {name for name in ids if int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) < share * 2**32}
