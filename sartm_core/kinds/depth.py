"""Depth cameras."""

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sartm_core.errors import SartmError
from sartm_core.kinds.pictures import Picture, range_picture
from sartm_core.kinds.stream import Camera, OfPlanes, Planes


class DepthModality(Camera):
    """A depth camera. `metres`: the range image, repeated in all three planes; `image`: rendered, such as HHA."""

    sparse: ClassVar[bool] = True

    kind: Literal["depth"]
    encoding: Literal["metres", "image"] = "metres"
    metres_per_count: float = Field(0.001, gt=0)
    max_range_m: float = Field(80.0, gt=0)

    @property
    def value_range(self) -> tuple[OfPlanes, OfPlanes] | None:
        """Of metres: up to `max_range_m`."""
        if self.encoding == "image" or self.full_scale is not None:
            return super().value_range
        return (0.0, 0.0, 0.0), (self.max_range_m, self.max_range_m, self.max_range_m)

    def encode(self, raw: NDArray[Any]) -> Planes:
        """With `metres`: float32 metres, 0 where nothing was measured (REP-118: 0 in 16UC1, NaN or infinite in 32FC1).

        `metres_per_count` scales integers; ranges beyond `max_range_m` count as not measured.

        Args:
            raw: [H, W] (or [H, W, 1]), an integer type in counts or a float type in metres.

        Raises:
            SartmError: several channels, or 8-bit pixels (a rendered depth image).
        """
        if self.encoding == "image":
            return super().encode(raw)
        image = raw[..., 0] if raw.ndim == 3 and raw.shape[2] == 1 else raw
        if image.ndim != 2 or image.dtype == np.uint8:
            raise SartmError(
                f"{self.name}: encoding 'metres' expects one channel of 16-bit counts or of float metres, got shape "
                f"{raw.shape} of {raw.dtype}. For rendered depth such as HHA set encoding: image in the rig file."
            )
        metres = self._metres(image)
        metres[~((metres > 0) & (metres <= self.max_range_m))] = 0.0
        return np.broadcast_to(metres, (3, *metres.shape))

    def emptiness(self, raw: NDArray[Any], image: NDArray[Any], planes: Planes) -> str | None:
        """Without a range that counts, as with a wrong unit."""
        if self.encoding == "image":
            return super().emptiness(raw, image, planes)
        if planes[0].any():
            return None
        readings = self._metres(raw)
        readings = readings[np.isfinite(readings) & (readings > 0)]
        found = (
            f"its readings are {readings.min():.3g} to {readings.max():.3g} m"
            if readings.size
            else "it has no readings"
        )
        return (
            f"no pixel of the reference's view measures 0 to {self.max_range_m:g} m; {found}. Check metres_per_count, "
            "max_range_m and the calibration"
        )

    def picture(self, image: NDArray[Any]) -> Picture:
        return super().picture(image) if self.encoding == "image" else range_picture(np.nan_to_num(self._metres(image)))

    def _metres(self, image: NDArray[Any]) -> NDArray[np.float32]:
        scale = self.metres_per_count if np.issubdtype(image.dtype, np.integer) else 1.0
        with np.errstate(over="ignore"):
            return image.astype(np.float32) * np.float32(scale)
