"""Decodes sensor_msgs/CompressedImage: JPEG, PNG and compressed_depth_image_transport's depth images."""

import io
import re
import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sartm_core.errors import SartmError, shown
from sartm_ros.decoding.packed_images import bayer_pattern, demosaic, eight_bits

_DEPTH_HEADER = struct.Struct("<iff")
"""compressed_depth_image_transport::ConfigHeader: the format, and the two parameters of inverse depth."""
LARGEST_PIXELS = 2**26
"""67 megapixels: more than any robot camera has."""
MOST_WORK = 2**28
"""Pixels times scans of a JPEG, half a second: each scan of a progressive one goes over the whole picture, and a few
bytes are enough for one. Encoders write ten."""
_JPEG_BEGIN, _PNG_BEGIN, _PNG_END = b"\xff\xd8", b"\x89PNG", b"IEND\xaeB`\x82"
_TIFF_BEGIN = (b"II*\x00", b"MM\x00*")
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])", re.DOTALL)
"""Within compressed data 0xff is followed by 0, or by the number of a restart marker (ITU-T T.81, B.1.1.5)."""
_JPEG_SCAN, _JPEG_EOI = 0xDA, 0xD9


def decode(message: Any, most_pixels: int = LARGEST_PIXELS) -> NDArray[Any]:
    """Decompresses an image at its full bit depth.

    Args:
        message: sensor_msgs/CompressedImage.
        most_pixels: a picture that says it has more is refused before it is decoded.

    Returns:
        [H, W] or [H, W, C], uint8 or uint16, colours in the order red, green, blue; float32 metres for `32FC1;
        compressedDepth png`, NaN where nothing was measured.

    Raises:
        SartmError: truncated, damaged, too large, or of an unsupported format.
    """
    what, data = f"compressed image, format '{shown(message.format)}'", bytes(message.data)
    if "compressedDepth" not in message.format:
        return _colours(_image(data, what, most_pixels), message.format, data)
    if "rvl" in message.format:
        raise SartmError(
            f"{what}: RVL is not supported. Set the publisher's parameter <topic>.compressedDepth.format to png."
        )
    if len(data) < _DEPTH_HEADER.size:
        raise SartmError(f"{what}: expected a header of {_DEPTH_HEADER.size} bytes, got {len(data)} bytes of data.")
    _, a, b = _DEPTH_HEADER.unpack_from(data)
    image = _image(data[_DEPTH_HEADER.size :], what, most_pixels)
    if image.ndim != 2:
        raise SartmError(f"{what}: expected one channel, got {image.shape[2]}.")
    if not message.format.startswith("32FC1"):
        return image
    with np.errstate(all="ignore"):
        return np.where(image > 0, a / (image.astype(np.float32) - b), np.nan).astype(np.float32)


def _colours(image: NDArray[Any], form: str, data: bytes) -> NDArray[Any]:
    """Red, green, blue of what OpenCV decoded to blue, green, red.

    Args:
        image: [H, W] or [H, W, C].
        form: as image_transport writes it: `rgb8; jpeg compressed bgr8`.
        data: the file.
    """
    source, _, compression = (part.strip() for part in form.partition(";"))
    if image.ndim == 2:
        # A mosaic that was compressed as it is; one that was converted before says to what: `jpeg compressed mono8`.
        bayer = bayer_pattern(source)
        if bayer is None or compression.split()[-1:] not in (["compressed"], [source], []):
            return image
        return eight_bits(demosaic(image, bayer[0]))
    # TIFF alone is written without a conversion to blue, green, red.
    if data.startswith(_TIFF_BEGIN) and source.startswith("rgb"):
        return np.ascontiguousarray(image[..., :3])
    return np.ascontiguousarray(image[..., [2, 1, 0]])


def _image(data: bytes, what: str, most_pixels: int) -> NDArray[Any]:
    """[H, W], or [H, W, C] in the order blue, green, red."""
    # OpenCV silently fills the missing part of a truncated file with grey.
    scans: int | None = 1
    if data.startswith(_JPEG_BEGIN):
        scans = _jpeg_scans(data)
    elif data.startswith(_PNG_BEGIN) and _PNG_END not in data:
        scans = None
    if scans is None:
        raise SartmError(f"{what}: the data are truncated after {len(data)} bytes: the end-of-file marker is missing.")
    _check_size(data, what, scans, most_pixels)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise SartmError(f"{what}: cannot be decoded ({error.err or error}).") from error
    if image is None or image.size == 0:
        raise SartmError(f"{what}: cannot be decoded: the {len(data)} bytes of data hold no image.")
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels not in (1, 3, 4) or image.dtype not in (np.uint8, np.uint16, np.float32):
        raise SartmError(
            f"{what}: expected 1, 3 or 4 channels of 8 or 16 bits or of floats, got {channels} of {image.dtype}."
        )
    return image


def _jpeg_scans(data: bytes) -> int | None:
    """How many scans the picture has; None where it does not end.

    The buffer may go on behind the picture, and a preview in the header has an end of its own.
    """
    place, scans = 2, 0
    while found := _JPEG_MARKER.search(data, place):
        marker = found[1][0]
        if marker == _JPEG_EOI:
            return scans or None
        scans += marker == _JPEG_SCAN
        length = int.from_bytes(data[found.end() : found.end() + 2], "big")
        place = found.end() + max(length, 2)
    return None


def _check_size(data: bytes, what: str, scans: int, most_pixels: int) -> None:
    """A few hundred bytes may declare an image of gigabytes; only the header is read here."""
    try:
        with Image.open(io.BytesIO(data)) as header:
            width, height = header.size
    except Image.DecompressionBombError as error:
        raise SartmError(f"{what}: {error}") from error
    except Exception:  # a format unknown to Pillow: OpenCV decides
        return
    if width * height > most_pixels:
        raise SartmError(f"{what}: declares {width}x{height} pixels; at most {most_pixels:,} are accepted.")
    if width * height * scans > MOST_WORK:
        raise SartmError(
            f"{what}: {width}x{height} pixels in {scans} scans; at most {MOST_WORK:,} pixels in all scans together are "
            "accepted. Let the driver write baseline JPEG."
        )
