"""What makes one topic of a kind a better choice than another, in the order in which an engineer would ask."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from sartm_core.kinds import COMPRESSED_IMAGE, EVENT_ARRAY, EVENT_PACKET, POINT_CLOUD
from sartm_ros.bag.sensor_kinds import Content, without_transport

FEW = 0.1
"""A topic with a smaller share of the messages of the busiest one of its kind is no live sensor."""
WORLD_FRAMES = ("map", "odom", "world", "earth", "global", "camera_init")
_LASER_FIELDS = frozenset(
    ("ring", "line", "channel", "t", "time", "time_stamp", "timestamp", "time_offset", "reflectivity", "return_type")
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A topic whose messages are a sensor's.

    Attributes:
        topic, frame_id, count: as recorded.
        content: of the first message.
        kinds: it is likely to be, the likeliest first.
        fault: why its messages cannot be used; "" where they can.
    """

    topic: str
    content: Content
    kinds: tuple[str, ...]
    frame_id: str
    count: int
    fault: str = ""

    @property
    def name(self) -> str:
        """The stream's name in lower case, without its transport."""
        return without_transport(self.topic).lower()

    def is_likely(self, kind: str) -> bool:
        """Whether this kind is the likeliest."""
        return self.kinds[:1] == (kind,)


@dataclass(frozen=True, slots=True)
class Scene:
    """What a candidate is compared within.

    Attributes:
        candidates: all of the recording.
        reference: whose geometry the others are aligned to, where it is known.
    """

    candidates: tuple[Candidate, ...]
    reference: Candidate | None


@dataclass(frozen=True, slots=True)
class Trait:
    """A question, and what to say of the topic that it decides for.

    Attributes:
        reason: why that topic is better.
        penalty: of a candidate; the lower, the better.
        advised: `rig check` names the better topic: no intention explains the choice of the worse one.
        same_camera: it advises only among topics of one camera.
    """

    reason: str
    penalty: Callable[[Candidate, Scene], int]
    advised: bool = False
    same_camera: bool = False


def camera_of(candidate: Candidate) -> str:
    """The namespace of a camera's topics: `/zed/left` of its `/zed/left_raw/image_raw_color`, too."""
    return candidate.name.rpartition("/")[0].removesuffix("/rect").removesuffix("/raw").removesuffix("_raw")


def is_aligned(candidate: Candidate, other: Candidate) -> bool:
    """Whether the driver says so: one frame, one size."""
    same_frame = candidate.frame_id.lstrip("/") == other.frame_id.lstrip("/") != ""
    return same_frame and candidate.content.size == other.content.size


def _named(pattern: str, penalty: int = 1) -> Callable[[Candidate, Scene], int]:
    """The penalty where the stream's name matches; negative ones make the name an advantage."""
    compiled = re.compile(pattern)
    return lambda candidate, scene: penalty if compiled.search(candidate.name) else 0


def _is_scarce(candidate: Candidate, scene: Scene) -> int:
    rivals = [other.count for other in scene.candidates if other.kinds[:1] == candidate.kinds[:1]]
    return int(candidate.count < FEW * max(rivals, default=0))


def _looks_away(candidate: Candidate, scene: Scene) -> int:
    """To the rear; or to a side, where another camera looks ahead."""
    if _AWAY.search(candidate.name):
        return 2
    ahead = any(_AHEAD.search(other.name) for other in scene.candidates if other.kinds[:1] == candidate.kinds[:1])
    return int(ahead and not _AHEAD.search(candidate.name) and _SIDE.search(candidate.name) is not None)


def _has_no_depth(candidate: Candidate, scene: Scene) -> int:
    return int(not any(other.is_likely("depth") and is_aligned(other, candidate) for other in scene.candidates))


def _is_not_aligned(candidate: Candidate, scene: Scene) -> int:
    return int(scene.reference is not None and not is_aligned(candidate, scene.reference))


def _is_rendered(candidate: Candidate, scene: Scene) -> int:
    return int(candidate.content.detail.endswith("uint8"))


def _is_grey(candidate: Candidate, scene: Scene) -> int:
    return int(candidate.content.detail.startswith("1 x"))


def _is_compressed(candidate: Candidate, scene: Scene) -> int:
    return int(candidate.content.message_type == COMPRESSED_IMAGE)


def _is_no_cloud(candidate: Candidate, scene: Scene) -> int:
    return int(candidate.content.message_type != POINT_CLOUD)


def _is_of_a_map(candidate: Candidate, scene: Scene) -> int:
    return int(candidate.frame_id.lstrip("/") in WORLD_FRAMES)


