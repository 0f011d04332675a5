"""A long-wave infrared camera: temperatures, not light."""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from sartm_sim.simulation.conditions import Condition
from sartm_sim.simulation.scene import TERRAIN
from sartm_sim.simulation.sensors.light import sun_direction
from sartm_sim.simulation.view import View

NOISE_K = 0.08
KELVIN_PER_COUNT = 0.01


def thermal_kelvin(view: View, condition: Condition, rng: Generator) -> NDArray[np.float32]:
    """Surface temperatures, emissivity, the air in between, lens blur, noise; float32 [H, W], apparent kelvin."""
    lambert = np.maximum(view.normal @ sun_direction(view, condition), 0)
    absorbed = (1 - view.albedo.mean(axis=2)) * (0.35 + lambert)
    kelvin = condition.air_k + view.heat_k[view.row] * (0.8 + 0.4 * view.texture)
    kelvin += condition.solar_heating_k * absorbed + (view.texture - 0.5) * 1.4
    kelvin[view.window] -= 2.5
    if condition.rain:  # water evens out what the sun and the ground have made
        wet = (view.truth <= TERRAIN) * 0.7 + 0.15
        kelvin += (condition.air_k - kelvin) * wet * condition.rain
    # What is not emitted is reflected from the sky; upward faces see the zenith, upright ones the horizon as well.
    sky_seen = 0.35 + 0.3 * np.maximum(-view.normal[..., 1], 0)
    reflected_k = condition.air_k + (condition.sky_k - condition.air_k) * sky_seen
    emissivity = view.emissivity[view.row]
    kelvin = emissivity * kelvin + (1 - emissivity) * reflected_k

    sky = view.sky
    zenith_share = np.clip(np.broadcast_to(view.elevation, sky.shape)[sky] * 2.5, 0, 1)
    kelvin[sky] = condition.air_k + (condition.sky_k - condition.air_k) * (0.35 + 0.65 * zenith_share)
    transmission = np.exp(-condition.thermal_extinction_per_m * view.distance_m)
    kelvin = condition.air_k + (kelvin - condition.air_k) * transmission
    kelvin = cv2.GaussianBlur(np.asarray(kelvin, np.float32), (0, 0), 0.8)
    return np.asarray(kelvin + NOISE_K * rng.standard_normal(kelvin.shape, np.float32), np.float32)


def thermal_counts(kelvin: NDArray[np.float32]) -> NDArray[np.uint16]:
    """A radiometric camera: uint16, hundredths of a kelvin."""
    return np.asarray(np.clip(kelvin / KELVIN_PER_COUNT, 0, 65535), np.uint16)


def thermal_grey(kelvin: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A camera with automatic gain: uint8, stretched between its percentiles 1 and 99."""
    low, high = np.percentile(kelvin[::4, ::4], (1, 99))
    return np.asarray(np.clip((kelvin - low) / max(high - low, 1e-3) * 255, 0, 255), np.uint8)


def shutter_kelvin(shape: tuple[int, int], condition: Condition, rng: Generator) -> NDArray[np.float32]:
    """While the camera recalibrates it looks at its own shutter: one temperature, a little warmer at the rim."""
    height, width = shape
    y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)
    base = condition.air_k + 8.0 + 0.4 * (x * x + y * y)
    return np.asarray(base + NOISE_K * rng.standard_normal(base.shape, np.float32), np.float32)
