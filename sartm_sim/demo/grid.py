"""A bird's-eye grid of classes from labelled points, and how it compares with the truth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sartm_core.calibration import Intrinsics
from sartm_core.segmentation import UNLABELLED, Segmentation
from sartm_ros.labelled_cloud import Cloud, cloud_of_depth
from sartm_sim.simulation.geometry import CAMERA_HEIGHT_M

CELL_M, AHEAD_M, ASIDE_M = 0.2, 20.0, 8.0
"""Side of a cell; how far the grid reaches ahead, and to the left and to the right."""
HIGHEST_M = 2.0
"""What hangs higher above the ground is in no robot's way."""
SIZE = (round(AHEAD_M / CELL_M), round(2 * ASIDE_M / CELL_M))

Grid = NDArray[np.uint8]
"""uint8 [rows, columns], class ids, 255 = nothing measured; the last row is nearest, the first column at the left."""


def grid_of(cloud: Cloud) -> Grid:
    """What most points of each cell are.

    Args:
        cloud: points in the camera's optical frame (x right, y down, z ahead), of any shape.
    """
    points = cloud.reshape(-1)
    points = points[np.isfinite(points["z"]) & (points["label"] != UNLABELLED)]
    row = SIZE[0] - 1 - np.floor(points["z"] / CELL_M).astype(np.intp)
    column = np.floor((points["x"] + ASIDE_M) / CELL_M).astype(np.intp)
    inside = (row >= 0) & (row < SIZE[0]) & (column >= 0) & (column < SIZE[1])
    inside &= points["y"] > CAMERA_HEIGHT_M - HIGHEST_M
    place = (row[inside] * SIZE[1] + column[inside]) * 256 + points["label"][inside]
    counts = np.bincount(place, minlength=SIZE[0] * SIZE[1] * 256).reshape(*SIZE, 256)
    return np.where(counts.any(axis=2), counts.argmax(axis=2), UNLABELLED).astype(np.uint8)


def true_grid(depth_m: NDArray[np.float32], truth: NDArray[np.uint8], intrinsics: Intrinsics) -> Grid:
    """The grid that the exact class and range of every pixel of the reference camera give.

    Args:
        depth_m: float32 [H, W], metres along the optical axis, 0 = sky.
        truth: uint8 [H, W], class ids.
        intrinsics: of the reference camera.
    """
    sure = Segmentation(truth, np.ones(truth.shape, np.float32), np.zeros((0, 0), np.float32))
    return grid_of(cloud_of_depth(depth_m, sure, intrinsics, np.zeros((256, 3), np.uint8)))


@dataclass(frozen=True, slots=True)
class GridPair:
    """The grids of one instant: of the labelled points, and the true one."""

    seen: Grid
    true: Grid


def grid_figures(pairs: Sequence[GridPair]) -> dict[str, float | None]:
    """How good the grids of several instants are.

    Returns:
        `right`: of the cells known to both grids, the share that has the true class; `known`: of the true grid's cells,
        the share that was measured; None without pairs.
    """
    if not pairs:
        return {"right": None, "known": None}
    known = [(pair.seen != UNLABELLED) & (pair.true != UNLABELLED) for pair in pairs]
    right = sum(int((pair.seen == pair.true)[both].sum()) for pair, both in zip(pairs, known, strict=True))
    both, every = sum(int(one.sum()) for one in known), sum(int((pair.true != UNLABELLED).sum()) for pair in pairs)
    return {"right": round(right / max(both, 1), 4), "known": round(both / max(every, 1), 4)}
