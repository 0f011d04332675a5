"""Which frame an annotated image shows, as its file's name tells."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from sartm_core.datasets.dataset import Frame
from sartm_core.datasets.frame_folder import FrameFolder
from sartm_core.errors import SartmError

Item = TypeVar("Item")

_SUFFIX = re.compile(r"\.(png|jpe?g|bmp|webp|tiff?)$", re.IGNORECASE)
_ROBOFLOW = re.compile(r"_(png|jpe?g|bmp|webp|tiff?)\.rf\.\w+$", re.IGNORECASE)
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")


def frame_name(frame: Frame) -> str:
    """`<split>-<id>`, without `/`: a file's name in every annotation tool."""
    return f"{frame.split}-{_flat(frame.id)}"


def pair(
    found: Sequence[tuple[str, str, Item]], folder: FrameFolder, origin: Path, noun: str
) -> list[tuple[Item, Frame]]:
    """What belongs to a frame: by `<split>-<id>`, or by the id alone.

    Args:
        found: for each item where it comes from (for errors), its image's file name, and the item.
        folder: gives the frames.
        origin: named in errors.
        noun: what is paired, in the plural.

    Raises:
        SartmError: an item belongs to several frames, a frame has several, or none belongs to any.
    """
    named: dict[str, list[Frame]] = {}
    by_id: dict[str, list[Frame]] = {}
    for frame in folder.frames():
        named.setdefault(frame_name(frame), []).append(frame)
        by_id.setdefault(_flat(frame.id), []).append(frame)
    pairs: list[tuple[Item, Frame]] = []
    first: dict[tuple[str, str], str] = {}
    for source, name, item in found:
        frames = next((hit for stem in _stems(name) if (hit := named.get(stem) or by_id.get(stem, []))), [])
        if len(frames) > 1:
            several = ", ".join(f"{frame.split}/{frame.id}" for frame in frames)
            raise SartmError(f"{source}: matches several frames ({several}); expected {frame_name(frames[0])}.png.")
        for frame in frames:
            if first.setdefault((frame.split, frame.id), source) != source:
                other = first[frame.split, frame.id]
                raise SartmError(f"{source}: labels {frame.split}/{frame.id}, and so does {other}. Keep only one.")
            pairs.append((item, frame))
    if not pairs:
        raise SartmError(
            f"{origin}: none of its {len(found)} {noun} belongs to a frame; expected names such as "
            f"{next(iter(named))}.png."
        )
    return pairs


def _stems(name: str) -> Iterator[str]:
    """The name as it is, then without what tools add to it."""
    stem = _SUFFIX.sub("", name.replace("\\", "/").rsplit("/", 1)[-1])
    yield stem
    stem = stem.removesuffix("_mask")  # Roboflow's masks beside their images
    yield stem
    stem = _ROBOFLOW.sub("", stem)  # name_png.rf.<hash>
    yield stem
    yield _UPLOAD.sub("", stem)  # Label Studio's uploads


def _flat(identity: str) -> str:
    return identity.replace("/", "__")
