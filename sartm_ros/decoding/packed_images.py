"""Bayer mosaics and YUV images to RGB. YUV is ITU-R BT.601 with limited range, as cv_bridge and OpenCV take it."""

import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError

_BAYER = re.compile(r"bayer_(rggb|bggr|gbrg|grbg)(8|16)")
_DEMOSAIC = {
    "rggb": cv2.COLOR_BayerRGGB2RGB,
    "bggr": cv2.COLOR_BayerBGGR2RGB,
    "gbrg": cv2.COLOR_BayerGBRG2RGB,
    "grbg": cv2.COLOR_BayerGRBG2RGB,
}
_PACKED_YUV = {
    "yuyv": cv2.COLOR_YUV2RGB_YUYV,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUYV,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
}
"""4:2:2, two pixels in four bytes; `yuv422_yuy2` and `yuv422` are the deprecated names."""
_SEMI_PLANAR_YUV = {
    "nv12": (2, 2, False),
    "nv21": (2, 2, True),
    "nv16": (1, 2, False),
    "nv61": (1, 2, True),
    "nv24": (1, 1, False),
    "nv42": (1, 1, True),
}
"""A plane of Y, then one of pairs: rows and columns of pixels that share a pair, and whether V comes first."""


def bayer_pattern(encoding: str) -> tuple[str, int] | None:
    """Pattern and bits of `bayer_rggb8` and the like; None for any other encoding."""
    found = _BAYER.fullmatch(encoding)
    return None if found is None else (found[1], int(found[2]))


def demosaic(mosaic: NDArray[Any], pattern: str) -> NDArray[Any]:
    """RGB [H, W, 3] of a Bayer mosaic [H, W], uint8 or uint16; `pattern` names the first two rows: `rggb`."""
    if min(mosaic.shape) < 3:
        raise SartmError(f"a Bayer mosaic of {mosaic.shape[1]}x{mosaic.shape[0]} pixels: expected at least 3x3.")
    return np.asarray(cv2.cvtColor(mosaic, _DEMOSAIC[pattern]))


def eight_bits(image: NDArray[Any]) -> NDArray[np.uint8]:
    """uint16 to uint8: 65535 becomes 255, as cv_bridge scales; uint8 as it is."""
    if image.dtype == np.uint8:
        return image
    return np.asarray((image.astype(np.uint32) * 255 + 32767) // 65535, np.uint8)


def packed_row_bytes(encoding: str, width: int) -> int | None:
    """Bytes of a row of a packed YUV image, without padding; None for any other encoding."""
    return (width + 1) // 2 * 4 if encoding in _PACKED_YUV else None


def packed_yuv(rows: NDArray[np.uint8], encoding: str, width: int) -> NDArray[np.uint8]:
    """RGB [H, W, 3] of rows [H, `packed_row_bytes`]."""
    pairs = rows.reshape(len(rows), -1, 2)
    return np.asarray(cv2.cvtColor(pairs, _PACKED_YUV[encoding]))[:, :width]


def is_semi_planar(encoding: str) -> bool:
    """Whether it is `nv12` or one of its like."""
    return encoding in _SEMI_PLANAR_YUV


def semi_planar_yuv(data: NDArray[np.uint8], encoding: str, height: int, width: int, step: int) -> NDArray[np.uint8]:
    """RGB [H, W, 3] of the planes of an NV image.

    Args:
        data: the whole buffer: `height` rows of `step` bytes of Y, then the pairs with the same padding.
        encoding: such as `nv12`.
        step: bytes from one row of Y to the next.

    Raises:
        SartmError: the buffer has another length. Where the planes begin could then only be guessed.
    """
    shared_rows, shared_columns, v_first = _SEMI_PLANAR_YUV[encoding]
    chroma_rows, chroma_bytes = -(-height // shared_rows), 2 * -(-width // shared_columns)
    chroma_step = step * 2 // shared_columns
    expected = height * step + chroma_rows * chroma_step
    if step < width or chroma_step < chroma_bytes or len(data) != expected:
        raise SartmError(
            f"image of {width}x{height} {encoding}: expected a step of at least {max(width, chroma_bytes)} bytes and "
            f"{expected} bytes of data (Y, then the colours), got step {step} and {len(data)} bytes. The driver fills "
            "the message incorrectly."
        )
    luma = data[: height * step].reshape(height, step)[:, :width]
    pairs = data[height * step :].reshape(chroma_rows, chroma_step)[:, :chroma_bytes]
    if shared_rows == 2 and height % 2 == width % 2 == 0:
        code = cv2.COLOR_YUV2RGB_NV21 if v_first else cv2.COLOR_YUV2RGB_NV12
        return np.asarray(cv2.cvtColor(np.concatenate([luma, pairs]), code))
    chroma = pairs.reshape(chroma_rows, -1, 2)[..., :: -1 if v_first else 1]
    chroma = chroma.repeat(shared_rows, 0)[:height].repeat(shared_columns, 1)[:, :width]
    # As UYVY each pixel twice: OpenCV has no code for 4:4:4 in this range.
    doubled = np.stack([chroma[..., 0], luma, chroma[..., 1], luma], axis=-1).reshape(height, 2 * width, 2)
    return np.ascontiguousarray(cv2.cvtColor(doubled, cv2.COLOR_YUV2RGB_UYVY)[:, ::2])
