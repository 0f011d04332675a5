"""Polarisation cameras."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sartm_core.kinds.stream import Camera, OfPlanes


class PolarizationModality(Camera):
    """A polarisation camera. `aolp_dolp`: sine and cosine of the angle, and the degree of linear polarisation."""

    kind: Literal["polarization"]
    encoding: Literal["aolp_dolp", "image"] = "aolp_dolp"

    @property
    def value_range(self) -> tuple[OfPlanes, OfPlanes] | None:
        """Of sine, cosine and degree: what they can be."""
        if self.encoding != "aolp_dolp" or self.full_scale is not None:
            return super().value_range
        return (-1.0, -1.0, 0.0), (1.0, 1.0, 1.0)

    def mirrored(self, planes: NDArray[Any]) -> NDArray[Any]:
        """A mirrored angle of polarisation turns the other way: its sine, the first plane, changes sign."""
        result = super().mirrored(planes)
        result[0] = 255 - result[0] if result.dtype == np.uint8 else -result[0]
        return result
