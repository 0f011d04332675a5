"""Labelled points: what a depth camera or a LiDAR measures, each with the class of its pixel in the mask. No ROS."""

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from sartm_core.calibration import LIDAR_LOOKS_AHEAD, Intrinsics
from sartm_core.errors import SartmError
from sartm_core.rig import Modality, Rig, Size
from sartm_core.segmentation import UNLABELLED, Segmentation
from sartm_core.sensing.nearest import nearest
from sartm_core.sensing.registration import OTHER_ASPECT, depth_in_reference, reference_intrinsics
from sartm_ros.frame_sets import FrameSet

POINT = np.dtype(
    {
        "names": ["x", "y", "z", "rgb", "label", "confidence"],
        "formats": ["<f4", "<f4", "<f4", "<f4", "u1", "<f4"],
        "offsets": [0, 4, 8, 12, 16, 20],
        "itemsize": 24,
    }
)
"""Metres in the reference camera's optical frame; `rgb` the class's colour in the bits of a float, as PCL packs it;
`label` the class id, 255 = unlabelled; `confidence` 0 to 1."""

Cloud = NDArray[np.void]
"""Array of POINT: [H, W] where it is organised (NaN = not measured), else [N]."""
Unseen = Literal["leave_out", "unlabelled"]
"""What becomes of a LiDAR's points outside of the reference camera's image."""


def check_points(rig: Rig) -> None:
    """Whether a rig can give labelled points.

    Raises:
        SartmError: nothing measures positions, or where it measures cannot be told; names the remedy.
    """
    if not rig.point_sources:
        raise SartmError(
            f"rig '{rig.name}': labelled points need a depth camera with encoding metres and no homography, or a LiDAR "
            f"that delivers sensor_msgs/msg/PointCloud2; it has {', '.join(rig.names)}. Add one to the rig file."
        )
    reference = rig.modality(rig.reference)
    if reference.intrinsics is None and reference.camera_info is None:
        raise SartmError(
            f"rig '{rig.name}': labelled points need the calibration of '{rig.reference}', the reference. Add "
            f"camera_info: <its topic> or intrinsics: {{fx: ..., fy: ..., cx: ..., cy: ...}} to modality "
            f"'{rig.reference}' in the rig file."
        )
    for name in rig.point_sources:
        modality = rig.modality(name)
        if not modality.points:
            check_aligned(rig, modality, modality.size)


def check_aligned(rig: Rig, depth: Modality, size: Size) -> None:
    """Raises SartmError for a depth image of this size that counts as aligned, but has another aspect than the mask."""
    height, width = rig.modality(rig.reference).size
    uncalibrated = depth.intrinsics is None and depth.calibration == "file"
    if uncalibrated and abs(size[1] * height / (size[0] * width) - 1) > OTHER_ASPECT:
        raise SartmError(
            f"{depth.name}: its image is {size[0]}x{size[1]} (height x width), that of the reference '{rig.reference}' "
            f"{height}x{width}: with another aspect it does not show the same view. Let its driver align it to "
            f"'{rig.reference}', or give it calibration: ros, or intrinsics and extrinsics, in the rig file."
        )


def labelled_cloud(
    rig: Rig,
    frames: FrameSet,
    segmentation: Segmentation,
    palette: NDArray[np.uint8],
    unseen: Unseen = "leave_out",
    organised: bool = False,
) -> Cloud | None:
    """The points of the first depth camera that is alive, else of the first LiDAR; None where neither is.

    Args:
        rig: with the calibration that is known by now.
        frames: what was measured.
        segmentation: of that instant.
        palette: uint8 [256, 3], the colour of each class id.
        unseen: of a LiDAR's points.
        organised: a LiDAR's points, too, become an image of the mask's size; the nearest in a pixel wins.

    Returns:
        [H, W] of the mask's size, point (v, u) that of pixel (v, u); or [N] of a LiDAR.

    Raises:
        SartmError: a calibration is missing, or an image does not fit it.
    """
    source = next((name for name in rig.point_sources if name in frames.planes), None)
    if source is None:
        return None
    modality, raw = rig.modality(source), frames.raws[source]
    size = (segmentation.mask.shape[0], segmentation.mask.shape[1])
    intrinsics = reference_intrinsics(rig).scaled(rig.modality(rig.reference).size, size)
    if not modality.points:
        check_aligned(rig, modality, (raw.shape[0], raw.shape[1]))
        warped = modality.depth_from == source  # then it was registered for the network
        metres = frames.images[source] if warped else depth_in_reference(rig, modality, raw)
        return cloud_of_depth(nearest(metres, size), segmentation, intrinsics, palette)
    pose = (modality.extrinsics or LIDAR_LOOKS_AHEAD).matrix
    return cloud_of_points(raw, segmentation, intrinsics, pose, palette, unseen, organised)


