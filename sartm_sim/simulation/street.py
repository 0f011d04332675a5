"""A street from a seed: its course, its houses, its traffic."""

import numpy as np
from numpy.typing import NDArray

from sartm_sim.simulation import objects
from sartm_sim.simulation.objects import Builder
from sartm_sim.simulation.scene import SCENE_LENGTH_M, Bend, Scene


def generate_scene(seed: int, novel: bool = False) -> Scene:
    """The same seed gives the same street in every process.

    Args:
        seed: any int >= 0.
        novel: shapes, textures and layouts (sharp bends, side streets, hedges, set-back houses) that training streets
            never have.
    """
    rng = np.random.default_rng((seed, 0x5CE9E, int(novel)))
    road, sidewalk = rng.uniform(3.5, 6.5), rng.uniform(1.8, 3.5)
    builder = Builder(rng, novel)
    crossings = np.sort(rng.uniform(0, SCENE_LENGTH_M, 4)) if novel else np.zeros(0)
    crossing_half = rng.uniform(3.0, 5.0)
    zebras = rng.uniform(0, SCENE_LENGTH_M, rng.integers(2, 7))
    for side in (-1, 1):
        _line_with_houses(builder, side, road + sidewalk, crossings, crossing_half)
        _line_with_trees(builder, side, road + sidewalk, crossings, crossing_half)
        _line_with_poles(builder, side, road)
        _park_cars(builder, side, road, crossings, crossing_half)
        _people_the_sidewalk(builder, side, road, sidewalk)
        _set_cones(builder, side, road)
    speed = rng.uniform(4.0, 8.0)
    _drive_traffic(builder, road, speed)
    _cross_the_road(builder, road, zebras)
    things = builder.build()
    return Scene(
        things=things,
        bend=_bend(rng, novel),
        road_half_width_m=road,
        sidewalk_width_m=sidewalk,
        crossings_s=crossings,
        crossing_half_width_m=crossing_half,
        zebras_s=zebras,
        dash_m=rng.uniform(2.0, 4.0),
        ego_speed_mps=speed,
        ego_lateral_m=rng.uniform(0.3, 0.5) * road,
        sun_azimuth=rng.uniform(-np.pi, np.pi),
        sun_elevation=rng.uniform(0.5, 1.1),
        ground_albedo=_ground(rng),
        novel=novel,
        seed=seed,
    )


def _bend(rng: np.random.Generator, novel: bool) -> Bend:
    """Headings of at most 8 degrees in training streets; of 9 to 17 in the others, in shorter bends."""
    heading = np.radians(rng.uniform(9, 17) if novel else rng.uniform(0, 8))
    waves = 4
    share = rng.uniform(0, 1, waves) * (np.arange(waves) >= 1 if novel else np.arange(waves) < 3)
    share /= share.sum()
    wave_number = 2 * np.pi * np.arange(1, waves + 1) / SCENE_LENGTH_M
    return Bend(share * np.tan(heading) / wave_number, rng.uniform(0, 2 * np.pi, waves))


def _ground(rng: np.random.Generator) -> NDArray[np.float64]:
    return np.array(
        [
            np.array([1.0, 1.0, 1.02]) * rng.uniform(0.12, 0.3),
            np.array([1.0, 0.97, 0.92]) * rng.uniform(0.25, 0.5),
            np.array([rng.uniform(0.5, 1.0), 0.9, 0.45]) * rng.uniform(0.22, 0.45),
        ]
    )


def _free(s: float, half: float, crossings: NDArray[np.float64], crossing_half: float) -> bool:
    """Whether a thing of half a length around s leaves the side streets open."""
    return not bool((np.abs(crossings - s) < half + crossing_half + 0.5).any())


def _line_with_houses(
    builder: Builder, side: int, kerb: float, crossings: NDArray[np.float64], crossing_half: float
) -> None:
    rng = builder.rng
    s = rng.uniform(0, 10)
    while s < SCENE_LENGTH_M - 15:
        length, depth = rng.uniform(8, 24), rng.uniform(6, 12)
        setback = rng.uniform(4, 14) if builder.novel else rng.uniform(0.3, 5)
        if rng.random() < 0.82 and _free(s + length / 2, length / 2, crossings, crossing_half):
            objects.add_building(builder, side * (kerb + setback), s + length / 2, length, depth, side)
        s += length + rng.uniform(0, 6)


