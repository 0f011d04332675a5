"""Calibration from CameraInfo and /tf_static, for modalities with `calibration: ros`. Duck-typed, like images.py."""

import contextlib
from collections import deque
from typing import Any

import numpy as np
from pydantic import ValidationError

from sartm_core.calibration import Extrinsics, Intrinsics
from sartm_core.errors import SartmError
from sartm_core.rig import Rig


class Calibrator:
    """Collects the calibration that a rig file leaves to ROS.

    Attributes:
        rig: the rig, with everything known so far filled in.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self._wants_intrinsics = {
            m.name for m in rig.modalities if m.calibration == "ros" and m.intrinsics is None and not m.points
        }
        self._wants_extrinsics = {
            m.name
            for m in rig.modalities
            if m.calibration == "ros" and m.extrinsics is None and m.name != rig.reference
        }
        self._frames: dict[str, str] = {}
        self._poses: dict[str, dict[str, Extrinsics]] = {}  # parent -> child -> its pose, and vice versa

    @property
    def wants_transforms(self) -> bool:
        """Whether /tf_static is needed."""
        return bool(self._wants_extrinsics)

    def camera_info(self, name: str, message: Any) -> str | None:
        """Takes the intrinsics of a camera's rectified images, scaled to the size in the rig file.

        Returns:
            A remark for the user, if there is one.

        Raises:
            SartmError: the message holds no calibration; drivers of uncalibrated cameras send zeros.
        """
        self.frame(name, message.header.frame_id)
        if name not in self._wants_intrinsics:
            return None
        k = np.asarray(message.p, np.float64).reshape(3, 4)  # for the rectified image; K is for the raw one
        if k[0, 0] == 0:
            k = np.asarray(message.k, np.float64).reshape(3, 3)
        size = (int(message.height), int(message.width))
        wanted = self.rig.modality(name).size
        try:
            # CameraInfo puts the origin at the centre of the first pixel, Intrinsics at its corner.
            intrinsics = Intrinsics(fx=k[0, 0], fy=k[1, 1], cx=k[0, 2] + 0.5, cy=k[1, 2] + 0.5)
            intrinsics = intrinsics if 0 in size else intrinsics.scaled(size, wanted)
        except ValidationError:
            raise SartmError(
                f"{name}: its CameraInfo is not a calibration (fx {k[0, 0]:g}, fy {k[1, 1]:g}). Calibrate the camera, "
                "or add intrinsics: to the rig file."
            ) from None
        self.rig = self.rig.calibrated(name, intrinsics=intrinsics)
        if np.any(np.abs(np.asarray(message.d, np.float64)) > 1e-6) and "rect" not in self.rig.modality(name).topic:
            return (
                "its CameraInfo reports lens distortion; the images are assumed to be rectified. If they are not, run "
                "image_proc and set the rectified topic in the rig file."
            )
        return None

    def frame(self, name: str, frame_id: str) -> None:
        """Records the frame_id of a modality's messages."""
        if self._frames.get(name) != frame_id:
            self._frames[name] = frame_id
            self._connect()

    def transforms(self, message: Any) -> None:
        """Takes the transforms of a tf2_msgs/TFMessage of /tf_static."""
        for stamped in message.transforms:
            move, turn = stamped.transform.translation, stamped.transform.rotation
            try:
                pose = Extrinsics(
                    translation_m=(move.x, move.y, move.z), rotation_xyzw=(turn.x, turn.y, turn.z, turn.w)
                )
                inverse = pose.inverse()
            except ValidationError:
                continue  # not a valid rotation: tf2 ignores such transforms, too
            parent, child = stamped.header.frame_id.lstrip("/"), stamped.child_frame_id.lstrip("/")
            self._poses.setdefault(parent, {})[child] = pose
            self._poses.setdefault(child, {})[parent] = inverse
        self._connect()

    def _connect(self) -> None:
        origin = self._frames.get(self.rig.reference)
        for name in self._wants_extrinsics:
            if origin is not None and name in self._frames:
                with contextlib.suppress(ValidationError):  # products of huge translations
                    pose = self._pose(origin.lstrip("/"), self._frames[name].lstrip("/"))
                    if pose is None:
                        continue
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
