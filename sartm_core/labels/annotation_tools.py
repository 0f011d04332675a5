"""Exchanges labels with annotation tools: CVAT's segmentation masks, and PNG masks of class ids.

TASK/images/<name>.png                          what the annotator sees; <name> is <split>-<id>, `/` in it becomes `__`
TASK/SegmentationClass/<name>.png               masks in the classes' colours, black = unlabelled ("cvat")
TASK/labelmap.txt, ImageSets/Segmentation/...   CVAT's colour table and image list
TASK/masks/<name>.png, classes.csv              masks of ids, 255 = unlabelled, and their table ("ids")
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sartm_core.datasets.dataset import TRUTH, Frame
from sartm_core.datasets.files import is_labelled
from sartm_core.datasets.frame_folder import FrameFolder
from sartm_core.datasets.png import png_bytes, write_png
from sartm_core.errors import SartmError
from sartm_core.files import write_bytes, write_text
from sartm_core.rig import Rig
from sartm_core.segmentation import UNLABELLED

Form = Literal["cvat", "ids"]
FOLDERS = {"cvat": "SegmentationClass", "ids": "masks"}
NO_CLASS = frozenset({"background", "unlabelled", "unlabeled", "ignore", "void", ""})

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class LabelTable:
    """Maps mask values of an annotation tool to class ids.

    Attributes:
        source: the file it was read from, for errors.
        colours: (red, green, blue) -> class id, 255 for none; empty if the file lists ids only.
        ids: value -> class id, 255 for none; used for single-channel masks; empty if the file lists colours only.
        ambiguous: colours assigned to several classes.
    """

    source: str
    colours: dict[Colour, int]
    ids: dict[int, int]
    ambiguous: frozenset[Colour] = frozenset()


def export_labels(folder: FrameFolder, out: Path, form: Form, split: str | None = None) -> int:
    """Writes the images to be labelled and their existing labels.

    Args:
        folder: gives the frames.
        out: the folder to write; must not exist.
        form: `cvat` or `ids`.
        split: exports this split only.

    Returns:
        Number of frames.

    Raises:
        SartmError: the folder exists.
    """
    if out.exists():
        raise SartmError(f"{out}: already exists and is not overwritten. Remove it, or choose another folder.")
    rig, names = folder.rig, []
    if form == "cvat":
        _check_colours(rig)
    for frame in folder.frames(split):
        name = _name(frame)
        shown = rig.reference if rig.reference in frame.modalities else frame.modalities[0]
        write_png(out / "images" / f"{name}.png", rig.modality(shown).picture(folder.image(frame, shown)))
        ids = folder.truth(frame) if is_labelled(folder.path(frame, TRUTH)) else None
        if ids is None:
            height, width = folder.image(frame, shown).shape[:2]
            ids = np.full((height, width), UNLABELLED, np.uint8)
        write_png(out / FOLDERS[form] / f"{name}.png", rig.palette[ids] if form == "cvat" else ids)
        names.append(name)
    if form == "cvat":
        taken = {name.lower() for name in rig.class_names}
        unlabelled = next(name for name in ("background", *sorted(NO_CLASS - {""})) if name not in taken)
        lines = ["# label:color_rgb:parts:actions", f"{unlabelled}:0,0,0::"]
        lines += [f"{spec.name}:{','.join(map(str, spec.color))}::" for spec in rig.classes]
        write_text(out / "labelmap.txt", "\n".join(lines) + "\n")
        write_text(out / "ImageSets" / "Segmentation" / "default.txt", "\n".join(names) + "\n")
    else:
        rows = io.StringIO()  # csv quotes names that contain commas
        writer = csv.writer(rows, lineterminator="\n")
        writer.writerow(["id", "name", "red", "green", "blue"])
        writer.writerows([index, spec.name, *spec.color] for index, spec in enumerate(rig.classes))
        write_text(out / "classes.csv", rows.getvalue())
    return len(names)


def import_labels(folder: FrameFolder, source: Path, table_file: Path | None = None) -> int:
    """Imports masks from an annotation tool; frames without a mask, or with an empty one, stay unchanged.

    Args:
        folder: the frame folder to update.
        source: folder with the masks, at any depth.
        table_file: `labelmap.txt`, a CSV with `id` and `name` (or `red`, `green`, `blue`), or COCO's JSON; by default
            the one in the folder; without any, single-channel masks hold the rig's class ids.

    Returns:
        Number of frames that got labels.

    Raises:
        SartmError: no mask matches a frame, several match one, unknown class, colour or id, wrong size; names the file.
    """
    table = read_table(table_file or _table_of(source), folder.rig)
    ready: list[tuple[Path, bytes]] = []  # compressed, since there may be thousands
    for path, frame in _pairs(_masks_of(source), folder, source):
        ids = _class_ids(path, table, folder, frame)
        if (ids != UNLABELLED).any():
            ready.append((folder.path(frame, TRUTH), png_bytes(ids)))
    for target, data in ready:  # all of them are known to be valid by now
        write_bytes(target, data)
    return len(ready)


def read_table(path: Path | None, rig: Rig) -> LabelTable:
    """Reads a table of colours or ids.

    Raises:
        SartmError: unreadable, or a class that the rig does not have.
    """
    if path is None:
        own = [(spec.name, index, spec.color) for index, spec in enumerate(rig.classes)]
        return _table("the rig", rig, own)
    try:
        text = path.read_text(encoding="utf-8-sig")  # Excel marks its CSV
        if path.suffix == ".json":
            entries = [(entry["name"], int(entry["id"]), None) for entry in json.loads(text)["categories"]]
            return _table(str(path), rig, entries)
        if path.suffix == ".csv":
            return _table(str(path), rig, [_csv_entry(row) for row in csv.DictReader(text.splitlines())])
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        return _table(str(path), rig, [_labelmap_entry(line) for line in lines])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, csv.Error) as error:
        raise SartmError(
            f"{path}: is not a label table ({error!r}). Expected CVAT's labelmap.txt (name:red,green,blue::), a CSV "
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


def _table(source: str, rig: Rig, entries: Sequence[Entry]) -> LabelTable:
    if not entries:
        raise ValueError("it has no entries")
    known = {name.lower(): index for index, name in enumerate(rig.class_names)}
    known |= {name: index for index, name in enumerate(rig.class_names)}  # exact names win if only the case differs
    colours: dict[Colour, int] = {}
    ids: dict[int, int] = {}
    ambiguous: set[Colour] = set()
    for name, number, colour in entries:
        key = name.strip()
        target = known.get(key, known.get(key.lower(), UNLABELLED))
        if target == UNLABELLED and key.lower() not in NO_CLASS:
            raise SartmError(
                f"{source}: class '{name}' is not in the rig: {', '.join(rig.class_names)}. Rename it there, or "
                f"call it 'background' to leave its pixels unlabelled."
            )
        if colour is not None and colours.setdefault(colour, target) != target:
            ambiguous.add(colour)
        if number is not None and ids.setdefault(number, target) != target:
            raise SartmError(f"{source}: assigns id {number} to several classes, including '{name}'.")
    return LabelTable(source, colours, ids, frozenset(ambiguous))


def _check_colours(rig: Rig) -> None:
    """Colour masks need a distinct colour per class, and black for unlabelled."""
    seen: dict[Colour, str] = {(0, 0, 0): "unlabelled pixels"}
    for spec in rig.classes:
        if spec.color in seen:
            raise SartmError(
                f"rig '{rig.name}': class '{spec.name}' has the same colour as {seen[spec.color]}, {list(spec.color)}. "
                "Change it in the frame folder's rig.yaml, or export ids."
            )
        seen[spec.color] = f"'{spec.name}'"


def _table_of(source: Path) -> Path | None:
    for name in ("labelmap.txt", "classes.csv"):
        if (source / name).is_file():
            return source / name
    return None


def _masks_of(source: Path) -> list[Path]:
    if not source.is_dir():
        raise SartmError(f"{source}: no such folder. Give the folder that holds the masks.")
    folder = next((source / name for name in FOLDERS.values() if (source / name).is_dir()), None)
    if folder is not None:  # CVAT mirrors the image folders inside it, `images` included
        masks = sorted(folder.rglob("*.png"))
    else:
        found = sorted(source.rglob("*.png"))
        masks = [path for path in found if "images" not in path.relative_to(source).parts[-2:-1]]
    if not masks:
        raise SartmError(f"{folder or source}: holds no PNG masks.")
    return masks


def _pairs(masks: list[Path], folder: FrameFolder, source: Path) -> list[tuple[Path, Frame]]:
    """The masks that belong to a frame: by `<split>-<id>`, or by the id alone."""
    named: dict[str, list[Frame]] = {}
    by_id: dict[str, list[Frame]] = {}
    for frame in folder.frames():
        named.setdefault(_name(frame), []).append(frame)
        by_id.setdefault(_flat(frame.id), []).append(frame)
    pairs: list[tuple[Path, Frame]] = []
    first: dict[tuple[str, str], Path] = {}
    for path in masks:
        found = named.get(path.stem) or by_id.get(path.stem, [])
        if len(found) > 1:
            several = ", ".join(f"{frame.split}/{frame.id}" for frame in found)
            raise SartmError(f"{path}: matches several frames ({several}); expected {_name(found[0])}.png.")
        for frame in found:
            other = first.setdefault((frame.split, frame.id), path)
            if other != path:
                raise SartmError(f"{path}: is a mask of {frame.split}/{frame.id}, and so is {other}. Keep only one.")
            pairs.append((path, frame))
    if not pairs:
        example = next(iter(named))
        raise SartmError(
            f"{source}: none of its {len(masks)} masks belongs to a frame; expected names such as {example}.png."
        )
    return pairs


def _class_ids(path: Path, table: LabelTable, folder: FrameFolder, frame: Frame) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            # With a table of ids, palette images keep their indices; with one of colours, the palette is applied.
            single = image.mode in ("L", "I;16", "I") or (image.mode == "P" and not table.colours)
            values = np.asarray(image if single else image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:  # raised by Pillow for damaged files
        raise SartmError(f"{path}: is not a readable image ({error}).") from error
    ids = _from_ids(path, values, table) if single else _from_colours(path, values, table)
    shown = next(name for name in (folder.rig.reference, *frame.modalities) if name in frame.modalities)
    expected = folder.image(frame, shown).shape[:2]
    if ids.shape != expected:
        raise SartmError(f"{path}: is {ids.shape[0]}x{ids.shape[1]}, its image is {expected[0]}x{expected[1]}.")
    return ids


def _from_ids(path: Path, values: NDArray[np.generic], table: LabelTable) -> NDArray[np.uint8]:
    ids = np.full(values.shape, UNLABELLED, np.uint8)
    if not table.ids and (values != UNLABELLED).any():
        raise SartmError(f"{path}: has a single channel of ids, but {table.source} lists colours. Give a table of ids.")
    for value in np.unique(values).tolist():
        if value not in table.ids and value != UNLABELLED:
            known = ", ".join(map(str, sorted(table.ids)))
            raise SartmError(f"{path}: contains id {value}, which {table.source} does not list. It lists {known}.")
        ids[values == value] = table.ids.get(value, UNLABELLED)
    return ids


def _from_colours(path: Path, values: NDArray[np.uint8], table: LabelTable) -> NDArray[np.uint8]:
    if not table.colours:
        raise SartmError(f"{path}: has colours, but {table.source} lists ids. Give a table of colours.")
    packed = (values.astype(np.uint32) * np.array([1 << 16, 1 << 8, 1], np.uint32)).sum(axis=2)
    ids = np.full(packed.shape, UNLABELLED, np.uint8)
    for code in np.unique(packed).tolist():
        colour = (code >> 16, code >> 8 & 255, code & 255)
        if colour not in table.colours and colour != (0, 0, 0):
            count = int((packed == code).sum())
            raise SartmError(
                f"{path}: contains colour {colour} in {count} pixels, which {table.source} does not list. Export the "
                "masks without smoothing, with the table they were made with."
            )
        if colour in table.ambiguous:
            raise SartmError(f"{path}: contains colour {colour}, which {table.source} assigns to several classes.")
        ids[packed == code] = table.colours.get(colour, UNLABELLED)
    return ids


def _flat(identity: str) -> str:
    return identity.replace("/", "__")


def _name(frame: Frame) -> str:
    return f"{frame.split}-{_flat(frame.id)}"
