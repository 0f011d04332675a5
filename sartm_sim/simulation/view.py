"""What one sensor's rays meet at one instant: geometry and materials per ray, before any sensor."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_sim.simulation import raycast, scene, textures
from sartm_sim.simulation.raycast import GROUND, SKY_ID, Hits, Rays
from sartm_sim.simulation.scene import BOX, CYLINDER, ELLIPSOID, TAPER, Primitives, Scene

VIEW_BEHIND_M, VIEW_AHEAD_M = 14.0, 160.0
FAR_M = 400.0
"""Where the sky is taken to be."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """Every array is [H, W] or [H, W, 3]; directions are in the ego frame (x right, y down, z ahead).

    Attributes:
        scene, rays, time_s: what was looked at.
        ahead_m: float32, metres along z, infinite for the sky.
        truth: uint8, class ids.
        texture: float32, the surface's grain, 0 to 1.
        albedo: float32 [H, W, 3], with texture.
        row: int32, row of each ray in the tables below.
        heat_k, emissivity, reflectivity, lamp: per row; see `scene.Primitives`.
    """

    scene: Scene
    rays: Rays
    time_s: float
    ahead_m: Floats
    truth: NDArray[np.uint8]
    texture: Floats
    albedo: Floats
    window: NDArray[np.bool_]
    row: NDArray[np.int32]
    heat_k: Floats
    emissivity: Floats
    reflectivity: Floats
    lamp: Floats
    _things: Primitives
    _hits: Hits

    @cached_property
    def sky(self) -> NDArray[np.bool_]:
        return self._hits.primitive == SKY_ID

    @cached_property
    def ray_length(self) -> Floats:
        """Metres along the ray per metre ahead."""
        return np.sqrt(1 + self.rays.x**2 + self.rays.y**2)

    @cached_property
    def distance_m(self) -> Floats:
        """Along the ray, at most `FAR_M`."""
        return np.minimum(self.ahead_m * self.ray_length, np.float32(FAR_M))

    @cached_property
    def elevation(self) -> Floats:
        """Sine of the ray's angle above the horizon."""
        return -self.rays.y / self.ray_length

    @cached_property
    def normal(self) -> Floats:
        """float32 [H, W, 3], unit surface normals; 0 in the sky."""
        return _normals(self.rays, self._things, self._hits)


_GROUND_ROWS = 5
"""Rows of the tables before the things: road, marking, sidewalk, terrain, sky."""


def look(street: Scene, rays: Rays, time_s: float) -> View:
    """Casts a sensor's rays into the street at a time (seconds since the start of the drive)."""
    things = street.around_ego(time_s, VIEW_BEHIND_M, VIEW_AHEAD_M)
    hits = raycast.cast(rays, things)
    sky = hits.primitive == SKY_ID
    ahead = np.where(sky, np.float32(1), hits.depth)
    is_thing = hits.primitive >= 0
    position = rays.position.astype(np.float32)

    u, v = np.zeros(rays.shape, np.float32), np.zeros(rays.shape, np.float32)
    kind = np.zeros(rays.shape, np.int32)
    below = hits.primitive == GROUND
    right = (np.broadcast_to(rays.x, rays.shape)[below] * ahead[below] + position[0]).astype(np.float32)
    if right.size:
        u[below], v[below] = street.road_frame(right, ahead[below] + position[2], time_s)
        kind[below] = _ground_kinds(street, u[below], v[below])
    kind[sky] = 4
    u[is_thing], v[is_thing] = _surface_coordinates(rays, things, hits, ahead, is_thing)
    row = np.where(is_thing, hits.primitive + _GROUND_ROWS, kind)

    tables = _tables(street, things)
    windowed, glass = tables["windows"][row] > 0, np.zeros(rays.shape, bool)
    at_u, at_v = u[windowed] % 3.2, v[windowed] % 3.0
    glass[windowed] = (at_u > 1.1) & (at_u < 2.5) & (at_v > 0.9) & (at_v < 2.2)
    texture = textures.grain(u, v, hits.depth, tables["material"][row], street.novel)
    albedo = tables["albedo"][row] * (0.6 + 0.8 * texture)[..., None]
    albedo[glass] *= 0.35
    classes = np.concatenate(
        [[scene.ROAD, scene.MARKING, scene.SIDEWALK, scene.TERRAIN, scene.SKY], things.class_id]
    ).astype(np.uint8)
    return View(
        scene=street,
        rays=rays,
        time_s=time_s,
        ahead_m=hits.depth,
        truth=classes[row],
        texture=texture,
        albedo=albedo,
        window=glass,
        row=row,
        heat_k=tables["heat_k"],
        emissivity=tables["emissivity"],
        reflectivity=tables["reflectivity"],
        lamp=tables["lamp"],
        _things=things,
        _hits=hits,
    )