def _line_with_trees(
    builder: Builder, side: int, kerb: float, crossings: NDArray[np.float64], crossing_half: float
) -> None:
    rng = builder.rng
    for s in np.arange(rng.uniform(0, 10), SCENE_LENGTH_M, rng.uniform(8, 20)):
        at = s + rng.uniform(-2, 2)
        if rng.random() < 0.7 and _free(at, 2.5, crossings, crossing_half):
            objects.add_tree(builder, side * (kerb + rng.uniform(-0.4, 2.2)), at)


def _line_with_poles(builder: Builder, side: int, road: float) -> None:
    rng = builder.rng
    for s in np.arange(rng.uniform(0, 12), SCENE_LENGTH_M, rng.uniform(11, 22)):
        objects.add_pole(builder, side * (road + rng.uniform(0.3, 0.8)), s, side)


def _park_cars(builder: Builder, side: int, road: float, crossings: NDArray[np.float64], crossing_half: float) -> None:
    rng = builder.rng
    if road < 4.2:
        return
    yaw = side * rng.uniform(0.5, 0.9) if builder.novel and road > 5.5 else 0.0
    for s in np.arange(rng.uniform(0, 20), SCENE_LENGTH_M, 6.5):
        if rng.random() < 0.35 and _free(s, 3, crossings, crossing_half):
            objects.add_car(builder, side * (road - 1.1), s, 0.0, yaw)


def _drive_traffic(builder: Builder, road: float, ego_speed: float) -> None:
    rng = builder.rng
    for s in np.arange(12, SCENE_LENGTH_M - 10, rng.uniform(20, 40)):
        kind, oncoming = rng.random(), rng.random() < 0.5
        at = s + rng.uniform(-5, 5)
        if kind < 0.25:
            lateral = (-0.75 if oncoming else 0.78) * road
            objects.add_cyclist(builder, lateral, at, -rng.uniform(2, 5) if oncoming else ego_speed * 0.9)
        else:
            lateral = (-0.45 if oncoming else 0.42) * road
            objects.add_car(builder, lateral, at, -rng.uniform(4, 8) if oncoming else ego_speed)


def _people_the_sidewalk(builder: Builder, side: int, road: float, sidewalk: float) -> None:
    rng = builder.rng
    for s in np.arange(rng.uniform(2, 10), SCENE_LENGTH_M, rng.uniform(6, 14)):
        kind, lateral = rng.random(), side * (road + rng.uniform(0.5, sidewalk - 0.2))
        at = s + rng.uniform(-3, 3)
        velocity = (0.0, float(rng.choice([-1.2, 0.0, 1.2])))
        if kind < 0.6:
            objects.add_person(builder, lateral, at, velocity)
        elif kind < 0.75:
            objects.add_animal(builder, lateral, at, velocity)


def _set_cones(builder: Builder, side: int, road: float) -> None:
    """Road works: a row of cones that leads away from the kerb."""
    rng = builder.rng
    for start in rng.uniform(0, SCENE_LENGTH_M - 20, rng.integers(2, 6)):
        for index in range(rng.integers(3, 8)):
            objects.add_cone(builder, side * (road - 0.3 - 0.12 * index), start + 2.2 * index)


def _cross_the_road(builder: Builder, road: float, zebras: NDArray[np.float64]) -> None:
    rng = builder.rng
    anywhere = np.arange(rng.uniform(10, 40), SCENE_LENGTH_M, rng.uniform(35, 60))
    for s in (*anywhere, *(zebras + 1.5)):
        place = objects.add_animal if rng.random() < 0.25 else objects.add_person
        place(builder, rng.uniform(-road, road), float(s), (float(rng.uniform(-0.3, 0.3)), 0.0))
