"""Clouds in any layout; against rclpy's message class and rosbags' alike."""

from types import SimpleNamespace

import numpy as np
import pytest

from sartm_core.errors import SartmError
from sartm_ros.decoding.point_clouds import cloud_fields, cloud_points


def field(name: str, offset: int, datatype: int) -> SimpleNamespace:
    return SimpleNamespace(name=name, offset=offset, datatype=datatype, count=1)


def cloud(fields: list[SimpleNamespace], data: bytes, step: int, width: int, height: int = 1, **other: object):
    content = {"row_step": step * width, "is_bigendian": False, "is_dense": True} | other
    return SimpleNamespace(fields=fields, data=data, point_step=step, width=width, height=height, **content)


def test_the_layout_of_a_velodyne() -> None:
    """x, y, z, padding, intensity, ring, time; 32 bytes a point."""
    layout = np.dtype(
        {"names": ["x", "y", "z", "intensity", "ring", "time"], "formats": ["<f4"] * 4 + ["<u2", "<f4"],
         "offsets": [0, 4, 8, 16, 20, 24], "itemsize": 32}
    )  # fmt: skip
    points = np.zeros(3, layout)
    points["x"], points["y"], points["z"], points["intensity"] = [1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 20, 30]
    fields = [field("x", 0, 7), field("y", 4, 7), field("z", 8, 7), field("intensity", 16, 7), field("ring", 20, 4)]
    got = cloud_points(cloud(fields, points.tobytes(), 32, 3))
    assert got.tolist() == [[1, 4, 7, 10], [2, 5, 8, 20], [3, 6, 9, 30]]


def test_doubles_and_bytes_big_endian_organised_with_padded_rows() -> None:
    layout = np.dtype([("x", ">f8"), ("y", ">f8"), ("z", ">f8"), ("i", "u1")])
    rows = np.zeros((2, 3), layout)
    rows["x"], rows["i"] = np.arange(1, 7).reshape(2, 3), 200
    data = b"".join(row.tobytes() + b"pad!" for row in rows)
    fields = [field("x", 0, 8), field("y", 8, 8), field("z", 16, 8), field("i", 24, 2)]
    got = cloud_points(cloud(fields, data, 25, 3, 2, row_step=79, is_bigendian=True))
    assert got[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert set(got[:, 3].tolist()) == {200}


def test_points_that_are_not_finite_are_left_out() -> None:
    points = np.array([[1, 2, 3], [np.nan, 0, 0], [np.inf, 0, 0]], np.float32)
    fields = [field("x", 0, 7), field("y", 4, 7), field("z", 8, 7)]
    assert cloud_points(cloud(fields, points.tobytes(), 12, 3)).tolist() == [[1, 2, 3, 0]]
    assert cloud_points(cloud(fields, b"", 12, 0)).shape == (0, 4)


def test_points_at_the_sensors_origin_are_beams_without_a_return() -> None:
    """Ouster, SICK, Livox: an organised cloud has a point for every beam (ouster-sdk#429)."""
    points = np.array([[0, 0, 0, 7], [0, 0, 2, 8], [-0.0, 0, 0, 9], [1, 0, 0, 0]], np.float32)
    fields = [field(name, 4 * index, 7) for index, name in enumerate(("x", "y", "z", "intensity"))]
    assert cloud_points(cloud(fields, points.tobytes(), 16, 2, 2)).tolist() == [[0, 0, 2, 8], [1, 0, 0, 0]]


@pytest.mark.parametrize("row_step", [0, 12, 24, 72, 144, 1])
def test_a_wrong_row_step_beside_the_right_amount_of_data(row_step: int, rng: np.random.Generator) -> None:
    """velodyne#279, RGLGazeboPlugin#46: 0, a point's, half, the whole cloud's; the data have no other reading."""
    points = rng.normal(size=(2, 3, 3)).astype(np.float32)
    fields = [field(name, 4 * index, 7) for index, name in enumerate("xyz")]
    got = cloud_points(cloud(fields, points.tobytes(), 12, 3, 2, row_step=row_step))
    np.testing.assert_array_equal(got[:, :3], points.reshape(6, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fields": [field("x", 0, 7), field("y", 4, 7)]}, "no field 'z'; its fields are x, y"),
        ({"data": b"short"}, "got point_step 12, row_step 12, 5 bytes"),
        ({"row_step": 3, "data": bytes(13)}, "expected at least point_step x width bytes per row"),
        (
            {"fields": [field("x", 0, 7), field("y", 4, 7), field("z", 10, 7)]},
            "'z': ends at byte 14, but a point has 12",
        ),
        ({"fields": [field("x", 0, 7), field("y", 4, 7), field("z", 8, 9)]}, "'z': unknown datatype 9"),
    ],
)
def test_contradictions_are_named(change: dict[str, object], message: str) -> None:
    fields = [field("x", 0, 7), field("y", 4, 7), field("z", 8, 7)]
    good = {"fields": fields, "data": np.zeros(3, np.float32).tobytes(), "row_step": 12}
    broken = cloud(**{"step": 12, "width": 1, **good, **change})
    with pytest.raises(SartmError, match=message):
        cloud_points(broken)


def test_what_we_write_we_read(rng: np.random.Generator) -> None:
    points = rng.normal(size=(50, 5)).astype(np.float32)
    message = SimpleNamespace(**cloud_fields(points, SimpleNamespace))
    assert np.array_equal(cloud_points(message), points[:, :4])


def test_a_message_of_more_points_than_any_lidar_has_is_refused() -> None:
    """64 MB of points of a byte each took 3.1 GB."""
    fields = [field(name, 0, 2) for name in "xyz"]
    data = bytes(5_000_000)
    with pytest.raises(SartmError, match="point cloud of 5000000x1 points: at most 4,194,304 are accepted"):
        cloud_points(cloud(fields, data, 1, 5_000_000))
    with pytest.raises(SartmError, match="has no field 'z'; its fields are x, y, \\\\x1b"):
        cloud_points(cloud([field("x", 0, 2), field("y", 0, 2), field("\x1b[2J", 0, 2)], data, 1, 10))
