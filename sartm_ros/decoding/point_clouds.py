"""Converts between sensor_msgs/PointCloud2 and point arrays. Duck-typed: works on rclpy's and rosbags' messages."""

import array
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError, shown
from sartm_ros.decoding.images import MessageFactory

_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
"""sensor_msgs/PointField's datatypes."""
_INTENSITY = ("intensity", "intensities", "reflectivity", "i")
LARGEST_POINTS = 2**22
"""More than any LiDAR measures in a turn; of points of a byte each, 64 MB would hold sixteen times as many."""
FLOAT32, COLUMNS = 7, ("x", "y", "z", "intensity", "ring")


def cloud_points(message: Any) -> NDArray[np.float32]:
    """The points of a cloud, organised or not, with any field layout.

    Returns:
        float32 [N, 4], x, y, z, intensity (0 if the cloud has none). Points that are not finite, or at the sensor's own
        origin, are dropped: drivers of organised clouds mark a beam without a return by either.

    Raises:
        SartmError: x, y or z is missing, or the sizes contradict each other.
    """
    fields = {field.name: field for field in message.fields}
    missing = [name for name in "xyz" if name not in fields]
    if missing:
        raise SartmError(
            f"point cloud has no field '{missing[0]}'; its fields are {shown(', '.join(fields)) or 'none'}."
        )
    height, width = int(message.height), int(message.width)
    if height * width > LARGEST_POINTS:
        raise SartmError(f"point cloud of {width}x{height} points: at most {LARGEST_POINTS:,} are accepted.")
    step, row, size = int(message.point_step), int(message.row_step), len(message.data)
    if size == step * width * height:
        row = step * width  # several drivers write row_step 0, or that of the whole cloud
    if row < step * width or size < row * height:
        raise SartmError(
            f"point cloud of {width}x{height} points: expected at least point_step x width bytes per row and row_step "
            f"x height bytes of data, got point_step {step}, row_step {row}, {size} bytes. The driver fills it wrongly."
        )
    raw = np.frombuffer(message.data, np.uint8, count=row * height).reshape(height, row)[:, : step * width]
    raw = np.ascontiguousarray(raw).reshape(-1, step) if step else np.zeros((0, 1), np.uint8)
    intensity = next((name for name in _INTENSITY if name in fields), None)
    columns = [_column(raw, fields[name], bool(message.is_bigendian)) for name in "xyz"]
    columns.append(np.zeros(len(raw)) if intensity is None else _column(raw, fields[intensity], message.is_bigendian))
    with np.errstate(over="ignore"):
        points = np.stack(columns, axis=1).astype(np.float32)
    return points[np.isfinite(points).all(axis=1) & points[:, :3].any(axis=1)]


def _column(raw: NDArray[np.uint8], field: Any, big: bool) -> NDArray[Any]:
    kind = _TYPES.get(int(field.datatype))
    if kind is None:
        raise SartmError(f"point cloud, field '{field.name}': unknown datatype {field.datatype}; expected 1 to 8.")
    dtype = np.dtype((">" if big else "<") + kind)
    end = int(field.offset) + dtype.itemsize
    if end > raw.shape[1]:
        raise SartmError(
            f"point cloud, field '{field.name}': ends at byte {end}, but a point has {raw.shape[1]} bytes (point_step)."
        )
    return np.ascontiguousarray(raw[:, int(field.offset) : end]).view(dtype)[:, 0]


def cloud_fields(points: NDArray[np.float32], point_field: Any) -> dict[str, Any]:
    """The fields of a PointCloud2 (all but the header).

    Args:
        points: float32 [N, 5], x, y, z, intensity, ring.
        point_field: the message class PointField.
    """
    fields = [point_field(name=name, offset=4 * index, datatype=FLOAT32, count=1) for index, name in enumerate(COLUMNS)]
    return {
        "height": 1,
        "width": len(points),
        "fields": fields,
        "is_bigendian": sys.byteorder == "big",
        "point_step": 4 * len(COLUMNS),
        "row_step": 4 * len(COLUMNS) * len(points),
        "data": np.ascontiguousarray(points).tobytes(),
        "is_dense": True,
    }


def point_cloud_message(make: MessageFactory, cloud: NDArray[np.void], stamped: Any) -> Any:
    """Builds a sensor_msgs/PointCloud2 with a field for each of a structured array's.

    Args:
        make: of the message.
        cloud: [H, W], organised, with NaN for what was not measured; or [N], all of them measured.
        stamped: its header.
    """
    assert cloud.dtype.fields is not None
    codes = {kind: code for code, kind in _TYPES.items()}
    data = array.array("B")  # rclpy checks each element of anything else
    data.frombytes(np.ascontiguousarray(cloud).view(np.uint8).data.cast("B"))
    width, step = cloud.shape[-1], cloud.dtype.itemsize
    return make(
        "sensor_msgs/msg/PointCloud2",
        header=stamped,
        height=cloud.shape[0] if cloud.ndim == 2 else 1,
        width=width,
        fields=[
            make("sensor_msgs/msg/PointField", name=name, offset=offset, datatype=codes[kind.str[1:]], count=1)
            for name, (kind, offset, *_) in cloud.dtype.fields.items()
        ],
        is_bigendian=False,
        point_step=step,
        row_step=step * width,
        data=data,
        is_dense=cloud.ndim == 1,
    )