def is_of_a_depth_camera(candidate: Candidate, scene: Scene) -> int:
    """Whether a cloud was computed from a depth image, by its fields, its frame and its name."""
    fields, frame = set(candidate.content.fields), candidate.frame_id
    if candidate.content.message_type != POINT_CLOUD or fields & _LASER_FIELDS:
        return 0
    if _LIDAR.search(candidate.name) and not _DEPTH_CLOUD.search(candidate.name):
        return 0
    of_camera = any(
        other.frame_id == frame != "" and other.content.message_type != POINT_CLOUD and other.is_likely("depth")
        for other in scene.candidates
    )
    named = _DEPTH_CLOUD.search(candidate.name) or _CAMERA.search(candidate.name)
    return int(bool(fields & {"rgb", "rgba"} or frame.endswith("_optical_frame") or of_camera or named))


def _event_format(candidate: Candidate, scene: Scene) -> int:
    return {EVENT_PACKET: 0, EVENT_ARRAY: 1}.get(candidate.content.message_type, 2)


_AWAY = re.compile(r"(^|[/_])(rear|back|behind|down(ward)?|bottom|wrist|gripper)")
_SIDE = re.compile(r"(^|[/_])(left|right|side)")
_AHEAD = re.compile(r"(^|[/_])(front|cent(er|re)|middle)")
_LIDAR = re.compile(r"lidar|laser|ouster|velodyne|livox|hesai|pandar|rslidar|robosense|sick|(^|[/_])os\d?_")
_DEPTH_CLOUD = re.compile(r"depth|stereo|point_cloud/cloud_registered")
_CAMERA = re.compile(r"(^|[/_])(rgbd?|colou?r|zed\w*|realsense|oak|kinect|cam(era)?\d*)(?=[/_]|$)")

_LIVE = Trait("the other has hardly any messages", _is_scarce)
_AHEAD_FIRST = Trait("it looks ahead", _looks_away)
_LEFT = Trait("it is the left of a stereo pair", _named(r"(^|[/_])(right|infra(red)?_?2)(?=[/_]|$)"))
_RECTIFIED = Trait(
    "it is rectified", _named(r"(^|[/_])rect(ified)?(?=[/_]|$)", penalty=-1), advised=True, same_camera=True
)
_UNCOMPRESSED = Trait("it is not compressed", _is_compressed)

_OF_ANY_KIND = (_LIVE, _AHEAD_FIRST, _LEFT, _RECTIFIED, _UNCOMPRESSED)
_TRAITS: dict[str, tuple[Trait, ...]] = {
    "rgb": (
        _LIVE,
        Trait(
            "it shows the camera's whole image as it is",
            _named(r"preview|passthrough|thumbnail|(rgb|colou?r)_to_depth|(^|/)stereo/|side_by_side|stitch|panorama"),
        ),
        Trait("it is in colour", _is_grey),
        _AHEAD_FIRST,
        _LEFT,
        Trait("a depth camera's images are aligned to it", _has_no_depth),
        _RECTIFIED,
        _UNCOMPRESSED,
    ),
    "thermal": (
        _LIVE,
        Trait("its name says so", _named(r"therm|lwir|boson|lepton|optris|tau", penalty=-1)),
        Trait("its pixels are measured, not stretched to 8 bit", _is_rendered),
        _AHEAD_FIRST,
        _LEFT,
        _RECTIFIED,
        _UNCOMPRESSED,
    ),
    "depth": (
        _LIVE,
        Trait("its pixels are ranges, not a picture of them", _is_rendered, advised=True),
        Trait("its images are aligned to the reference camera's", _is_not_aligned, advised=True),
        Trait(
            "it is registered to the colour camera",
            _named(r"aligned_depth_to_colou?r|depth_registered|depth_to_(rgb|colou?r)", penalty=-1),
            advised=True,
        ),
        _AHEAD_FIRST,
        _RECTIFIED,
        _UNCOMPRESSED,
    ),
    "lidar": (
        Trait("it holds points (sensor_msgs/msg/PointCloud2)", _is_no_cloud, advised=True),
        Trait("it is a LiDAR's, not a depth camera's", is_of_a_depth_camera, advised=True),
        Trait("it is in the sensor's frame, not in a map's", _is_of_a_map, advised=True),
        _LIVE,
        Trait(
            "the driver makes it, not a filter",
            _named(r"filter|ground|obstacle|crop|voxel|downsampl|deskew|undistort|(^|[/_])map|cluster|accumul|concat"),
        ),
        _AHEAD_FIRST,
        Trait("it holds the first return", _named(r"points2$")),
    ),
    "event": (Trait("it holds events, packed", _event_format), _LIVE, _AHEAD_FIRST, _LEFT, _UNCOMPRESSED),
}


def traits_of(kind: str) -> tuple[Trait, ...]:
    """The questions to ask of topics of a kind, the weightiest first."""
    return _TRAITS.get(kind, _OF_ANY_KIND)
