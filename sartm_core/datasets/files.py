"""Reads data set files, with errors that name the file."""

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sartm_core.datasets.dataset import Frame
from sartm_core.errors import SartmError
from sartm_core.segmentation import UNLABELLED
from sartm_core.sensing.registration import OTHER_ASPECT

LARGEST_EMPTY_BYTES = 1 << 16
"""A single-valued PNG of up to 12 megapixels is smaller."""

_JPEG, _JPEG_PIXELS, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
"""Its markers: start of image, start of scan, end of image."""
_PNG, _PNG_END, _PNG_TAIL = b"\x89PNG\r\n\x1a\n", b"IEND", 4096
"""Its signature, its last chunk, and within how many bytes that usually is: some tools append something."""


def read_image(path: Path, stored_by_opencv: bool = False) -> NDArray[Any]:
    """An image file as stored: [H, W] or [H, W, 3 or 4] in the order red, green, blue, alpha; 8 or 16 bit.

    Args:
        stored_by_opencv: for three planes that are not colours, written with `cv2.imwrite`: keeps their order.

    Raises:
        SartmError: missing, not an image, or cut short.
    """
    if not path.is_file():
        raise SartmError(f"{path}: is missing.")
    image = None
    if not _is_cut(path):
        with suppress(cv2.error):  # more pixels than OpenCV reads
            image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise SartmError(f"{path}: is not a readable image. Download or write it again.")
    if image.ndim == 3 and image.shape[2] in (3, 4) and not stored_by_opencv:
        order = [2, 1, 0, 3][: image.shape[2]]
        return np.ascontiguousarray(image[..., order])
    return np.asarray(image)


def _is_cut(path: Path) -> bool:
    """Whether a PNG or JPEG ends before its end marker: decoders fill a JPEG's rest with grey and say nothing.

    Markers do not occur within a JPEG's pixels, where 0 follows every 255.
    """
    with path.open("rb") as stream:
        start = stream.read(len(_PNG))
        if start == _PNG:
            stream.seek(-min(_PNG_TAIL, path.stat().st_size), os.SEEK_END)
            return _PNG_END not in stream.read() and _PNG_END not in path.read_bytes()
        if not start.startswith(_JPEG):
            return False
        content = stream.read()
    return content.rfind(_JPEG_END) < content.rfind(_JPEG_PIXELS)


def check_whole(path: Path) -> None:
    """Looks at both ends of a file, which is quick, so that a long run does not end at it.

    Raises:
        SartmError: missing, empty, cut short, or not what its suffix says.
    """
    if not path.is_file():
        raise SartmError(f"{path}: is missing.")
    sound = path.stat().st_size > 0
    if path.suffix.lower() == ".npz":
        sound = zipfile.is_zipfile(path)
    elif path.suffix.lower() in (".png", ".jpg", ".jpeg"):
        sound = cv2.haveImageReader(str(path)) and not _is_cut(path)
    if not sound:
        raise SartmError(f"{path}: is not a readable {path.suffix} file. Download or write it again.")


def any_case(path: Path) -> Path:
    """The path, or the file there whose suffix is in capitals, as some cameras and Windows write it."""
    capital = path.with_suffix(path.suffix.upper())
    return capital if capital.is_file() and not path.is_file() else path


def places(folder: Path, depth: int, ending: str) -> Iterator[tuple[str, ...]]:
    """Where files lie below a folder: their folders, and their names without `ending`.

    Args:
        folder: may be missing.
        depth: 1 for files in the folder itself.
        ending: such as `_rgb_front.png`; the suffix may be in capitals. Hidden files are not meant: macOS writes
            `._x.png` beside `x.png`.
    """
    stem, suffix = ending.rsplit(".", 1)
    for path in folder.glob("/".join("*" * depth)):
        parts = path.relative_to(folder).parts
        if path.suffix.lower() == f".{suffix}" and path.stem.endswith(stem) and not any(p[0] == "." for p in parts):
            yield (*parts[:-1], path.stem.removesuffix(stem))


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


