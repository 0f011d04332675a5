"""DELIVER (Zhang et al. 2023, CARLA): RGB, depth (HHA), events, LiDAR; 1042x1042.

    root/{img,hha,event,lidar,semantic}/<weather>/<split>/MAP_<n>_point<k>[_<case>]/<number>_<kind>_front.png

weather: cloud, fog, night, rain, sun; case: motionblur, overexposure, underexposure, lidarjitter, eventlowres; kind:
rgb, depth (in hha/ too), event, lidar, semantic. The first channel of the labels holds 1 to 25; 0 and 255 are
unlabelled. Weather and case are read from whole path components below the root: `train` does not match `rain`.
"""

from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from sartm_core.datasets.dataset import TRUTH, Frame
from sartm_core.datasets.files import any_case, class_ids, colour, first_channel, places, read_image, some
from sartm_core.rig import load_rig

_FOLDERS = {"rgb": "img", "depth": "hha", "event": "event", "lidar": "lidar", TRUTH: "semantic"}
_KINDS = {"rgb": "rgb", "depth": "depth", "event": "event", "lidar": "lidar", TRUTH: "semantic"}
FAULTS = {
    "motionblur": ("rgb", "motion_blur"),
    "overexposure": ("rgb", "over_exposure"),
    "underexposure": ("rgb", "under_exposure"),
    "lidarjitter": ("lidar", "lidar_jitter"),
    "eventlowres": ("event", "event_low_resolution"),
}
"""Case -> the affected modality, and our name for the fault."""


class Deliver:
    """Args: root, the folder that holds `img` and `semantic`."""

    name = "deliver"
    expected: ClassVar[dict[str, int]] = {"train": 3983, "val": 2005, "test": 1897}

    def __init__(self, root: Path) -> None:
        self.root, self.rig = root, load_rig("deliver")

    @staticmethod
    def recognises(root: Path) -> bool:
        return (root / "img").is_dir() and (root / "semantic").is_dir()

    def frames(self, split: str | None = None) -> list[Frame]:
        wanted = tuple(self.expected) if split is None else (split,)
        result = []
        found = {
            place for what in _FOLDERS for place in places(self.root / _FOLDERS[what], 4, f"_{_KINDS[what]}_front.png")
        }
        for weather, name, place, number in sorted(found):
            if name not in wanted:
                continue
            case = place.split("_")[-1]
            faulty, fault = FAULTS.get(case, ("none", "none"))
            tags = {"condition": weather, "faulty": faulty, "fault": fault}
            result.append(Frame(split=name, id=f"{weather}/{place}/{number}", modalities=self.rig.names, tags=tags))
        result.sort(key=lambda frame: wanted.index(frame.split))
        return some(result, self.root, split, tuple(self.expected))

    def path(self, frame: Frame, what: str) -> Path:
        weather, place, number = frame.id.split("/")
        folder = self.root / _FOLDERS[what] / weather / frame.split / place
        return any_case(folder / f"{number}_{_KINDS[what]}_front.png")

    def image(self, frame: Frame, modality: str) -> NDArray[Any]:
        image = colour(read_image(self.path(frame, modality)))
        size = self.rig.modality(modality).size
        if modality == "event" and image.shape[:2] != size:  # low resolution is one of the faults
            return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT))
        return image

    def truth(self, frame: Frame) -> NDArray[np.uint8]:
        path = self.path(frame, TRUTH)
        return class_ids(path, first_channel(read_image(path)), len(self.rig.classes), shift=1)
