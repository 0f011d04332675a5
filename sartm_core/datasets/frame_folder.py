"""A frame folder: labelled or unlabelled frame sets of one rig, in the reference's geometry.

DIR/manifest.json                 format, name, generator, one entry per frame
DIR/rig.yaml                      the rig, with its classes
DIR/<split>/<modality>/<id>.png   8 or 16 bit, as delivered by the driver; .npz (`image`) for other types
DIR/<split>/truth/<id>.png        uint8 class ids, 255 = unlabelled
"""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import Field

from sartm_core.checked_yaml import Checked, check
from sartm_core.datasets.dataset import TRUTH, Frame, NoFramesError
from sartm_core.datasets.files import class_ids, read_array, read_image
from sartm_core.errors import SartmError
from sartm_core.files import write_text
from sartm_core.outputs import Draft, check_replaceable
from sartm_core.rig import Rig, load_rig

FORMAT = "sartm-recording/1"


class Manifest(Checked):
    """`manifest.json`."""

    format: str
    name: str
    generator: dict[str, Any] = Field(default_factory=dict)
    frames: tuple[Frame, ...] = Field(min_length=1)


class FrameFolder:
    """Reads a frame folder.

    Args:
        folder: holds manifest.json.

    Raises:
        SartmError: not a frame folder, or one of another format.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "manifest.json"
        if not path.is_file():
            raise SartmError(f"{folder}: is not a frame folder (no manifest.json). `sartm sim dataset` writes one.")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise SartmError(f"{path}: is not valid JSON ({error}). Write the frame folder again.") from error
        self.folder = folder
        self.manifest = check(content, Manifest, str(path))
        if self.manifest.format != FORMAT:
            raise SartmError(f"{path}: format is '{self.manifest.format}', this version reads '{FORMAT}'.")
        self.rig = load_rig(folder / "rig.yaml")
        known: set[tuple[str, str]] = set()
        for frame in self.manifest.frames:
            if (frame.split, frame.id) in known:
                raise SartmError(f"{path}: lists frame {frame.split}/{frame.id} twice. Remove one of the entries.")
            known.add((frame.split, frame.id))
            for name in frame.modalities:
                if name not in self.rig.names:
                    raise SartmError(
                        f"{path}, frame {frame.split}/{frame.id}: has a modality '{name}'; the rig has "
                        f"{', '.join(self.rig.names)}."
                    )

    def frames(self, split: str | None = None) -> list[Frame]:
        """The frames of a split, by default all.

        Raises:
            NoFramesError: there are none; lists the existing splits.
        """
        chosen = [frame for frame in self.manifest.frames if split in (None, frame.split)]
        if not chosen:
            splits = ", ".join(sorted({frame.split for frame in self.manifest.frames}))
            raise NoFramesError(f"{self.folder}: has no split '{split}'. It has: {splits}; choose one with --split.")
        return chosen

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def expected(self) -> dict[str, int]:
        return {}

    def path(self, frame: Frame, what: str) -> Path:
        packed = self.folder / frame.split / what / f"{frame.id}.npz"
        return packed if packed.is_file() else packed.with_suffix(".png")

    def image(self, frame: Frame, modality: str) -> NDArray[Any]:
        path = self.path(frame, modality)
        return read_array(path, "image") if path.suffix == ".npz" else read_image(path)

    def truth(self, frame: Frame) -> NDArray[np.uint8]:
        path = self.path(frame, TRUTH)
        return class_ids(path, read_image(path), len(self.rig.classes))


def write_frame(folder: Path, frame: Frame, images: dict[str, NDArray[Any]], truth: NDArray[np.uint8] | None) -> None:
    """Writes the files of one frame into `FrameFolderWriter.part`; may be called in another process.

    Args:
        images: modality -> its measurement, in the reference's geometry.
        truth: uint8 [H, W], class ids; None for a frame without labels.

    Raises:
        SartmError: the disk is full.
    """
    named = images if truth is None else {**images, TRUTH: truth}
    for name, image in named.items():
        path = folder / frame.split / name / f"{frame.id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        is_png = image.dtype in (np.uint8, np.uint16) and (image.ndim == 2 or image.shape[2] == 3)
        if not is_png:
            np.savez_compressed(path.with_suffix(".npz"), image=image)
            continue
        stored = np.ascontiguousarray(image[..., ::-1]) if image.ndim == 3 else image
        if not cv2.imwrite(str(path), stored, [cv2.IMWRITE_PNG_COMPRESSION, 3]):
            raise SartmError(f"{path}: cannot be written. Is the disk full?")


class FrameFolderWriter:
    """Writes a frame folder, which gets its final name once it is complete.

    Args:
        folder: must not exist.
        rig: of the frames; may be replaced until `close`.
        name: of the data set.
        generator: what created it, for the manifest.

    Raises:
        SartmError: the folder exists, or another process is writing it.
    """

    def __init__(self, folder: Path, rig: Rig, name: str, generator: dict[str, Any]) -> None:
        check_replaceable(folder, ())
        self.folder, self.rig = folder, rig
        self._draft = Draft(folder)
        self.part = self._draft.content
        """Where the files are until the folder is complete."""
        self.part.mkdir()
        self._content = {"format": FORMAT, "name": name, "generator": generator}
        self._frames: list[Frame] = []

    def add(self, frame: Frame) -> None:
        """Adds a frame, whose files `write_frame` has written, to the manifest."""
        self._frames.append(frame)

    def close(self) -> None:
        """Writes rig and manifest and gives the folder its final name."""
        content = self.rig.model_dump(mode="json", exclude_none=True)
        content["modalities"] = {entry.pop("name"): entry for entry in content["modalities"]}
        write_text(self.part / "rig.yaml", yaml.safe_dump(content, sort_keys=False))
        frames = [frame.model_dump(mode="json") for frame in self._frames]
        write_text(self.part / "manifest.json", json.dumps({**self._content, "frames": frames}, indent=1) + "\n")
        self._draft.publish()

    def __enter__(self) -> "FrameFolderWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        self._draft.discard()
