"""Writes PNG files."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sartm_core.files import write_bytes


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """Encodes [H, W] or [H, W, 3] (red, green, blue)."""
    stored = np.ascontiguousarray(image[..., ::-1]) if image.ndim == 3 else image
    done, data = cv2.imencode(".png", stored)
    assert done
    return data.tobytes()


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Writes [H, W] or [H, W, 3] (red, green, blue) atomically."""
    write_bytes(path, png_bytes(image))
