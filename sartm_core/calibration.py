"""Pose and projection of a sensor: the geometric part of a rig file."""

from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, ConfigDict, Field, field_validator, model_validator

from sartm_core.checked_yaml import Checked

Positive = Annotated[float, Field(gt=0)]
Row = tuple[float, float, float]

Homography = Annotated[
    tuple[Row, Row, Row],
    AfterValidator(lambda rows: _invertible(rows)),
]
"""Three rows of three numbers; maps pixels of the sensor's image to the reference's, as returned by
`cv2.findHomography(sensor_points, reference_points)`."""


def _invertible(rows: tuple[Row, Row, Row]) -> tuple[Row, Row, Row]:
    if abs(np.linalg.det(np.array(rows))) < 1e-12:
        raise ValueError("expected an invertible matrix")
    return rows


class _Finite(Checked):
    model_config = ConfigDict(allow_inf_nan=False)


class Intrinsics(_Finite):
    """A pinhole camera without distortion (rectified images); CameraInfo's cx and cy are half a pixel smaller.

    Attributes:
        fx, fy: focal lengths, pixels.
        cx, cy: principal point, pixels; (0, 0) is the corner of the first pixel's area.
    """

    fx: Positive
    fy: Positive
    cx: float
    cy: float

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """K, float64 [3, 3]."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1.0]])

    @classmethod
    def from_field_of_view(cls, horizontal_rad: float, size: tuple[int, int]) -> "Intrinsics":
        """Square pixels, principal point at the image centre; `size` is (height, width)."""
        height, width = size
        focal = float(width / 2 / np.tan(horizontal_rad / 2))
        return cls(fx=focal, fy=focal, cx=width / 2, cy=height / 2)

    def scaled(self, before: tuple[int, int], after: tuple[int, int]) -> "Intrinsics":
        """The same camera with images resized from one (height, width) to another."""
        scale_y, scale_x = after[0] / before[0], after[1] / before[1]
        return Intrinsics(fx=self.fx * scale_x, fy=self.fy * scale_y, cx=self.cx * scale_x, cy=self.cy * scale_y)


class Lens(_Finite):
    """How a lens bends what it shows; images are rectified by it before anything else.

    Attributes:
        model: of sensor_msgs/CameraInfo's distortion_model; `equidistant` is a fisheye.
        camera: of the images as they come, K of CameraInfo (with half a pixel added to cx and cy).
        coefficients: D of CameraInfo: 4 or 5, 8, and 4 numbers.
        rotation: R of CameraInfo, of stereo cameras.
    """

    model: Literal["plumb_bob", "rational_polynomial", "equidistant"]
    camera: Intrinsics
    coefficients: tuple[float, ...]
    rotation: tuple[Row, Row, Row] = ((1, 0, 0), (0, 1, 0), (0, 0, 1))

    @model_validator(mode="after")
    def _complete(self) -> "Lens":
        counts = {"plumb_bob": (4, 5), "rational_polynomial": (8,), "equidistant": (4,)}[self.model]
        if len(self.coefficients) not in counts:
            expected = " or ".join(map(str, counts))
            raise ValueError(f"coefficients: {self.model} has {expected}, got {len(self.coefficients)}")
        return self


class Extrinsics(_Finite):
    """Pose of a sensor in the reference camera's optical frame (x right, y down, z ahead).

    Attributes:
        translation_m: position of the sensor, as `tf2_echo <reference> <sensor>` prints it.
        rotation_xyzw: unit quaternion that rotates the sensor's axes into the reference's; a LiDAR whose own axes are
            x ahead, y left, z up has (0.5, -0.5, 0.5, 0.5) when it faces the same way as the camera.
    """

    translation_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotation_xyzw: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)

    @field_validator("rotation_xyzw")
    @classmethod
    def _unit(cls, rotation: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        length = float(np.linalg.norm(rotation))
        if not abs(length - 1) <= 1e-2:
            raise ValueError(f"expected a unit quaternion x, y, z, w, got one of length {length:.3f}")
        return rotation

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """T_reference_sensor, float64 [4, 4]: maps points of the sensor to the reference camera."""
        x, y, z, w = np.array(self.rotation_xyzw) / np.linalg.norm(self.rotation_xyzw)
        result = np.eye(4)
        result[:3, :3] = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
        result[:3, 3] = self.translation_m
        return result

    def then(self, inner: "Extrinsics") -> "Extrinsics":
        """Composes two poses: `inner` is given in this sensor's frame, the result in the reference's."""
        x, y, z = self.matrix[:3] @ [*inner.translation_m, 1.0]
        rotation = np.array(_product(self.rotation_xyzw, inner.rotation_xyzw))
        qx, qy, qz, qw = rotation / np.linalg.norm(rotation)
        return Extrinsics(translation_m=(x, y, z), rotation_xyzw=(qx, qy, qz, qw))

    def inverse(self) -> "Extrinsics":
        """The reference's pose in this sensor's frame."""
        x, y, z = -self.matrix[:3, :3].T @ self.translation_m
        qx, qy, qz, qw = self.rotation_xyzw
        return Extrinsics(translation_m=(x, y, z), rotation_xyzw=(-qx, -qy, -qz, qw))


Quaternion = tuple[float, float, float, float]


def _product(first: Quaternion, second: Quaternion) -> Quaternion:
    """Hamilton product of quaternions x, y, z, w."""
    ax, ay, az, aw = first
    bx, by, bz, bw = second
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


LIDAR_LOOKS_AHEAD = Extrinsics(rotation_xyzw=(0.5, -0.5, 0.5, 0.5))
"""A LiDAR at the reference camera's position, with the axes of REP-103 (x ahead, y left, z up)."""