def _tables(street: Scene, things: Primitives) -> dict[str, NDArray[np.float32]]:
    """One gather per attribute: the rows of the ground and the sky, then the things."""
    road, sidewalk, terrain = street.ground_albedo
    ground = np.stack([road, np.full(3, 0.72), sidewalk, terrain, np.zeros(3)])
    shine = np.array([road[0], 1.4, sidewalk[0], 0.45, 0.0])
    columns: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {
        "albedo": (ground, things.albedo),
        "heat_k": (np.array([2.5, 2.2, 0.8, -2.0, 0.0]), things.own_heat_k),
        "emissivity": (np.array([0.95, 0.93, 0.95, 0.97, 1.0]), things.emissivity),
        "reflectivity": (shine, things.reflectivity),
        "lamp": (np.zeros((_GROUND_ROWS, 3)), things.lamp),
        "windows": (np.zeros(_GROUND_ROWS), things.windows),
        "material": (
            np.array([scene.GRAVEL, scene.GRAVEL, scene.MASONRY, scene.FOLIAGE, scene.PLAIN]),
            things.material,
        ),
    }
    return {name: np.concatenate(pair).astype(np.float32) for name, pair in columns.items()}


def _ground_kinds(street: Scene, lateral: NDArray[np.floating], s: NDArray[np.floating]) -> NDArray[np.int32]:
    """0 road, 1 marking, 2 sidewalk, 3 terrain."""
    across = np.abs(lateral)
    kind = np.digitize(across, (street.road_half_width_m, street.road_half_width_m + street.sidewalk_width_m))
    kind = np.where(kind > 0, kind + 1, 0)
    s = s % scene.SCENE_LENGTH_M
    for crossing in street.crossings_s.tolist():
        kind[np.abs(s - crossing) < street.crossing_half_width_m] = 0
    on_road = across < street.road_half_width_m
    dash = (across < 0.09) & (s % (2 * street.dash_m) < street.dash_m)
    edge = np.abs(across - street.road_half_width_m + 0.3) < 0.08
    painted = dash | edge
    for zebra in street.zebras_s.tolist():
        painted |= (s > zebra) & (s < zebra + 3) & (lateral % 1.0 < 0.5)
    kind[painted & on_road & (kind == 0)] = 1
    return kind.astype(np.int32)


def _surface_coordinates(
    rays: Rays, things: Primitives, hits: Hits, ahead: Floats, chosen: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where on its thing each chosen ray ends: metres along the surface and downwards, fixed to the thing."""
    which = hits.primitive[chosen]
    local = _local_points(rays, things, ahead, chosen, which)
    # The turned box's two upright pairs of faces: run along x where |z| is the larger share of its half extent.
    half = things.half.astype(np.float32)[which]
    front = np.abs(local[:, 2]) * half[:, 0] > np.abs(local[:, 0]) * half[:, 2]
    offset = (things.albedo[:, 0] * 97).astype(np.float32)[which]  # two houses of one row differ in their grain
    return np.where(front, local[:, 0], local[:, 2]) + offset, local[:, 1] + half[:, 1]


def _local_points(
    rays: Rays, things: Primitives, ahead: Floats, chosen: NDArray[np.bool_], which: NDArray[np.int32]
) -> NDArray[np.float32]:
    """float32 [n, 3], the points in the axes of the thing that they lie on."""
    depth = ahead[chosen]
    centre = (things.centre - rays.position).astype(np.float32)[which]
    x = np.broadcast_to(rays.x, rays.shape)[chosen] * depth - centre[:, 0]
    y = np.broadcast_to(rays.y, rays.shape)[chosen] * depth - centre[:, 1]
    z = depth - centre[:, 2]
    cos, sin = np.cos(things.yaw).astype(np.float32)[which], np.sin(things.yaw).astype(np.float32)[which]
    return np.stack([x * cos - z * sin, y, x * sin + z * cos], axis=1)


def _normals(rays: Rays, things: Primitives, hits: Hits) -> Floats:
    result = np.zeros((*rays.shape, 3), np.float32)
    result[hits.primitive == GROUND] = (0, -1, 0)
    seen = hits.primitive >= 0
    which = hits.primitive[seen]
    local = _local_points(rays, things, hits.depth, seen, which)
    half, shape = things.half.astype(np.float32)[which], things.shape[which]
    unit = local / half
    # On a box the coordinate of the face that was hit is +-1, all others are smaller.
    largest = np.abs(unit).argmax(axis=1)
    rows = np.arange(len(unit))
    own = np.where(shape[:, None] == ELLIPSOID, unit / half, 0).astype(np.float32)
    box = shape == BOX
    own[rows[box], largest[box]] = np.sign(unit[rows[box], largest[box]])
    upright = (shape == CYLINDER) | (shape == TAPER)
    own[upright] = (unit / half)[upright] * np.array([1, 0, 1], np.float32)
    taper = shape == TAPER
    own[taper, 1] = -(unit[taper, 1] + 1) / 4 / half[taper, 1]
    lid = upright & (unit[:, 1] < -0.999) & ~taper
    own[lid] = (0, -1, 0)
    own /= np.linalg.norm(own, axis=1, keepdims=True) + 1e-9
    cos, sin = np.cos(things.yaw).astype(np.float32)[which], np.sin(things.yaw).astype(np.float32)[which]
    result[seen] = np.stack([own[:, 0] * cos + own[:, 2] * sin, own[:, 1], own[:, 2] * cos - own[:, 0] * sin], axis=1)
    return result
