"""Brings what a sensor delivers into the reference camera's image."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sartm_core.calibration import LIDAR_LOOKS_AHEAD, Intrinsics
from sartm_core.errors import SartmError
from sartm_core.rig import EventModality, LidarModality, Rig
from sartm_core.sensing.events import EVENT, count_events
from sartm_core.sensing.lidar import project_points


def register(rig: Rig, name: str, raw: NDArray[Any]) -> NDArray[Any]:
    """The measurement of one modality as an image in the reference's geometry, ready for `encode`.

    Point clouds are projected and events counted. Images of a modality that has intrinsics and extrinsics of its own
    are warped by the homography of a plane that faces the reference camera at `plane_m` (far by default); without
    them an image is taken to be registered already.

    Args:
        rig: gives the calibrations.
        name: of the modality.
        raw: an image [H, W] or [H, W, C]; for `projected` LiDAR points [N, >= 4]; for event `counts` an array of
            `sensing.events.EVENT`.

    Returns:
        [H, W] or [H, W, C], of the reference's size where it was projected or warped.

    Raises:
        SartmError: points without the reference's intrinsics.
    """
    modality = rig.modality(name)
    size = rig.modality(rig.reference).size
    if isinstance(modality, LidarModality) and modality.encoding == "projected" and raw.ndim == 2:
        pose = (modality.extrinsics or LIDAR_LOOKS_AHEAD).matrix
        return project_points(raw, _reference_intrinsics(rig).matrix, pose, size).transpose(1, 2, 0)
    nearest = modality.kind not in ("rgb", "thermal", "nir", "polarization")
    if isinstance(modality, EventModality) and raw.dtype == EVENT:
        raw = count_events(raw, modality.size)
    if name == rig.reference or modality.intrinsics is None:
        return raw
    turn = modality.extrinsics.matrix if modality.extrinsics is not None else np.eye(4)
    homography = _plane_homography(_reference_intrinsics(rig), modality.intrinsics, turn, modality.plane_m)
    flags = (cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpPerspective(raw, homography, (size[1], size[0]), flags=flags))


def _reference_intrinsics(rig: Rig) -> Intrinsics:
    intrinsics = rig.modality(rig.reference).intrinsics
    if intrinsics is None:
        raise SartmError(
            f"rig '{rig.name}': modality '{rig.reference}' is the reference and has no intrinsics, so nothing can be "
            "projected into it. Add intrinsics: {fx: ..., fy: ..., cx: ..., cy: ...} (K of its CameraInfo)."
        )
    return intrinsics


def _plane_homography(
    reference: Intrinsics, sensor: Intrinsics, t_reference_sensor: NDArray[np.float64], plane_m: float
) -> NDArray[np.float64]:
    """float64 [3, 3], takes pixels (as OpenCV counts them, centres at integers) of the reference to the sensor's."""
    t_sensor_reference = np.linalg.inv(t_reference_sensor)
    turn, shift = t_sensor_reference[:3, :3], t_sensor_reference[:3, 3]
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    through = sensor.matrix @ (turn + np.outer(shift, [0, 0, 1 / plane_m])) @ np.linalg.inv(reference.matrix)
    return np.asarray(np.linalg.inv(half) @ through @ half)
