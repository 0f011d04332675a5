"""Sensor models: what a colour, a thermal and a depth camera make of one view."""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from sartm_core.simulation import scene
from sartm_core.simulation.conditions import Condition
from sartm_core.simulation.view import View


def rgb_image(view: View, street: scene.Scene, condition: Condition, rng: Generator) -> NDArray[np.uint8]:
    """A colour camera with automatic exposure: Lambertian shading, head lights, fog, photon noise, gamma.

    Returns:
        uint8 [H, W, 3], red, green, blue.
    """
    lambert = np.maximum(view.normal @ street.sun_direction.astype(np.float32), 0)
    irradiance = (condition.ambient * (0.75 - 0.25 * view.normal[..., 1]) + condition.sun * lambert).astype(np.float32)
    if condition.headlights:
        irradiance = irradiance + condition.headlights * _headlight_beam(view)
    radiance = view.albedo * irradiance[..., None]
    if condition.headlights:  # lit windows: the grain decides which
        lit = view.window & (view.texture > 0.62)
        radiance[lit] += np.array([0.5, 0.38, 0.18], np.float32)
    radiance += _glow(view, condition)[..., None]
    sky = view.truth == scene.SKY
    brightness = condition.ambient * (1.9 - 0.9 * np.clip(view.elevation * 2, 0, 1))
    radiance[sky] = brightness[sky][:, None] * np.array([0.75, 0.88, 1.0], np.float32)
    radiance = _through_fog(radiance, view, condition.visible_extinction_per_m, condition.airlight)

    exposure = 0.85 / max(float(np.percentile(radiance[::4, ::4], 97)), 0.02)
    gain = min(exposure, 4.0)  # a small aperture at night: gain is limited, noise is not
    noise = np.sqrt(radiance * 0.0006 * gain + 0.00004 * gain**2)
    signal = radiance * gain + noise * rng.standard_normal(radiance.shape, np.float32)
    return (np.clip(signal, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)


def _headlight_beam(view: View) -> NDArray[np.float32]:
    """Irradiance per unit at 1 m: inverse square, a cone a little below the horizon."""
    height, width = view.truth.shape
    x = (np.arange(width, dtype=np.float32) - width / 2) / view.focal_px
    y = (np.arange(height, dtype=np.float32) - height / 2) / view.focal_px
    cone = np.exp(-((x / 0.45) ** 2))[None, :] * np.exp(-(((y - 0.08) / 0.2) ** 2))[:, None]
    return (cone / np.maximum(view.depth_m, 2.0) ** 2 * 1.6).astype(np.float32)


def _glow(view: View, condition: Condition) -> NDArray[np.float32]:
    """Street lamps at night light whatever is not far: a faint pool everywhere, a little more on the ground."""
    if not condition.headlights:
        return np.zeros(view.truth.shape, np.float32)
    ground = view.normal[..., 1] < -0.9
    return (0.006 * view.albedo.mean(axis=2) * (1 + ground)).astype(np.float32)


def _through_fog(
    radiance: NDArray[np.float32], view: View, extinction_per_m: float, airlight: float
) -> NDArray[np.float32]:
    """Koschmieder's law: L e^(-kd) + A (1 - e^(-kd)); the sky is taken to be 400 m away."""
    distance = np.minimum(view.depth_m, 400.0)
    transmission = np.exp(-extinction_per_m * distance)
    if radiance.ndim == 3:
        transmission = transmission[..., None]
    return (radiance * transmission + airlight * (1 - transmission)).astype(np.float32)


def thermal_image(view: View, street: scene.Scene, condition: Condition, rng: Generator) -> NDArray[np.uint16]:
    """A radiometric long-wave camera: surface temperatures, the air in between, lens blur, noise of 0.08 K.

    Returns:
        uint16 [H, W], hundredths of a kelvin.
    """
    lambert = np.maximum(view.normal @ street.sun_direction.astype(np.float32), 0)
    absorbed = (1 - view.albedo.mean(axis=2)) * (0.35 + lambert)
    kelvin = condition.air_k + view.own_heat_k + condition.solar_heating_k * absorbed
    ground_offset = np.zeros(len(scene.CLASS_NAMES), np.float32)
    ground_offset[[scene.ROAD, scene.SIDEWALK, scene.TERRAIN]] = (2.5, 0.8, -2.0)
    ground_offset[[scene.VEGETATION, scene.POLE]] = (-2.2, -1.0)
    kelvin += ground_offset[view.truth] + (view.texture - 0.5) * 1.2
    kelvin[view.window] -= 2.5
    # Upward faces see the cold sky at night.
    kelvin -= 0.02 * (condition.air_k - condition.sky_k) * np.maximum(-view.normal[..., 1], 0)
    sky = view.truth == scene.SKY
    zenith_share = np.clip(view.elevation * 2.5, 0, 1)
    sky_k = condition.air_k + (condition.sky_k - condition.air_k) * (0.35 + 0.65 * zenith_share)
    kelvin[sky] = sky_k[sky]
    kelvin = _through_fog(kelvin.astype(np.float32), view, condition.thermal_extinction_per_m, condition.air_k)
    kelvin = cv2.GaussianBlur(kelvin, (0, 0), 0.8)
    kelvin = kelvin + 0.08 * rng.standard_normal(kelvin.shape, np.float32)
    return (kelvin * 100).astype(np.uint16)


def depth_image(view: View, condition: Condition, rng: Generator) -> NDArray[np.uint16]:
    """A stereo camera: noise grows with the square of the range, holes at edges, in blotches and beyond its reach.

    Returns:
        uint16 [H, W], millimetres, 0 = not measured.
    """
    depth = np.where(np.isfinite(view.depth_m), view.depth_m, 0.0).astype(np.float32)
    measured = depth * (1 + 0.004 * depth * rng.standard_normal(depth.shape, np.float32))
    coarse = rng.random((depth.shape[0] // 16 + 1, depth.shape[1] // 16 + 1), np.float32)
    blotch = cv2.resize(coarse, depth.shape[::-1], interpolation=cv2.INTER_CUBIC)
    reach = condition.depth_range_m * (0.6 + 0.6 * blotch)
    edge = np.abs(cv2.Laplacian(1 / np.maximum(depth, 0.5), cv2.CV_32F)) > 0.06
    lost = (depth <= 0) | (depth > reach) | (edge & (blotch > 0.35)) | (blotch > 0.93)
    measured[lost] = 0
    return np.clip(measured * 1000, 0, 65535).astype(np.uint16)
