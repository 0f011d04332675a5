"""LiDARs."""

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from sartm_core.errors import SartmError
from sartm_core.kinds.enlarged import enlarged
from sartm_core.kinds.pictures import Picture, point_picture
from sartm_core.kinds.stream import IMAGE, POINT_CLOUD, Planes, Stream, with_message


class LidarModality(Stream):
    """A LiDAR in the reference camera's image. `projected`: range (m), intensity, height (m); `image`: rendered."""

    sparse: ClassVar[bool] = True
    points: ClassVar[bool] = True

    kind: Literal["lidar"]
    encoding: Literal["projected", "image"] = "projected"
    enlarge: int = Field(1, ge=1)
    """Each point covers a square of so many pixels; 2 is what the MUSES SDK's enlargement does."""
    message: Literal["sensor_msgs/msg/PointCloud2", "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"]

    @model_validator(mode="before")
    @classmethod
    def _default_message(cls, fields: Any) -> Any:
        return with_message(fields, POINT_CLOUD if fields.get("encoding") != "image" else IMAGE)

    @property
    def input_fields(self) -> dict[str, Any]:
        return super().input_fields | {"enlarge": self.enlarge}

    def encode(self, raw: NDArray[Any]) -> Planes:
        """Refuses points [N, C], which look like an image of N x C pixels: they are projected first."""
        if self.delivers_points and raw.ndim == 2:
            raise SartmError(
                f"{self.name}: expected an image [H, W, 3] of range, intensity, height, got shape {raw.shape}. Points "
                "[N, 4] are projected by sartm_core.sensing.encode_frame."
            )
        return enlarged(super().encode(raw), self.enlarge)

    def emptiness(self, raw: NDArray[Any], image: NDArray[Any], planes: Planes) -> str | None:
        """Without a point, or a pixel of a rendered image, in the reference's view."""
        if planes.any():
            return None
        if self.delivers_points and raw.ndim == 2:
            return f"points in the reference camera's view: 0 of {len(raw):,}. Check its calibration and frame_id"
        return "no pixel is measured"

    def picture(self, image: NDArray[Any]) -> Picture:
        if self.encoding != "projected":
            return super().picture(image)
        return point_picture(image[..., 0].astype(np.float32))
