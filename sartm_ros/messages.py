"""Between ROS messages and raw sensor arrays. Duck-typed: rclpy's messages and rosbags' alike."""

import array
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError
from sartm_ros.compressed import decode

# encoding: (bytes per channel as a NumPy type, channels, order of red, green, blue or None)
_PLAIN: dict[str, tuple[str, int, tuple[int, int, int] | None]] = {
    "rgb8": ("u1", 3, None),
    "bgr8": ("u1", 3, (2, 1, 0)),
    "rgba8": ("u1", 4, (0, 1, 2)),
    "bgra8": ("u1", 4, (2, 1, 0)),
    "mono8": ("u1", 1, None),
    "mono16": ("u2", 1, None),
    "8UC1": ("u1", 1, None),
    "8UC2": ("u1", 2, None),
    "8UC3": ("u1", 3, None),
    "16UC1": ("u2", 1, None),
    "16SC1": ("i2", 1, None),
    "32FC1": ("f4", 1, None),
    "32FC2": ("f4", 2, None),
    "32FC3": ("f4", 3, None),
}


def stamp_ns(message: Any) -> int:
    """The header's stamp, nanoseconds."""
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
        SartmError: the fields contradict each other, or nobody can decode the encoding.
    """
    if not hasattr(message, "encoding"):
        return decode(message)
    if message.encoding not in _PLAIN:
        return _decode_with_library(message)
    kind, channels, order = _PLAIN[message.encoding]
    height, width = int(message.height), int(message.width)
    dtype = np.dtype((">" if message.is_bigendian else "<") + kind)
    row_bytes = width * channels * dtype.itemsize
    step, size = int(message.step), len(message.data)
    if height == 0 or width == 0 or step < row_bytes or size < step * height:
        raise SartmError(
            f"image of {width}x{height} {message.encoding}: expected at least {row_bytes} bytes per row and step x "
            f"height bytes of data, got step {step} and {size} bytes. The driver fills the message wrongly."
        )
    rows = np.frombuffer(message.data, np.uint8, count=step * height).reshape(height, step)[:, :row_bytes]
    pixels = rows.view(dtype) if step == row_bytes else np.ascontiguousarray(rows).view(dtype)
    if dtype.byteorder == ">" and dtype.itemsize > 1:
        pixels = pixels.astype(dtype.newbyteorder("="))
    image = pixels.reshape(height, width) if channels == 1 else pixels.reshape(height, width, channels)
    return image if order is None else np.ascontiguousarray(image[..., list(order)])


def _decode_with_library(message: Any) -> NDArray[Any]:
    from rosbags.image import message_to_cvimage

    what = f"encoding '{message.encoding}'"
    try:
        image = np.asarray(message_to_cvimage(message))
    except Exception as error:  # the library raises whatever its decoders raise
        image = _decode_with_cv_bridge(message, f"{what}: cannot be decoded ({error})", error)
    if image.size == 0 or image.dtype == object:
        raise SartmError(f"{what}: cannot be decoded: the data hold no image.")
    return np.ascontiguousarray(image[..., ::-1]) if image.ndim == 3 and image.shape[2] == 3 else image


def _decode_with_cv_bridge(message: Any, failure: str, cause: Exception) -> NDArray[Any]:
    """Second choice: cv_bridge of Humble and Jazzy crashes beside NumPy 2 (vision_opencv#535)."""
    try:
        from cv_bridge import CvBridge

        return np.asarray(CvBridge().imgmsg_to_cv2(message, "bgr8"))
    except Exception:  # not installed, or as helpless
        raise SartmError(f"{failure}. Known plain encodings: {', '.join(_PLAIN)}.") from cause


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
