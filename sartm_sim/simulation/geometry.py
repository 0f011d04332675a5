"""Which way each pixel of a camera, and each shot of a LiDAR, looks in the ego frame."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from sartm_core.calibration import Intrinsics
from sartm_sim.simulation.raycast import NEAR_M

CAMERA_HEIGHT_M = 1.6
"""The reference camera looks straight ahead from here."""

LIDAR_ELEVATIONS_RAD = np.radians(np.linspace(12.0, -22.0, 32))
LIDAR_AZIMUTHS_RAD = np.radians(np.arange(-60.0, 60.0, 0.2) + 0.1)
"""32 beams that spin; simulated is the sector ahead."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        size: height, width.
        intrinsics: its K.
        pose: float64 [4, 4], takes points of the camera (x right, y down, z along the axis) to the ego frame.
    """

    size: tuple[int, int]
    intrinsics: Intrinsics
    pose: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, int]:
        return self.size

    @property
    def position(self) -> NDArray[np.float64]:
        return self.pose[:3, 3]

    @cached_property
    def _columns_rows(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Columns u [1, W] and rows v [H, 1] at depth 1 in the camera's own frame."""
        k, (height, width) = self.intrinsics, self.size
        u = ((np.arange(width) + 0.5 - k.cx) / k.fx).astype(np.float32)[None, :]
        v = ((np.arange(height) + 0.5 - k.cy) / k.fy).astype(np.float32)[:, None]
        return u, v

    @cached_property
    def _directions(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        u, v = self._columns_rows
        turn = self.pose[:3, :3].astype(np.float32)
        if np.array_equal(turn, np.eye(3)):
            return u, v, np.ones((1, 1), np.float32)
        x, y, z = (row[0] * u + row[1] * v + row[2] for row in turn)
        return x / z, y / z, z

    @property
    def x(self) -> NDArray[np.float32]:
        return self._directions[0]

    @property
    def y(self) -> NDArray[np.float32]:
        return self._directions[1]

    @property
    def axial(self) -> NDArray[np.float32]:
        """Metres ahead per metre along the optical axis; broadcasts to [H, W]."""
        return self._directions[2]

    def rectangles(self, corners: NDArray[np.float64]) -> NDArray[np.int64]:
        """See `raycast.Rays`."""
        own = corners @ self.pose[:3, :3]
        depth = own[..., 2]
        # A corner behind the camera stands for where the shape meets the near plane.
        at = np.maximum(depth, NEAR_M)
        k, (height, width) = self.intrinsics, self.size
        column, row = own[..., 0] / at * k.fx + k.cx, own[..., 1] / at * k.fy + k.cy
        bounds = [
            np.clip(np.floor(row.min(axis=1)), 0, height),
            np.clip(np.ceil(row.max(axis=1)), 0, height),
            np.clip(np.floor(column.min(axis=1)), 0, width),
            np.clip(np.ceil(column.max(axis=1)), 0, width),
        ]
        result = np.stack(bounds, axis=1).astype(np.int64)
        result[depth.max(axis=1) < NEAR_M] = 0
        return result


@dataclass(frozen=True)
class SpinningLidar:
    """32 beams; the rays are [beams, shots].

    Attributes:
        pose: float64 [4, 4], takes points of the LiDAR (x ahead, y left, z up) to the ego frame.
    """

    pose: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, int]:
        return len(LIDAR_ELEVATIONS_RAD), len(LIDAR_AZIMUTHS_RAD)

    @property
    def position(self) -> NDArray[np.float64]:
        return self.pose[:3, 3]

    @cached_property
    def directions(self) -> NDArray[np.float32]:
        """Unit vectors in the LiDAR's own frame, [beams, shots, 3]."""
        elevation, azimuth = LIDAR_ELEVATIONS_RAD[:, None], LIDAR_AZIMUTHS_RAD[None, :]
        ahead, left = np.cos(elevation) * np.cos(azimuth), -np.cos(elevation) * np.sin(azimuth)
        up = np.broadcast_to(np.sin(elevation), ahead.shape)
        return np.stack([ahead, left, up], axis=-1).astype(np.float32)

    @cached_property
    def _ego(self) -> NDArray[np.float32]:
        return np.asarray(self.directions @ self.pose[:3, :3].T.astype(np.float32), np.float32)

    @cached_property
    def x(self) -> NDArray[np.float32]:
        return self._ego[..., 0] / self._ego[..., 2]

    @cached_property
    def y(self) -> NDArray[np.float32]:
        return self._ego[..., 1] / self._ego[..., 2]

    @property
    def range_per_m(self) -> NDArray[np.float32]:
        """Metres of range per metre ahead, [beams, shots]."""
        return np.reciprocal(self._ego[..., 2])

    def rectangles(self, corners: NDArray[np.float64]) -> NDArray[np.int64]:
        """See `raycast.Rays`: by azimuth alone; there are few rows."""
        own = corners @ self.pose[:3, :3]
        ahead, right = own[..., 0], -own[..., 1]
        azimuth = np.arctan2(right, np.maximum(ahead, 1e-3))
        step = LIDAR_AZIMUTHS_RAD[1] - LIDAR_AZIMUTHS_RAD[0]
        left = np.floor((azimuth.min(axis=1) - LIDAR_AZIMUTHS_RAD[0]) / step)
        end = np.ceil((azimuth.max(axis=1) - LIDAR_AZIMUTHS_RAD[0]) / step) + 1
        beams, shots = self.shape
        bounds = [np.zeros(len(left)), np.full(len(left), beams), np.clip(left, 0, shots), np.clip(end, 0, shots)]
        result = np.stack(bounds, axis=1).astype(np.int64)
        result[ahead.max(axis=1) < NEAR_M] = 0
        return result


def tilted(pose: NDArray[np.float64], rotation_vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """The pose of a sensor that was knocked: turned about its own origin by a rotation vector (radians, ego axes)."""
    result = pose.copy()
    result[:3, :3] = cv2.Rodrigues(rotation_vector)[0] @ pose[:3, :3]
    return result
