"""The one way from what the sensors of a rig measured at one instant to registered planes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError
from sartm_core.kinds import Modality, Planes
from sartm_core.rig import Rig
from sartm_core.sensing.registration import register


def encode(modality: Modality, raw: NDArray[Any], dtype: np.dtype[Any] | None = None) -> Planes:
    """Turns one raw image into planes, at the sensor's own size.

    Args:
        modality: gives kind and encoding.
        raw: [H, W] or [H, W, C] as the driver or the file delivers it (colours in the order red, green, blue).
        dtype: the rig's dtype (`Rig.dtype`); by default the narrowest that this modality needs.

    Returns:
        [3, H, W], contiguous.

    Raises:
        SartmError: shape or dtype do not fit the modality; the message says what was expected.

    Example:
        >>> from sartm_core.rig import load_rig
        >>> rgb = load_rig("sim").modality("rgb")
        >>> encode(rgb, np.zeros((256, 320, 3), np.uint8)).shape
        (3, 256, 320)
    """
    if raw.ndim not in (2, 3) or 0 in raw.shape:
        raise SartmError(f"{modality.name}: expected an image [H, W] or [H, W, C], got an array of shape {raw.shape}.")
    planes = modality.encode(raw)
    return np.ascontiguousarray(planes, dtype=planes.dtype if dtype is None else dtype)


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """What became of the raw arrays of one instant.

    Attributes:
        images: modality -> registered image [H, W] or [H, W, C], of those that could be encoded.
        planes: modality -> the same encoded, [3, H, W] of the rig's dtype.
        faults: modality -> why it cannot be used; it counts as absent.
        empty: modality -> why its measurement holds nothing, such as no point in view. Its planes are there, but a
            robot has no use for them: see `measured`.
    """

    images: dict[str, NDArray[Any]]
    planes: dict[str, Planes]
    faults: dict[str, str]
    empty: dict[str, str]

    @property
    def measured(self) -> dict[str, Planes]:
        """The planes that hold a measurement."""
        return {name: planes for name, planes in self.planes.items() if name not in self.empty}


def encode_frame(
    rig: Rig,
    raws: Mapping[str, NDArray[Any]],
    *,
    dtype: np.dtype[Any] | None = None,
    registered: bool = False,
    change: Callable[[str, NDArray[Any]], NDArray[Any]] | None = None,
) -> EncodedFrame:
    """Registers and encodes the raw arrays of one instant; never raises for one that is broken.

    Training, evaluation, recordings, the node and `sartm_core.load` all come through here: what was trained is what
    runs.

    Args:
        rig: gives kinds, encodings and calibrations.
        raws: modality -> image [H, W] or [H, W, C]; LiDAR points [N, >= 4]; events as `sensing.events.EVENT`. What is
            absent is not a key.
        dtype: of the planes; by default `rig.dtype`. A robot with a part of a bundle's sensors gives the bundle's.
        registered: the images lie in the reference's geometry already, as those of data sets do.
        change: applied to each registered image before it is encoded, such as the noise of a test.
    """
    wanted = rig.dtype if dtype is None else dtype
    images: dict[str, NDArray[Any]] = {}
    planes: dict[str, Planes] = {}
    faults: dict[str, str] = {}
    empty: dict[str, str] = {}
    for name, raw in raws.items():
        try:
            image = raw if registered else register(rig, name, raws)
            image = image if change is None else change(name, image)
            planes[name] = encode(rig.modality(name), image, wanted)
            images[name] = image
            reason = rig.modality(name).emptiness(raw, image, planes[name])
            if reason is not None:
                empty[name] = reason
        except Exception as error:  # whatever the array holds, it costs this modality only
            faults[name] = reason_of(error)
    return EncodedFrame(images, planes, faults, empty)


def reason_of(error: Exception) -> str:
    """What a fault is called in logs and reports."""
    return str(error) if isinstance(error, SartmError) else repr(error)
