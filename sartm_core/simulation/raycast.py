"""What each pixel of a pinhole camera sees: ray casting against boxes and ellipsoids, vectorised per shape.

The slabs of an upright box are entered at a depth that depends on the column alone or on the row alone, so a whole
box costs a handful of operations on its rectangle in the image.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sartm_core.simulation.scene import BOX, Primitives

NEAR_M = 0.3
GROUND, SKY_ID = -1, -2
"""Ids of what is no primitive, in `Hits.primitive`."""


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera that looks along z, horizontally.

    Attributes:
        height, width: pixels.
        focal_px: focal length, pixels; the principal point is the image's centre.
        position: float [3], world metres.
    """

    height: int
    width: int
    focal_px: float
    position: NDArray[np.float64]

    @property
    def columns(self) -> NDArray[np.floating]:
        """[W], x of each column's ray at depth 1."""
        return (np.arange(self.width) + 0.5 - self.width / 2) / self.focal_px

    @property
    def rows(self) -> NDArray[np.floating]:
        """[H], y of each row's ray at depth 1."""
        return (np.arange(self.height) + 0.5 - self.height / 2) / self.focal_px


@dataclass(frozen=True, slots=True)
class Hits:
    """Attributes: depth float32 [H, W], metres along z, infinite for the sky; primitive int32 [H, W], a row of the
    primitives, GROUND or SKY_ID.
    """

    depth: NDArray[np.float32]
    primitive: NDArray[np.int32]


def cast(camera: Camera, primitives: Primitives) -> Hits:
    """The nearest surface behind each pixel."""
    rows, columns = camera.rows, camera.columns
    with np.errstate(divide="ignore", invalid="ignore"):
        ground = np.where(rows > 0, -camera.position[1] / rows, np.inf).astype(np.float32)
        depth = np.repeat(ground[:, None], camera.width, axis=1)
        primitive = np.where(np.isfinite(depth), GROUND, SKY_ID).astype(np.int32)
        for index, (top, bottom, left, right) in enumerate(_rectangles(camera, primitives)):
            if top >= bottom or left >= right:
                continue
            window = np.s_[top:bottom, left:right]
            intersect = _box if primitives.shape[index] == BOX else _ellipsoid
            hit = intersect(
                columns[left:right].astype(np.float32),
                rows[top:bottom].astype(np.float32),
                (primitives.centre[index] - camera.position).astype(np.float32),
                primitives.half[index].astype(np.float32),
            )
            closer = hit < depth[window]
            np.copyto(depth[window], hit, where=closer)
            np.copyto(primitive[window], index, where=closer)
    return Hits(depth, primitive)


def _rectangles(camera: Camera, primitives: Primitives) -> list[list[int]]:
    """[N][4] (top, bottom, left, right): a rectangle that holds each shape; empty when it is not in view."""
    offset = primitives.centre - camera.position
    lowest, highest = offset - primitives.half, offset + primitives.half
    near, far = lowest[:, 2], highest[:, 2]
    bounds = []
    for axis, size in ((1, camera.height), (0, camera.width)):
        low, high = lowest[:, axis], highest[:, axis]
        at_near, at_far = np.maximum(near, NEAR_M), np.maximum(far, NEAR_M)
        smallest = np.minimum(low / at_near, low / at_far) * camera.focal_px + size / 2
        largest = np.maximum(high / at_near, high / at_far) * camera.focal_px + size / 2
        bounds += [np.clip(np.floor(smallest), 0, size), np.clip(np.ceil(largest), 0, size)]
    rectangles = np.stack(bounds, axis=1).astype(int)
    rectangles[far < NEAR_M] = 0
    result: list[list[int]] = rectangles.tolist()
    return result


def _box(
    x: NDArray[np.float32], y: NDArray[np.float32], centre: NDArray[np.float32], half: NDArray[np.float32]
) -> NDArray[np.float32]:
    """float32 [len(y), len(x)], depth of the first hit, infinite where the ray (x, y, 1) passes by."""
    enter_x, leave_x = _slab(x, centre[0], half[0])
    enter_y, leave_y = _slab(y, centre[1], half[1])
    enter = np.maximum(np.maximum(enter_x, centre[2] - half[2])[None, :], enter_y[:, None])
    leave = np.minimum(np.minimum(leave_x, centre[2] + half[2])[None, :], leave_y[:, None])
    enter[(enter > leave) | (enter < NEAR_M)] = np.inf
    return enter


def _slab(
    direction: NDArray[np.float32], centre: np.float32, half: np.float32
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    one, other = (centre - half) / direction, (centre + half) / direction
    return np.minimum(one, other), np.maximum(one, other)


def _ellipsoid(
    x: NDArray[np.float32], y: NDArray[np.float32], centre: NDArray[np.float32], half: NDArray[np.float32]
) -> NDArray[np.float32]:
    """As `_box`; solves |(t d - c) / r| = 1 for the nearer t."""
    c = centre / half
    a = (x / half[0])[None, :] ** 2 + (y / half[1])[:, None] ** 2 + (1 / half[2]) ** 2
    b = (x * c[0] / half[0])[None, :] + (y * c[1] / half[1])[:, None] + c[2] / half[2]
    root = b * b - a * (np.dot(c, c) - 1)
    hit = (b - np.sqrt(root)) / a
    hit[~(hit >= NEAR_M)] = np.inf
    return hit


def normals(camera: Camera, primitives: Primitives, hits: Hits) -> NDArray[np.float32]:
    """Unit surface normals, float32 [H, W, 3], towards the camera's side; up on the ground, 0 in the sky."""
    direction = np.empty((camera.height, camera.width, 3), np.float32)
    direction[..., 0], direction[..., 1], direction[..., 2] = camera.columns, camera.rows[:, None], 1.0
    result = np.zeros_like(direction)
    result[hits.primitive == GROUND] = (0, -1, 0)
    seen = hits.primitive >= 0
    which = hits.primitive[seen]
    point = direction[seen] * hits.depth[seen][:, None] - (primitives.centre - camera.position)[which].astype(
        np.float32
    )
    local = point / primitives.half[which].astype(np.float32)
    box = primitives.shape[which] == BOX
    # On a box the local coordinate of the face that was hit is +-1, all others are smaller.
    largest = np.abs(local).argmax(axis=1)
    face = np.zeros_like(local)
    rows = np.arange(len(face))
    face[rows, largest] = np.sign(local[rows, largest])
    round_normal = local / primitives.half[which].astype(np.float32)
    round_normal /= np.linalg.norm(round_normal, axis=1, keepdims=True) + 1e-9
    result[seen] = np.where(box[:, None], face, round_normal)
    return result
