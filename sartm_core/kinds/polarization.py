"""Polarisation cameras."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sartm_core.kinds.stream import Camera


class PolarizationModality(Camera):
    """A polarisation camera. `aolp_dolp`: sine and cosine of the angle, and the degree of linear polarisation."""

    kind: Literal["polarization"]
    encoding: Literal["aolp_dolp", "image"] = "aolp_dolp"

    def mirrored(self, planes: NDArray[Any]) -> NDArray[Any]:
        """A mirrored angle of polarisation turns the other way: its sine, the first plane, changes sign."""
        result = super().mirrored(planes)
        result[0] = 255 - result[0] if result.dtype == np.uint8 else -result[0]
        return result
