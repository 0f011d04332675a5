"""What every kind of sensor shares: where its messages come from, how it is registered, and its default behaviour."""

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sartm_core.calibration import Extrinsics, Homography, Intrinsics, Lens
from sartm_core.checked_yaml import Checked
from sartm_core.kinds.emptiness import emptiness_of_image
from sartm_core.kinds.pictures import Picture, image_picture
from sartm_core.kinds.rendered import encode_rendered

Size = tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
"""Height, width in pixels."""

Topic = Annotated[str, Field(pattern=r"^[/~]?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*$|^~/[A-Za-z0-9_/]+$")]
"""A ROS topic's name: letters, digits and _ between slashes."""

IMAGE, COMPRESSED_IMAGE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
POINT_CLOUD = "sensor_msgs/msg/PointCloud2"
EVENT_PACKET, EVENT_ARRAY = "event_camera_msgs/msg/EventPacket", "dvs_msgs/msg/EventArray"

Positive = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Planes = NDArray[np.uint8] | NDArray[np.float32]
OfPlanes = tuple[float, float, float]
"""A number for each of the three planes."""


class Stream(Checked):
    """One modality of a rig. A subclass is a kind of sensor: it adds fields, and overrides what differs.

    The class variables are the kind's flags:

    Attributes:
        sparse: empty pixels are 0; mixing them with measured ones would invent measurements, so images of this kind
            are resized and warped by nearest neighbour.
        photometric: values are brightness, which augmentation may change; ranges, counts and angles mean what they say.
        points: a point cloud, projected into the reference's image: it has a pose but no image of its own.
    """

    sparse: ClassVar[bool] = False
    photometric: ClassVar[bool] = False
    points: ClassVar[bool] = False

    name: Name
    kind: str
    size: Size
    topic: Topic
    message: str
    rate_hz: float | None = Field(None, gt=0)
    """How often it measures; the node's diagnostics warn when it is slower."""
    camera_info: Topic | None = None
    calibration: Literal["file", "ros"] = "file"
    """`ros`: what `intrinsics` and `extrinsics` leave out comes from the `camera_info` topic and from /tf_static."""
    rectify: Literal["auto", "never"] = "auto"
    """`auto`: a lens distortion that CameraInfo reports is corrected, unless the topic's name says that it has been."""
    lens: Lens | None = None
    """Images are rectified by it, to `intrinsics`; with `calibration: ros`, CameraInfo's where the file has none."""
    intrinsics: Intrinsics | None = None
    """Of the reference: needed to project points into it. Of another camera: its images are warped to the reference;
    without, they are taken to be registered already."""
    extrinsics: Extrinsics | None = None
    """Pose in the reference camera's optical frame; without, the sensor sits in the reference's place."""
    plane_m: float = Field(1e6, gt=0)
    """Images are warped for a plane that faces the reference at this distance; far by default."""
    depth_from: Name | None = None
    """Images are warped by what this depth modality measures (it may name itself), by the plane where it is blind."""
    homography: Homography | None = None
    """Images are warped by this matrix; nothing else of the calibration is used."""
    tolerance_s: float = Field(0.05, ge=0)
    """A message belongs to a frame set when its stamp is at most this far from the anchor's."""
    offset_s: float = 0.0
    """Added to the stamps of this stream, to take out a constant delay of its driver."""
    required: bool = False
    """A required modality holds frame sets back; the others may be absent."""
    full_scale: tuple[Positive, Positive, Positive] | None = None
    """What 255 of an 8-bit image would stand for in each plane, where planes are ranges or counts: the scale of the
    papers' noise tests."""

    @property
    def delivers_points(self) -> bool:
        """Whether raw measurements are points [N, >= 4]; a driver may deliver range images of such a sensor."""
        return self.points and self.message == POINT_CLOUD

    @property
    def delivers_packets(self) -> bool:
        """Whether messages are parts of a measurement: packets of events, gathered over a window."""
        return self.message in (EVENT_PACKET, EVENT_ARRAY)

    @property
    def eight_bit(self) -> bool:
        """Whether the planes are uint8 without loss; by default where the encoding is `image`."""
        return getattr(self, "encoding", "image") == "image"

    @property
    def value_range(self) -> tuple[OfPlanes, OfPlanes] | None:
        """What stands for 0 and for 255 of an 8-bit image in each plane; None where the rig does not state it."""
        if self.full_scale is not None:
            return (0.0, 0.0, 0.0), self.full_scale
        return ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)) if self.eight_bit else None

    @property
    def input_fields(self) -> dict[str, Any]:
        """The fields that decide the numbers that the network sees; a model serves only rigs where they are equal."""
        encoding = getattr(self, "encoding", None)
        return {"kind": self.kind} | ({} if encoding is None else {"encoding": encoding})

    def encode(self, raw: NDArray[Any]) -> Planes:
        """Planes [3, H, W] of one raw measurement [H, W] or [H, W, C]; by default its channels.

        Raises:
            SartmError: shape or dtype do not fit; says what was expected.
        """
        return encode_rendered(self.name, self.kind, raw, self.eight_bit)

    def emptiness(self, raw: NDArray[Any], image: NDArray[Any], planes: Planes) -> str | None:
        """Why a measurement holds nothing, with numbers; None where it holds something. An empty one counts as absent.

        Args:
            raw: as the driver delivers it: image, points or events.
            image: the same in the reference's geometry, as `encode` takes it.
            planes: what `encode` made of it.
        """
        return emptiness_of_image(raw, image)

    def outside(self, dtype: np.dtype[Any]) -> float:
        """What an image of this kind has where it shows nothing, such as at its border after it was warped."""
        return 0.0

    def picture(self, image: NDArray[Any]) -> Picture:
        """The measurement in conventional colours for people, uint8 [H, W, 3]; `image` as `encode` takes it."""
        return image_picture(image)

    def mirrored(self, planes: NDArray[Any]) -> NDArray[Any]:
        """Planes [3, H, W] with left and right exchanged."""
        return planes[..., ::-1].copy()


class Camera(Stream):
    """A sensor that delivers images."""

    message: Literal["sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"] = "sensor_msgs/msg/Image"


def with_message(fields: Any, default: str) -> Any:
    """The fields of a rig file with a default message type."""
    return {"message": default, **fields} if isinstance(fields, dict) else fields
