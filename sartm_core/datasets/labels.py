"""Labels out to annotation tools and back: CVAT's segmentation masks, and PNG masks of class ids.

TASK/images/<name>.png                          what the annotator sees; <name> is <split>-<id>, `/` in it becomes `__`
TASK/SegmentationClass/<name>.png               masks in the classes' colours, black = unlabelled ("cvat")
TASK/labelmap.txt, ImageSets/Segmentation/...   CVAT's table of colours and its list
TASK/masks/<name>.png, classes.csv              masks of ids, 255 = unlabelled, and their table ("ids")
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sartm_core.datasets.files import is_labelled
from sartm_core.datasets.frame import TRUTH, Frame
from sartm_core.datasets.recording import Recording
from sartm_core.errors import SartmError
from sartm_core.files import atomic_path, write_text
from sartm_core.frames import UNLABELLED
from sartm_core.rig import Rig
from sartm_core.sensing.pictures import picture

Form = Literal["cvat", "ids"]
FOLDERS = {"cvat": "SegmentationClass", "ids": "masks"}
NO_CLASS = frozenset({"background", "unlabelled", "unlabeled", "ignore", "void", ""})

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class LabelTable:
    """What the values of a tool's masks mean.

    Attributes:
        source: the file it was read from, for errors.
        colours: (red, green, blue) -> class id, 255 for none.
        ids: value -> class id, 255 for none; used for masks of one channel.
    """

    source: str
    colours: dict[Colour, int]
    ids: dict[int, int]


def export_labels(recording: Recording, out: Path, form: Form, split: str | None = None) -> int:
    """Writes images to label and the labels so far.

    Args:
        recording: the frames.
        out: the folder; must not exist.
        form: `cvat` or `ids`.
        split: only this one.

    Returns:
        Number of frames.

    Raises:
        SartmError: the folder exists.
    """
    if out.exists():
        raise SartmError(f"{out}: exists already and is not overwritten. Remove it, or choose another folder.")
    rig, names = recording.rig, []
    if form == "cvat":
        _check_colours(rig)
    for frame in recording.frames(split):
        name = _name(frame)
        shown = rig.reference if rig.reference in frame.modalities else frame.modalities[0]
        write_png(out / "images" / f"{name}.png", picture(rig.modality(shown), recording.image(frame, shown)))
        ids = recording.truth(frame) if is_labelled(recording.path(frame, TRUTH)) else None
        if ids is None:
            height, width = recording.image(frame, shown).shape[:2]
            ids = np.full((height, width), UNLABELLED, np.uint8)
        write_png(out / FOLDERS[form] / f"{name}.png", rig.palette[ids] if form == "cvat" else ids)
        names.append(name)
    if form == "cvat":
        lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
        lines += [f"{spec.name}:{','.join(map(str, spec.color))}::" for spec in rig.classes]
        write_text(out / "labelmap.txt", "\n".join(lines) + "\n")
        write_text(out / "ImageSets" / "Segmentation" / "default.txt", "\n".join(names) + "\n")
    else:
        rows = [f"{index},{spec.name},{','.join(map(str, spec.color))}" for index, spec in enumerate(rig.classes)]
        write_text(out / "classes.csv", "\n".join(["id,name,red,green,blue", *rows]) + "\n")
    return len(names)


def import_labels(recording: Recording, source: Path, table_file: Path | None = None) -> int:
    """Takes masks of an annotation tool into a recording; frames without a mask, and empty masks, stay as they are.

    Args:
        recording: into which.
        source: folder with the masks, at any depth.
        table_file: `labelmap.txt`, a CSV with `id` and `name` (or `red`, `green`, `blue`), or COCO's JSON; by default
            the one in the folder; without any, masks of one channel hold the rig's class ids.

    Returns:
        Number of frames that got labels.

    Raises:
        SartmError: no mask of any frame, an unknown class, colour or id, another size; names the file.
    """
    table = read_table(table_file or _table_of(source), recording.rig)
    masks = _masks_of(source)
    frames = {_name(frame): frame for frame in recording.frames()}
    by_id = {frame.id.replace("/", "__"): frame for frame in recording.frames()}
    found = [(path, frames.get(stem) or by_id.get(stem)) for stem, path in masks.items()]
    wanted = [(path, frame) for path, frame in found if frame is not None]
    if not wanted:
        example = next(iter(frames))
        raise SartmError(
            f"{source}: none of its {len(masks)} masks belongs to a frame; expected names as {example}.png."
        )
    labelled = [(frame, _class_ids(path, table, recording, frame)) for path, frame in wanted]
    count = 0
    for frame, ids in labelled:  # all of them are known to be right by now
        if (ids != UNLABELLED).any():
            write_png(recording.path(frame, TRUTH), ids)
            count += 1
    return count


def read_table(path: Path | None, rig: Rig) -> LabelTable:
    """Reads a table of colours or ids.

    Raises:
        SartmError: unreadable, or a class that the rig does not have.
    """
    if path is None:
        return LabelTable("the rig's classes", _own_colours(rig), {index: index for index in range(len(rig.classes))})
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            entries = [(entry["name"], int(entry["id"]), None) for entry in json.loads(text)["categories"]]
            return _table(path, rig, entries)
        if path.suffix == ".csv":
            return _table(path, rig, [_csv_entry(row) for row in csv.DictReader(text.splitlines())])
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        return _table(path, rig, [_labelmap_entry(line) for line in lines])
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise SartmError(
            f"{path}: is no table of labels ({error!r}). Expected CVAT's labelmap.txt (name:red,green,blue::), a CSV "
            "with the columns id and name or name, red, green, blue, or a JSON with COCO's categories."
        ) from error


Entry = tuple[str, int | None, Colour | None]


def _labelmap_entry(line: str) -> Entry:
    name, colour, *_ = line.split(":")
    red, green, blue = (int(part) for part in colour.split(","))
    return name, None, (red, green, blue)


def _csv_entry(row: dict[str, str]) -> Entry:
    colour = (int(row["red"]), int(row["green"]), int(row["blue"])) if row.get("red") else None
    number = int(row["id"]) if row.get("id") else None
    if colour is None and number is None:
        raise ValueError("neither id nor colour")
    return row["name"], number, colour


def _table(path: Path, rig: Rig, entries: Sequence[Entry]) -> LabelTable:
    known = {name.lower(): index for index, name in enumerate(rig.class_names)}
    colours: dict[Colour, int] = {}
    ids: dict[int, int] = {}
    for name, number, colour in entries:
        key = name.strip().lower()
        if key not in known and key not in NO_CLASS:
            raise SartmError(
                f"{path}: the class '{name}' is none of the rig's: {', '.join(rig.class_names)}. Rename it there, or "
                f"call it 'background' to leave its pixels unlabelled."
            )
        target = known.get(key, UNLABELLED)
        if colour is not None:
            colours[colour] = target
        if number is not None:
            ids[number] = target
    return LabelTable(str(path), colours, ids or {index: index for index in range(len(rig.classes))})


def _check_colours(rig: Rig) -> None:
    """Masks of colours need a colour for each class, and black for none."""
    seen: dict[Colour, str] = {(0, 0, 0): "unlabelled pixels"}
    for spec in rig.classes:
        if spec.color in seen:
            raise SartmError(
                f"rig '{rig.name}': class '{spec.name}' has the colour of {seen[spec.color]}, {list(spec.color)}. Give "
                "it another one in the recording's rig.yaml, or export ids."
            )
        seen[spec.color] = f"'{spec.name}'"


def _own_colours(rig: Rig) -> dict[Colour, int]:
    return {spec.color: index for index, spec in enumerate(rig.classes)}


def _table_of(source: Path) -> Path | None:
    for name in ("labelmap.txt", "classes.csv"):
        if (source / name).is_file():
            return source / name
    return None


def _masks_of(source: Path) -> dict[str, Path]:
    if not source.is_dir():
        raise SartmError(f"{source}: no such folder. Give the folder of the masks.")
    folder = next((source / name for name in FOLDERS.values() if (source / name).is_dir()), source)
    masks = {path.stem: path for path in sorted(folder.rglob("*.png")) if "images" not in path.parts[-2:-1]}
    if not masks:
        raise SartmError(f"{folder}: holds no PNG masks.")
    return masks


def _class_ids(path: Path, table: LabelTable, recording: Recording, frame: Frame) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            # A palette image of ids keeps its values; of colours, its palette is what counts.
            single = image.mode in ("L", "I;16", "I") or (image.mode == "P" and not table.colours)
            values = np.asarray(image if single else image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise SartmError(f"{path}: is no image that can be read ({error}).") from error
    ids = _from_ids(path, values, table) if single else _from_colours(path, values, table)
    shown = next(name for name in (recording.rig.reference, *frame.modalities) if name in frame.modalities)
    expected = recording.image(frame, shown).shape[:2]
    if ids.shape != expected:
        raise SartmError(f"{path}: is {ids.shape[0]}x{ids.shape[1]}, its image is {expected[0]}x{expected[1]}.")
    return ids


def _from_ids(path: Path, values: NDArray[np.generic], table: LabelTable) -> NDArray[np.uint8]:
    ids = np.full(values.shape, UNLABELLED, np.uint8)
    for value in np.unique(values).tolist():
        if value not in table.ids and value != UNLABELLED:
            known = ", ".join(map(str, sorted(table.ids)))
            raise SartmError(f"{path}: holds the id {value}, which {table.source} does not have. It has {known}.")
        ids[values == value] = table.ids.get(value, UNLABELLED)
    return ids


def _from_colours(path: Path, values: NDArray[np.uint8], table: LabelTable) -> NDArray[np.uint8]:
    packed = (values.astype(np.uint32) * np.array([1 << 16, 1 << 8, 1], np.uint32)).sum(axis=2)
    ids = np.full(packed.shape, UNLABELLED, np.uint8)
    for code in np.unique(packed).tolist():
        colour = (code >> 16, code >> 8 & 255, code & 255)
        if colour not in table.colours and colour != (0, 0, 0):
            count = int((packed == code).sum())
            raise SartmError(
                f"{path}: holds the colour {colour} in {count} pixels, which {table.source} does not have. Export the "
                "masks without smoothing, and with the table they were made with."
            )
        ids[packed == code] = table.colours.get(colour, UNLABELLED)
    return ids


def _name(frame: Frame) -> str:
    return f"{frame.split}-{frame.id.replace('/', '__')}"


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Writes [H, W] or [H, W, 3] (red, green, blue) atomically."""
    stored = np.ascontiguousarray(image[..., ::-1]) if image.ndim == 3 else image
    done, data = cv2.imencode(".png", stored)
    assert done
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())
