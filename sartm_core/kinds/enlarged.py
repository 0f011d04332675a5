"""Points and events as squares of pixels, for networks that see them better so."""

import numpy as np

from sartm_core.kinds.stream import Planes


def enlarged(planes: Planes, pixels: int) -> Planes:
    """Planes [3, H, W] in which every measured pixel is a square; where squares meet, each plane has its largest value.

    As the MUSES SDK enlarges points and events (timbroed/MUSES @ad09c1b, `--enlarge_lidar_points`): by dilation.

    Args:
        planes: 0 in all three where nothing was measured; values may be negative.
        pixels: side of the squares; with 2 a pixel grows to the right and downwards.
    """
    if pixels == 1:
        return planes
    import cv2

    kernel = np.ones((pixels, pixels), np.uint8)
    measured = planes.any(axis=0)
    covered = cv2.dilate(measured.astype(np.uint8), kernel) > 0
    result = np.zeros_like(planes)
    for plane, grown in zip(planes, result, strict=True):
        values = np.where(measured, plane, np.finfo(np.float32).min).astype(np.float32)
        grown[covered] = cv2.dilate(values, kernel)[covered]
    return result
