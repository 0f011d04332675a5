"""Brings what a sensor delivers into the reference camera's image."""

import contextlib
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sartm_core.calibration import LIDAR_LOOKS_AHEAD, Intrinsics
from sartm_core.errors import SartmError
from sartm_core.kinds import DepthModality, EventModality
from sartm_core.rig import Modality, Rig, Size
from sartm_core.sensing.events import EVENT, count_events
from sartm_core.sensing.lidar import project_points
from sartm_core.sensing.undistortion import undistorted

COARSEST = 16
"""How many pixels of the reference a pixel of a depth camera may cover, in each direction."""

OTHER_ASPECT = 0.03
"""Images whose aspects differ by more do not show the same view; less is rounding to whole pixels."""

_HALF = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
"""From pixels as OpenCV counts them (centres at integers) to those of `Intrinsics`."""


def register(rig: Rig, name: str, raws: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """The measurement of one modality as an image in the reference's geometry, ready for `encode`.

    Point clouds are projected and events counted. Images are rectified by the modality's `lens`. Then they are warped
    by its `homography`; or, where it has `intrinsics` of its own, by the depth that `depth_from` measures and, where
    that is blind or absent, by a plane that faces the reference camera at `plane_m`; else they are taken to be
    registered already.

    Args:
        rig: gives the calibrations.
        name: of the modality.
        raws: what was measured at the same instant: images [H, W] or [H, W, C]; LiDAR points [N, >= 4]; for event
            `counts` arrays of `sensing.events.EVENT`.

    Returns:
        [H, W] or [H, W, C], of the reference's size where it was projected or warped; depth that is registered by
        itself in metres from the reference camera.

    Raises:
        SartmError: a calibration is missing, or the image is not of the size that the calibration is for.
    """
    modality, raw = rig.modality(name), raws[name]
    size = rig.modality(rig.reference).size
    if name != rig.reference and modality.homography is None:
        _check_calibrated(rig, modality)
    if modality.delivers_points and raw.ndim == 2:
        pose = (modality.extrinsics or LIDAR_LOOKS_AHEAD).matrix
        return project_points(raw, reference_intrinsics(rig).matrix, pose, size).transpose(1, 2, 0)
    if isinstance(modality, EventModality) and raw.dtype == EVENT:
        raw = count_events(raw, modality.size)
    raw = undistorted(modality, raw)
    if name == rig.reference or (modality.homography is None and modality.intrinsics is None):
        return raw
    _check_size(modality, raw)
    interpolation = cv2.INTER_NEAREST if modality.sparse else cv2.INTER_LINEAR
    if modality.homography is not None:
        return _warped(modality, raw, np.array(modality.homography), size, interpolation)
    if modality.depth_from == name:
        return depth_in_reference(rig, modality, raws[name])
    if modality.depth_from is not None and modality.depth_from in raws:
        with contextlib.suppress(SartmError):  # a depth image that cannot be used is as good as none
            source = rig.modality(modality.depth_from)
            _check_calibrated(rig, source)
            depth_m = depth_in_reference(rig, source, raws[source.name])
            return _warp_by_depth(rig, modality, raw, depth_m, interpolation)
    return _warp_by_plane(rig, modality, raw, interpolation)


def _check_calibrated(rig: Rig, modality: Modality) -> None:
    reference = rig.modality(rig.reference)
    needed = [modality] if modality.calibration == "file" and modality.intrinsics is None else [reference, modality]
    for camera in [reference] * modality.points + needed:
        if camera.calibration == "file":
            continue
        if camera.intrinsics is None and not camera.points:
            raise SartmError(
                f"{camera.name}: its calibration comes from ROS, and no CameraInfo arrived on {camera.camera_info}. "
                "Start its publisher, or write intrinsics: into the rig file."
            )
        if camera.extrinsics is None and camera.name != rig.reference:
            raise SartmError(
                f"{camera.name}: its calibration comes from ROS, and /tf_static does not connect its frame with that "
                f"of '{rig.reference}'. Publish the transform, or write extrinsics: into the rig file."
            )


def _check_size(modality: Modality, raw: NDArray[Any]) -> None:
    if raw.shape[:2] != modality.size:
        raise SartmError(
            f"{modality.name}: its calibration is for images of {modality.size[0]}x{modality.size[1]} (height x width; "
            f"size: in the rig file), got {raw.shape[0]}x{raw.shape[1]}."
        )


def check_same_view(rig: Rig, raws: Mapping[str, NDArray[Any]]) -> None:
    """Images without a calibration are taken to be registered; those of another aspect cannot be.

    Raises:
        SartmError: an image's aspect is not that of the reference's image; names both.
    """
    reference = raws.get(rig.reference)
    if reference is None or reference.ndim < 2 or 0 in reference.shape:
        return
    height, width = reference.shape[:2]
    for name, raw in raws.items():
        modality = rig.modality(name)
        uncalibrated = modality.homography is None and modality.intrinsics is None
        is_image = raw.ndim in (2, 3) and 0 not in raw.shape and not (modality.delivers_points and raw.ndim == 2)
        if uncalibrated and is_image and abs(raw.shape[1] * height / (raw.shape[0] * width) - 1) > OTHER_ASPECT:
            raise SartmError(
                f"{name}: its image is {raw.shape[0]}x{raw.shape[1]} (height x width), that of the reference "
                f"'{rig.reference}' {height}x{width}: with another aspect it does not show the same view. Register it, "
                "or write its homography, or intrinsics and extrinsics, into the rig file."
            )


def reference_intrinsics(rig: Rig) -> Intrinsics:
    """The reference camera's, for images of the size in the rig file.

    Raises:
        SartmError: it has none, and none were received.
    """
    intrinsics = rig.modality(rig.reference).intrinsics
    if intrinsics is None:
        raise SartmError(
            f"rig '{rig.name}': modality '{rig.reference}' is the reference and has no intrinsics, so nothing can be "
            "projected into it. Add intrinsics: {fx: ..., fy: ..., cx: ..., cy: ...} (its P; cx, cy + 0.5)."
        )
    return intrinsics


def _calibration(rig: Rig, modality: Modality) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """K of the reference, K of the sensor (float64 [3, 3]), and the sensor's pose in the reference (float64 [4, 4])."""
    assert modality.intrinsics is not None
    pose = modality.extrinsics.matrix if modality.extrinsics is not None else np.eye(4)
    return reference_intrinsics(rig).matrix, modality.intrinsics.matrix, pose


def _warp_by_plane(rig: Rig, modality: Modality, raw: NDArray[Any], interpolation: int) -> NDArray[Any]:
    k_reference, k_sensor, pose = _calibration(rig, modality)
    size = rig.modality(rig.reference).size
    t_sensor_reference = np.linalg.inv(pose)
    turn, shift = t_sensor_reference[:3, :3], t_sensor_reference[:3, 3]
    through = k_sensor @ (turn + np.outer(shift, [0, 0, 1 / modality.plane_m])) @ np.linalg.inv(k_reference)
    homography = np.linalg.inv(_HALF) @ through @ _HALF
    return _warped(modality, raw, homography, size, interpolation | cv2.WARP_INVERSE_MAP)


def _warped(modality: Modality, raw: NDArray[Any], matrix: NDArray[np.float64], size: Size, flags: int) -> NDArray[Any]:
    """Unmeasured outside of the image, and nothing between that and a value at its border."""
    image = np.asarray(cv2.warpPerspective(raw, matrix, size[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE))
    inverse = flags & cv2.WARP_INVERSE_MAP
    inside = cv2.warpPerspective(np.ones(raw.shape[:2], np.uint8), matrix, size[::-1], flags=inverse)
    image[inside == 0] = modality.outside(raw.dtype)
    return image


def _warp_by_depth(
    rig: Rig, modality: Modality, raw: NDArray[Any], depth_m: NDArray[np.float32], interpolation: int
) -> NDArray[Any]:
    """Looks up, for the point that each pixel of the reference sees, the sensor's pixel; does not know occlusion."""
    k_reference, k_sensor, pose = _calibration(rig, modality)
    t_sensor_reference = np.linalg.inv(pose)
    height, width = depth_m.shape
    v, u = np.mgrid[0:height, 0:width].astype(np.float32) + np.float32(0.5)
    through = (k_sensor @ t_sensor_reference[:3, :3] @ np.linalg.inv(k_reference)).astype(np.float32)
    shift = (k_sensor @ t_sensor_reference[:3, 3]).astype(np.float32)
    z = np.where(depth_m > 0, depth_m, np.float32(modality.plane_m))
    x, y, w = (z * (row[0] * u + row[1] * v + row[2]) + offset for row, offset in zip(through, shift, strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        across, down = np.where(w > 0, x / w, -1e6), np.where(w > 0, y / w, -1e6)
    image = cv2.remap(
        raw, across - np.float32(0.5), down - np.float32(0.5), interpolation, borderMode=cv2.BORDER_REPLICATE
    )
    height, width = raw.shape[:2]
    image[(across < 0) | (across >= width) | (down < 0) | (down >= height)] = modality.outside(raw.dtype)
    return np.asarray(image)


def depth_in_reference(rig: Rig, depth: Modality, raw: NDArray[Any]) -> NDArray[np.float32]:
    """What a depth camera measures, seen from the reference camera.

    Args:
        rig: gives the calibrations.
        depth: a depth camera with encoding metres; without intrinsics its image is taken to be aligned.
        raw: [H, W], its image.

    Returns:
        float32 [H, W] of the reference, metres along its axis, 0 where nothing was measured; the nearest wins.

    Raises:
        SartmError: a calibration is missing, or the image is not of the size that it is for.
    """
    assert isinstance(depth, DepthModality)  # the rig file was checked
    if depth.calibration == "ros":
        _check_calibrated(rig, depth)
    measured = depth.encode(undistorted(depth, raw))[0]
    height, width = rig.modality(rig.reference).size
    if depth.intrinsics is None:  # aligned by the driver
        return np.asarray(cv2.resize(measured, (width, height), interpolation=cv2.INTER_NEAREST_EXACT))
    _check_size(depth, raw)
    k_reference, k_sensor, pose = _calibration(rig, depth)
    rows, columns = np.nonzero(measured)
    z = measured[rows, columns]
    rays = np.linalg.inv(k_sensor) @ np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))])
    points = pose[:3, :3] @ (rays * z) + pose[:3, 3:]
    points = points[:, points[2] > 0]
    x, y = (k_reference @ points)[:2] / points[2]
    nearness = np.zeros(height * width, np.float32)
    # A pixel of a coarser sensor covers several of the image; were it one, the background would show between them.
    side = int(np.ceil(min(k_reference[0, 0] / k_sensor[0, 0], 2.0 * COARSEST)))
    if side > COARSEST:
        raise SartmError(
            f"{depth.name}: its focal length of {k_sensor[0, 0]:g} pixels does not go with that of "
            f"'{rig.reference}', {k_reference[0, 0]:g}: no depth camera is so coarse. Correct its calibration."
        )
    for down, across in np.ndindex(side, side):
        u, v = np.floor(x + across - (side - 1) / 2), np.floor(y + down - (side - 1) / 2)
        seen = (u >= 0) & (u < width) & (v >= 0) & (v < height)
        place = (v[seen] * width + u[seen]).astype(np.intp)
        np.maximum.at(nearness, place, (1 / points[2, seen]).astype(np.float32))
    image = nearness.reshape(height, width)
    image = np.where(image > 0, image, cv2.dilate(image, np.ones((3, 3), np.uint8)))  # what rounding left open
    with np.errstate(divide="ignore"):
        return np.where(image > 0, 1 / image, 0).astype(np.float32)
