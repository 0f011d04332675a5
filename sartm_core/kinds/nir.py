"""Near-infrared cameras."""

from typing import ClassVar, Literal

from sartm_core.kinds.stream import Camera


class NirModality(Camera):
    """A near-infrared camera. `image`: 8 bit; `counts`: deeper pixels as delivered."""

    photometric: ClassVar[bool] = True

    kind: Literal["nir"]
    encoding: Literal["image", "counts"] = "image"
