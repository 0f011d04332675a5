"""Calibration from CameraInfo and /tf_static, for modalities with `calibration: ros`. Duck-typed, like images.py."""

import contextlib
import threading
from collections import deque
from typing import Any

import numpy as np
from pydantic import ValidationError

from sartm_core.calibration import Extrinsics, Intrinsics, Lens
from sartm_core.errors import SartmError, shown
from sartm_core.rig import Rig


class Calibrator:
    """Collects the calibration that a rig file leaves to ROS. Thread-safe.

    Attributes:
        rig: the rig, with everything known so far filled in.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self._wants_intrinsics = {
            m.name for m in rig.modalities if m.calibration == "ros" and m.intrinsics is None and not m.points
        }
        if rig.point_sources and rig.modality(rig.reference).intrinsics is None:
            self._wants_intrinsics.add(rig.reference)  # needed for points, wherever the others' calibration comes from
        self._wants_extrinsics = {
            m.name
            for m in rig.modalities
            if m.calibration == "ros" and m.extrinsics is None and m.name != rig.reference
        }
        self._frames: dict[str, str] = {}
        self._info_frames: dict[str, str] = {}  # of the CameraInfo, which counts until a measurement has come
        self._centres: dict[str, Extrinsics] = {}  # of a stereo camera's projection, in its frame
        self._parents: dict[str, str] = {}
        self._poses: dict[str, dict[str, Extrinsics]] = {}  # parent -> child -> its pose, and vice versa
        self._lock = threading.RLock()

    @property
    def wants_transforms(self) -> bool:
        """Whether /tf_static is needed."""
        return bool(self._wants_extrinsics)

    def camera_info(self, name: str, message: Any) -> str | None:
        """Takes the intrinsics of a camera's rectified images, scaled to the size in the rig file.

        As image_geometry does: P and K are of the full resolution, from which `roi` is cut, and then binned; the fourth
        column of P is the baseline of a stereo pair whose cameras share a frame.

        Returns:
            A remark for the user, if there is one.

        Raises:
            SartmError: the message holds no calibration; drivers of uncalibrated cameras send zeros.
        """
        with self._lock:
            return self._take_camera_info(name, message)

    def _take_camera_info(self, name: str, message: Any) -> str | None:
        self._info_frames[name] = message.header.frame_id
        self._take_centre(name, np.asarray(message.p, np.float64).reshape(3, 4))
        self._connect()
        if name not in self._wants_intrinsics:
            return self._other_frame(name)
        k = np.asarray(message.p, np.float64).reshape(3, 4)  # for the rectified image; K is for the raw one
        if k[0, 0] == 0:
            k = np.asarray(message.k, np.float64).reshape(3, 3)
        left, top, size = _delivered_part(message)
        wanted = self.rig.modality(name).size
        try:
            # CameraInfo puts the origin at the centre of the first pixel, Intrinsics at its corner.
            intrinsics = Intrinsics(fx=k[0, 0], fy=k[1, 1], cx=k[0, 2] + 0.5 - left, cy=k[1, 2] + 0.5 - top)
            intrinsics = intrinsics if 0 in size else intrinsics.scaled(size, wanted)
        except ValidationError:
            raise SartmError(
                f"{name}: its CameraInfo is not a calibration (fx {k[0, 0]:g}, fy {k[1, 1]:g}). Calibrate the camera, "
                "or add intrinsics: to the rig file."
            ) from None
        self.rig = self.rig.calibrated(name, intrinsics=intrinsics)
        return self._take_lens(name, message) or self._other_frame(name)

    def _take_lens(self, name: str, message: Any) -> str | None:
        """The distortion of images that are not rectified yet; a remark where there is one."""
        modality = self.rig.modality(name)
        if not np.any(np.abs(np.asarray(message.d, np.float64)) > 1e-6) or "rect" in modality.topic:
            return None
        if modality.rectify == "never" or modality.delivers_packets or modality.lens is not None:
            return None
        try:
            lens = _lens(message, modality.size)
        except ValidationError:
            return (
                f"its CameraInfo reports lens distortion of the model '{shown(str(message.distortion_model))}' with "
                f"{len(message.d)} coefficients, which is not corrected; the images are assumed to be rectified. If "
                "they are not, run image_proc and set the rectified topic in the rig file."
            )
        self.rig = self.rig.calibrated(name, lens=lens)
        return (
            "its CameraInfo reports lens distortion: its images are rectified by it. If they are rectified already, "
            "set rectify: never in the rig file."
        )

    def _other_frame(self, name: str) -> str | None:
        own, of_info = self._frames.get(name), self._info_frames[name]
        if own and of_info and own.lstrip("/") != of_info.lstrip("/"):
            return f"its CameraInfo is in frame '{of_info}', its images are in '{own}': that of the images counts."
        return None

    def _take_centre(self, name: str, p: Any) -> None:
        """The camera's centre in its frame: P = K [1 | -centre]."""
        self._centres.pop(name, None)
        if p[0, 0] > 0 and p[1, 1] > 0 and p[:2, 3].any():
            with contextlib.suppress(ValidationError):
                self._centres[name] = Extrinsics(translation_m=(-p[0, 3] / p[0, 0], -p[1, 3] / p[1, 1], 0.0))

    def frame(self, name: str, frame_id: str) -> None:
        """Records the frame_id of a modality's messages."""
        if self._frames.get(name) != frame_id:
            with self._lock:
                self._frames[name] = frame_id
                self._connect()

    def transforms(self, message: Any) -> None:
        """Takes the transforms of a tf2_msgs/TFMessage of /tf_static."""
        with self._lock:
            self._take_transforms(message.transforms)
            self._connect()

    def _take_transforms(self, transforms: Any) -> None:
        for stamped in transforms:
            move, turn = stamped.transform.translation, stamped.transform.rotation
            try:
                pose = Extrinsics(
                    translation_m=(move.x, move.y, move.z), rotation_xyzw=(turn.x, turn.y, turn.z, turn.w)
                )
                inverse = pose.inverse()
            except ValidationError:
                continue  # not a valid rotation: tf2 ignores such transforms, too
            parent, child = stamped.header.frame_id.lstrip("/"), stamped.child_frame_id.lstrip("/")
            former = self._parents.get(child)
            if former is not None and former != parent:  # a frame has one parent, the last that was published
                self._poses[former].pop(child, None)
                self._poses[child].pop(former, None)
            self._parents[child] = parent
            self._poses.setdefault(parent, {})[child] = pose
            self._poses.setdefault(child, {})[parent] = inverse

    def _connect(self) -> None:
        frames = self._info_frames | {name: frame for name, frame in self._frames.items() if frame}
        origin = frames.get(self.rig.reference)
        for name in self._wants_extrinsics:
            if origin is not None and name in frames:
                with contextlib.suppress(ValidationError):  # products of huge translations
                    pose = self._pose(origin.lstrip("/"), frames[name].lstrip("/"))
                    if pose is None:
                        continue
                    if self.rig.reference in self._centres:
                        pose = self._centres[self.rig.reference].inverse().then(pose)
                    if name in self._centres:
                        pose = pose.then(self._centres[name])
                    self.rig = self.rig.calibrated(name, extrinsics=pose)

    def _pose(self, origin: str, target: str) -> Extrinsics | None:
        """The pose of one frame in another, over as few transforms as possible; None if they are not connected."""
        found = {origin: Extrinsics()}
        pending = deque([origin])
        while pending and target not in found:
            frame = pending.popleft()
            for neighbour, pose in self._poses.get(frame, {}).items():
                if neighbour not in found:
                    found[neighbour] = found[frame].then(pose)
                    pending.append(neighbour)
        return found.get(target)


def _lens(info: Any, size: tuple[int, int]) -> Lens:
    """Of the images as they are delivered, in the rig file's size."""
    k, d = np.asarray(info.k, np.float64).reshape(3, 3), [float(value) for value in info.d]
    left, top, delivered = _delivered_part(info)
    camera = Intrinsics(fx=k[0, 0], fy=k[1, 1], cx=k[0, 2] + 0.5 - left, cy=k[1, 2] + 0.5 - top)
    camera = camera if 0 in delivered else camera.scaled(delivered, size)
    turn = np.asarray(info.r, np.float64).reshape(3, 3)
    rows = (turn if turn.any() else np.eye(3)).tolist()
    return Lens(model=info.distortion_model, camera=camera, coefficients=tuple(d), rotation=tuple(map(tuple, rows)))


def _delivered_part(info: Any) -> tuple[int, int, tuple[int, int]]:
    """Left and top edge of a CameraInfo's images in the full resolution, and their (height, width) there."""
    roi = info.roi
    if roi.width == 0 or roi.height == 0:  # the whole image; binning leaves its view as it is
        return 0, 0, (int(info.height), int(info.width))
    return int(roi.x_offset), int(roi.y_offset), (int(roi.height), int(roi.width))
