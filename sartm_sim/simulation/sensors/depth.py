"""A stereo camera."""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from sartm_sim.simulation.conditions import Condition
from sartm_sim.simulation.geometry import Camera
from sartm_sim.simulation.view import View

NOISE_PER_M = 0.004


def depth_metres(view: View, condition: Condition, rng: Generator) -> NDArray[np.float32]:
    """Noise grows with the square of the range; holes at edges, in blotches, on wet ground and beyond its reach.

    Returns:
        float32 [H, W], metres along the optical axis, 0 = not measured.
    """
    assert isinstance(view.rays, Camera)
    depth = np.where(view.sky, 0, view.ahead_m / view.rays.axial).astype(np.float32)
    measured = depth * (1 + NOISE_PER_M * depth * rng.standard_normal(depth.shape, np.float32))
    coarse = rng.random((depth.shape[0] // 16 + 1, depth.shape[1] // 16 + 1), np.float32)
    blotch = cv2.resize(coarse, depth.shape[::-1], interpolation=cv2.INTER_CUBIC)
    reach = condition.stereo_range_m * (0.6 + 0.6 * blotch)
    edge = np.abs(cv2.Laplacian(1 / np.maximum(depth, 0.5), cv2.CV_32F)) > 0.06
    mirror = (view.truth <= 1) & (blotch > 1 - 0.35 * condition.rain)
    lost = (depth <= 0) | (depth > reach) | (edge & (blotch > 0.35)) | (blotch > 0.93) | mirror
    measured[lost] = 0
    return measured


def depth_float(metres: NDArray[np.float32]) -> NDArray[np.float32]:
    """32FC1 as REP-118 has it: float32 metres, NaN = not measured."""
    return np.where(metres > 0, metres, np.float32(np.nan))


def depth_millimetres(metres: NDArray[np.float32]) -> NDArray[np.uint16]:
    """16UC1 as REP-118 has it: uint16 millimetres, 0 = not measured, as is what lies beyond 65.5 m."""
    return np.asarray(np.where(metres < 65.535, metres * 1000, 0), np.uint16)
