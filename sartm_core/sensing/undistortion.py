"""Images of a lens that bends straight lines, as a pinhole camera would have seen them."""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sartm_core.calibration import Intrinsics, Lens
from sartm_core.errors import SartmError
from sartm_core.rig import Modality, Size

KEPT_MAPS = 16
_HALF = np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
"""OpenCV counts pixels from the centre of the first, `Intrinsics` from its corner."""


def undistorted(modality: Modality, raw: NDArray[Any]) -> NDArray[Any]:
    """An image [H, W] or [H, W, C], rectified by the modality's lens; as it is where it has none.

    Raises:
        SartmError: the image is not of the size that the calibration is for.
    """
    if modality.lens is None or raw.ndim not in (2, 3) or 0 in raw.shape:
        return raw
    if raw.shape[:2] != modality.size:
        raise SartmError(
            f"{modality.name}: its lens is known for images of {modality.size[0]}x{modality.size[1]} (height x width; "
            f"size: in the rig file), got {raw.shape[0]}x{raw.shape[1]}."
        )
    coarse, fine = _maps(modality.lens, modality.intrinsics or modality.lens.camera, modality.size)
    interpolation = cv2.INTER_NEAREST if modality.sparse else cv2.INTER_LINEAR
    image = cv2.remap(raw, coarse, fine, interpolation, borderMode=cv2.BORDER_REPLICATE)
    height, width = raw.shape[:2]
    u, v = coarse[..., 0], coarse[..., 1]
    image[(u < 0) | (u >= width) | (v < 0) | (v >= height)] = modality.outside(raw.dtype)
    return np.asarray(image)


@lru_cache(KEPT_MAPS)
def _maps(lens: Lens, target: Intrinsics, size: Size) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """Where each rectified pixel comes from, int16 [H, W, 2] in whole pixels, and uint16 [H, W] in parts of them."""
    arguments = (
        lens.camera.matrix - _HALF,
        np.array(lens.coefficients),
        np.array(lens.rotation, np.float64),
        target.matrix - _HALF,
        size[::-1],
        cv2.CV_16SC2,
    )
    fisheye = lens.model == "equidistant"
    make = cv2.fisheye.initUndistortRectifyMap if fisheye else cv2.initUndistortRectifyMap
    coarse, fine = make(*arguments)
    return coarse, fine
