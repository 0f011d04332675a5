"""What stands in the simulated street: boxes and ellipsoids with a class, a colour and a temperature.

World frame: x right, y down, z forward along the road, metres; the ground is y = 0.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

CLASS_NAMES = ("road", "sidewalk", "terrain", "building", "vegetation", "pole", "car", "person", "sky")
"""Index = class id in the simulator's truth."""

ROAD, SIDEWALK, TERRAIN, BUILDING, VEGETATION, POLE, CAR, PERSON, SKY = range(len(CLASS_NAMES))

BOX, ELLIPSOID = 0, 1

SCENE_LENGTH_M = 400.0
"""The street repeats itself after this distance."""


@dataclass(frozen=True, slots=True)
class Primitives:
    """N shapes, one row each.

    Attributes:
        shape: int [N], BOX or ELLIPSOID.
        centre: float [N, 3], world metres at time 0.
        half: float [N, 3], half extents along x, y, z, metres.
        velocity: float [N, 3], metres per second.
        class_id: int [N].
        albedo: float [N, 3], reflected share of red, green, blue.
        own_heat_k: float [N], temperature above the surroundings by the thing's own heat, kelvin.
        windows: float [N], 1 where the faces carry windows.
    """

    shape: NDArray[np.int8]
    centre: NDArray[np.float64]
    half: NDArray[np.float64]
    velocity: NDArray[np.float64]
    class_id: NDArray[np.uint8]
    albedo: NDArray[np.float64]
    own_heat_k: NDArray[np.float64]
    windows: NDArray[np.float64]

    def select(self, rows: NDArray[np.bool_]) -> "Primitives":
        """The rows that are true."""
        return Primitives(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


@dataclass(frozen=True, slots=True)
class Scene:
    """One street.

    Attributes:
        primitives: everything above the ground.
        road_half_width_m: half the width of the carriageway.
        sidewalk_width_m: width of the strip on both sides of it.
        ego_speed_mps: the camera moves along z at this speed.
        ego_x_m: lateral position of the camera.
        sun_direction: unit vector from the ground to the sun.
        ground_albedo: float [3, 3], colour of road, sidewalk, terrain.
    """

    primitives: Primitives
    road_half_width_m: float
    sidewalk_width_m: float
    ego_speed_mps: float
    ego_x_m: float
    sun_direction: NDArray[np.float64]
    ground_albedo: NDArray[np.float64]


class _Builder:
    """Collects primitives row by row."""

    def __init__(self) -> None:
        self.rows: list[tuple[object, ...]] = []

    def add(
        self,
        shape: int,
        centre: tuple[float, float, float],
        half: tuple[float, float, float],
        class_id: int,
        albedo: NDArray[np.float64],
        *,
        velocity_z: float = 0.0,
        velocity_x: float = 0.0,
        own_heat_k: float = 0.0,
        windows: bool = False,
    ) -> None:
        velocity = (velocity_x, 0.0, velocity_z)
        self.rows.append((shape, centre, half, velocity, class_id, albedo, own_heat_k, float(windows)))

    def build(self) -> Primitives:
        types = (np.int8, float, float, float, np.uint8, float, float, float)
        columns = zip(*self.rows, strict=True)
        return Primitives(*(np.array(column, dtype) for column, dtype in zip(columns, types, strict=True)))


def generate_scene(seed: int) -> Scene:
    """A street from a seed: the same seed gives the same street in every process."""
    rng = np.random.default_rng((seed, 0x5CE9E))
    road = rng.uniform(3.5, 6.5)
    sidewalk = rng.uniform(1.8, 3.5)
    builder = _Builder()
    for side in (-1, 1):
        _add_buildings(builder, rng, side, road + sidewalk)
        _add_trees(builder, rng, side, road + sidewalk)
        _add_poles(builder, rng, side, road)
        _add_parked_cars(builder, rng, side, road)
        _add_persons(builder, rng, side, road, sidewalk)
    speed = rng.uniform(4.0, 8.0)
    _add_traffic(builder, rng, road, speed)
    _add_crossing_persons(builder, rng, road)
    azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.1)
    sun = np.array([np.cos(azimuth) * np.cos(elevation), -np.sin(elevation), np.sin(azimuth) * np.cos(elevation)])
    grey = rng.uniform(0.16, 0.28)
    ground = np.array(
        [
            np.array([1.0, 1.0, 1.02]) * grey,
            np.array([1.0, 0.97, 0.92]) * rng.uniform(0.34, 0.5),
            np.array([0.7, 0.9, 0.4]) * rng.uniform(0.3, 0.45),
        ]
    )
    return Scene(builder.build(), road, sidewalk, speed, rng.uniform(0.3, 0.5) * road, sun, ground)


