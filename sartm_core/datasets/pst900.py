"""PST900 (Shivakumar et al. 2020): RGB, thermal and depth underground, 720x1280.

    root/{train,test}/{rgb,thermal,depth,labels}/<name>.png

Labels 0 to 4, nothing is ignored. There is no validation split: ours is a fixed tenth of `train`.
"""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sartm_core.datasets.dataset import TRUTH, Frame
from sartm_core.datasets.files import any_case, class_ids, colour, first_channel, frames_of_folders, read_image
from sartm_core.rig import load_rig

_LABELS = "labels"


class PST900:
    """Args: root, the folder that holds `train` and `test`."""

    name = "pst900"
    expected: ClassVar[dict[str, int]] = {"train+val": 606, "test": 288}

    def __init__(self, root: Path) -> None:
        self.root, self.rig = root, load_rig("pst900")

    @staticmethod
    def recognises(root: Path) -> bool:
        return (root / "train" / "thermal").is_dir() and (root / "train" / "rgb").is_dir()

    def frames(self, split: str | None = None) -> list[Frame]:
        return frames_of_folders(self.root, (*self.rig.names, _LABELS), self.rig.names, split)

    def path(self, frame: Frame, what: str) -> Path:
        folder = "test" if frame.split == "test" else "train"
        return any_case(self.root / folder / (_LABELS if what == TRUTH else what) / f"{frame.id}.png")

    def image(self, frame: Frame, modality: str) -> NDArray[Any]:
        image = read_image(self.path(frame, modality))
        return colour(image) if modality == "rgb" else first_channel(image)

    def truth(self, frame: Frame) -> NDArray[np.uint8]:
        path = self.path(frame, TRUTH)
        return class_ids(path, read_image(path), len(self.rig.classes))
