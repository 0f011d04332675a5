"""Images of one, two or three channels into planes: colour, near infrared, and anything rendered."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError


def encode_rendered(
    name: str, kind: str, raw: NDArray[Any], eight_bit: bool
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Channels to planes: one channel is repeated, two get an empty third, of four the last (alpha) is dropped.

    Args:
        name, kind: of the modality, for errors.
        raw: [H, W] or [H, W, 1..4].
        eight_bit: takes uint8 only; else any number type, and not-a-number becomes 0.

    Raises:
        SartmError: another dtype or number of channels.
    """
    if eight_bit and raw.dtype != np.uint8:
        raise SartmError(
            f"{name}: expected 8-bit pixels (uint8), got {raw.dtype}. "
            f"Let the driver publish 8 bit, or choose another encoding of the {kind} modality in the rig file."
        )
    channels = raw[..., None] if raw.ndim == 2 else raw
    count = channels.shape[2]
    if not 1 <= count <= 4:
        raise SartmError(f"{name}: expected 1 to 4 channels, got {count}.")
    planes = np.zeros((3, *channels.shape[:2]), np.uint8 if eight_bit else np.float32)
    planes[: 3 if count == 1 else count] = channels[..., :3].transpose(2, 0, 1)
    if not np.isfinite(planes).all():
        np.nan_to_num(planes, copy=False, posinf=0.0, neginf=0.0)
    return planes
