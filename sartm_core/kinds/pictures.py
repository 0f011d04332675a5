"""Conventional false-colour renderings: thermal in inferno, ranges in turbo, events in red and blue."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

NEAR_M, FAR_M = 2.0, 60.0
"""Ends of the colour scale of ranges, which is logarithmic; near is red."""

Picture = NDArray[np.uint8]


def image_picture(image: NDArray[Any]) -> Picture:
    """Colours as they are; one channel, or deeper pixels stretched between their percentiles, in inferno."""
    if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] in (3, 4):
        return np.ascontiguousarray(image[..., :3])
    return grey_picture(image if image.ndim == 2 else image[..., 0])


def grey_picture(values: NDArray[Any]) -> Picture:
    """One channel [H, W] in inferno; anything but 8 bit is stretched between its 1st and 99th percentile."""
    if values.dtype == np.uint8:
        return _inferno(values)
    measured = values[np.isfinite(values) & (values != 0)]  # 0: outside of an image that was warped
    low, high = np.percentile(measured, (1, 99)) if measured.size else (0.0, 1.0)
    grey = np.nan_to_num(np.clip((values.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1) * 255)
    return _inferno(grey.astype(np.uint8))


def range_picture(metres: NDArray[np.float32]) -> Picture:
    """Ranges [H, W] in turbo; black where nothing was measured."""
    import cv2

    share = np.log(FAR_M / np.clip(metres, NEAR_M, FAR_M)) / np.log(FAR_M / NEAR_M)
    coloured = cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where((metres > 0)[..., None], coloured, 0).astype(np.uint8)


def point_picture(metres: NDArray[np.float32]) -> Picture:
    """Sparse ranges [H, W] as `range_picture`; each point as a square, the nearest in front."""
    import cv2

    reach = max(metres.shape[1] // 160, 1)
    nothing = np.finfo(np.float32).max  # what OpenCV takes for the pixels beyond the border
    filled = np.where(metres > 0, metres, nothing).astype(np.float32)
    spread = cv2.erode(filled, np.ones((reach + 1, reach + 1), np.uint8))
    return range_picture(np.where(spread < nothing, spread, 0).astype(np.float32))


def event_picture(counts: NDArray[Any]) -> Picture:
    """Events per pixel [H, W, 2], brighter and darker, on white."""
    brighter, darker = (np.clip(counts[..., channel] / 2, 0, 1)[..., None] for channel in (0, 1))
    white, red, blue = np.full(3, 255.0), np.array([214.0, 40, 40]), np.array([32.0, 80, 200])
    shade = white + (red - white) * brighter
    return np.asarray(shade + (blue - shade) * np.where(darker > brighter, darker, 0), np.uint8)


def _inferno(grey: NDArray[np.uint8]) -> Picture:
    import cv2

    return np.ascontiguousarray(
        cv2.applyColorMap(np.ascontiguousarray(grey), cv2.COLORMAP_INFERNO)[..., ::-1], np.uint8
    )
