"""A colour camera with automatic exposure."""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from sartm_sim.simulation.conditions import Condition
from sartm_sim.simulation.sensors import light
from sartm_sim.simulation.view import View

MAX_GAIN = 5.0
"""A small aperture at night: gain is limited, noise is not."""


def rgb_image(view: View, condition: Condition, rng: Generator, exposure: float = 1.0) -> NDArray[np.uint8]:
    """Exposure, bloom, rain streaks, photon and read noise, gamma.

    Args:
        exposure: times what the automatic exposure would choose; a fault sets it far from 1.

    Returns:
        uint8 [H, W, 3], red, green, blue.
    """
    radiance = light.radiance(view, condition)
    scattered = light.glare(view, condition)
    if scattered is not None:
        radiance = radiance + scattered
    # Meters the bright part of the picture; by night without the lamps, by low sun without the sun.
    share = 90 if condition.lamps else 60 if condition.low_sun else 97
    bright = float(np.percentile(radiance[::4, ::4], share))
    if condition.lamps:
        radiance = light.bloom(radiance, 0.35, radiance.shape[0] / 80)
    if condition.rain:
        radiance = _streaked(radiance, condition.rain, rng)
    gain = min(0.8 / max(bright, 0.02), MAX_GAIN) * exposure
    noise = np.sqrt(radiance * 0.0006 * gain + 0.00012 * gain**2)
    signal = radiance * gain + noise * rng.standard_normal(radiance.shape, np.float32)
    return (np.clip(signal, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)


def _streaked(radiance: NDArray[np.float32], rain: float, rng: Generator) -> NDArray[np.float32]:
    """Drops near the lens: short slanted lines, brighter than what is behind them."""
    height, width = radiance.shape[:2]
    drops = (rng.random((height, width), np.float32) > 1 - 0.006 * rain).astype(np.float32)
    length = max(height // 18, 3)
    kernel = np.zeros((length, length), np.float32)
    cv2.line(kernel, (length // 2, 0), (length // 2 + length // 6, length - 1), 1.0, 1)
    streaks = cv2.filter2D(drops, -1, kernel)[..., None]
    return np.asarray(radiance + np.minimum(streaks, 1) * 0.22 * float(radiance.mean()) * 2, np.float32)
