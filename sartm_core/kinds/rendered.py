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
    if count == 1:
        channels = np.repeat(channels, 3, axis=2)
    elif count == 2:
        channels = np.concatenate([channels, np.zeros_like(channels[..., :1])], axis=2)
    elif count in (3, 4):
        channels = channels[..., :3]
    else:
        raise SartmError(f"{name}: expected 1 to 4 channels, got {count}.")
    planes = channels.transpose(2, 0, 1)
    return planes if eight_bit else np.nan_to_num(planes.astype(np.float32), posinf=0.0, neginf=0.0)
