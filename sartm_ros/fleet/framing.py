"""The frame sets of one recording, with a teacher's labels or without: a data set for `sartm train`."""

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from sartm_core.datasets.frame_folder import FrameFolder
from sartm_core.files import write_bytes
from sartm_core.rig import Rig
from sartm_ros.bag.extract import Extraction
from sartm_ros.bag.extract import extract as extract_frames
from sartm_ros.bag.reader import Bag
from sartm_ros.bag.replay import ReplayOptions
from sartm_ros.fleet.layout import FRAMES_FOLDER, THUMBNAIL_FILE
from sartm_ros.fleet.order import Extracting, Labelling, Order
from sartm_ros.fleet.tally import thumbnail

if TYPE_CHECKING:
    from sartm_core.labels.teachers import Teacher


def extract(bag: Bag, order: Order, what: Extracting, folder: Path) -> dict[str, Any]:
    """Writes a frame folder, and labels if it is so ordered; returns the figures of the fleet's table."""
    options = ReplayOptions(order.stamps, what.truth_topic, tags_topic=what.tags_topic)
    taken = Extraction(what.every_s, what.validation, what.complete, what.limit, options)
    counts, lacking, replay = extract_frames(bag, order.rig, folder / FRAMES_FOLDER, taken)
    frames = sum(counts.values())
    figures: dict[str, Any] = {
        "seconds": round((bag.end_ns - bag.start_ns) / 1e9, 3),
        "sets": replay.report()["sets"],
        "frames": frames,
        "sensors": {
            name: {"dead": round(lacking.get(name, 0) / frames, 6), "misaligned": None, "mistrusted": None}
            for name in order.rig.names
        },
        "remarks": replay.remarks(),
    }
    written = FrameFolder(folder / FRAMES_FOLDER)
    if isinstance(what, Labelling):
        from sartm_core.labels.teachers import autolabel  # torch, which frames alone do not need

        teacher = _loaded(what.teacher, json.dumps(what.classes), order.rig.model_dump_json(), order.device)
        done = autolabel(written, teacher, what.min_confidence, every_frame=what.every_frame)
        figures |= {"labelled": done.labelled, "labelled_share": round(done.share, 6)}
    _write_thumbnail(written, order.rig, folder)
    return figures


def _write_thumbnail(frames: FrameFolder, rig: Rig, folder: Path) -> None:
    """Of the frame in the middle, where it has an 8-bit image."""
    frame = frames.frames()[len(frames.frames()) // 2]
    name = next((m.name for m in rig.modalities if m.eight_bit and m.name in frame.modalities), None)
    if name is None:
        return
    image = frames.image(frame, name)
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    write_bytes(folder / THUMBNAIL_FILE, thumbnail(image))


@lru_cache(maxsize=1)
def _loaded(name: str, classes: str, rig: str, device: str) -> "Teacher":
    """One for all recordings of a process, since it takes seconds; the arguments are JSON, which a cache can hash."""
    from sartm_core.labels.teachers import Teacher, TeacherMap

    return Teacher(name, TeacherMap(classes=json.loads(classes)), Rig.model_validate_json(rig), device)
