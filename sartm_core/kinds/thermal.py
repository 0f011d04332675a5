"""Thermal cameras: gain control, a fixed window, or the temperature itself."""

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from sartm_core.errors import SartmError
from sartm_core.kinds.pictures import Picture, grey_picture
from sartm_core.kinds.stream import Camera, OfPlanes, Planes

SCENE_K = (150.0, 1500.0)
"""Medians outside of this are no temperatures of a scene, but another unit."""

GREY_TOLERANCE = 4.0
"""Mean difference of the channels of a grey image that was compressed, of 255."""


class ThermalModality(Camera):
    """A long-wave infrared camera.

    `percentile`: each frame stretched between two percentiles to 0..255, as gain-controlled cameras do.
    `window`: a fixed window of kelvin to 0..255. `kelvin`: the temperature itself. `image`: 8 bit as delivered.
    """

    photometric: ClassVar[bool] = True

    kind: Literal["thermal"]
    encoding: Literal["percentile", "window", "kelvin", "image"] = "percentile"
    percentiles: tuple[float, float] = (1.0, 99.0)
    window_k: tuple[float, float] = (253.15, 323.15)
    kelvin_per_count: float = Field(0.01, gt=0)
    kelvin_at_zero: float = 0.0
    """Temperature of a pixel of 0: 273.15 for degrees Celsius, 173.15 for tenths of a degree that begin at -100."""

    @property
    def eight_bit(self) -> bool:
        return self.encoding != "kelvin"

    @property
    def value_range(self) -> tuple[OfPlanes, OfPlanes] | None:
        """Of kelvin: `window_k`."""
        if self.encoding != "kelvin" or self.full_scale is not None:
            return super().value_range
        low, high = self.window_k
        return (low, low, low), (high, high, high)

    @property
    def input_fields(self) -> dict[str, Any]:
        own: dict[str, Any] = {"percentile": {"percentiles": self.percentiles}, "window": {"window_k": self.window_k}}
        return super().input_fields | own.get(self.encoding, {})

    @model_validator(mode="after")
    def _ordered(self) -> "ThermalModality":
        for field in ("percentiles", "window_k"):
            low, high = getattr(self, field)
            if low >= high:
                raise ValueError(f"{field}: expected [low, high] with low < high, got [{low}, {high}]")
        return self

    def encode(self, raw: NDArray[Any]) -> Planes:
        """One intensity, repeated in all three planes: uint8 0 to 255, or float32 kelvin with `kelvin`.

        `percentile` leaves out pixels of 0, which an image that was warped has at its border; it takes any depth.
        `window` and `kelvin` need radiometric pixels: kelvin = `kelvin_per_count` x count + `kelvin_at_zero`, and of
        float pixels value + `kelvin_at_zero`.

        Args:
            raw: [H, W] or [H, W, C] (drivers replicate 8-bit images; the first channel is used).

        Raises:
            SartmError: an 8-bit image where temperatures are needed, or a deep one where 8 bit are; false colours;
                temperatures that no scene has.
        """
        self._refuse_false_colours(raw)
        image = raw if raw.ndim == 2 else raw[..., 0]
        if self.encoding == "image" and image.dtype != np.uint8:
            raise SartmError(
                f"{self.name}: encoding 'image' expects 8-bit pixels, got {image.dtype}. Use 'percentile'."
            )
        if self.encoding in ("window", "kelvin") and image.dtype == np.uint8:
            raise SartmError(
                f"{self.name}: encoding '{self.encoding}' expects radiometric pixels (16 bit or float), got 8-bit "
                "ones. Switch the camera to its radiometric mode, or use encoding 'percentile' or 'image'."
            )
        plane = self._plane(image)
        return np.broadcast_to(plane, (3, *plane.shape))

    def outside(self, dtype: np.dtype[Any]) -> float:
        """0, but for degrees Celsius in float pixels, where 0 is a temperature."""
        return np.nan if self.kelvin_at_zero and np.issubdtype(dtype, np.floating) else 0.0

    def picture(self, image: NDArray[Any]) -> Picture:
        return grey_picture(image if image.ndim == 2 else image[..., 0])

    def _plane(self, image: NDArray[Any]) -> NDArray[Any]:
        if self.encoding == "image":
            return image
        if self.encoding == "kelvin":
            return self._kelvin(image)
        if self.encoding == "window":
            return _stretch(self._kelvin(image), *self.window_k)
        # Every fourth pixel in each direction: the percentiles stay within a count, at a sixteenth of the cost.
        sample = image[::4, ::4]
        sample = sample[np.isfinite(sample) & (sample != 0)]  # 0: outside of an image that was warped
        low, high = np.percentile(sample, self.percentiles) if sample.size else (0.0, 1.0)
        return _stretch(image.astype(np.float32), float(low), float(high))

    def _kelvin(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Integer counts are scaled, float pixels are not; counts of 0 and pixels that are not finite become 0."""
        scale = self.kelvin_per_count if np.issubdtype(image.dtype, np.integer) else 1.0
        with np.errstate(over="ignore", invalid="ignore"):
            kelvin = image.astype(np.float32) * np.float32(scale) + np.float32(self.kelvin_at_zero)
        sample = kelvin[::4, ::4]
        sample = sample[np.isfinite(sample) & (image[::4, ::4] != self.outside(image.dtype))]
        typical = float(np.median(sample)) if sample.size else SCENE_K[0]
        if not SCENE_K[0] <= typical <= SCENE_K[1]:
            raise SartmError(
                f"{self.name}: its median would be {typical:.4g} K, which no scene has. Set kelvin_per_count and "
                "kelvin_at_zero (273.15 for degrees Celsius) in the rig file to what the driver's manual says."
            )
        if np.issubdtype(image.dtype, np.integer):
            kelvin[image == 0] = 0.0
        return np.nan_to_num(kelvin, posinf=0.0, neginf=0.0)

    def _refuse_false_colours(self, raw: NDArray[Any]) -> None:
        """Compressed grey images have channels that differ by a little; palettes differ by a lot."""
        if raw.ndim != 3 or raw.shape[2] < 3:
            return
        channels = raw[::4, ::4, :3].astype(np.float32)
        if np.abs(channels - channels[..., :1]).mean() > GREY_TOLERANCE:
            raise SartmError(
                f"{self.name}: its image has false colours, whose order of temperatures is unknown. Switch the camera "
                "to a grey palette or to 16 bit."
            )


def _stretch(image: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (image - low) * (255.0 / max(high - low, 1e-6))
    return np.nan_to_num(np.clip(scaled, 0, 255)).astype(np.uint8)
