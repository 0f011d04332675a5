"""Measurements as people of the field like to see them."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sartm_core.rig import Modality

NEAR_M, FAR_M = 2.0, 60.0
"""Ends of the colour scale of ranges, which is logarithmic; near is red."""

Picture = NDArray[np.uint8]


def picture(modality: Modality, image: NDArray[Any]) -> Picture:
    """Colours one registered measurement: thermal in inferno, ranges in turbo, events red (brighter) and blue.

    Args:
        image: [H, W] or [H, W, C] as `sensing.encode` takes it.

    Returns:
        uint8 [H, W, 3], red, green, blue.
    """
    encoding = getattr(modality, "encoding", "image")
    if modality.kind == "depth" and encoding == "metres":
        scale = modality.metres_per_count if np.issubdtype(image.dtype, np.integer) else 1.0
        return _ranges(np.nan_to_num(image.astype(np.float32)) * scale)
    if modality.kind == "lidar" and encoding == "projected":
        dots = max(image.shape[1] // 160, 1)
        return _ranges(_nearest_around(image[..., 0].astype(np.float32), dots))
    if modality.kind == "event" and encoding == "counts":
        return _events(image)
    if image.dtype == np.uint8:
        channels = image if image.ndim == 3 else image[..., None]
        if channels.shape[2] in (3, 4) and modality.kind != "thermal":
            return np.ascontiguousarray(channels[..., :3])
        return _inferno(channels[..., 0])
    values = image if image.ndim == 2 else image[..., 0]
    measured = values[np.isfinite(values) & (values != 0)]  # 0: outside of an image that was warped
    low, high = np.percentile(measured, (1, 99)) if measured.size else (0.0, 1.0)
    grey = np.nan_to_num(np.clip((values.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1) * 255)
    return _inferno(grey.astype(np.uint8))


def _inferno(grey: NDArray[np.uint8]) -> Picture:
    return np.ascontiguousarray(
        cv2.applyColorMap(np.ascontiguousarray(grey), cv2.COLORMAP_INFERNO)[..., ::-1], np.uint8
    )


def _ranges(metres: NDArray[np.float32]) -> Picture:
    """Black where nothing was measured."""
    share = np.log(FAR_M / np.clip(metres, NEAR_M, FAR_M)) / np.log(FAR_M / NEAR_M)
    coloured = cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where((metres > 0)[..., None], coloured, 0).astype(np.uint8)


def _nearest_around(metres: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """Each point as a square, the nearest in front."""
    filled = np.where(metres > 0, metres, np.inf).astype(np.float32)
    spread = cv2.erode(filled, np.ones((reach + 1, reach + 1), np.uint8))
    return np.where(np.isfinite(spread), spread, 0).astype(np.float32)


def _events(counts: NDArray[np.floating]) -> Picture:
    brighter, darker = (np.clip(counts[..., channel] / 2, 0, 1)[..., None] for channel in (0, 1))
    white, red, blue = np.full(3, 255.0), np.array([214.0, 40, 40]), np.array([32.0, 80, 200])
    shade = white + (red - white) * brighter
    return np.asarray(shade + (blue - shade) * np.where(darker > brighter, darker, 0), np.uint8)
