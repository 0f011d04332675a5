"""MUSES (Brodermann et al. 2024): RGB, events, LiDAR in all weathers; 1080x1920, Cityscapes classes.

    root/frame_camera/<split>/<weather>/<day|night>/REC<n>_frame_<n>_frame_camera.png
    root/gt_semantic/.../..._gt_labelTrainIds.png        not for test: its labels are withheld
    root/lidar/.../..._lidar.bin                         float64 [N, 6]: x, y, z, intensity, ring, time
    root/event_camera/.../..._event_camera.h5            events/{x,y,t,p}; needs h5py and hdf5plugin
    root/projected_to_rgb/{lidar,event_camera}/...       by the MUSES SDK: .npz, .npy or .png; used if present
    root/calib.json

Raw LiDAR is projected by `sensing.lidar.project_points`; events of the last 30 ms are mapped to the colour camera by
the rotation between the two, as in the SDK, without dilation or ego-motion correction.
"""

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sartm_core.datasets.dataset import TRUTH, Frame
from sartm_core.datasets.files import any_case, class_ids, colour, places, read_array, read_image, some
from sartm_core.errors import SartmError
from sartm_core.rig import load_rig
from sartm_core.sensing.events import EVENT, count_events
from sartm_core.sensing.lidar import project_points

_FOLDERS = {"rgb": "frame_camera", "event": "event_camera", "lidar": "lidar", TRUTH: "gt_semantic"}
_SUFFIXES = {
    "rgb": "frame_camera.png",
    "event": "event_camera.h5",
    "lidar": "lidar.bin",
    TRUTH: "gt_labelTrainIds.png",
}
_PROJECTED = (".npz", ".npy", ".png")
WINDOW_US = 30_000
NEAREST_M = 1.0
POINT_BYTES = 6 * 8


