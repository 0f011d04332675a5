"""Which kinds of modality a topic could be: its type and content decide, its name where they leave a choice.

Names follow the conventions of common drivers (realsense2_camera, zed-ros2-wrapper, depthai-ros, OrbbecSDK_ROS2,
Azure_Kinect_ROS_Driver, spinnaker_camera_driver, ouster-ros, metavision_driver and the like).
"""

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
        fields: names of a point's fields.
    """

    message_type: str
    size: tuple[int, int] | None
    encoding: str
    detail: str
    fields: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """For tables."""
        size = "" if self.size is None else f"{self.size[0]}x{self.size[1]}"
        return " ".join(part for part in (size, self.encoding, self.detail) if part)


def _words(*words: str) -> re.Pattern[str]:
    """Whole words of a topic's name."""
    return re.compile(rf"(^|[/_])({'|'.join(words)})(?=[/_]|$)")


TRANSPORTS = frozenset({"compressed", "compresseddepth", "theora", "ffmpeg", "foxglove", "zstd", "draco", "cloudini"})
"""Last segments that image_transport and point_cloud_transport append; in lower case."""
_GENERIC = re.compile(r"(image|img|picture)(_\w+)?|raw|rect|points?2?|point_?cloud|cloud|events|packets|data")
"""A last segment that says nothing: the one before it names the content."""
_NO_SENSOR = re.compile(
    r"mask|label|truth|semantic|segment|panoptic|confidence|overlay|heatmap|debug|disparity|detection|annotat|visuali"
)
_PANORAMA = re.compile(r"(near_?ir|range|reflec|signal)_image2?")
"""The Ouster's scan as 16-bit pictures around the sensor: no camera's geometry, and the cloud holds the same."""
_COLOURS = ("rgb", "bgr", "bayer", "yuv", "8UC3", "8UC4", "uyvy", "yuyv")
_COLOUR_CAMERA = _words("rgb", r"colou?r", "visible", "eo")
_GREY_COPY = re.compile(r"(^|[/_])gr[ae]y([/_]|$)|image_mono")
"""zed-ros2-wrapper and image_proc publish a colour camera's images in grey, too."""

_THERMAL = re.compile(
    # FLIR makes colour cameras as well: spinnaker_camera_driver calls one /flir_camera.
    r"thermal|thermo|lwir|boson|lepton|optris|(^|[/_])(flir(?!_camera)|tau2?(?=[/_]|$)|(ir|temperature)(?=[/_]|$))"
)
_STEREO_IR = _words("(left|right)_ir")
_HINTS = {
    "thermal": _THERMAL,
    "depth": re.compile(r"depth"),
    "nir": re.compile(r"nir|infra|near_ir|(left|right)_ir([/_]|$)"),
    "event": re.compile(r"(^|[/_])(event|dvs|davis)"),
    "polarization": re.compile(r"polar|aolp|dolp"),
}
"""What the name of a topic of one channel suggests."""
_RENDERED_HINTS = {
    "thermal": re.compile(_THERMAL.pattern.replace(r"flir(?!_camera)|", r"flir_?(one|duo|vue|ax\d+|adk)|")),
    "depth": re.compile(r"hha|depth(?!_?cam)"),
    "nir": _HINTS["nir"],
    "event": _HINTS["event"],
    "polarization": _HINTS["polarization"],
    "lidar": re.compile(r"(^|[/_])lidar(?!_?cam)"),
}
"""What the name of a coloured picture suggests; a manufacturer's name does not: most have colour cameras."""
_IR = re.compile(r"(^|/)((left|right)_)?ir/")
_DEPTH_STREAM = re.compile(r"(^|/)(depth|depth_to_(rgb|color)|aligned_depth_to_color|depth_registered)/")


def without_transport(topic: str) -> str:
    """`/camera/image_raw` of `/camera/image_raw/compressed`: the stream, however it is transported."""
    above, _, last = topic.rpartition("/")
    return above if above and last.lower() in TRANSPORTS else topic


