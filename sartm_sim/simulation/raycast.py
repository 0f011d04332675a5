"""What each ray of a sensor hits: ray casting against upright shapes, vectorised per shape.

A ray is (x, y, 1) in the ego frame, scaled to 1 m ahead. Where a sensor looks straight ahead, x depends on the column
alone, and so do the two upright pairs of faces of any box, however it is turned: a box costs a handful of operations on
its rectangle in the image.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sartm_sim.simulation.scene import BOX, CYLINDER, ELLIPSOID, TAPER, Primitives

NEAR_M = 0.3
GROUND, SKY_ID = -1, -2
"""Values of `Hits.primitive` that are not primitives."""

Floats = NDArray[np.float32]


class Rays(Protocol):
    """A sensor's bundle of rays, [H, W].

    Attributes:
        x, y: float32, broadcast to [H, W]; direction of each ray where it has gone 1 m ahead.
        position: float64 [3], where the rays begin, ego frame, metres.
    """

    @property
    def x(self) -> Floats: ...
    @property
    def y(self) -> Floats: ...
    @property
    def position(self) -> NDArray[np.float64]: ...
    @property
    def shape(self) -> tuple[int, int]: ...

    def rectangles(self, corners: NDArray[np.float64]) -> NDArray[np.int64]:
        """[N, 4] (top, bottom, left, right) that hold the shapes with corners [N, 8, 3], relative to the position."""
        ...


@dataclass(frozen=True, slots=True)
class Hits:
    """Attributes: depth float32 [H, W], metres ahead (along z), infinite for the sky; primitive int32 [H, W], a row of
    the primitives, GROUND or SKY_ID.
    """

    depth: Floats
    primitive: NDArray[np.int32]


def cast(rays: Rays, things: Primitives) -> Hits:
    """The nearest surface hit by each ray."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        depth = np.array(np.broadcast_to(np.where(rays.y > 0, -rays.position[1] / rays.y, np.inf), rays.shape), "f4")
        primitive = np.where(np.isfinite(depth), GROUND, SKY_ID).astype(np.int32)
        corners = box_corners(things) - rays.position
        nearest = np.maximum(corners[..., 2].min(axis=1), NEAR_M)
        rectangles = rays.rectangles(corners)
        drawn = (rectangles[:, 0] < rectangles[:, 1]) & (rectangles[:, 2] < rectangles[:, 3])
        centres = (things.centre - rays.position).astype(np.float32)
        halves = things.half.astype(np.float32)
        # From near to far: a fully hidden shape costs only a look at its rectangle.
        for index in np.flatnonzero(drawn)[np.argsort(nearest[drawn], kind="stable")].tolist():
            top, bottom, left, right = rectangles[index].tolist()
            window = np.s_[top:bottom, left:right]
            if nearest[index] > depth[window].max():
                continue
            x, y = _part(rays.x, top, bottom, left, right), _part(rays.y, top, bottom, left, right)
            yaw = float(things.yaw[index])
            hit = _INTERSECT[int(things.shape[index])](*_local(x, y, centres[index], yaw), halves[index])
            closer = hit < depth[window]
            np.copyto(depth[window], hit, where=closer)
            np.copyto(primitive[window], index, where=closer)
    return Hits(depth, primitive)


def box_corners(things: Primitives) -> NDArray[np.float64]:
    """[N, 8, 3], the corners of the boxes that hold the shapes, in the frame of their centres."""
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    own = things.half[:, None, :] * signs
    cos, sin = np.cos(things.yaw)[:, None], np.sin(things.yaw)[:, None]
    turned = np.stack([own[..., 0] * cos + own[..., 2] * sin, own[..., 1], own[..., 2] * cos - own[..., 0] * sin], -1)
    return turned + things.centre[:, None, :]


def _part(grid: Floats, top: int, bottom: int, left: int, right: int) -> Floats:
    """A rectangle of an array that may have one row or one column only."""
    rows = slice(None) if grid.shape[0] == 1 else slice(top, bottom)
    columns = slice(None) if grid.shape[1] == 1 else slice(left, right)
    return grid[rows, columns]


