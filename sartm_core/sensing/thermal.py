"""Thermal images: gain control, a fixed window, or the temperature itself."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError
from sartm_core.rig import ThermalModality


def encode_thermal(modality: ThermalModality, raw: NDArray[Any]) -> NDArray[np.uint8] | NDArray[np.float32]:
    """One intensity, thrice.

    Args:
        modality: `percentile` leaves out pixels of 0, which an image that was warped has at its border;
            `window` and `kelvin` need radiometric counts (`kelvin_per_count`); `percentile` takes any depth.
        raw: [H, W] or [H, W, C] (drivers replicate 8-bit images; the first channel is used).

    Returns:
        [3, H, W]: uint8 0 to 255, or float32 kelvin where the encoding is `kelvin`.

    Raises:
        SartmError: an 8-bit image where temperatures are asked for, or a deep one where 8 bit are.
    """
    image = raw if raw.ndim == 2 else raw[..., 0]
    if modality.encoding == "image" and image.dtype != np.uint8:
        raise SartmError(
            f"{modality.name}: encoding 'image' expects 8-bit pixels, got {image.dtype}. Use 'percentile'."
        )
    if modality.encoding in ("window", "kelvin") and image.dtype == np.uint8:
        raise SartmError(
            f"{modality.name}: encoding '{modality.encoding}' expects radiometric pixels (16 bit or float), got 8-bit "
            "ones. Switch the camera to its radiometric mode, or use encoding 'percentile' or 'image'."
        )
    if modality.encoding == "image":
        plane: NDArray[Any] = image
    elif modality.encoding == "kelvin":
        plane = _kelvin(modality, image)
    elif modality.encoding == "window":
        plane = _stretch(_kelvin(modality, image), *modality.window_k)
    else:
        # Every fourth pixel in each direction: the percentiles stay within a count, at a sixteenth of the cost.
        sample = image[::4, ::4]
        sample = sample[np.isfinite(sample) & (sample != 0)]  # 0: outside of an image that was warped
        low, high = np.percentile(sample, modality.percentiles) if sample.size else (0.0, 1.0)
        plane = _stretch(image.astype(np.float32), float(low), float(high))
    return np.broadcast_to(plane, (3, *plane.shape))


def _kelvin(modality: ThermalModality, image: NDArray[Any]) -> NDArray[np.float32]:
    """Integer counts are scaled; float images are taken to be kelvin already."""
    scale = modality.kelvin_per_count if np.issubdtype(image.dtype, np.integer) else 1.0
    with np.errstate(over="ignore"):
        return np.nan_to_num(image.astype(np.float32) * np.float32(scale), posinf=0.0, neginf=0.0)


def _stretch(image: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (image - low) * (255.0 / max(high - low, 1e-6))
    return np.nan_to_num(np.clip(scaled, 0, 255)).astype(np.uint8)
