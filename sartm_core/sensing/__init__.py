"""From the raw array of one sensor to the planes that the network eats."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError
from sartm_core.rig import DepthModality, Modality, ThermalModality
from sartm_core.sensing.depth import encode_depth
from sartm_core.sensing.rendered import encode_rendered
from sartm_core.sensing.thermal import encode_thermal

Planes = NDArray[np.uint8] | NDArray[np.float32]


def encode(modality: Modality, raw: NDArray[Any], dtype: np.dtype[Any] | None = None) -> Planes:
    """Turns one raw measurement into planes, at the sensor's own size.

    Args:
        modality: says kind and encoding.
        raw: [H, W] or [H, W, C] as the driver or the file delivers it (colours in the order red, green, blue).
        dtype: the rig's dtype (`Rig.dtype`); by default the narrowest that this modality needs.

    Returns:
        [3, H, W], contiguous.

    Raises:
        SartmError: shape or dtype do not fit the modality; the message says what was expected.

    Examples:
        >>> from sartm_core.rig import load_rig
        >>> rgb = load_rig("sim").modality("rgb")
        >>> encode(rgb, np.zeros((256, 320, 3), np.uint8)).shape
        (3, 256, 320)
    """
    if raw.ndim not in (2, 3) or 0 in raw.shape:
        raise SartmError(f"{modality.name}: expected an image [H, W] or [H, W, C], got an array of shape {raw.shape}.")
    if isinstance(modality, ThermalModality):
        planes = encode_thermal(modality, raw)
    elif isinstance(modality, DepthModality) and modality.encoding == "metres":
        planes = encode_depth(modality, raw)
    else:
        planes = encode_rendered(modality, raw)
    wanted = planes.dtype if dtype is None else dtype
    return np.ascontiguousarray(planes, dtype=wanted)