def _grey_tint(rng: Generator, low: float, high: float, tint: float) -> NDArray[np.float64]:
    return np.clip(rng.uniform(low, high) * (1 + rng.uniform(-tint, tint, 3)), 0.02, 0.95)


def _add_buildings(builder: _Builder, rng: Generator, side: int, kerb: float) -> None:
    z = rng.uniform(0, 10)
    while z < SCENE_LENGTH_M - 15:
        length = rng.uniform(8, 24)
        if rng.random() < 0.82:
            depth, height = rng.uniform(6, 12), rng.uniform(4, 18)
            x = side * (kerb + rng.uniform(0.3, 5) + depth / 2)
            half = (depth / 2, height / 2, length / 2)
            albedo = _grey_tint(rng, 0.3, 0.75, 0.25)
            heat = rng.uniform(0.5, 4)
            builder.add(BOX, (x, -height / 2, z + length / 2), half, BUILDING, albedo, own_heat_k=heat, windows=True)
        z += length + rng.uniform(0, 6)


def _add_trees(builder: _Builder, rng: Generator, side: int, kerb: float) -> None:
    for z in np.arange(rng.uniform(0, 10), SCENE_LENGTH_M, rng.uniform(8, 20)):
        if rng.random() < 0.3:
            continue
        z, x = z + rng.uniform(-2, 2), side * (kerb + rng.uniform(-0.4, 1.2))
        green = np.array([rng.uniform(0.18, 0.4), rng.uniform(0.32, 0.5), rng.uniform(0.08, 0.2)])
        if rng.random() < 0.3:  # a bush
            radius = rng.uniform(0.5, 1.1)
            builder.add(ELLIPSOID, (x, -radius * 0.7, z), (radius, radius, radius * 1.4), VEGETATION, green)
            continue
        trunk, crown = rng.uniform(1.6, 3.0), rng.uniform(1.2, 2.6)
        builder.add(BOX, (x, -trunk / 2, z), (0.14, trunk / 2, 0.14), VEGETATION, np.array([0.25, 0.18, 0.12]))
        half = (crown, crown * rng.uniform(0.8, 1.3), crown)
        builder.add(ELLIPSOID, (x, -trunk - half[1] * 0.8, z), half, VEGETATION, green)


def _add_poles(builder: _Builder, rng: Generator, side: int, road: float) -> None:
    for z in np.arange(rng.uniform(0, 15), SCENE_LENGTH_M, rng.uniform(14, 26)):
        height, x = rng.uniform(3, 7), side * (road + rng.uniform(0.3, 0.7))
        albedo = _grey_tint(rng, 0.25, 0.6, 0.05)
        builder.add(BOX, (x, -height / 2, z), (0.1, height / 2, 0.1), POLE, albedo)
        if height > 5:  # a lamp reaches over the road
            builder.add(BOX, (x - side * 0.7, -height, z), (0.7, 0.07, 0.12), POLE, albedo, own_heat_k=3.0)
        else:  # a sign
            colour = np.array([(0.8, 0.1, 0.1), (0.1, 0.2, 0.8), (0.85, 0.75, 0.1)][rng.integers(3)])
            builder.add(BOX, (x, -height, z), (0.35, 0.35, 0.04), POLE, colour)