class Muses:
    """Args: root, the folder that holds `frame_camera`."""

    name = "muses"
    expected: ClassVar[dict[str, int]] = {"train": 1500, "val": 250, "test": 750}
    submission_folder = "labelTrainIds"
    """What the benchmark's server takes, as a zip: a mask for each frame of test, class ids as in `gt_semantic`."""

    def __init__(self, root: Path) -> None:
        self.root, self.rig = root, load_rig("muses")

    @staticmethod
    def recognises(root: Path) -> bool:
        return (root / "frame_camera").is_dir()

    def frames(self, split: str | None = None) -> list[Frame]:
        result = []
        for name in self.expected:
            if split not in (None, name):
                continue
            found = {place for what in _FOLDERS for place in self._places(name, what)}
            for weather, light, stem in sorted(found):
                identity = f"{weather}/{light}/{stem}"
                tags = {"condition": f"{weather} {light}", "weather": weather, "light": light}
                result.append(Frame(split=name, id=identity, modalities=self.rig.names, tags=tags))
        return some(result, self.root, split, tuple(self.expected))

    def _places(self, split: str, what: str) -> Iterator[tuple[str, ...]]:
        ending = f"_{_SUFFIXES[what]}"
        yield from places(self.root / _FOLDERS[what] / split, 3, ending)
        for suffix in _PROJECTED:
            projected = self.root / "projected_to_rgb" / _FOLDERS[what] / split
            yield from places(projected, 3, f"{ending.rsplit('.', 1)[0]}{suffix}")

    def path(self, frame: Frame, what: str) -> Path:
        name = f"{frame.split}/{frame.id}_{_SUFFIXES[what]}"
        raw = self.root / _FOLDERS[what] / name
        if what in ("event", "lidar"):
            projected = self.root / "projected_to_rgb" / _FOLDERS[what] / name
            for suffix in _PROJECTED:
                if projected.with_suffix(suffix).is_file():
                    return projected.with_suffix(suffix)
        return any_case(raw)

    def image(self, frame: Frame, modality: str) -> NDArray[Any]:
        path = self.path(frame, modality)
        if path.suffix == ".bin":
            return self._project(path)
        if path.suffix == ".h5":
            return self._count(path)
        if path.suffix in (".npz", ".npy"):
            return read_array(path)
        if modality == "rgb":
            return colour(read_image(path))
        image = read_image(path, stored_by_opencv=True)
        if modality == "lidar":  # 16 bit: (value + 100) x 150; the range of an empty pixel is 0
            return (image.astype(np.float32) / 150 - 100) * (image[..., :1] != 15000)
        return image

    @staticmethod
    def submission_name(frame: Frame) -> str:
        """A mask's file in `submission_folder`: the name of the image without its suffix, and without folders."""
        return f"{frame.id.rsplit('/', 1)[-1]}.png"

    def truth(self, frame: Frame) -> NDArray[np.uint8]:
        path = self.path(frame, TRUTH)
        if frame.split == "test" and not path.is_file():
            raise SartmError(
                f"{path}: is missing. MUSES withholds the labels of test; score on val, or write masks for its server "
                "with --submission."
            )
        return class_ids(path, read_image(path), len(self.rig.classes))

    @cached_property
    def _calibration(self) -> dict[str, Any]:
        path = self.root / "calib.json"
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise SartmError(f"{path}: cannot be read ({error}). It comes with MUSES; raw LiDAR needs it.") from error
        return content

    def _matrix(self, *keys: str) -> NDArray[np.float64]:
        value: Any = self._calibration
        for key in keys:
            if not isinstance(value, dict) or key not in value:
                raise SartmError(f"{self.root / 'calib.json'}: has no {'.'.join(keys)}. Use the file of MUSES.")
            value = value[key]
        side = 4 if keys[0] == "extrinsics" else 3
        try:
            matrix = np.array(value, float)
        except (TypeError, ValueError):
            matrix = np.zeros(0)
        if matrix.shape != (side, side):
            raise SartmError(
                f"{self.root / 'calib.json'}: {'.'.join(keys)} is not a {side}x{side} matrix. Use the file of MUSES."
            )
        return matrix

    def _project(self, path: Path) -> NDArray[np.float32]:
        size = path.stat().st_size if path.is_file() else -1
        if size <= 0 or size % POINT_BYTES:
            what = "is missing" if size < 0 else f"has {size} bytes, expected a multiple of {POINT_BYTES}"
            raise SartmError(f"{path}: {what}. Download it again.")
        points = np.fromfile(path, np.float64).reshape(-1, 6)
        points = points[np.linalg.norm(points[:, :3], axis=1) >= NEAREST_M]
        k, pose = self._matrix("intrinsics", "rgb", "K"), self._matrix("extrinsics", "lidar2rgb")
        return project_points(points, k, pose, self.rig.modality("rgb").size).transpose(1, 2, 0)

    def _count(self, path: Path) -> NDArray[np.float32]:
        raw = _read_events(path)
        recent = raw[raw["t"] >= raw["t"].max(initial=0) - WINDOW_US]
        rotation = self._matrix("extrinsics", "event2rgb")[:3, :3]
        to_rgb = (
            self._matrix("intrinsics", "rgb", "K") @ rotation @ np.linalg.inv(self._matrix("intrinsics", "event", "K"))
        )
        projected = to_rgb @ np.stack([recent["x"], recent["y"], np.ones(len(recent))])
        pixel = np.round(projected[:2] / projected[2])
        size = self.rig.modality("rgb").size
        inside = (pixel >= 0).all(axis=0) & (pixel[0] < size[1]) & (pixel[1] < size[0]) & (projected[2] > 0)
        moved = recent[inside].copy()
        moved["x"], moved["y"] = pixel[:, inside]
        return count_events(moved, size)


def _read_events(path: Path) -> NDArray[Any]:
    try:
        import h5py
        import hdf5plugin  # noqa: F401  registers the compression
    except ImportError as error:
        raise SartmError(
            f"{path}: reading raw events needs h5py and hdf5plugin (pip install h5py hdf5plugin); or create "
            "projected_to_rgb with the MUSES SDK."
        ) from error
    if not path.is_file():
        raise SartmError(f"{path}: is missing.")
    try:
        with h5py.File(path, "r") as file:
            columns = {name: file[f"events/{name}"][:] for name in ("x", "y", "t", "p")}
    except (OSError, KeyError) as error:
        raise SartmError(f"{path}: cannot be read ({error}). Download it again.") from error
    if len({len(values) for values in columns.values()}) > 1:
        raise SartmError(f"{path}: events/x, y, t, p have different lengths. Download it again.")
    events = np.empty(len(columns["t"]), EVENT)
    for name, values in columns.items():
        events[name] = values
    return events
