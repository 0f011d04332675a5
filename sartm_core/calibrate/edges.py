"""What images of different spectra share: where edges are and which way they run, not which side is brighter."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.complex64]
"""[H, W]: the angle is twice that of the gradient, so that an edge and its negative are equal; the absolute value, 0 to
1, is how far it stands out from its surroundings."""

SURROUNDINGS_PX = 12.0
"""Contrast is relative to that of the surroundings: a dark corner's edges count as a bright one's do."""
NOISE_FLOORS = 1.5
"""Gradients below so many medians of the image are as likely noise."""


def grey(image: NDArray[Any]) -> NDArray[np.float32]:
    """An image [H, W] or [H, W, C] of any dtype as float32 [H, W], stretched from 0 to 1 between 1 and 99 %."""
    plane = image if image.ndim == 2 else image[..., 0] if image.shape[2] < 3 else image[..., :3].mean(axis=2)
    plane = np.nan_to_num(np.asarray(plane, np.float32), posinf=0.0, neginf=0.0)
    low, high = np.percentile(plane[::4, ::4], (1, 99))
    return np.asarray(np.clip((plane - low) / max(float(high - low), 1e-6), 0, 1), np.float32)


def edge_field(plane: NDArray[np.float32], sigma_px: float, inside: NDArray[np.bool_] | None = None) -> Field:
    """The edges of an image, float32 [H, W], after it was smoothed by `sigma_px`; 0 outside of `inside`."""
    smooth = cv2.GaussianBlur(plane, (0, 0), sigma_px)
    gradient = cv2.Scharr(smooth, cv2.CV_32F, 1, 0) + 1j * cv2.Scharr(smooth, cv2.CV_32F, 0, 1)
    if inside is not None:
        gradient[~inside] = 0
    strength = np.abs(gradient).astype(np.float32)
    around = np.sqrt(cv2.GaussianBlur(strength**2, (0, 0), SURROUNDINGS_PX))
    measured = strength[strength > 1e-6]
    floor = NOISE_FLOORS * float(np.median(measured)) if measured.size else 1.0
    weight = strength / (strength + around + floor)
    return (weight * (gradient / (strength + 1e-12)) ** 2).astype(np.complex64)
