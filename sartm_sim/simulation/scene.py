"""The objects of the simulated street: simple shapes with a class, a material and a temperature.

Three frames, all in metres with y down and the ground at y = 0. Road frame: lateral to the right of the road's centre
line, s along it; things are placed here and follow the bends. World frame: x, z. Ego frame: x to the right of the
robot, z ahead of it; everything is rendered here.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLASS_NAMES = (
    "road", "marking", "sidewalk", "terrain", "building", "vegetation", "pole", "sign",
    "car", "person", "cyclist", "animal", "cone", "sky",
)  # fmt: skip
"""Index = class id in the simulator's truth."""

(ROAD, MARKING, SIDEWALK, TERRAIN, BUILDING, VEGETATION, POLE, SIGN, CAR, PERSON, CYCLIST, ANIMAL, CONE, SKY) = range(
    len(CLASS_NAMES)
)

BROADER_CLASS = {"marking": "road", "sign": "pole", "cyclist": "person"}
"""The broader class of each class, for a rig that does not list it; others are unlabelled there."""

BOX, ELLIPSOID, CYLINDER, TAPER = range(4)
"""Shapes: cylinder and taper (a circular cone, apex up) stand upright."""

PLAIN, MASONRY, FOLIAGE, GRAVEL = range(4)
"""Materials: which texture a surface carries."""

SCENE_LENGTH_M = 400.0
"""The street repeats itself after this distance."""


