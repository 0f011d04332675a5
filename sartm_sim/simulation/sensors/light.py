"""Visible light that reaches a lens: what colour and event cameras see before their electronics."""

import cv2
import numpy as np
from numpy.typing import NDArray

from sartm_sim.simulation.conditions import Condition
from sartm_sim.simulation.scene import ROAD, TERRAIN
from sartm_sim.simulation.view import View

Floats = NDArray[np.float32]

LOW_SUN_ELEVATION_RAD = 0.16
SUN_COLOUR, SKY_COLOUR = np.array([1.06, 1.0, 0.86], np.float32), np.array([0.9, 0.98, 1.12], np.float32)


def radiance(view: View, condition: Condition) -> Floats:
    """Lambertian shading by sun, sky, head lights and lamps, then the air in between; float32 [H, W, 3], linear.

    1.0 is a white surface in the full sun.
    """
    sun = sun_direction(view, condition)
    direct = np.zeros(view.sky.shape, np.float32)
    if condition.sun:
        direct = condition.sun * np.maximum(view.normal @ sun, 0)
    if condition.headlights:
        direct += condition.headlights * _headlight_beam(view)
    if condition.lamps:  # street lamps: a faint pool of light, most of it on the ground
        direct += (0.02 * condition.ambient + 0.00015) * (1 - view.normal[..., 1])
    skylight = condition.ambient * (0.75 - 0.25 * view.normal[..., 1])
    irradiance = direct[..., None] * SUN_COLOUR + skylight[..., None] * SKY_COLOUR
    albedo = view.albedo
    if condition.rain:
        wet = (view.truth <= TERRAIN) & (view.normal[..., 1] < -0.5)
        albedo = np.where(wet[..., None], albedo * (1 - 0.45 * condition.rain), albedo)
    light = albedo * irradiance
    if condition.rain:  # wet roads mirror the sky at flat angles
        mirror = condition.rain * 0.5 * condition.ambient * np.clip(1 + 6 * view.elevation, 0, 1)
        light += np.where(view.truth <= ROAD + 1, mirror, 0)[..., None].astype(np.float32)
    if condition.lamps:
        lit = view.window & (view.texture > 0.72)
        light[lit] += np.array([0.4, 0.3, 0.15], np.float32)
        light += view.lamp[view.row] * np.float32(0.5)
    _paint_sky(light, view, condition, sun)
    return _through_air(light, view, condition)


def sun_direction(view: View, condition: Condition) -> Floats:
    """Unit vector [3] towards the sun, ego frame."""
    azimuth, elevation = view.scene.sun_azimuth, view.scene.sun_elevation
    if condition.low_sun:  # ahead, within the image
        azimuth, elevation = azimuth * 0.1, LOW_SUN_ELEVATION_RAD
    cos = np.cos(elevation)
    return np.array([np.sin(azimuth) * cos, -np.sin(elevation), np.cos(azimuth) * cos], np.float32)


def glare(view: View, condition: Condition) -> Floats | None:
    """Light of the low sun that a lens scatters over the image, [H, W, 3]; None where there is none."""
    if not condition.low_sun:
        return None
    sun = sun_direction(view, condition)
    along = (view.rays.x * sun[0] + view.rays.y * sun[1] + sun[2]) / view.ray_length
    angle = np.arccos(np.clip(along, -1, 1))
    veil = 2.2 * np.exp(-angle / 0.16) + 0.8 * np.exp(-angle / 0.6)
    return np.asarray(veil[..., None] * np.array([1.0, 0.9, 0.7], np.float32), np.float32)


def _paint_sky(light: Floats, view: View, condition: Condition, sun: Floats) -> None:
    sky = view.sky
    if not sky.any():
        return
    brightness = condition.ambient * (1.9 - 0.9 * np.clip(view.elevation * 2, 0, 1))[sky]
    cloud = _clouds(view)[sky] * (0.2 if condition.rain else 0.55)
    blue, white = np.array([0.5, 0.74, 1.05], np.float32), np.array([1.15, 1.15, 1.15], np.float32)
    light[sky] = brightness[:, None] * (blue + (white - blue) * cloud[:, None])
    if condition.low_sun:
        rays_x, rays_y = np.broadcast_to(view.rays.x, sky.shape), np.broadcast_to(view.rays.y, sky.shape)
        along = (rays_x[sky] * sun[0] + rays_y[sky] * sun[1] + sun[2]) / np.broadcast_to(view.ray_length, sky.shape)[
            sky
        ]
        light[sky] += (np.float32(6.0) * (along > np.cos(0.03)))[:, None]


def _clouds(view: View) -> Floats:
    """0 to 1: noise on a plane high above, another one in each street."""
    from sartm_sim.simulation.textures import grain

    height = np.maximum(-view.rays.y, np.float32(0.02))
    u = np.broadcast_to(view.rays.x / height * 1.5 + view.scene.seed % 97, view.sky.shape).astype(np.float32)
    v = np.broadcast_to(1.5 / height, view.sky.shape).astype(np.float32)
    return np.clip(grain(u, v, np.ones_like(u), np.zeros_like(u), view.scene.novel) * 4 - 1.6, 0, 1)


def _headlight_beam(view: View) -> Floats:
    """Irradiance per unit at 1 m: inverse square, a cone a little below the horizon."""
    cone = np.exp(-((view.rays.x / 0.45) ** 2)) * np.exp(-(((view.rays.y - 0.08) / 0.2) ** 2))
    return np.asarray(1.6 * cone / np.maximum(view.ahead_m, 2.0) ** 2, np.float32)


def _through_air(light: Floats, view: View, condition: Condition) -> Floats:
    """Koschmieder's law: L e^(-kd) + A (1 - e^(-kd))."""
    transmission = np.exp(-condition.visible_extinction_per_m * view.distance_m)[..., None]
    return np.asarray(light * transmission + condition.airlight * (1 - transmission), np.float32)


def bloom(light: Floats, strength: float, sigma_px: float) -> Floats:
    """What bright lamps spill over their neighbourhood."""
    return light + strength * cv2.GaussianBlur(np.maximum(light - 0.6, 0), (0, 0), sigma_px)
