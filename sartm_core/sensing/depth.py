"""Depth images in metres."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError
from sartm_core.rig import DepthModality


def encode_depth(modality: DepthModality, raw: NDArray[Any]) -> NDArray[np.float32]:
    """Range in metres, thrice; 0 where nothing was measured (REP-118: 0 in 16UC1, NaN or infinite in 32FC1).

    Args:
        modality: `metres_per_count` scales integers; ranges beyond `max_range_m` count as not measured.
        raw: [H, W] (or [H, W, 1]), an integer type in counts or a float type in metres.

    Returns:
        float32 [3, H, W], metres.

    Raises:
        SartmError: several channels, or 8-bit pixels (a rendered depth image).
    """
    image = raw[..., 0] if raw.ndim == 3 and raw.shape[2] == 1 else raw
    if image.ndim != 2 or image.dtype == np.uint8:
        raise SartmError(
            f"{modality.name}: encoding 'metres' expects one channel of 16-bit counts or of float metres, got shape "
            f"{raw.shape} of {raw.dtype}. For rendered depth such as HHA set encoding: image in the rig file."
        )
    scale = modality.metres_per_count if np.issubdtype(image.dtype, np.integer) else 1.0
    with np.errstate(over="ignore"):
        metres = image.astype(np.float32) * np.float32(scale)
    metres[~((metres > 0) & (metres <= modality.max_range_m))] = 0.0
    return np.broadcast_to(metres, (3, *metres.shape))
