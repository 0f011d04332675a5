"""Before and after a calibration: edges of one sensor over the image of the reference."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sartm_core.calibrate.edges import edge_field
from sartm_core.files import atomic_path

DARKER = 0.6
CLEAR = 0.45
"""Edges that stand out by more are drawn."""
EDGE = (255, 190, 0)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Attributes:
    name: of the sensor.
    change: what was done to it.
    before, after: uint8 [H, W, 3].
    """

    name: str
    change: str
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]


def clear_share(reference: NDArray[np.float32]) -> float:
    """The share of an image's pixels on edges that stand out: noise, as in the dark, has few."""
    return float((np.abs(edge_field(reference, 1.0)) > CLEAR).mean())


def image_over(
    reference: NDArray[np.float32], image: NDArray[np.float32], matrix: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """The edges of an image over the reference's, uint8 [H, W, 3]; `matrix` as in `Alignment`."""
    size = (reference.shape[1], reference.shape[0])
    inside = cv2.warpPerspective(np.ones(image.shape, np.uint8), matrix, size)
    inside = cv2.erode(inside, np.ones((7, 7), np.uint8)) > 0
    warped = cv2.warpPerspective(image, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    return _over(reference, edge_field(warped, 1.0, inside))


def _over(reference: NDArray[np.float32], edges: NDArray[np.complex64]) -> NDArray[np.uint8]:
    canvas = np.repeat(np.uint8(255 * DARKER * np.sqrt(reference))[..., None], 3, axis=2)
    canvas[np.abs(edges) > CLEAR] = EDGE
    return canvas


def points_over(
    reference: NDArray[np.float32], points: NDArray[np.floating], k: NDArray[np.float64], pose: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """The points of a LiDAR over the reference's image, near ones red, far ones blue; uint8 [H, W, 3]."""
    height, width = reference.shape
    canvas = np.repeat(np.uint8(255 * DARKER * np.sqrt(reference))[..., None], 3, axis=2)
    camera = points[:, :3] @ pose[:3, :3].T + pose[:3, 3]
    camera = camera[camera[:, 2] > 0]
    u, v = ((camera @ k.T)[:, :2] / camera[:, 2:]).T
    seen = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    nearness = np.uint8(255 * np.clip(1 - np.log(np.maximum(camera[seen, 2], 2) / 2) / np.log(30), 0, 1))
    colours = cv2.applyColorMap(nearness[:, None], cv2.COLORMAP_JET)[:, 0, ::-1]
    canvas[v[seen].astype(int), u[seen].astype(int)] = colours
    return canvas


def write_comparisons(rows: Sequence[Comparison], out: Path) -> None:
    """Writes a PNG with a row for each sensor: as it was, and as it is now."""
    figure = Figure(figsize=(9, 3.6 * len(rows) + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), 2, squeeze=False)
    for row, one in zip(axes, rows, strict=True):
        for axis, image, title in zip(
            row, (one.before, one.after), (f"{one.name} before", f"after: {one.change}"), strict=True
        ):
            axis.imshow(image, interpolation="nearest")
            axis.set_title(title, fontsize=10)
            axis.set(xticks=[], yticks=[])
    with atomic_path(out) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