def sensor_kinds(topic: str, content: Content) -> tuple[str, ...]:
    """The kinds, the likeliest first; none for masks, labels and the like.

    Examples:
        >>> sensor_kinds("/boson/image_raw", Content("sensor_msgs/msg/Image", (512, 640), "mono16", "1 x uint16"))
        ('thermal', 'nir', 'depth')
        >>> sensor_kinds("/flir_camera/image_raw", Content("sensor_msgs/msg/Image", (480, 640), "rgb8", "3 x uint8"))
        ('rgb',)
    """
    name = without_transport(topic).lower()
    if _is_result(name, content):
        return ()
    if content.message_type == POINT_CLOUD:
        return ("lidar",)
    if content.message_type in (EVENT_PACKET, EVENT_ARRAY):
        return ("event",)
    return tuple(dict.fromkeys([*_hinted(name, content), *_kinds_of_pixels(name, content)]))


def kinds_of_topics(contents: dict[str, Content]) -> dict[str, tuple[str, ...]]:
    """`sensor_kinds` of all topics of a recording: what stands beside a topic tells apart what its name does not."""
    kinds = {topic: sensor_kinds(topic, content) for topic, content in contents.items()}
    depths = {
        (topic[: found.start()], contents[topic].size)
        for topic in contents
        if (found := _DEPTH_STREAM.search(topic.lower())) and kinds[topic][:1] == ("depth",)
    }
    for topic, content in contents.items():
        found = _IR.search(topic.lower())
        # The `ir` of an RGB-D camera (Azure Kinect, Orbbec) is what its depth is measured with, not thermal.
        if found and "nir" in possible_kinds(content) and (topic[: found.start()], content.size) in depths:
            kinds[topic] = tuple(dict.fromkeys(("nir", *kinds[topic])))
    return kinds


def possible_kinds(content: Content) -> tuple[str, ...]:
    """The kinds that could read such messages, whatever the topic is called."""
    if content.message_type == POINT_CLOUD:
        return ("lidar",)
    if content.message_type in (EVENT_PACKET, EVENT_ARRAY):
        return ("event",)
    channels, _, number = content.detail.partition(" x ")
    if number == "uint8":  # anything can be rendered
        return KINDS_IN_ORDER if channels != "1" else ("rgb", "thermal", "nir", "depth", "event")
    return ("thermal", "nir", "depth") if channels == "1" else ("polarization",)


def _is_result(name: str, content: Content) -> bool:
    """Whether the topic is computed from sensors, such as masks; namespaces (`/perception/front/...`) say nothing."""
    *_, above, last = ["", *name.strip("/").split("/")]
    if _PANORAMA.fullmatch(last) and content.detail.startswith("1 x"):
        return True
    said = f"{above}/{last}" if _GENERIC.fullmatch(last) else last
    return _NO_SENSOR.search(said) is not None


def _hinted(name: str, content: Content) -> list[str]:
    if content.encoding.startswith("bayer"):
        return ["polarization"] if _HINTS["polarization"].search(name) else []  # a mosaic of colours: no picture
    if not _is_coloured(content):
        if _STEREO_IR.search(name):
            return ["nir"]
        return [kind for kind, pattern in _HINTS.items() if pattern.search(name)]
    folders = "/".join(part for part in name.split("/") if not part.startswith("image"))
    colour_at = max((found.start() for found in _COLOUR_CAMERA.finditer(folders)), default=-1)
    # The last word counts: /depth_camera/rgb/... is a colour camera.
    return [
        kind
        for kind, pattern in _RENDERED_HINTS.items()
        if max((found.start() for found in pattern.finditer(name)), default=-1) > colour_at
    ]


def _is_coloured(content: Content) -> bool:
    return content.detail.endswith("x uint8") and not content.detail.startswith("1 x")


def _kinds_of_pixels(name: str, content: Content) -> tuple[str, ...]:
    encoding = content.encoding.partition(";")[0]  # of a CompressedImage's format `mono16; png compressed`
    if encoding == "mono8" or content.detail == "1 x uint8":
        return ("rgb", "nir", "thermal") if _GREY_COPY.search(name) else ("nir", "thermal")
    if encoding == "mono16":
        return ("thermal", "nir", "depth")
    if content.detail.startswith("1 x"):
        return ("depth", "thermal")
    return ("rgb",) if encoding.startswith(_COLOURS) or content.detail.endswith("uint8") else ()
