"""Messages to arrays, with rosbags-image as the independent reader."""

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.image import message_to_cvimage
from sensor_msgs.msg import Image

from sartm_core.errors import SartmError
from sartm_ros.bag.types import TYPESTORE
from sartm_ros.decoding.images import image_fields, raw_array, set_stamp, stamp_ns

T = TYPESTORE.types


def rosbags_image(array: np.ndarray, encoding: str, *, padding: int = 0, big_endian: bool = False) -> Any:
    height, width = array.shape[:2]
    data = array.astype(array.dtype.newbyteorder(">")) if big_endian else array
    rows = np.ascontiguousarray(data).view(np.uint8).reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)))
    header = T["std_msgs/msg/Header"](stamp=T["builtin_interfaces/msg/Time"](sec=3, nanosec=7), frame_id="f")
    return T["sensor_msgs/msg/Image"](
        header=header, height=height, width=width, encoding=encoding, is_bigendian=int(big_endian),
        step=rows.shape[1], data=rows.ravel(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("encoding", "dtype", "channels"),
    [
        ("rgb8", "uint8", 3), ("bgr8", "uint8", 3), ("rgba8", "uint8", 4), ("bgra8", "uint8", 4), ("8UC3", "uint8", 3),
        ("mono8", "uint8", 1), ("mono16", "uint16", 1), ("16UC1", "uint16", 1), ("32FC1", "float32", 1),
    ],
)  # fmt: skip
def test_plain_encodings_as_rosbags_reads_them(
    rng: np.random.Generator, encoding: str, dtype: str, channels: int
) -> None:
    shape = (5, 7) if channels == 1 else (5, 7, channels)
    array = rng.integers(0, 250, shape).astype(dtype)
    message = rosbags_image(array, encoding)
    wanted = {"bgr8": "rgb8", "rgba8": "rgb8", "bgra8": "rgb8"}.get(encoding)
    expected = message_to_cvimage(message, wanted)
    np.testing.assert_array_equal(raw_array(message), expected)


def test_padded_rows_and_big_endian(rng: np.random.Generator) -> None:
    array = rng.integers(0, 60000, (5, 7)).astype(np.uint16)
    np.testing.assert_array_equal(raw_array(rosbags_image(array, "mono16", padding=6)), array)
    swapped = raw_array(rosbags_image(array, "16UC1", big_endian=True))
    np.testing.assert_array_equal(swapped, array)
    assert swapped.dtype.isnative


def test_a_plain_image_is_a_view() -> None:
    message = rosbags_image(np.zeros((5, 7, 3), np.uint8), "rgb8")
    assert np.shares_memory(raw_array(message), message.data)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_there_and_back_through_rclpys_message(rng: np.random.Generator, dtype: str) -> None:
    array = (rng.random((6, 9)) * 200).astype(dtype)
    encoding = {"uint8": "mono8", "uint16": "mono16", "float32": "32FC1"}[dtype]
    message = Image(**image_fields(array[:, ::-1], encoding))  # not contiguous
    np.testing.assert_array_equal(raw_array(message), array[:, ::-1])


def test_a_compressed_image(rng: np.random.Generator) -> None:
    colours = rng.integers(0, 256, (16, 16, 3), np.uint8)
    _, png = cv2.imencode(".png", colours[..., ::-1])
    header = T["std_msgs/msg/Header"](stamp=T["builtin_interfaces/msg/Time"](sec=0, nanosec=0), frame_id="")
    message = T["sensor_msgs/msg/CompressedImage"](header=header, format="png", data=png.ravel())
    np.testing.assert_array_equal(raw_array(message), colours)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"encoding": "nonsense"}, "encoding 'nonsense' is not supported"),
        ({"step": 3}, "at least 21 bytes per row .* got step 3"),
        ({"data": b"short"}, "got step 21 and 5 bytes"),
        ({"height": 0}, "image of 7x0 rgb8"),
    ],
)
def test_contradictions_are_named(change: dict[str, Any], expected: str) -> None:
    fields = {"height": 5, "width": 7, "encoding": "rgb8", "is_bigendian": 0, "step": 21, "data": bytes(105)}
    message = SimpleNamespace(**fields | change, header=None, __msgtype__="sensor_msgs/msg/Image")
    with pytest.raises(SartmError, match=expected):
        raw_array(message)


def test_junk_in_a_compressed_image() -> None:
    message = SimpleNamespace(format="jpeg", data=np.zeros(9, np.uint8), __msgtype__="sensor_msgs/msg/CompressedImage")
    with pytest.raises(SartmError, match="compressed image, format 'jpeg': cannot be decoded"):
        raw_array(message)


def test_stamps_keep_every_nanosecond() -> None:
    message = Image()
    set_stamp(message, 1_795_223_787_804_946_135)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1_795_223_787, 804_946_135)
    assert stamp_ns(message) == 1_795_223_787_804_946_135
