"""FMB (Liu et al. 2023): RGB and thermal in streets, 600x800.

    root/{train,test}/{Visible,Infrared,Label}/<id>.png

Labels 1 to 14, 0 is unlabelled: the protocol with 14 classes (MMSFormer, SHIFNet, MM SAM-adapter); others count 0 as a
fifteenth. There is no validation split: ours is a fixed tenth of `train`.
"""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sartm_core.datasets.dataset import TRUTH, Frame
from sartm_core.datasets.files import any_case, class_ids, colour, first_channel, frames_of_folders, read_image
from sartm_core.rig import load_rig

_FOLDERS = {"rgb": "Visible", "thermal": "Infrared", TRUTH: "Label"}


class FMB:
    """Args: root, the folder that holds `train` and `test`."""

    name = "fmb"
    expected: ClassVar[dict[str, int]] = {"train+val": 1220, "test": 280}

    def __init__(self, root: Path) -> None:
        self.root, self.rig = root, load_rig("fmb")

    @staticmethod
    def recognises(root: Path) -> bool:
        return (root / "train" / "Visible").is_dir()

    def frames(self, split: str | None = None) -> list[Frame]:
        return frames_of_folders(self.root, _FOLDERS.values(), self.rig.names, split)

    def path(self, frame: Frame, what: str) -> Path:
        folder = "test" if frame.split == "test" else "train"
        return any_case(self.root / folder / _FOLDERS[what] / f"{frame.id}.png")

    def image(self, frame: Frame, modality: str) -> NDArray[Any]:
        image = read_image(self.path(frame, modality))
        return colour(image) if modality == "rgb" else first_channel(image)

    def truth(self, frame: Frame) -> NDArray[np.uint8]:
        path = self.path(frame, TRUTH)
        return class_ids(path, read_image(path), len(self.rig.classes), shift=1)
