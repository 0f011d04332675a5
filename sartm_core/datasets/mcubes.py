"""MCubeS (Liang et al. 2022): RGB, polarisation, near infrared; materials.

    root/polL_color/<name>.png                 8 or 16 bit
    root/{polL_aolp_sin,polL_aolp_cos,polL_dolp}/<name>.npy
    root/NIR_warped/<name>.png                 8 or 16 bit
    root/GT/<name>.png                         0 to 19, 255 unlabelled
    root/list_folder/{train,val,test}.txt      a name at the start of each line

1024x1224; the left 192 columns are cut as in the published code. The papers count AoLP and DoLP as two modalities of
three planes each; here polarisation is one: sine, cosine, degree. Their tables are evaluated on `test`.
"""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sartm_core.datasets.dataset import TRUTH, Frame
from sartm_core.datasets.files import (
    any_case,
    class_ids,
    colour,
    eight_bit,
    first_channel,
    read_array,
    read_image,
    read_list,
    some,
)
from sartm_core.errors import SartmError
from sartm_core.rig import load_rig

CUT_COLUMNS = 192
_FILES = {"rgb": ("polL_color", ".png"), "nir": ("NIR_warped", ".png"), TRUTH: ("GT", ".png")}
_POLARISATION = ("polL_aolp_sin", "polL_aolp_cos", "polL_dolp")


class MCubeS:
    """Args: root, the folder that holds `polL_color`."""

    name = "mcubes"
    expected: ClassVar[dict[str, int]] = {"train": 302, "val": 96, "test": 102}

    def __init__(self, root: Path) -> None:
        self.root, self.rig = root, load_rig("mcubes")

    @staticmethod
    def recognises(root: Path) -> bool:
        return (root / "polL_color").is_dir()

    def frames(self, split: str | None = None) -> list[Frame]:
        result = [
            Frame(split=name, id=line, modalities=self.rig.names)
            for name in self.expected
            if split in (None, name)
            for line in read_list(self.root / "list_folder" / f"{name}.txt")
        ]
        return some(result, self.root, split, tuple(self.expected))

    def path(self, frame: Frame, what: str) -> Path:
        folder, suffix = _FILES.get(what, (_POLARISATION[0], ".npy"))
        return any_case(self.root / folder / f"{frame.id}{suffix}")

    def image(self, frame: Frame, modality: str) -> NDArray[Any]:
        if modality == "polarization":
            paths = [self.root / folder / f"{frame.id}.npy" for folder in _POLARISATION]
            planes = [first_channel(read_array(path)) for path in paths]
            for path, plane in zip(paths, planes, strict=True):
                if plane.shape != planes[0].shape:
                    raise SartmError(f"{path}: is {plane.shape}, but {paths[0]} is {planes[0].shape}.")
            return _cut(np.stack(planes, axis=-1).astype(np.float32))
        image = eight_bit(read_image(self.path(frame, modality)))
        return _cut(colour(image) if modality == "rgb" else first_channel(image))

    def truth(self, frame: Frame) -> NDArray[np.uint8]:
        path = self.path(frame, TRUTH)
        return _cut(class_ids(path, read_image(path), len(self.rig.classes)))


def _cut(image: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(image[:, CUT_COLUMNS:])
