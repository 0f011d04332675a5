"""Decodes sensor_msgs/CompressedImage: JPEG, PNG and compressed_depth_image_transport's depth images."""

import io
import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sartm_core.errors import SartmError

_DEPTH_HEADER = struct.Struct("<iff")
"""compressed_depth_image_transport::ConfigHeader: the format, and the two parameters of inverse depth."""
LARGEST_PIXELS = 2**26
"""67 megapixels: more than any robot camera has."""
_JPEG_END, _PNG_END = b"\xff\xd9", b"IEND\xaeB`\x82"


def decode(message: Any) -> NDArray[Any]:
    """Decompresses an image at its full bit depth.

    Returns:
        [H, W] or [H, W, C], uint8 or uint16, colours in the order red, green, blue; float32 metres for `32FC1;
        compressedDepth png`, NaN where nothing was measured.

    Raises:
        SartmError: truncated, damaged, or of an unsupported format.
    """
    what, data = f"compressed image, format '{message.format}'", bytes(message.data)
    if "compressedDepth" not in message.format:
        return _image(data, what)
    if "rvl" in message.format:
        raise SartmError(
            f"{what}: RVL is not supported. Set the publisher's parameter <topic>.compressedDepth.format to png."
        )
    if len(data) < _DEPTH_HEADER.size:
        raise SartmError(f"{what}: expected a header of {_DEPTH_HEADER.size} bytes, got {len(data)} bytes of data.")
    _, a, b = _DEPTH_HEADER.unpack_from(data)
    image = _image(data[_DEPTH_HEADER.size :], what)
    if not message.format.startswith("32FC1"):
        return image
    with np.errstate(all="ignore"):
        return np.where(image > 0, a / (image.astype(np.float32) - b), np.nan).astype(np.float32)


def _image(data: bytes, what: str) -> NDArray[Any]:
    # OpenCV silently fills the missing part of a truncated file with grey.
    end = _JPEG_END if data.startswith(b"\xff\xd8") else _PNG_END if data.startswith(b"\x89PNG") else b""
    if end and end not in data[-64:]:
        raise SartmError(f"{what}: the data are truncated after {len(data)} bytes: the end-of-file marker is missing.")
    _check_size(data, what)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise SartmError(f"{what}: cannot be decoded ({error.err or error}).") from error
    if image is None or image.size == 0:
        raise SartmError(f"{what}: cannot be decoded: the {len(data)} bytes of data hold no image.")
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels not in (1, 3, 4) or image.dtype not in (np.uint8, np.uint16):
        raise SartmError(f"{what}: expected 1, 3 or 4 channels of 8 or 16 bits, got {channels} of {image.dtype}.")
    return image if channels == 1 else np.ascontiguousarray(image[..., [2, 1, 0]])


def _check_size(data: bytes, what: str) -> None:
    """A few hundred bytes may declare an image of gigabytes; only the header is read here."""
    try:
        with Image.open(io.BytesIO(data)) as header:
            width, height = header.size
    except Image.DecompressionBombError as error:
        raise SartmError(f"{what}: {error}") from error
    except Exception:  # a format unknown to Pillow: OpenCV decides
        return
    if width * height > LARGEST_PIXELS:
        raise SartmError(f"{what}: declares {width}x{height} pixels; at most {LARGEST_PIXELS:,} are accepted.")
