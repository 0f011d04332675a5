"""Imports the labels of an annotation tool, which its files tell: annotations in JSON, else PNG masks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.datasets.dataset import TRUTH, Frame
from sartm_core.datasets.files import check_view
from sartm_core.datasets.frame_folder import FrameFolder
from sartm_core.datasets.png import png_bytes
from sartm_core.errors import SartmError
from sartm_core.files import write_bytes
from sartm_core.labels.annotated_image import AnnotatedImage
from sartm_core.labels.class_names import classes_by_name
from sartm_core.labels.coco import is_coco, read_coco
from sartm_core.labels.frame_names import pair
from sartm_core.labels.json_files import read_json
from sartm_core.labels.label_studio import is_label_studio, read_label_studio
from sartm_core.labels.labelme import is_labelme, read_labelme
from sartm_core.labels.masks import MASK_FOLDERS, Tables, mask_ids, masks_of, visible
from sartm_core.labels.supervisely import is_supervisely, read_supervisely
from sartm_core.labels.tables import LabelTable, read_table
from sartm_core.segmentation import UNLABELLED

FORMATS = {
    "COCO": (is_coco, read_coco),
    "Label Studio": (is_label_studio, read_label_studio),
    "Labelme": (is_labelme, read_labelme),
    "Supervisely": (is_supervisely, read_supervisely),
}

_COMPANIONS = ("meta.json", "key_id_map.json", "obj_class_to_machine_color.json")
"""Supervisely's, which say nothing about areas."""


def import_labels(folder: FrameFolder, source: Path, table_file: Path | None = None) -> int:
    """Imports labels from an annotation tool; frames without labels there, or with empty ones, stay unchanged.

    Args:
        folder: the frame folder to update.
        source: folder with annotations in JSON or with masks, at any depth; or one JSON file.
        table_file: a table of ids, colours or names (`tables.read_table`); by default that beside the masks; without
            any, single-channel masks hold the rig's class ids.

    Returns:
        Number of frames that got labels.

    Raises:
        SartmError: nothing matches a frame, several match one, an unknown class, colour or id, a wrong size, a damaged
            file; names the file. Nothing has been written then.
    """
    if not source.is_dir() and source.suffix.lower() != ".json":
        kind = "is neither a folder nor a JSON file" if source.exists() else "no such folder"
        raise SartmError(f"{source}: {kind}. Give the folder that holds the masks or annotations.")
    table = None if table_file is None else read_table(table_file, folder.rig)
    images = _annotated_images(source, table_file)
    labelled = _from_masks(folder, source, table) if images is None else _from_images(folder, source, images, table)
    ready: list[tuple[Path, bytes]] = []  # compressed, since there may be thousands
    for frame, ids in labelled:
        if (ids != UNLABELLED).any():
            ready.append((folder.path(frame, TRUTH), png_bytes(ids)))
    for target, data in ready:  # all of them are known to be valid by now
        write_bytes(target, data)
    return len(ready)


def _annotated_images(source: Path, table_file: Path | None) -> list[AnnotatedImage] | None:
    """What the JSON files describe; None if none of them describes images."""
    paths = sorted(visible(source, ".json")) if source.is_dir() else [source]
    given = None if table_file is None else table_file.resolve()
    images: list[AnnotatedImage] = []
    formats: dict[str, Path] = {}
    unknown: list[Path] = []
    for path in paths:
        if path.resolve() == given or path.name in _COMPANIONS:
            continue
        content = read_json(path)
        name = next((name for name, (fits, _) in FORMATS.items() if fits(content)), None)
        if name is None:
            unknown.append(path)
            continue
        formats.setdefault(name, path)
        images += FORMATS[name][1](path, content)
    _check_choice(source, formats, unknown)
    return images if formats else None


def _check_choice(source: Path, formats: dict[str, Path], unknown: list[Path]) -> None:
    """Where two things could be meant, neither is taken."""
    if len(formats) > 1:
        listed = ", ".join(f"{name} ({path})" for name, path in formats.items())
        raise SartmError(f"{source}: holds annotations in several formats: {listed}. Give the folder or file of one.")
    if unknown and (formats or not source.is_dir()):
        raise SartmError(
            f"{unknown[0]}: holds no annotations that are understood: {', '.join(FORMATS)} are (as whole JSON exports, "
            "not minimal ones). Move it elsewhere, or give the folder or file to import."
        )
    masks = next((source / name for name in MASK_FOLDERS if any(visible(source / name, ".png"))), None)
    if formats and masks is not None:
        path = next(iter(formats.values()))
        raise SartmError(f"{source}: holds both annotations ({path}) and masks ({masks}). Give one of them.")


def _from_images(
    folder: FrameFolder, source: Path, images: list[AnnotatedImage], table: LabelTable | None
) -> Iterator[tuple[Frame, NDArray[np.uint8]]]:
    if table is not None and not table.names:
        raise SartmError(
            f"{table.source}: translates no names; annotations need a CSV with the columns name and class."
        )
    pairs = pair([(image.source, image.name, image) for image in images], folder, source, "images")
    labels = {shape.label: None for image, _ in pairs for shape in image.shapes}
    classes = classes_by_name(labels, folder.rig, source, table.names if table is not None else None)
    for image, frame in pairs:
        shown, picture = _shown(folder, frame)
        size = picture.shape[:2]
        check_view(image.source, image.size or size, shown, size)
        yield frame, image.class_ids(size, classes)


def _from_masks(
    folder: FrameFolder, source: Path, table: LabelTable | None
) -> Iterator[tuple[Frame, NDArray[np.uint8]]]:
    tables = Tables(source, folder.rig, table)
    for path, frame in pair([(str(path), path.name, path) for path in masks_of(source)], folder, source, "masks"):
        ids = mask_ids(path, tables.of(path))
        shown, picture = _shown(folder, frame)
        check_view(path, ids.shape, shown, picture.shape)
        yield frame, ids


def _shown(folder: FrameFolder, frame: Frame) -> tuple[Path, NDArray[Any]]:
    """What the annotator saw."""
    name = next(name for name in (folder.rig.reference, *frame.modalities) if name in frame.modalities)
    return folder.path(frame, name), folder.image(frame, name)
