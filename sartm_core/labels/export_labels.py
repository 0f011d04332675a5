"""Exports images and labels to annotation tools: CVAT's segmentation masks, and PNG masks of class ids.

TASK/images/<name>.png                          what the annotator sees; <name> is <split>-<id>, `/` in it becomes `__`
TASK/SegmentationClass/<name>.png               masks in the classes' colours, black = unlabelled ("cvat")
TASK/labelmap.txt, ImageSets/Segmentation/...   CVAT's colour table and image list
TASK/masks/<name>.png, classes.csv              masks of ids, 255 = unlabelled, and their table ("ids")
"""

import csv
import io
from pathlib import Path
from typing import Literal

import numpy as np

from sartm_core.datasets.dataset import TRUTH, Frame
from sartm_core.datasets.files import is_labelled
from sartm_core.datasets.frame_folder import FrameFolder
from sartm_core.datasets.png import write_png
from sartm_core.errors import SartmError
from sartm_core.files import write_text
from sartm_core.labels.class_names import NO_CLASS
from sartm_core.labels.frame_names import frame_name
from sartm_core.labels.tables import Colour
from sartm_core.rig import Rig
from sartm_core.segmentation import UNLABELLED

Form = Literal["cvat", "ids"]


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
    if form == "cvat":
        _check_colours(folder.rig)
    frames = folder.frames(split)
    for frame in frames:
        _write_frame(folder, frame, out, form)
    if form == "cvat":
        write_text(out / "labelmap.txt", _labelmap(folder.rig))
        names = "".join(f"{frame_name(frame)}\n" for frame in frames)
        write_text(out / "ImageSets" / "Segmentation" / "default.txt", names)
    else:
        write_text(out / "classes.csv", _csv(folder.rig))
    return len(frames)


def _write_frame(folder: FrameFolder, frame: Frame, out: Path, form: Form) -> None:
    rig, name = folder.rig, frame_name(frame)
    shown = rig.reference if rig.reference in frame.modalities else frame.modalities[0]
    image = folder.image(frame, shown)
    write_png(out / "images" / f"{name}.png", rig.modality(shown).picture(image))
    if is_labelled(folder.path(frame, TRUTH)):
        ids = folder.truth(frame)
    else:
        ids = np.full(image.shape[:2], UNLABELLED, np.uint8)
    if form == "cvat":
        write_png(out / "SegmentationClass" / f"{name}.png", rig.palette[ids])
    else:
        write_png(out / "masks" / f"{name}.png", ids)


def _labelmap(rig: Rig) -> str:
    taken = {name.lower() for name in rig.class_names}
    unlabelled = next(name for name in ("background", *sorted(NO_CLASS - {""})) if name not in taken)
    lines = ["# label:color_rgb:parts:actions", f"{unlabelled}:0,0,0::"]
    lines += [f"{spec.name}:{','.join(map(str, spec.color))}::" for spec in rig.classes]
    return "\n".join(lines) + "\n"


def _csv(rig: Rig) -> str:
    rows = io.StringIO()  # csv quotes names that contain commas
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(["id", "name", "red", "green", "blue"])
    writer.writerows([index, spec.name, *spec.color] for index, spec in enumerate(rig.classes))
    return rows.getvalue()


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
