"""MFNet (Ha et al. 2017): RGB and thermal in streets, 480x640.

    root/images/<id>.png    four channels: red, green, blue, thermal
    root/labels/<id>.png    0 to 8; 0 is a class, nothing is ignored
    root/{train,val,test}.txt

The repack of RGBX and CMNeXt has rgb/<id>.jpg (or .png) and ther/<id>.jpg in place of images/. Ids end with D (day) or
N (night). Some circulating lists name frames of another repack (mirrored copies); those without any file are skipped.
"""

from pathlib import Path, PurePath
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sartm_core.datasets.dataset import TRUTH, Frame
from sartm_core.datasets.files import any_case, class_ids, colour, first_channel, read_image, read_list, some
from sartm_core.errors import SartmError
from sartm_core.rig import load_rig

_SUFFIXES = (".jpg", ".jpeg", ".png")


class MFNet:
    """Args: root, the folder that holds `labels`."""

    name = "mfnet"
    expected: ClassVar[dict[str, int]] = {"train": 784, "val": 392, "test": 393}

    def __init__(self, root: Path) -> None:
        self.root, self.rig = root, load_rig("mfnet")
        self._repacked = (root / "rgb").is_dir()

    @staticmethod
    def recognises(root: Path) -> bool:
        return (root / "labels").is_dir() and ((root / "images").is_dir() or (root / "ther").is_dir())

    def frames(self, split: str | None = None) -> list[Frame]:
        result = []
        for name in self.expected:
            if split not in (None, name):
                continue
            for identity in dict.fromkeys(map(_identity, read_list(self.root / f"{name}.txt"))):
                tags = {"condition": "night" if identity.split("_")[0].endswith("N") else "day"}
                frame = Frame(split=name, id=identity, modalities=self.rig.names, tags=tags)
                if any(self.path(frame, what).is_file() for what in (*self.rig.names, TRUTH)):
                    result.append(frame)
        return some(result, self.root, split, tuple(self.expected))

    def path(self, frame: Frame, what: str) -> Path:
        if what == TRUTH:
            return any_case(self.root / "labels" / f"{frame.id}.png")
        if not self._repacked:
            return any_case(self.root / "images" / f"{frame.id}.png")
        folder = self.root / {"rgb": "rgb", "thermal": "ther"}[what]
        paths = [any_case(folder / f"{frame.id}{suffix}") for suffix in _SUFFIXES]
        return next((path for path in paths if path.is_file()), paths[0])

    def image(self, frame: Frame, modality: str) -> NDArray[Any]:
        image = read_image(self.path(frame, modality))
        if not self._repacked and (image.ndim != 3 or image.shape[2] != 4):
            raise SartmError(
                f"{self.path(frame, modality)}: expected four channels (red, green, blue, thermal), got shape "
                f"{image.shape}. Separate files belong in the folders rgb and ther."
            )
        if modality == "rgb":
            return colour(image)
        return first_channel(image) if self._repacked else np.ascontiguousarray(image[..., 3])

    def truth(self, frame: Frame) -> NDArray[np.uint8]:
        path = self.path(frame, TRUTH)
        return class_ids(path, read_image(path), len(self.rig.classes))


def _identity(line: str) -> str:
    """Of a line that may be a path; an id may have dots."""
    file = PurePath(line.replace("\\", "/"))
    return file.stem if file.suffix.lower() in _SUFFIXES else file.name
