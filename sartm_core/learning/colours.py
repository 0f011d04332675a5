"""Changes of brightness, contrast and colour, of one modality at a time."""

from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

BRIGHTNESS = 32.0
CONTRAST = SATURATION = (0.5, 1.5)
HUE = 18
"""Largest changes of mmsegmentation's PhotoMetricDistortion by default; of hue in steps of two degrees."""


def relative_change(
    planes: NDArray[np.float32], coloured: bool, contrast: float, brightness: float, saturation: float
) -> NDArray[np.float32]:
    """Planes [3, H, W] whose contrast, mean and saturation are multiplied by these factors."""
    if coloured:
        grey = planes.mean(axis=0, keepdims=True)
        planes = grey + (planes - grey) * saturation
    mean = planes.mean()
    return (planes - mean) * contrast + mean * brightness


def photometric_distortion(planes: NDArray[Any], rng: Generator) -> NDArray[np.float32]:
    """Brightness, contrast, saturation and hue, each with probability 0.5, contrast before or after the colours.

    SSD's distortion (arXiv 1512.02325, section 3.6) in the form of mmsegmentation's PhotoMetricDistortion.

    Args:
        planes: red, green, blue, 0 to 255, [3, H, W].
        rng: decides everything.

    Returns:
        float32 [3, H, W], whole numbers from 0 to 255.
    """
    image = _eight_bit(planes.transpose(1, 2, 0))
    if rng.random() < 0.5:
        image = _eight_bit(image + rng.uniform(-BRIGHTNESS, BRIGHTNESS))
    early, gain = rng.random() < 0.5, rng.uniform(*CONTRAST) if rng.random() < 0.5 else 1.0
    if early:
        image = _eight_bit(image * gain)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    stronger, turned = rng.random(2) < 0.5
    if stronger:
        hsv[..., 1] = _eight_bit(hsv[..., 1] * rng.uniform(*SATURATION))
    if turned:
        hsv[..., 0] = (hsv[..., 0].astype(int) + rng.integers(-HUE, HUE)) % 180
    if stronger or turned:
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if not early:
        image = _eight_bit(image * gain)
    return image.transpose(2, 0, 1).astype(np.float32)


def _eight_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.clip(values, 0, 255), np.uint8)