def _add_car(builder: _Builder, rng: Generator, x: float, z: float, velocity_z: float) -> None:
    colour = np.clip(rng.uniform(0.05, 0.8) + rng.uniform(-0.25, 0.25, 3) * (rng.random() < 0.6), 0.03, 0.9)
    length, height, width = rng.uniform(1.8, 2.4), rng.uniform(0.32, 0.5), rng.uniform(0.8, 0.95)
    warm = velocity_z != 0 or rng.random() < 0.3
    heat = rng.uniform(4, 12) if warm else rng.uniform(-1.5, 0.5)
    base = -0.25 - height
    builder.add(BOX, (x, base, z), (width, height, length), CAR, colour, velocity_z=velocity_z, own_heat_k=heat)
    cabin = rng.uniform(0.25, 0.4)
    centre = (x, base - height - cabin, z - 0.2)
    half = (width * 0.85, cabin, length * rng.uniform(0.5, 0.75))
    glass = colour * 0.5 + 0.05
    builder.add(BOX, centre, half, CAR, glass, velocity_z=velocity_z, own_heat_k=heat * 0.4)
    for end in (-1, 1):
        wheel = (width, 0.3, 0.32)
        at = (x, -0.3, z + end * length * 0.62)
        tyre = np.full(3, 0.05)
        builder.add(BOX, at, wheel, CAR, tyre, velocity_z=velocity_z, own_heat_k=6.0 if warm else 0.0)


def _add_parked_cars(builder: _Builder, rng: Generator, side: int, road: float) -> None:
    if road < 4.2:
        return
    for z in np.arange(rng.uniform(0, 20), SCENE_LENGTH_M, 6.5):
        if rng.random() < 0.35:
            _add_car(builder, rng, side * (road - 1.1), z, 0.0)


def _add_traffic(builder: _Builder, rng: Generator, road: float, ego_speed: float) -> None:
    for z in np.arange(12, SCENE_LENGTH_M, rng.uniform(22, 45)):
        oncoming = rng.random() < 0.5
        x = -0.45 * road if oncoming else 0.42 * road
        _add_car(builder, rng, x, z + rng.uniform(-5, 5), -rng.uniform(4, 8) if oncoming else ego_speed)


def _add_person(builder: _Builder, rng: Generator, x: float, z: float, vx: float, vz: float) -> None:
    height = rng.uniform(1.5, 1.9)
    clothes, trousers = (np.clip(rng.uniform(0.05, 0.8, 3), 0.03, 0.9) for _ in range(2))
    skin = np.array([0.75, 0.55, 0.45]) * rng.uniform(0.5, 1.1)
    parts = (
        (BOX, 0.24, (0.16, 0.24, 0.13), trousers, 9.0),
        (ELLIPSOID, 0.64, (0.25, 0.2, 0.17), clothes, 11.0),
        (ELLIPSOID, 0.92, (0.12, 0.075, 0.12), skin, 20.0),
    )
    for shape, at, (half_x, half_y, half_z), albedo, heat in parts:
        centre, half = (x, -at * height, z), (half_x, half_y * height, half_z)
        builder.add(shape, centre, half, PERSON, albedo, velocity_x=vx, velocity_z=vz, own_heat_k=heat)


def _add_persons(builder: _Builder, rng: Generator, side: int, road: float, sidewalk: float) -> None:
    for z in np.arange(rng.uniform(2, 10), SCENE_LENGTH_M, rng.uniform(6, 14)):
        if rng.random() < 0.75:
            x = side * (road + rng.uniform(0.5, sidewalk - 0.2))
            _add_person(builder, rng, x, z + rng.uniform(-3, 3), 0.0, rng.choice([-1.2, 0.0, 1.2]))


def _add_crossing_persons(builder: _Builder, rng: Generator, road: float) -> None:
    for z in np.arange(rng.uniform(10, 40), SCENE_LENGTH_M, rng.uniform(35, 60)):
        _add_person(builder, rng, rng.uniform(-road, road), z, rng.uniform(-0.3, 0.3), 0.0)