Local = tuple[Floats, Floats, Floats, Floats]
"""Rays in a shape's own axes: directions x, y, z and the shape's centre [3]."""


def _local(x: Floats, y: Floats, centre: Floats, yaw: float) -> Local:
    cos, sin = np.float32(np.cos(yaw)), np.float32(np.sin(yaw))
    turned = np.array([centre[0] * cos - centre[2] * sin, centre[1], centre[0] * sin + centre[2] * cos], np.float32)
    return x * cos - sin, y, x * sin + cos, turned


def _slab(direction: Floats, centre: np.float32, half: np.float32) -> tuple[Floats, Floats]:
    one, other = (centre - half) / direction, (centre + half) / direction
    return np.minimum(one, other), np.maximum(one, other)


def _first(enter: Floats, leave: Floats) -> Floats:
    """Depth of the first hit, infinite where the ray misses."""
    enter[~((enter <= leave) & (enter >= NEAR_M))] = np.inf
    return enter


def _box(x: Floats, y: Floats, z: Floats, centre: Floats, half: Floats) -> Floats:
    enter_x, leave_x = _slab(x, centre[0], half[0])
    enter_z, leave_z = _slab(z, centre[2], half[2])
    enter_y, leave_y = _slab(y, centre[1], half[1])
    enter = np.maximum(np.maximum(enter_x, enter_z), enter_y)
    return _first(enter, np.minimum(np.minimum(leave_x, leave_z), leave_y))


def _ellipsoid(x: Floats, y: Floats, z: Floats, centre: Floats, half: Floats) -> Floats:
    """Solves |(t d - c) / r| = 1 for the nearer t."""
    c = centre / half
    x, y, z = x / half[0], y / half[1], z / half[2]
    a = x * x + z * z + y * y
    b = x * c[0] + z * c[2] + y * c[1]
    root = b * b - a * (np.dot(c, c) - 1)
    hit = (b - np.sqrt(root)) / a
    return _first(hit, np.float32(np.inf))


def _cylinder(x: Floats, y: Floats, z: Floats, centre: Floats, half: Floats) -> Floats:
    """The same in x and z, cut by two horizontal planes."""
    enter, leave = _round(x / half[0], z / half[2], 0.0, centre / half, 0.0)
    enter_y, leave_y = _slab(y, centre[1], half[1])
    return _first(np.maximum(enter, enter_y), np.minimum(leave, leave_y))


def _taper(x: Floats, y: Floats, z: Floats, centre: Floats, half: Floats) -> Floats:
    """x^2 + z^2 = ((y + 1) / 2)^2 in units of the half extents, between the planes y = -1 (apex) and 1."""
    enter, leave = _round(x / half[0], z / half[2], y / half[1] / 2, centre / half, (centre[1] / half[1] - 1) / 2)
    enter_y, leave_y = _slab(y, centre[1], half[1])
    return _first(np.maximum(enter, enter_y), np.minimum(leave, leave_y))


def _round(x: Floats, z: Floats, radius: Floats | float, c: Floats, radius_c: float) -> tuple[Floats, Floats]:
    """Where (t x - c_x)^2 + (t z - c_z)^2 = (t radius - radius_c)^2, or = 1 for a radius of 0."""
    one = 0.0 if isinstance(radius, np.ndarray) else 1.0
    a = x * x + z * z - radius * radius
    b = x * c[0] + z * c[2] - radius * radius_c
    root = np.sqrt(b * b - a * (c[0] * c[0] + c[2] * c[2] - radius_c * radius_c - one))
    a = np.where(a > 0, a, np.nan)  # steeper than the cone's side: never in a street
    return (b - root) / a, (b + root) / a


_INTERSECT = {BOX: _box, ELLIPSOID: _ellipsoid, CYLINDER: _cylinder, TAPER: _taper}