def same_channels(image: NDArray[Any]) -> NDArray[Any] | None:
    """[H, W] of an image that is grey in any form (alpha is dropped); None if it has colours."""
    if image.ndim == 2:
        return image
    colours = image[..., :3]
    return None if (colours != colours[..., :1]).any() else np.ascontiguousarray(image[..., 0])


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
    single = same_channels(stored)
    if single is None or not np.issubdtype(single.dtype, np.integer):
        got = stored.dtype if single is not None else "a palette" if _has_palette(path) else "colours"
        raise SartmError(
            f"{path}: expected class ids (8 bit, one channel), got {got}. Labels of a palette or in colours: "
            "sartm data import-labels, which reads the table of their classes, too."
        )
    values = single.astype(np.int64)
    absent = (values == UNLABELLED) | ((values >= 0) & (values < shift))
    wrong = ~absent & ((values < shift) | (values >= classes + shift))
    if wrong.any():
        value = int(values[wrong][0])
        raise SartmError(
            f"{path}: holds the label {value} in {int((values == value).sum())} pixels; expected {shift} to "
            f"{classes - 1 + shift}, or 255 for unlabelled. Is it a colour image, or from another data set?"
        )
    return np.where(absent, UNLABELLED, values - shift).astype(np.uint8)


def check_view(
    labels: Path | str, size: Sequence[int], image: Path | str, image_size: Sequence[int], scaled: bool = False
) -> None:
    """Checks that labels show what their image shows.

    Args:
        labels: named in errors.
        size: height and width of the labels.
        image: named in errors.
        image_size: its height and width.
        scaled: also accepts labels of another size, if the aspect is the same.

    Raises:
        SartmError: another size; with `scaled`, another aspect.
    """
    (height, width), (wanted_height, wanted_width) = size[:2], image_size[:2]
    fits = (height, width) == (wanted_height, wanted_width)
    if scaled and not fits:
        fits = abs(width * wanted_height / (height * wanted_width) - 1) <= OTHER_ASPECT
    if not fits:
        raise SartmError(
            f"{labels}: is {height}x{width} (height x width), but its image {image} is {wanted_height}x{wanted_width}. "
            f"Export labels of the image as it is: not {'' if scaled else 'resized, '}cropped or rotated."
        )


def _has_palette(path: Path | str) -> bool:
    try:
        with Image.open(path) as image:
            return image.mode == "P"
    except (OSError, ValueError, SyntaxError):  # a topic, or a file that only OpenCV reads
        return False


def is_labelled(path: Path) -> bool:
    """Whether a label image exists and is not empty (all 255, as `sartm bag extract` leaves it to be filled)."""
    if not path.is_file():
        return False
    if path.stat().st_size > LARGEST_EMPTY_BYTES:
        return True
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return image is None or bool((image != UNLABELLED).any())  # an unreadable one is reported when it is read


def read_list(path: Path) -> list[str]:
    """The first word of each line of a split list, each once; empty lines are skipped.

    Raises:
        SartmError: missing, or not UTF-8.
    """
    if not path.is_file():
        raise SartmError(f"{path}: is missing. It lists the frames of this split and comes with the data set.")
    return list(dict.fromkeys(line.split()[0] for line in read_lines(path) if line))


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without the white space around them.

    Raises:
        SartmError: not UTF-8.
    """
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]  # Notepad begins with a BOM
    except UnicodeDecodeError as error:
        raise SartmError(f"{path}: is not UTF-8 text ({error}). PowerShell writes UTF-16: save it as UTF-8.") from error


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


def frames_of_folders(
    root: Path, folders: Iterable[str], modalities: tuple[str, ...], split: str | None
) -> list[Frame]:
    """The frames of a data set with `train/` and `test/` and no validation split.

    Args:
        folders: below these two; each has a PNG for every frame. A frame whose file is missing in one is a frame.

    Raises:
        SartmError: the split is unknown or empty.
    """
    names = {
        name: sorted({stem for folder in folders for (stem,) in places(root / name / folder, 1, ".png")})
        for name in ("train", "test")
    }
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