def cloud_of_depth(
    depth_m: NDArray[np.float32], segmentation: Segmentation, intrinsics: Intrinsics, palette: NDArray[np.uint8]
) -> Cloud:
    """Organised points of a depth image that is aligned with the mask.

    Args:
        depth_m: float32 [H, W] of the mask's size, metres along the optical axis, 0 = not measured.
        segmentation: class and confidence of each pixel.
        intrinsics: of images of that size.
        palette: uint8 [256, 3].
    """
    height, width = depth_m.shape
    z = np.where(depth_m > 0, depth_m, np.float32(np.nan))
    across = ((np.arange(width) + 0.5 - intrinsics.cx) / intrinsics.fx).astype(np.float32)
    down = ((np.arange(height) + 0.5 - intrinsics.cy) / intrinsics.fy).astype(np.float32)
    return _packed(z * across, z * down[:, None], z, segmentation.mask, segmentation.confidence, palette)


def cloud_of_points(
    points: NDArray[np.floating[Any]],
    segmentation: Segmentation,
    intrinsics: Intrinsics,
    pose: NDArray[np.float64],
    palette: NDArray[np.uint8],
    unseen: Unseen = "leave_out",
    organised: bool = False,
) -> Cloud:
    """The points of a LiDAR, each with the class of the pixel that it falls into, as `project_points` has it.

    Args:
        points: [N, >= 3], x, y, z in the LiDAR's frame, metres, finite.
        segmentation: class and confidence of each pixel.
        intrinsics: of the reference camera, for images of the mask's size.
        pose: [4, 4], takes points of the LiDAR to the reference's optical frame.
        palette: uint8 [256, 3].
        unseen, organised: see `labelled_cloud`.
    """
    turn, shift = pose[:3, :3].astype(np.float32), pose[:3, 3:].astype(np.float32)
    camera = turn @ points[:, :3].astype(np.float32, copy=False).T + shift  # [3, N]
    x, y, z = camera
    height, width = segmentation.mask.shape
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        u = x / z * np.float32(intrinsics.fx) + np.float32(intrinsics.cx)
        v = y / z * np.float32(intrinsics.fy) + np.float32(intrinsics.cy)
        seen = np.flatnonzero((z > 0) & (u >= 0) & (u < width) & (v >= 0) & (v < height))
    place = v[seen].astype(np.intp) * width + u[seen].astype(np.intp)
    mask, confidence = segmentation.mask.ravel(), segmentation.confidence.ravel()
    if organised:
        x, y, z = _as_image(camera[:, seen], place, (height, width))
        return _packed(x, y, z, segmentation.mask, segmentation.confidence, palette)
    if unseen == "leave_out":
        return _packed(x[seen], y[seen], z[seen], mask[place], confidence[place], palette)
    labels, sure = np.full(len(points), UNLABELLED, np.uint8), np.zeros(len(points), np.float32)
    labels[seen], sure[seen] = mask[place], confidence[place]
    return _packed(x, y, z, labels, sure, palette)


def _as_image(camera: NDArray[np.float32], place: NDArray[np.intp], size: Size) -> NDArray[np.float32]:
    """float32 [3, H, W], x, y, z of the points [3, N] at their places; NaN where there is none."""
    order = np.argsort(-camera[2], kind="stable")  # the nearest is written last
    planes = np.full((3, size[0] * size[1]), np.nan, np.float32)
    for plane, values in zip(planes, camera, strict=True):
        plane[place[order]] = values[order]
    return planes.reshape(3, *size)


def _packed(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    z: NDArray[np.float32],
    mask: NDArray[np.uint8],
    confidence: NDArray[np.float32],
    palette: NDArray[np.uint8],
) -> Cloud:
    """The points' fields, arrays of one shape, side by side."""
    red, green, blue = palette.astype(np.uint32).T
    colours = (red << 16 | green << 8 | blue).view(np.float32)
    labels = mask.astype("<u4").view(np.float32)  # its first byte is the label, the others fill the gap
    # Six times as fast as assigning the fields of a structured array one by one.
    merged = cv2.merge([x, y, z, cv2.LUT(mask, colours).reshape(mask.shape), labels, confidence])
    return np.asarray(merged).view(POINT).reshape(mask.shape)
