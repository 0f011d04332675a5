"""PNG masks of an annotation tool, and the tables beside them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sartm_core.datasets.files import same_channels
from sartm_core.errors import SartmError
from sartm_core.labels.tables import LabelTable, read_table, rig_table
from sartm_core.rig import Rig
from sartm_core.segmentation import UNLABELLED

MASK_FOLDERS = ("SegmentationClassPNG", "SegmentationClass", "masks")
"""Of older versions of Labelme (which keep arrays in the second), of CVAT and Labelme, and of our own ids."""

MACHINE_MASKS = "masks_machine"
"""Supervisely's, in each of its data sets."""

_TABLES = (".csv", ".txt", ".json", ".xml", ".yaml", ".yml")
_NO_TABLES = ("readme", "license", "meta.json", "key_id_map.json")


def visible(folder: Path, *suffixes: str) -> Iterator[Path]:
    """The files at any depth that have one of some suffixes, in any case; macOS hides others of the same names."""
    return (path for path in folder.rglob("*") if path.suffix.lower() in suffixes and not path.name.startswith("."))


def masks_of(source: Path) -> list[Path]:
    """The masks in a folder, at any depth.

    Raises:
        SartmError: there are none; names what is there in place of them.
    """
    folder = next((source / name for name in MASK_FOLDERS if (source / name).is_dir()), None)
    found = sorted(visible(folder or source, ".png"))
    if folder is None:  # CVAT mirrors the image folders inside the one of the masks, `images` included
        found = [path for path in found if path.parent.name != "images" or path.parent == source]
    machine = [path for path in found if MACHINE_MASKS in path.relative_to(source).parts]
    beside = {(path.parent, path.stem) for path in found}  # Roboflow keeps name_mask.png beside the image name.png
    masks = [path for path in machine or found if (path.parent, f"{path.stem}_mask") not in beside]
    if not masks:
        others = sorted(visible(folder or source, ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".npy"))
        hint = f" {others[0].name} is none: export PNG, which keeps every value." if others else ""
        raise SartmError(f"{folder or source}: holds no PNG masks, and no annotations in JSON.{hint}")
    return masks


class Tables:
    """The table of each mask: the one that was given, the nearest one above it, or the rig's own classes.

    Args:
        source: the folder that is imported.
        rig: gives the classes.
        given: the only table, if any.
    """

    def __init__(self, source: Path, rig: Rig, given: LabelTable | None) -> None:
        self._source, self._rig, self._given = source, rig, given
        self._read: dict[Path, LabelTable] = {}

    def of(self, mask: Path) -> LabelTable:
        """The table of a mask.

        Raises:
            SartmError: a file beside it is not understood, or there are several.
        """
        if self._given is not None:
            return self._given
        path = next((path for folder in self._folders(mask) if (path := self._table_in(folder))), None)
        key = path or self._source
        if key not in self._read:
            self._read[key] = rig_table(self._rig) if path is None else read_table(path, self._rig)
        return self._read[key]

    def _folders(self, mask: Path) -> Iterator[Path]:
        for folder in mask.parents:
            yield folder
            if folder == self._source:
                break
        if self._source.name in (*MASK_FOLDERS, MACHINE_MASKS):
            yield self._source.parent

    def _table_in(self, folder: Path) -> Path | None:
        found = [
            path
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in _TABLES and not path.name.lower().startswith((".", *_NO_TABLES))
        ]
        if len(found) > 1:
            listed = ", ".join(path.name for path in found)
            raise SartmError(f"{folder}: several files may be the table of its masks: {listed}. Give one with --table.")
        return found[0] if found else None


def mask_ids(path: Path, table: LabelTable) -> NDArray[np.uint8]:
    """The class ids of a mask.

    Raises:
        SartmError: unreadable, or a colour or id that the table does not list.
    """
    if not table.ids and not table.colours:
        raise SartmError(f"{table.source}: lists neither ids nor colours, which the masks need.")
    values = _stored(path, table)
    single = values if values.ndim == 2 else None if table.colours else same_channels(values)
    if single is not None:
        return _from_ids(path, single, table)
    return _from_colours(path, values, table)


def _stored(path: Path, table: LabelTable) -> NDArray[Any]:
    """[H, W] or [H, W, 3]. Palette images keep their indices with a table of ids; one of colours needs the palette."""
    try:
        with Image.open(path) as image:
            if image.mode in ("L", "I;16", "I", "1") or (image.mode == "P" and not table.colours):
                return np.asarray(image).astype(np.int64)
            return np.asarray(image.convert("L" if image.mode == "LA" else "RGB"))
    except (OSError, ValueError, SyntaxError) as error:  # raised by Pillow for damaged files
        raise SartmError(f"{path}: is not a readable image ({error}).") from error


def _from_ids(path: Path, values: NDArray[Any], table: LabelTable) -> NDArray[np.uint8]:
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
