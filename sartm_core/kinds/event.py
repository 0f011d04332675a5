"""Event cameras."""

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from sartm_core.kinds.enlarged import enlarged
from sartm_core.kinds.pictures import Picture, event_picture
from sartm_core.kinds.stream import EVENT_PACKET, IMAGE, Planes, Stream, with_message


class EventModality(Stream):
    """An event camera. `counts`: events per pixel, positive and negative, of a window; `image`: rendered."""

    sparse: ClassVar[bool] = True

    kind: Literal["event"]
    encoding: Literal["counts", "image"] = "image"
    window_s: float = Field(0.03, gt=0)
    """Counted are the events of this long before the frame set's stamp."""
    enlarge: int = Field(1, ge=1)
    """Each pixel with events covers a square of so many; 2 is what the MUSES SDK's enlargement does."""
    message: Literal[
        "event_camera_msgs/msg/EventPacket",
        "dvs_msgs/msg/EventArray",
        "sensor_msgs/msg/Image",
        "sensor_msgs/msg/CompressedImage",
    ]

    @model_validator(mode="before")
    @classmethod
    def _default_message(cls, fields: Any) -> Any:
        return with_message(fields, EVENT_PACKET if fields.get("encoding") == "counts" else IMAGE)

    @property
    def input_fields(self) -> dict[str, Any]:
        counted = {"window_s": self.window_s} if self.encoding == "counts" else {}
        return super().input_fields | counted | {"enlarge": self.enlarge}

    def encode(self, raw: NDArray[Any]) -> Planes:
        return enlarged(super().encode(raw), self.enlarge)

    def emptiness(self, raw: NDArray[Any], image: NDArray[Any], planes: Planes) -> None:
        """Never: an event camera that sees no change is silent."""

    def picture(self, image: NDArray[Any]) -> Picture:
        return event_picture(np.asarray(image)) if self.encoding == "counts" else super().picture(image)