@dataclass(frozen=True, slots=True)
class Primitives:
    """N shapes, one row each.

    Attributes:
        shape: int [N], BOX, ELLIPSOID, CYLINDER or TAPER.
        centre: float [N, 3]; lateral, height (down), s at time 0 in a `Scene`, x, y, z in the ego frame once placed.
        half: float [N, 3], half extents along the shape's own x, y, z, metres.
        yaw: float [N], rotation about the vertical, from z towards x, radians, in the frame of `centre`.
        velocity: float [N, 3], metres per second, in the frame of `centre`.
        class_id: int [N].
        albedo: float [N, 3], reflected share of red, green, blue.
        reflectivity: float [N], reflected share at a LiDAR's 905 nm; above 1 for retro-reflectors.
        own_heat_k: float [N], temperature above the surroundings by the thing's own heat, kelvin.
        emissivity: float [N], at 8 to 14 micrometres; the rest is reflected sky.
        lamp: float [N, 3], emitted red, green, blue while lamps are on.
        material: int [N], PLAIN, MASONRY, FOLIAGE or GRAVEL.
        windows: float [N], 1 where the faces carry windows.
    """

    shape: NDArray[np.int8]
    centre: NDArray[np.float64]
    half: NDArray[np.float64]
    yaw: NDArray[np.float64]
    velocity: NDArray[np.float64]
    class_id: NDArray[np.uint8]
    albedo: NDArray[np.float64]
    reflectivity: NDArray[np.float64]
    own_heat_k: NDArray[np.float64]
    emissivity: NDArray[np.float64]
    lamp: NDArray[np.float64]
    material: NDArray[np.int8]
    windows: NDArray[np.float64]

    def select(self, rows: NDArray[np.bool_]) -> "Primitives":
        """The rows where the mask is true."""
        return Primitives(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


@dataclass(frozen=True, slots=True)
class Bend:
    """The road's centre line, a sum of sines that repeats with the scene.

    Attributes:
        amplitude_m, phase: float [K]; sine k has k + 1 periods in the scene's length.
    """

    amplitude_m: NDArray[np.float64]
    phase: NDArray[np.float64]

    def x(self, s: NDArray[np.floating]) -> NDArray[np.floating]:
        """World x of the centre line at s, metres."""
        return self._sum(s, np.sin, self.amplitude_m)

    def heading(self, s: NDArray[np.floating]) -> NDArray[np.floating]:
        """The road's direction at s, radians from z towards x."""
        return np.arctan(self._sum(s, np.cos, self.amplitude_m * self._wave_numbers))

    @property
    def _wave_numbers(self) -> NDArray[np.float64]:
        return np.asarray(2 * np.pi * np.arange(1, len(self.amplitude_m) + 1) / SCENE_LENGTH_M)

    def _sum(self, s: NDArray[np.floating], wave: np.ufunc, factors: NDArray[np.float64]) -> NDArray[np.floating]:
        total = np.zeros_like(s)
        for factor, number, phase in zip(
            factors.tolist(), self._wave_numbers.tolist(), self.phase.tolist(), strict=True
        ):
            if factor:
                total = total + factor * wave(number * s + phase)
        return total


@dataclass(frozen=True, slots=True)
class Scene:
    """One street.

    Attributes:
        things: everything above the ground, in the road frame.
        bend: the road's centre line.
        road_half_width_m: half the width of the carriageway.
        sidewalk_width_m: width of the strip on both sides of it.
        crossings_s: float [K], where side streets of `crossing_half_width_m` cross.
        crossing_half_width_m: half the width of a side street.
        zebras_s: float [K], where zebra crossings begin.
        dash_m: length of one dash and one gap of the middle line.
        ego_speed_mps: the ego moves along the road at this speed.
        ego_lateral_m: its lateral position.
        sun_azimuth, sun_elevation: radians; azimuth from z towards x.
        ground_albedo: float [3, 3], colour of road, sidewalk, terrain.
        novel: whether textures, shapes and layouts are those kept for tests.
        seed: that generated it.
    """

    things: Primitives
    bend: Bend
    road_half_width_m: float
    sidewalk_width_m: float
    crossings_s: NDArray[np.float64]
    crossing_half_width_m: float
    zebras_s: NDArray[np.float64]
    dash_m: float
    ego_speed_mps: float
    ego_lateral_m: float
    sun_azimuth: float
    sun_elevation: float
    ground_albedo: NDArray[np.float64]
    novel: bool
    seed: int

    def around_ego(self, time_s: float, behind_m: float, ahead_m: float) -> Primitives:
        """The things near the ego in the ego frame, where they are at a time (seconds since the start of the drive)."""
        things = self.things
        ego_s = self.ego_speed_mps * time_s
        centre = things.centre + things.velocity * time_s
        s = (centre[:, 2] - ego_s + behind_m) % SCENE_LENGTH_M + ego_s - behind_m
        near = s - things.half.max(axis=1) - ego_s < ahead_m
        x, z, road_heading = self._world(centre[:, 0], s)
        ego_x, ego_z, heading = self._world(np.array(self.ego_lateral_m), np.array(ego_s))
        right, ahead = _turned(x - ego_x, z - ego_z, -heading)
        placed = replace(
            things, centre=np.stack([right, centre[:, 1], ahead], axis=1), yaw=things.yaw + road_heading - heading
        )
        return placed.select(near)

    def road_frame(
        self, right: NDArray[np.float32], ahead: NDArray[np.float32], time_s: float
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Lateral offset and s of points in the ego frame, to first order in the bend."""
        ego_x, ego_z, heading = self._world(np.array(self.ego_lateral_m), np.array(self.ego_speed_mps * time_s))
        dx, dz = _turned(right, ahead, heading.astype(np.float32))
        z = dz + np.float32(ego_z)
        # The bend is smooth: a table of a value per half metre is exact to a millimetre, and fast.
        first = np.floor(z.min()) - 1
        table = np.arange(first, min(z.max(), first + 2 * SCENE_LENGTH_M) + 2, 0.5)
        road_heading = np.interp(z, table, self.bend.heading(table)).astype(np.float32)
        offset = dx + np.float32(ego_x) - np.interp(z, table, self.bend.x(table)).astype(np.float32)
        return offset * np.cos(road_heading), z + offset * np.sin(road_heading) * np.cos(road_heading)

    def _world(
        self, lateral: NDArray[np.floating], s: NDArray[np.floating]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
        """World x, z, and the road's heading there."""
        heading = self.bend.heading(s)
        return self.bend.x(s) + lateral * np.cos(heading), s - lateral * np.sin(heading), heading


def _turned(
    x: NDArray[np.floating], z: NDArray[np.floating], angle: Any
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Turned from z towards x by an angle in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return x * cos + z * sin, z * cos - x * sin
