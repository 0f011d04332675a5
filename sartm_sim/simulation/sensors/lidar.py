"""A spinning LiDAR."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from sartm_sim.simulation.conditions import Condition
from sartm_sim.simulation.geometry import SpinningLidar
from sartm_sim.simulation.view import View

MAX_RANGE_M = 90.0
NOISE_M = 0.02
WEAKEST_ECHO = 0.6
"""Detected: reflectivity x cosine x transmission^2 of a wall of 10 % at 90 m gives about this x 1e-5 / range^2."""


def lidar_points(view: View, condition: Condition, rng: Generator) -> NDArray[np.float32]:
    """Echoes of one turn, in the order of firing (column by column).

    Lost are the sky, what reflects too little light for its range (the fog and the rain take their share), and a few
    at random; rain adds a few near echoes of drops.

    Returns:
        float32 [N, 5]: x, y, z (metres, LiDAR frame), intensity (0 to 255), ring.
    """
    lidar = view.rays
    assert isinstance(lidar, SpinningLidar)
    distance = np.where(view.sky, np.inf, view.ahead_m * lidar.range_per_m).astype(np.float32)
    ray = np.stack(np.broadcast_arrays(view.rays.x, view.rays.y, np.float32(1)), axis=-1)
    cosine = np.abs((view.normal * ray).sum(axis=-1)) / view.ray_length
    cosine[view.reflectivity[view.row] > 1] = 1.0  # retro-reflectors send the light back whatever the angle
    reflectivity = view.reflectivity[view.row] * (0.7 + 0.6 * view.texture)
    if condition.rain:
        wet = (view.truth <= 3) & (view.normal[..., 1] < -0.5)
        reflectivity = np.where(wet, reflectivity * (1 - 0.75 * condition.rain), reflectivity)
    transmission = np.exp(-2 * condition.lidar_extinction_per_m * np.minimum(distance, 400))
    echo = reflectivity * cosine * transmission
    speckle = rng.uniform(0.6, 1.4, echo.shape)
    seen = (distance < MAX_RANGE_M) & (echo * speckle > WEAKEST_ECHO * 1e-5 * distance**2)
    seen &= rng.random(echo.shape, np.float32) > 0.01
    measured = distance + NOISE_M * rng.standard_normal(distance.shape, np.float32)
    intensity = 100 * reflectivity * (0.4 + 0.6 * cosine) * transmission
    thick = condition.rain * 0.02 + (condition.lidar_extinction_per_m > 0.01) * 0.02
    if thick:
        drop = rng.random(distance.shape, np.float32) < thick
        at = rng.uniform(1.0, 8.0, distance.shape).astype(np.float32)
        nearer = drop & (at < distance)
        measured, intensity = np.where(nearer, at, measured), np.where(nearer, 3.0, intensity)
        seen |= nearer
    points = np.empty((*distance.shape, 5), np.float32)
    points[..., :3] = lidar.directions * np.where(seen, measured, 0)[..., None]
    points[..., 3] = np.clip(intensity * rng.uniform(0.9, 1.1, distance.shape), 0, 255).astype(np.uint8)
    points[..., 4] = np.arange(distance.shape[0])[:, None]
    return points.transpose(1, 0, 2)[seen.T]
