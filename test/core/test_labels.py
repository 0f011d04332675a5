"""Labels out to annotation tools and back, and what counts as labelled."""

from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from sartm_core.datasets.frame import Frame
from sartm_core.datasets.recording import RecordingWriter, write_images
from sartm_core.rig import Rig, load_rig

runner = CliRunner()
SIZE = (20, 28)
RIG = load_rig("sim")
ROAD, SIDEWALK, CAR, SKY = (RIG.class_names.index(name) for name in ("road", "sidewalk", "car", "sky"))
NAMES = ["train-100", "train-200", "train-day__1", "val-300", "val-400"]
"""Of `drive`: all but train-200 are labelled; val-300 has thermal only; val-400 is labelled in full."""


def images_of(number: int, modalities: tuple[str, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(number)
    return {
        "rgb": rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8),
        "thermal": rng.integers(28000, 31000, SIZE).astype(np.uint16),
        "depth": rng.integers(0, 40000, SIZE).astype(np.uint16),
    } | {name: np.zeros(0) for name in () if name in modalities}


def truth_of(number: int, unlabelled: bool = True, classes: int = 9) -> np.ndarray:
    """Every class, and 255."""
    truth = np.random.default_rng(number).integers(0, classes + unlabelled, SIZE).astype(np.uint8)
    truth[truth == classes] = 255
    return truth


def write_recording(folder: Path, rig: Rig, frames: list[tuple[str, str, np.ndarray | None]], **only: str) -> Path:
    """Frames of (split, id, truth); `only` names the single modality of a frame whose split it names."""
    with RecordingWriter(folder, rig, folder.name, {}) as writer:
        for number, (split, identity, truth) in enumerate(frames):
            modalities = (only[split],) if split in only and number == 3 else ("rgb", "thermal", "depth")
            frame = Frame(split=split, id=identity, modalities=modalities)
            images = {name: image for name, image in images_of(number, ()).items() if name in modalities}
            write_images(writer.part, frame, images, truth)
            writer.add(frame)
    return folder
