"""Converts between ROS images and raw sensor arrays. Duck-typed: works on rclpy's and rosbags' messages."""

import array
import re
import sys
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError
from sartm_ros.decoding.compressed_images import decode

Order = tuple[int, ...] | None
_COLOURS: dict[str, tuple[str, int, Order]] = {
    "rgb8": ("u1", 3, None),
    "bgr8": ("u1", 3, (2, 1, 0)),
    "rgba8": ("u1", 4, (0, 1, 2)),
    "bgra8": ("u1", 4, (2, 1, 0)),
    "mono8": ("u1", 1, None),
    "rgb16": ("u2", 3, None),
    "bgr16": ("u2", 3, (2, 1, 0)),
    "rgba16": ("u2", 4, (0, 1, 2)),
    "bgra16": ("u2", 4, (2, 1, 0)),
    "mono16": ("u2", 1, None),
}
"""Encoding -> NumPy type of a channel, channels, indices of red, green, blue (None: in this order, or no colours)."""
_GENERIC = re.compile(r"(8|16|32|64)([USF])C([1-4])")
"""OpenCV's names for the other encodings: `16UC1`, `32FC3`."""
_NUMPY_KINDS = {"U": "u", "S": "i", "F": "f"}
_PACKED_BYTES = {"bayer_": 1, "yuv422": 2}
"""Bytes per pixel of the encodings that a library converts to RGB, by name prefix."""


class MessageFactory(Protocol):
    """Builds a message of a type such as `sensor_msgs/msg/Image` from its fields; bytes or array.array for `uint8[]`.

    `message_types.live_message` builds rclpy messages, `bag.types.bag_message` those of rosbags.
    """

    def __call__(self, message_type: str, **fields: Any) -> Any: ...


def stamp_ns(message: Any) -> int:
    """The header's stamp in nanoseconds."""
    return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)


def set_stamp(message: Any, stamp: int) -> None:
    """Writes a stamp in nanoseconds into the header."""
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)


def raw_array(message: Any) -> NDArray[Any]:
    """The pixels of a sensor_msgs Image or CompressedImage.

    Plain encodings are views into the message (copied only for a change of colour order or of endianness); the others
    (Bayer patterns, YUV, ...) go through `rosbags-image`, and where that fails through `cv_bridge`, if it is installed.

    Returns:
        [H, W] or [H, W, C]; colours in the order red, green, blue.

    Raises:
        SartmError: the fields contradict each other, or the encoding is unsupported.
    """
    if not hasattr(message, "encoding"):
        return decode(message)
    layout = _layout(message.encoding)
    if layout is None:
        return _decode_with_library(message)
    kind, channels, order = layout
    dtype = np.dtype((">" if message.is_bigendian else "<") + kind)
    rows = _rows(message, channels * dtype.itemsize)
    pixels = rows.view(dtype)
    if dtype.byteorder == ">" and dtype.itemsize > 1:
        pixels = pixels.astype(dtype.newbyteorder("="))
    height, width = int(message.height), int(message.width)
    image = pixels.reshape(height, width) if channels == 1 else pixels.reshape(height, width, channels)
    return image if order is None else np.ascontiguousarray(image[..., list(order)])


def _layout(encoding: str) -> tuple[str, int, Order] | None:
    """NumPy type of a channel, channels, order of the colours; None for the packed encodings."""
    found = _GENERIC.fullmatch(encoding)
    if found is None:
        return _COLOURS.get(encoding)
    bits, kind, channels = found.groups()
    return _NUMPY_KINDS[kind] + str(int(bits) // 8), int(channels), None


def _rows(message: Any, pixel_bytes: int) -> NDArray[np.uint8]:
    """The bytes of the pixels, [H, W * pixel_bytes], without row padding; a view if there is none."""
    height, width = int(message.height), int(message.width)
    row_bytes, step, size = width * pixel_bytes, int(message.step), len(message.data)
    if height == 0 or width == 0 or step < row_bytes or size < step * height:
        raise SartmError(
            f"image of {width}x{height} {message.encoding}: expected at least {row_bytes} bytes per row and step x "
            f"height bytes of data, got step {step} and {size} bytes. The driver fills the message incorrectly."
        )
    rows = np.frombuffer(message.data, np.uint8, count=step * height).reshape(height, step)[:, :row_bytes]
    return rows if step == row_bytes else np.ascontiguousarray(rows)


def _decode_with_library(message: Any) -> NDArray[Any]:
    """Converts Bayer patterns and YUV to RGB."""
    from rosbags.image import image_to_cvimage

    what = f"encoding '{message.encoding}'"
    pixel_bytes = next((count for name, count in _PACKED_BYTES.items() if message.encoding.startswith(name)), None)
    if pixel_bytes is not None:
        pixel_bytes *= 2 if message.encoding.endswith("16") else 1
        rows = _rows(message, pixel_bytes)
        names = ("header", "height", "width", "encoding", "is_bigendian")
        fields = {name: getattr(message, name, None) for name in names}
        message = SimpleNamespace(**fields, step=rows.shape[1], data=rows.ravel())
    try:
        image = np.asarray(image_to_cvimage(message, "rgb8"))
    except Exception as error:  # the library raises whatever its decoders raise
        image = _decode_with_cv_bridge(message, f"{what}: cannot be decoded ({error})", error)
    if image.size == 0 or image.dtype == object:
        raise SartmError(f"{what}: cannot be decoded: the data hold no image.")
    return np.ascontiguousarray(image)


def _decode_with_cv_bridge(message: Any, failure: str, cause: Exception) -> NDArray[Any]:
    """Fallback: cv_bridge of Humble and Jazzy crashes with NumPy 2 (vision_opencv#535)."""
    try:
        from cv_bridge import CvBridge

        return np.asarray(CvBridge().imgmsg_to_cv2(message, "rgb8"))
    except Exception:  # not installed, or fails as well
        known = f"{', '.join(_COLOURS)}, OpenCV's names such as 16UC1, Bayer patterns and yuv422"
        raise SartmError(f"{failure}. Known encodings: {known}.") from cause


def image_fields(image: NDArray[Any], encoding: str) -> dict[str, Any]:
    """The fields of a sensor_msgs Image (all but the header) for an array [H, W] or [H, W, C].

    `data` is an array.array: assigning an ndarray to an rclpy message checks every element, 287 ms at 1080p.
    """
    contiguous = np.ascontiguousarray(image)
    data = array.array("B")
    data.frombytes(contiguous.data.cast("B"))
    return {
        "height": image.shape[0],
        "width": image.shape[1],
        "encoding": encoding,
        "is_bigendian": int(sys.byteorder == "big"),
        "step": contiguous.strides[0],
        "data": data,
    }


def header(make: MessageFactory, stamp: int, frame_id: str) -> Any:
    """Builds a std_msgs/Header; the stamp is in nanoseconds."""
    seconds, nanoseconds = divmod(stamp, 1_000_000_000)
    time = make("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
    return make("std_msgs/msg/Header", stamp=time, frame_id=frame_id)


def image_message(make: MessageFactory, image: NDArray[Any], encoding: str, stamped: Any) -> Any:
    """Builds a sensor_msgs/Image from an array [H, W] or [H, W, C]; `stamped` is its header."""
    return make("sensor_msgs/msg/Image", header=stamped, **image_fields(image, encoding))
