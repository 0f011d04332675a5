"""The things of the street, each with shapes for training and others reserved for tests.

Every function places one thing in the road frame: `lateral` to the right of the centre line, `s` along it.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from sartm_sim.simulation.scene import (
    ANIMAL,
    BOX,
    BUILDING,
    CAR,
    CONE,
    CYCLIST,
    CYLINDER,
    ELLIPSOID,
    FOLIAGE,
    MASONRY,
    PERSON,
    PLAIN,
    POLE,
    SIGN,
    TAPER,
    VEGETATION,
    Primitives,
)  # fmt: skip

Colour = NDArray[np.float64]
DARK = np.full(3, 0.05)


class Builder:
    """Collects primitives row by row.

    Args:
        rng: every random choice comes from it.
        novel: whether things take the shapes kept for tests.
    """

    def __init__(self, rng: Generator, novel: bool) -> None:
        self.rng, self.novel = rng, novel
        self._rows: list[tuple[object, ...]] = []

    def add(
        self,
        shape: int,
        centre: tuple[float, float, float],
        half: tuple[float, float, float],
        class_id: int,
        albedo: Colour,
        *,
        yaw: float = 0.0,
        velocity: tuple[float, float] = (0.0, 0.0),
        reflectivity: float | None = None,
        heat_k: float = 0.0,
        emissivity: float = 0.95,
        lamp: tuple[float, float, float] = (0.0, 0.0, 0.0),
        material: int = PLAIN,
        windows: bool = False,
    ) -> None:
        """`centre` is (lateral, y, s), `velocity` (lateral, along), m/s; by default 905 nm reflects as red does."""
        moving = (velocity[0], 0.0, velocity[1])
        near_infrared = float(albedo[0]) if reflectivity is None else reflectivity
        self._rows.append(
            (shape, centre, half, yaw, moving, class_id, albedo, near_infrared, heat_k, emissivity, lamp, material,
             float(windows))
        )  # fmt: skip

    def build(self) -> Primitives:
        types = (np.int8, float, float, float, float, np.uint8, float, float, float, float, float, np.int8, float)
        columns = zip(*self._rows, strict=True)
        return Primitives(*(np.array(column, dtype) for column, dtype in zip(columns, types, strict=True)))


def paint(rng: Generator, low: float = 0.05, high: float = 0.8, tint: float = 0.35) -> Colour:
    """A random colour around a random grey."""
    return np.clip(rng.uniform(low, high) * (1 + rng.uniform(-tint, tint, 3)), 0.03, 0.92)


def add_building(builder: Builder, lateral: float, s: float, length: float, depth: float, side: int) -> None:
    """A house with its front towards the road at `lateral`."""
    rng = builder.rng
    albedo, heat = paint(rng, 0.25, 0.75, 0.25), rng.uniform(0.5, 4)
    height, x = rng.uniform(4, 18), lateral + side * depth / 2
    wall = {"heat_k": heat, "material": MASONRY, "windows": True}

    def block(shape: int, width: float, top: float, span: float, base: float = 0.0) -> None:
        builder.add(shape, (x, -base - top / 2, s), (width / 2, top / 2, span / 2), BUILDING, albedo, **wall)  # type: ignore[arg-type]

    if not builder.novel:
        block(BOX, depth, height, length)
        if rng.random() < 0.4:  # a lower wing in front of the roof line
            block(BOX, depth * 0.7, height + rng.uniform(1, 3), length * 0.4)
    elif rng.random() < 0.4:  # a round tower
        block(CYLINDER, min(depth, length), height * 1.2, min(depth, length))
    else:  # a gabled house: the roof narrows
        block(BOX, depth, height * 0.6, length)
        roof = paint(rng, 0.15, 0.4, 0.4)
        peak = rng.uniform(2, 4)
        builder.add(
            TAPER, (x, -height * 0.6 - peak / 2, s), (depth * 0.7, peak / 2, length * 0.6), BUILDING, roof, heat_k=heat
        )


def add_tree(builder: Builder, lateral: float, s: float) -> None:
    """A tree, a bush or a hedge; leaves are bright in the near infrared and cool."""
    rng = builder.rng
    green = np.array([rng.uniform(0.12, 0.4), rng.uniform(0.28, 0.5), rng.uniform(0.06, 0.2)])
    leaves = {"reflectivity": rng.uniform(0.5, 0.75), "material": FOLIAGE, "heat_k": rng.uniform(-2.5, 0.0)}
    bark = np.array([0.25, 0.18, 0.12]) * rng.uniform(0.6, 1.4)

    def crown(shape: int, at: tuple[float, float, float], half: tuple[float, float, float]) -> None:
        builder.add(shape, at, half, VEGETATION, green * rng.uniform(0.85, 1.15), **leaves)  # type: ignore[arg-type]

    kind = rng.random()
    if builder.novel and kind < 0.35:  # a hedge
        crown(BOX, (lateral, -0.7, s), (0.5, 0.7, rng.uniform(1.5, 4)))
        return
    if not builder.novel and kind < 0.3:  # a bush
        radius = rng.uniform(0.5, 1.1)
        crown(ELLIPSOID, (lateral, -radius * 0.7, s), (radius, radius, radius * 1.4))
        return
    trunk, radius = rng.uniform(1.2, 3.0), rng.uniform(1.0, 2.4)
    builder.add(CYLINDER, (lateral, -trunk / 2, s), (0.15, trunk / 2, 0.15), VEGETATION, bark, material=MASONRY)
    if builder.novel:  # a conifer: tapers on one another
        for tier in range(3):
            half = (radius * (1 - 0.22 * tier), 1.1, radius * (1 - 0.22 * tier))
            crown(TAPER, (lateral, -trunk - 0.6 - 1.3 * tier, s), half)
    elif kind < 0.65:
        tall = radius * rng.uniform(0.8, 1.3)
        crown(ELLIPSOID, (lateral, -trunk - tall * 0.8, s), (radius, tall, radius))
    else:
        for _ in range(3):
            dx, dz = rng.uniform(-0.5, 0.5, 2) * radius
            part = radius * rng.uniform(0.55, 0.8)
            crown(ELLIPSOID, (lateral + dx, -trunk - part * rng.uniform(0.6, 1.4), s + dz), (part, part, part))


def add_pole(builder: Builder, lateral: float, s: float, side: int) -> None:
    """A street lamp, or a post that carries a sign."""
    rng = builder.rng
    metal = {"emissivity": 0.75, "heat_k": -0.5}
    height, grey = rng.uniform(5, 7.5), paint(rng, 0.2, 0.6, 0.05)
    shape, radius = (CYLINDER, 0.13) if builder.novel else (BOX, 0.1)
    light = (2.2, 1.8, 1.2)
    if rng.random() < 0.45:
        add_sign(builder, lateral, s, shape)
        return
    builder.add(shape, (lateral, -height / 2, s), (radius, height / 2, radius), POLE, grey, **metal)  # type: ignore[arg-type]
    if builder.novel and rng.random() < 0.5:  # a traffic light
        builder.add(BOX, (lateral, -2.8, s), (0.18, 0.5, 0.15), POLE, DARK, heat_k=4.0, lamp=(0.9, 0.3, 0.1))
    elif builder.novel:  # a globe
        builder.add(ELLIPSOID, (lateral, -height, s), (0.3, 0.3, 0.3), POLE, grey, heat_k=4.0, lamp=light)
    else:  # an arm over the road
        builder.add(BOX, (lateral - side * 0.7, -height, s), (0.7, 0.07, 0.12), POLE, grey, heat_k=3.0, lamp=light)


def add_sign(builder: Builder, lateral: float, s: float, post: int) -> None:
    """A traffic sign on its post: retro-reflecting, hence bright for headlights and LiDAR."""
    rng = builder.rng
    height = rng.uniform(2.0, 3.0)
    builder.add(post, (lateral, -height / 2, s), (0.06, height / 2, 0.06), POLE, np.full(3, 0.45), emissivity=0.7)
    colour = np.array([(0.8, 0.1, 0.1), (0.1, 0.2, 0.8), (0.85, 0.75, 0.1), (0.85, 0.85, 0.85)][rng.integers(4)])
    size = rng.uniform(0.32, 0.5)
    shapes = (TAPER, BOX) if builder.novel else (BOX, ELLIPSOID)
    shape = shapes[rng.integers(2)]
    half = (size * 2.2, size * 0.7, 0.04) if builder.novel and shape == BOX else (size, size, 0.04)
    builder.add(
        shape, (lateral, -height - half[1] * 0.8, s - 0.08), half, SIGN, colour, reflectivity=2.5, emissivity=0.8,
        heat_k=-0.5,
    )  # fmt: skip


def add_car(builder: Builder, lateral: float, s: float, velocity: float, yaw: float = 0.0) -> None:
    """A car; those that drive, and some that are parked, are warm. Lamps shine while it drives."""
    rng = builder.rng
    colour = paint(rng, tint=0.7)
    warm = velocity != 0 or rng.random() < 0.3
    heat, driving = (rng.uniform(4, 12) if warm else rng.uniform(-1.5, 0.5)), velocity != 0
    long, half_width = rng.uniform(1.8, 2.4), rng.uniform(0.8, 0.95)
    if builder.novel and rng.random() < 0.5:  # a van
        parts = [(0.0, 0.95, long * 1.2, 0.85, 0.3)]
    elif builder.novel:  # a pick-up: the cabin stands in front
        parts = [(0.0, 0.38, long * 1.15, 1.0, 0.3), (0.35, 0.4, long * 0.4, 0.9, 1.05)]
    else:  # a saloon or an estate
        low = rng.uniform(0.32, 0.5)
        parts = [(0.0, low, long, 1.0, 0.25), (-0.1, rng.uniform(0.25, 0.4), long * rng.uniform(0.5, 0.8), 0.85, 0.25)]
        parts[1] = (*parts[1][:4], 0.25 + 2 * low)

    cos, sin = np.cos(yaw), np.sin(yaw)

    def part(
        shape: int, along: float, across: float, base: float, half: tuple[float, float, float], **kw: object
    ) -> None:
        at = (lateral + along * sin + across * cos, -base - half[1], s + along * cos - across * sin)
        builder.add(shape, at, half, CAR, kw.pop("albedo", colour), yaw=yaw, velocity=(0.0, velocity), **kw)  # type: ignore[arg-type]

    for index, (shift, tall, length, width, base) in enumerate(parts):
        glass = index > 0
        part(
            BOX, shift * long, 0.0, base, (half_width * width, tall, length),
            albedo=colour * 0.45 + 0.05 if glass else colour, emissivity=0.8,
            heat_k=heat * (0.4 if glass else 1.0), reflectivity=float(colour[0]) * (0.5 if glass else 1.0),
        )  # fmt: skip
    for end in (-1, 1):
        part(CYLINDER if builder.novel else BOX, end * long * 0.62, 0.0, 0.0, (half_width, 0.31, 0.32), albedo=DARK,
             heat_k=6.0 if warm else 0.0)  # fmt: skip
        lamp = (3.0, 2.8, 2.3) if end == (1 if velocity >= 0 else -1) else (0.9, 0.05, 0.03)
        for across in (-0.65, 0.65):
            part(BOX, end * (parts[0][2] + 0.02), across * half_width, 0.55, (0.13, 0.08, 0.02), albedo=np.full(3, 0.5),
                 heat_k=heat, lamp=lamp if driving else (0.0, 0.0, 0.0), reflectivity=1.5)  # fmt: skip


def add_person(
    builder: Builder, lateral: float, s: float, velocity: tuple[float, float], class_id: int = PERSON
) -> None:
    """A person on foot; warm where the skin is bare, less through clothes."""
    rng = builder.rng
    tall = rng.uniform(1.5, 1.9)
    clothes, trousers, skin = paint(rng, tint=0.7), paint(rng), np.array([0.75, 0.55, 0.45]) * rng.uniform(0.5, 1.1)

    def part(
        shape: int, across: float, at: float, half: tuple[float, float, float], albedo: Colour, heat: float
    ) -> None:
        scaled = (half[0], half[1] * tall, half[2])
        builder.add(shape, (lateral + across, -at * tall, s), scaled, class_id, albedo, velocity=velocity, heat_k=heat)

    if builder.novel and rng.random() < 0.5:  # a long coat and a hat
        part(TAPER, 0.0, 0.5, (0.36, 0.5, 0.32), clothes, 8.0)
        part(BOX, 0.0, 0.68, (0.25, 0.16, 0.15), clothes, 9.0)
        part(CYLINDER, 0.0, 1.0, (0.22, 0.03, 0.22), trousers, 3.0)
    elif builder.novel:  # a child with a satchel
        tall *= 0.65
        part(CYLINDER, 0.0, 0.24, (0.13, 0.24, 0.11), trousers, 10.0)
        part(BOX, 0.0, 0.64, (0.2, 0.2, 0.14), clothes, 11.0)
        part(BOX, 0.22, 0.66, (0.08, 0.14, 0.16), paint(rng), 1.0)
    elif rng.random() < 0.5:  # standing
        part(BOX, 0.0, 0.24, (0.16, 0.24, 0.13), trousers, 9.0)
        part(ELLIPSOID, 0.0, 0.64, (0.25, 0.2, 0.17), clothes, 11.0)
    else:  # two legs apart
        for across in (-0.12, 0.12):
            part(BOX, across, 0.24, (0.08, 0.24, 0.1), trousers, 9.0)
        part(BOX, 0.0, 0.64, (0.21, 0.19, 0.13), clothes, 11.0)
    part(ELLIPSOID, 0.0, 0.92, (0.11, 0.075, 0.12), skin, 20.0)


def add_cyclist(builder: Builder, lateral: float, s: float, velocity: float) -> None:
    """Rider and bicycle."""
    rng = builder.rng
    clothes, frame = paint(rng), paint(rng)
    moving = (0.0, velocity)

    def part(
        shape: int, along: float, at: float, half: tuple[float, float, float], albedo: Colour, heat: float
    ) -> None:
        builder.add(shape, (lateral, -at, s + along), half, CYCLIST, albedo, velocity=moving, heat_k=heat)

    for end in (-0.5, 0.5):
        part(ELLIPSOID, end, 0.34, (0.035, 0.34, 0.34), DARK, 0.5)
    part(BOX, 0.0, 0.62, (0.03, 0.06, 0.5), frame, -0.5)
    if builder.novel:  # a box for goods in front, a helmet
        part(BOX, 0.75, 0.55, (0.3, 0.28, 0.35), paint(rng), 0.0)
        part(BOX, -0.05, 1.15, (0.22, 0.32, 0.18), clothes, 10.0)
        part(ELLIPSOID, 0.0, 1.62, (0.15, 0.13, 0.17), paint(rng), 3.0)
    else:
        part(ELLIPSOID, 0.0, 1.2, (0.22, 0.34, 0.22), clothes, 11.0)
        part(ELLIPSOID, 0.1, 1.62, (0.11, 0.14, 0.12), np.array([0.7, 0.52, 0.42]), 20.0)
    part(BOX, 0.1, 0.72, (0.15, 0.26, 0.1), paint(rng), 9.0)


def add_animal(builder: Builder, lateral: float, s: float, velocity: tuple[float, float]) -> None:
    """A dog; in tests a deer."""
    rng = builder.rng
    fur, size = np.array([0.5, 0.36, 0.22]) * rng.uniform(0.3, 1.5), rng.uniform(0.8, 1.2)
    heading = np.arctan2(velocity[0], velocity[1]) if any(velocity) else rng.uniform(-np.pi, np.pi)
    cos, sin = np.cos(heading), np.sin(heading)

    def part(shape: int, along: float, at: float, half: tuple[float, float, float], heat: float) -> None:
        builder.add(
            shape, (lateral + along * sin * size, -at * size, s + along * cos * size),
            (half[0] * size, half[1] * size, half[2] * size), ANIMAL, fur, yaw=heading, velocity=velocity,
            heat_k=heat, reflectivity=0.4,
        )  # fmt: skip

    if builder.novel:
        part(ELLIPSOID, 0.0, 0.95, (0.22, 0.25, 0.55), 10.0)
        part(CYLINDER, 0.55, 1.3, (0.1, 0.32, 0.1), 11.0)
        part(ELLIPSOID, 0.68, 1.62, (0.1, 0.12, 0.22), 14.0)
        for along in (-0.38, 0.38):
            part(BOX, along, 0.4, (0.16, 0.4, 0.05), 7.0)
        return
    part(ELLIPSOID, 0.0, 0.52, (0.17, 0.18, 0.42), 12.0)
    part(ELLIPSOID, 0.48, 0.72, (0.12, 0.13, 0.18), 15.0)
    for along in (-0.28, 0.28):
        part(BOX, along, 0.2, (0.13, 0.2, 0.05), 9.0)


def add_cone(builder: Builder, lateral: float, s: float) -> None:
    """A traffic cone with a reflecting collar; in tests a barrel."""
    rng = builder.rng
    orange, white = np.array([0.85, 0.3, 0.06]) * rng.uniform(0.8, 1.1), np.full(3, 0.85)
    if builder.novel:
        builder.add(CYLINDER, (lateral, -0.5, s), (0.29, 0.5, 0.29), CONE, orange)
        builder.add(CYLINDER, (lateral, -0.6, s), (0.3, 0.1, 0.3), CONE, white, reflectivity=2.0)
        return
    tall = rng.uniform(0.3, 0.45)
    builder.add(BOX, (lateral, -0.03, s), (0.24, 0.03, 0.24), CONE, DARK)
    builder.add(TAPER, (lateral, -tall, s), (0.22, tall, 0.22), CONE, orange)
    builder.add(CYLINDER, (lateral, -tall * 0.9, s), (0.125, 0.06, 0.125), CONE, white, reflectivity=2.0)
