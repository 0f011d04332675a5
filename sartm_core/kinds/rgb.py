"""Colour cameras."""

from typing import ClassVar, Literal

from sartm_core.kinds.stream import Camera


class RgbModality(Camera):
    """A colour camera: planes are red, green, blue, 0 to 255."""

    photometric: ClassVar[bool] = True

    kind: Literal["rgb"]
