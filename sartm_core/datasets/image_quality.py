"""Whether an RGB image is usable: for RGB-only teachers, and for the split into RGB-easy and RGB-hard."""

import cv2
import numpy as np
from numpy.typing import NDArray

DARKEST, BRIGHTEST = 35.0, 220.0
"""Limits of the mean brightness, 0 to 255, of a usable image."""
CLIPPED_SHARE = 0.35
"""Largest share of pixels at either end of the scale."""
LEAST_SHARPNESS = 15.0
"""Least variance of the Laplacian at a width of 320 pixels (Pech-Pacheco et al. 2000)."""


def why_poor(image: NDArray[np.uint8]) -> str | None:
    """What is wrong with an RGB image, uint8 [H, W, 3]: dark, over-exposed, clipped, blurred; None for a good one."""
    grey = cv2.cvtColor(np.ascontiguousarray(image[..., :3]), cv2.COLOR_RGB2GRAY)
    brightness = float(grey.mean())
    if brightness < DARKEST:
        return "too dark"
    if brightness > BRIGHTEST or float(((grey < 4) | (grey > 251)).mean()) > CLIPPED_SHARE:
        return "over-exposed or clipped"
    height = max(round(grey.shape[0] * 320 / grey.shape[1]), 1)
    small = cv2.resize(grey, (320, height), interpolation=cv2.INTER_AREA)
    return "blurred" if float(cv2.Laplacian(small, cv2.CV_32F).var()) < LEAST_SHARPNESS else None
