"""How a LiDAR is turned relative to the reference camera: edges of its depths and intensities lie on the image's."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from sartm_core.calibrate import models
from sartm_core.calibrate.edges import Field, edge_field
from sartm_core.calibrate.estimate import Alignment, Estimate
from sartm_core.calibrate.fit import Step, fit
from sartm_core.calibrate.judgement import is_moving, judged, too_small
from sartm_core.calibrate.models import HALF, Matrix, Model
from sartm_core.calibrate.moments import Moment
from sartm_core.sensing.lidar import project_points

STEPS = (
    Step(3.0, 24, (5, 3)),
    Step(2.0, 16, (3, 2)),
    Step(2.0, 10, (2, 1), timed=True),
    Step(1.5, 8, (1.5,), timed=True),
)
STILL = tuple(Step(step.sigma_px, step.reach_px, step.blurs_px) for step in STEPS)
SPREAD_PX = (1.0, 2.5)
"""How far, across and down, a point stands for its surroundings: beams are farther apart than their shots."""
NO_OFFSET = "of a LiDAR it is seen to about 15 ms only"
MEASURED = 0.02
"""Where the points around weigh less, nothing is known."""


def align_lidar(
    moments: Sequence[Moment],
    clouds: Sequence[NDArray[np.floating]],
    k_reference: Matrix,
    pose: NDArray[np.float64],
) -> Estimate:
    """Finds the rotation of a LiDAR.

    Args:
        moments: the reference's frames around each of the clouds.
        clouds: points [N, >= 4]: x, y, z (metres), intensity.
        k_reference: [3, 3], as `Intrinsics.matrix`, for the frames' size.
        pose: [4, 4], the LiDAR's in the reference's frame as it is assumed; its translation is taken as it is.
    """
    size = (moments[0].frames[0].shape[0], moments[0].frames[0].shape[1])
    if (small := too_small(size)) is not None:
        return small
    turn = pose[:3, :3]

    def render(p: NDArray[np.float64], sigma_px: float) -> list[Field]:
        now = pose.copy()
        now[:3, :3] = models.turned(p, k_reference, turn)
        return [lidar_edges(cloud, k_reference, now, size, sigma_px) for cloud in clouds]

    def matrix(p: NDArray[np.float64]) -> Matrix:
        turned = k_reference @ models.turned(p, k_reference, np.eye(3)) @ np.linalg.inv(k_reference)
        return np.asarray(np.linalg.inv(HALF) @ turned @ HALF)

    timed = is_moving(moments)
    model = Model(3, matrix)
    found = fit(moments, render, model, STEPS if timed else STILL, np.zeros(3), 0.0)
    answer = judged(moments, model, found, False, np.eye(3), models.turned(found.p, k_reference, turn))
    if timed and isinstance(answer, Alignment):  # fitted, so that it does not turn the rotation, but not well enough
        return replace(answer, no_offset=NO_OFFSET)
    return answer


def lidar_edges(
    cloud: NDArray[np.floating], k: Matrix, pose: NDArray[np.float64], size: tuple[int, int], sigma_px: float
) -> Field:
    """Edges of depth and of intensity in the camera's image, complex64 [H, W]; 0 where no point is near."""
    ranges, intensity, _ = project_points(cloud, k, pose, size)
    weight = cv2.GaussianBlur((ranges > 0).astype(np.float32), (0, 0), SPREAD_PX[0], sigmaY=SPREAD_PX[1])
    inside = cv2.erode((weight > MEASURED).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    fields = []
    for plane in (np.log(np.maximum(ranges, 1.0)), np.sqrt(np.maximum(intensity, 0.0))):
        spread = cv2.GaussianBlur(plane * (ranges > 0), (0, 0), SPREAD_PX[0], sigmaY=SPREAD_PX[1])
        fields.append(edge_field(spread / np.maximum(weight, 1e-6), sigma_px, inside))
    return np.asarray((fields[0] + fields[1]) / 2, np.complex64)
