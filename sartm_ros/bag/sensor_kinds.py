"""Which kind of modality a topic could be, from its type, its content and its name."""

import re
from dataclasses import dataclass

from sartm_core.kinds import EVENT_ARRAY, EVENT_PACKET, POINT_CLOUD

KINDS_IN_ORDER = ("rgb", "thermal", "nir", "depth", "polarization", "lidar", "event")
"""Kinds, in order of preference as the reference."""


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a sensor's message.

    Attributes:
        message_type: such as `sensor_msgs/msg/Image`.
        size: height, width in pixels; None for point clouds.
        encoding: of an image or of event packets.
        detail: channels and type of the pixels, or the number of points.
    """

    message_type: str
    size: tuple[int, int] | None
    encoding: str
    detail: str

    @property
    def text(self) -> str:
        """For tables."""
        size = "" if self.size is None else f"{self.size[0]}x{self.size[1]}"
        return " ".join(part for part in (size, self.encoding, self.detail) if part)


_NO_SENSOR = re.compile(r"mask|label|truth|semantic|segment|confidence|overlay|perception|heatmap|debug")
_HINTS = {
    "thermal": re.compile(r"thermal|lwir|flir|boson|lepton|optris|infrared_thermal|(^|[/_])(ir|temperature)([/_]|$)"),
    "depth": re.compile(r"depth"),
    "nir": re.compile(r"nir|infra"),
    "event": re.compile(r"event|dvs"),
    "polarization": re.compile(r"polar|aolp|dolp"),
    "lidar": re.compile(r"lidar|velodyne|ouster|livox"),
}
_COLOURS = ("rgb", "bgr", "bayer", "yuv", "8UC3", "8UC4", "uyvy", "yuyv")


def sensor_kinds(topic: str, content: Content) -> tuple[str, ...]:
    """The kinds, the likeliest first; none for masks, labels and the like.

    Examples:
        >>> sensor_kinds("/boson/image_raw", Content("sensor_msgs/msg/Image", (512, 640), "mono16", "1 x uint16"))
        ('thermal', 'nir', 'depth')
    """
    name = topic.lower()
    if _NO_SENSOR.search(name):
        return ()
    by_content = _kinds_of_content(content)
    hinted = [kind for kind, pattern in _HINTS.items() if pattern.search(name) and kind in _possible(content)]
    return tuple(dict.fromkeys([*hinted, *by_content]))


def _kinds_of_content(content: Content) -> tuple[str, ...]:
    if content.message_type == POINT_CLOUD:
        return ("lidar",)
    if content.message_type in (EVENT_PACKET, EVENT_ARRAY):
        return ("event",)
    if content.encoding == "mono8" or content.detail == "1 x uint8":
        return ("nir", "thermal")
    if content.encoding == "mono16":
        return ("thermal", "nir", "depth")
    if content.detail.startswith("1 x"):
        return ("depth", "thermal")
    return ("rgb",) if content.encoding.startswith(_COLOURS) or content.detail.endswith("uint8") else ()


def _possible(content: Content) -> frozenset[str]:
    """The kinds a name may suggest: images may come from any camera, points only from a LiDAR."""
    if content.message_type in (POINT_CLOUD, EVENT_PACKET, EVENT_ARRAY):
        return frozenset(_kinds_of_content(content))
    return frozenset(_HINTS)
