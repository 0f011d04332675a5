"""Converts between ROS images and raw sensor arrays. Duck-typed: works on rclpy's and rosbags' messages."""

import array
import re
import sys
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError, shown
from sartm_ros.decoding.compressed_images import LARGEST_PIXELS, decode
from sartm_ros.decoding.packed_images import (
    bayer_pattern,
    demosaic,
    eight_bits,
    is_semi_planar,
    packed_row_bytes,
    packed_yuv,
    semi_planar_yuv,
)

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
_GENERIC = re.compile(r"(8|16|32|64)([USF])C([1-4])?")
"""OpenCV's names for the other encodings: `16UC1`, `32FC3`; cv_bridge takes `16UC` for one channel."""
_NUMPY_KINDS = {"U": "u", "S": "i", "F": "f"}


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


def raw_array(message: Any, most_pixels: int = LARGEST_PIXELS) -> NDArray[Any]:
    """The pixels of a sensor_msgs Image or CompressedImage; of the latter at most so many.

    Plain encodings are views into the message (copied only for a change of colour order or of endianness). Bayer
    mosaics and YUV become RGB; an encoding that is unknown here goes through `cv_bridge`, if it is installed.

    Returns:
        [H, W] or [H, W, C]; colours in the order red, green, blue. Bayer mosaics of 16 bits are scaled to 8.

    Raises:
        SartmError: the fields contradict each other, or the encoding is unsupported.
    """
    if not hasattr(message, "encoding"):
        return decode(message, most_pixels)
    height, width, encoding = int(message.height), int(message.width), str(message.encoding)
    bayer = bayer_pattern(encoding)
    if bayer is not None:
        pattern, bits = bayer
        return eight_bits(demosaic(_pixels(message, f"u{bits // 8}", 1), pattern))
    if is_semi_planar(encoding):
        _require_size(message)
        data = np.frombuffer(message.data, np.uint8)
        return semi_planar_yuv(data, encoding, height, width, int(message.step))
    packed_bytes = packed_row_bytes(encoding, width)
    if packed_bytes is not None:
        return packed_yuv(_rows(message, packed_bytes), encoding, width)
    layout = _layout(encoding)
    if layout is None:
        return _decode_with_cv_bridge(message)
    kind, channels, order = layout
    image = _pixels(message, kind, channels)
    return image if order is None else np.ascontiguousarray(image[..., list(order)])


def _layout(encoding: str) -> tuple[str, int, Order] | None:
    """NumPy type of a channel, channels, order of the colours; None where it is not known."""
    found = _GENERIC.fullmatch(encoding)
    if found is None:
        return _COLOURS.get(encoding)
    bits, kind, channels = found.groups()
    return _NUMPY_KINDS[kind] + str(int(bits) // 8), int(channels or 1), None


def _pixels(message: Any, kind: str, channels: int) -> NDArray[Any]:
    """[H, W] or [H, W, C] in this machine's byte order; a view where it can be."""
    dtype = np.dtype((">" if message.is_bigendian else "<") + kind)
    pixels = _rows(message, int(message.width) * channels * dtype.itemsize).view(dtype)
    if dtype.byteorder == ">" and dtype.itemsize > 1:
        pixels = pixels.astype(dtype.newbyteorder("="))
    height, width = int(message.height), int(message.width)
    return pixels.reshape(height, width) if channels == 1 else pixels.reshape(height, width, channels)


def _require_size(message: Any) -> None:
    if message.height == 0 or message.width == 0:
        raise SartmError(f"image of {message.width}x{message.height} {shown(message.encoding)}: it has no pixels.")


def _rows(message: Any, row_bytes: int) -> NDArray[np.uint8]:
    """The bytes of the pixels, [H, row_bytes], without row padding; a view if there is none."""
    _require_size(message)
    height, step, size = int(message.height), int(message.step), len(message.data)
    # Whole rows may follow (a sensor's 1088 lines for 1080); a remainder means that the rows have another length.
    if step < row_bytes or size < step * height or size % step:
        raise SartmError(
            f"image of {message.width}x{height} {shown(message.encoding)}: expected at least {row_bytes} bytes per row "
            f"and step x height bytes of data, got step {step} and {size} bytes. The driver fills the message "
            "incorrectly."
        )
    rows = np.frombuffer(message.data, np.uint8, count=step * height).reshape(height, step)[:, :row_bytes]
    return rows if step == row_bytes else np.ascontiguousarray(rows)


def _decode_with_cv_bridge(message: Any) -> NDArray[Any]:
    """Other encodings; cv_bridge of Humble and Jazzy crashes with NumPy 2 (vision_opencv#535)."""
    known = f"{', '.join(_COLOURS)}, OpenCV's names such as 16UC1, Bayer patterns, yuyv, uyvy, and nv12 and its like"
    try:
        from cv_bridge import CvBridge

        image = np.asarray(CvBridge().imgmsg_to_cv2(message, "rgb8"))
    except Exception as error:  # not installed, or fails as well
        raise SartmError(f"encoding '{shown(message.encoding)}' is not supported. Supported are {known}.") from error
    if image.shape[:2] != (message.height, message.width):
        raise SartmError(
            f"encoding '{shown(message.encoding)}': cv_bridge made {image.shape[1]}x{image.shape[0]} pixels of a "
            f"message of {message.width}x{message.height}. Supported here are {known}."
        )
    return np.ascontiguousarray(image)


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
