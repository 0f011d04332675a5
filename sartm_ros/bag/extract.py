"""`sartm bag extract`: frame sets of a recording, registered and ready to be labelled, as a frame folder."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sartm_core.datasets.dataset import Frame
from sartm_core.datasets.files import check_view
from sartm_core.datasets.frame_folder import FrameFolderWriter, write_frame
from sartm_core.errors import SartmError
from sartm_core.files import write_text
from sartm_core.rig import Rig
from sartm_core.segmentation import UNLABELLED
from sartm_ros.bag.reader import Bag
from sartm_ros.bag.replay import DEFAULTS, Replay, ReplayOptions, ReplaySet

CAMERA_INFO_FILE = "camera_info.json"


@dataclass(frozen=True, slots=True)
class Extraction:
    """What is taken.

    Attributes:
        every_s: minimum number of seconds between two frame sets.
        validation: share of the recording that becomes the split `val`: whole stretches of time, since neighbouring
            frames are nearly identical.
        complete: only sets with every sensor.
        limit: maximum number.
        options: see `ReplayOptions`; with a truth topic its labels are extracted, too.
    """

    every_s: float
    validation: float = 0.2
    complete: bool = False
    limit: int | None = None
    options: ReplayOptions = DEFAULTS


def extract(
    bag: Bag, rig: Rig, out: Path, what: Extraction, progress: Callable[[int, int], None] = lambda sets, read_ns: None
) -> tuple[dict[str, int], dict[str, int], Replay]:
    """Writes the frame sets; labels are empty (255) where the recording has none.

    Args:
        bag: the recording.
        rig: says which topic is which sensor.
        out: folder, must not exist; appears only when complete.
        what: see `Extraction`.
        progress: called with the number of frame sets seen, and the recording's time read so far (nanoseconds).

    Returns:
        Split -> number of frame sets; modality -> number of those that lack it; and the replay, which reports on the
        recording.

    Raises:
        SartmError: the folder exists, or no frame set can be matched.
    """
    replay = Replay(bag, rig, rig, what.options)
    generator = {"name": "sartm bag extract", "recording": bag.name, "every_s": what.every_s}
    counts: dict[str, int] = {}
    lacking: Counter[str] = Counter()
    next_s = 0.0
    seconds = (bag.end_ns - bag.start_ns) / 1e9
    reference: ReplaySet | None = None
    with FrameFolderWriter(out, rig, bag.name, generator) as writer:
        for number, found in enumerate(replay, start=1):
            progress(number, replay.read_ns)
            wanted = found.frames.planes and (not what.complete or len(found.frames.planes) == len(rig.names))
            if not wanted or (found.time_s < next_s and reference is not None):
                continue
            next_s = found.time_s + what.every_s * 0.999
            split = split_at(found.time_s / max(seconds, 1e-9), what.validation)
            _write(writer, found, split, rig)
            counts[split] = counts.get(split, 0) + 1
            lacking.update(name for name in rig.names if name not in found.frames.planes)
            reference = found
            if sum(counts.values()) == what.limit:
                break
        if reference is None:
            raise SartmError(f"{bag.path}: no frame set can be matched. {' '.join(replay.remarks())}")
        writer.rig = replay.calibrated_rig
        _describe(writer.part, replay, reference)
    return counts, dict(lacking), replay


def split_at(place: float, validation: float) -> str:
    """`train` or `val`: the middle of each half of the drive is for validation, since conditions change along a drive.

    Args:
        place: in the recording, 0 to 1.
        validation: share, 0 to 1.

    Examples:
        >>> "".join(split_at((second + 0.5) / 20, 0.2)[0] for second in range(20))
        'ttttvvttttttttvvtttt'
    """
    of_the_half = 2 * place % 1
    return "val" if validation > 0 and abs(of_the_half - 0.5) <= validation / 2 else "train"


def _write(writer: FrameFolderWriter, found: ReplaySet, split: str, rig: Rig) -> None:
    names, images = tuple(name for name in rig.names if name in found.frames.planes), found.frames.images
    size = images[rig.reference].shape[:2] if rig.reference in images else rig.modality(rig.reference).size
    truth = np.full(size, UNLABELLED, np.uint8) if found.truth is None else found.truth
    check_view(f"label {found.frames.stamp_ns}", truth.shape, f"of '{rig.reference}'", size, scaled=True)
    frame = Frame(split=split, id=str(found.frames.stamp_ns), modalities=names, tags=found.tags)
    write_frame(writer.part, frame, images, truth)
    writer.add(frame)


def _describe(folder: Path, replay: Replay, found: ReplaySet) -> None:
    """The reference's CameraInfo, and the calibration used for registration."""
    info = found.camera_info
    content: dict[str, Any] = {
        "reference": replay.rig.reference,
        "frame_id": found.frames.frame_id,
        "camera_info": None
        if info is None
        else {
            "height": int(info.height),
            "width": int(info.width),
            "distortion_model": info.distortion_model,
            "d": [float(v) for v in info.d],
            "k": [float(v) for v in info.k],
            "p": [float(v) for v in info.p],
        },
        "registered_with": {
            m.name: m.model_dump(mode="json", include={"intrinsics", "extrinsics", "homography", "plane_m"})
            for m in replay.calibrated_rig.modalities
        },
    }
    write_text(folder / CAMERA_INFO_FILE, json.dumps(content, indent=1) + "\n")
