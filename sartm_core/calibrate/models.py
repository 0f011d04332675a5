"""The ways in which a sensor's image may lie in the reference's: parameters, in pixels, to a matrix."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

HALF = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
"""From pixels as OpenCV counts them (centres at integers) to those of `Intrinsics`."""


@dataclass(frozen=True, slots=True)
class Model:
    """Attributes:
    count: of parameters; all 0 is where the search begins.
    matrix: parameters [count] to the matrix [3, 3] from the sensor's pixels to the reference's.
    """

    count: int
    matrix: Callable[[NDArray[np.float64]], Matrix]


def similarity(base: Matrix, size: tuple[int, int]) -> Model:
    """Shift, turn and scale of what `base` makes of the sensor's image."""
    height, width = size
    radius = float(np.hypot(height, width)) / 2
    centre = np.array([[1, 0, width / 2], [0, 1, height / 2], [0, 0, 1.0]])

    def matrix(p: NDArray[np.float64]) -> Matrix:
        a, b = 1 + p[2] / radius, p[3] / radius
        return np.asarray(centre @ np.array([[a, -b, p[0]], [b, a, p[1]], [0, 0, 1]]) @ np.linalg.inv(centre) @ base)

    return Model(4, matrix)


def homography(base: Matrix, size: tuple[int, int]) -> Model:
    """Moves each of the four corners."""
    height, width = size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)

    def matrix(p: NDArray[np.float64]) -> Matrix:
        moved = (corners + p.reshape(4, 2)).astype(np.float32)
        return np.asarray(cv2.getPerspectiveTransform(corners, moved) @ base)

    return Model(8, matrix)


def rotation(
    k_reference: Matrix, k_sensor: Matrix, turn: Matrix, position_m: NDArray[np.float64], plane_m: float
) -> Model:
    """Turns the sensor; it sees a plane that faces the reference at `plane_m`.

    Args:
        k_reference, k_sensor: camera matrices, with the origin at the corner of the first pixel.
        turn: [3, 3], rotates the sensor's axes into the reference's, where the search begins.
        position_m: [3], of the sensor in the reference's frame.
        plane_m: the distance for which images are warped.
    """
    through = np.eye(3) - np.outer(position_m, [0, 0, 1 / plane_m])

    def matrix(p: NDArray[np.float64]) -> Matrix:
        to_sensor = k_sensor @ turned(p, k_reference, turn).T @ through @ np.linalg.inv(k_reference)
        return np.asarray(np.linalg.inv(HALF) @ np.linalg.inv(to_sensor) @ HALF)

    return Model(3, matrix)


def turned(p: NDArray[np.float64], k_reference: Matrix, turn: Matrix) -> Matrix:
    """The rotation of a sensor for parameters in pixels: focal lengths of a rotation vector in the reference's axes."""
    return np.asarray(cv2.Rodrigues(p / k_reference[0, 0])[0] @ turn)


def displacement(matrix: Matrix, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far a matrix moves points [N, 2]."""
    moved = np.c_[points, np.ones(len(points))] @ matrix.T
    return np.asarray(moved[:, :2] / moved[:, 2:] - points)


def jacobian(model: Model, p: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """How the sensor's content at points [N, 2] of the reference moves with each parameter, float64 [N, 2, count]."""
    back = np.linalg.inv(model.matrix(p))
    columns = []
    for step in np.eye(model.count) * 0.5:
        ahead, behind = (displacement(model.matrix(p + sign * step) @ back, points) for sign in (1, -1))
        columns.append(ahead - behind)
    return np.stack(columns, axis=2)
