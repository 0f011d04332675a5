"""Small recordings with the topics that drivers publish."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from sartm_ros.bag.types import bag_message
from sartm_ros.bag.writer import BagWriter
from sartm_ros.decoding.images import header, image_message

T0_NS = 1_700_000_000_000_000_000
SIZE = (24, 32)
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CLOUD, EVENTS = "sensor_msgs/msg/PointCloud2", "event_camera_msgs/msg/EventPacket"
_PIXELS: dict[str, tuple[tuple[int, ...], Any]] = {
    "rgb8": ((3,), np.uint8), "bgr8": ((3,), np.uint8), "bgra8": ((4,), np.uint8), "bayer_rggb8": ((), np.uint8),
    "yuv422_yuy2": ((2,), np.uint8), "mono8": ((), np.uint8), "mono16": ((), np.uint16), "16UC1": ((), np.uint16),
    "32FC1": ((), np.float32),
}  # fmt: skip


@dataclass(frozen=True)
class Topic:
    """A topic of a recording.

    Attributes:
        holds: an image's encoding; `jpeg`; `xyz` and further fields of a cloud, with a blank between; `events` and an
            encoding; or a message type whose messages nobody decodes.
        frame: its frame_id.
        count: messages, 20 per second.
        size: of images.
    """

    holds: str
    frame: str = "cam"
    count: int = 10
    size: tuple[int, int] = SIZE

    @property
    def message_type(self) -> str:
        if "/" in self.holds:
            return self.holds
        kinds = {"jpeg": COMPRESSED, "xyz": CLOUD, "events": EVENTS}
        return kinds.get(self.holds.split()[0], IMAGE)


def record(path: Path, topics: dict[str, Topic], **infos: tuple[str, list[float]]) -> Path:
    """Writes the recording; `infos`: CameraInfo of `/<name>/camera_info`, frame and distortion."""
    with BagWriter(path) as writer:
        for name, topic in topics.items():
            store = get_typestore(Stores.EMPTY)
            if "/" in topic.holds:
                store.register(get_types_from_msg("uint8[] data", topic.holds))
                writer.add_topic(name, topic.holds, typestore=store)
            else:
                writer.add_topic(name, topic.message_type)
        for name in infos:
            writer.add_topic(f"/{name}/camera_info", "sensor_msgs/msg/CameraInfo")
        for index in range(max(topic.count for topic in topics.values())):
            at_ns = T0_NS + index * 50_000_000
            for name, topic in topics.items():
                if index < topic.count:
                    _write(writer, name, topic, at_ns)
            for name, (frame, distortion) in infos.items():
                writer.write_message(f"/{name}/camera_info", at_ns, camera_info(at_ns, frame, distortion))
    return path


def camera_info(at_ns: int, frame: str, distortion: list[float]) -> Any:
    k = [30.0, 0, SIZE[1] / 2, 0, 30, SIZE[0] / 2, 0, 0, 1]
    roi = bag_message("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return bag_message(
        "sensor_msgs/msg/CameraInfo", header=header(bag_message, at_ns, frame), height=SIZE[0], width=SIZE[1],
        distortion_model="plumb_bob", d=np.array(distortion), k=np.array(k), r=np.eye(3).ravel(),
        p=np.insert(np.array(k), (3, 6, 9), 0.0), binning_x=0, binning_y=0, roi=roi,
    )  # fmt: skip


def _write(writer: BagWriter, name: str, topic: Topic, at_ns: int) -> None:
    if "/" in topic.holds:
        writer.write(name, at_ns, b"\x00\x01\x00\x00\x00\x00\x00\x00")
        return
    stamped = header(bag_message, at_ns, topic.frame)
    if topic.message_type == CLOUD:
        message = _cloud(stamped, topic.holds.split()[1:])
    elif topic.message_type == EVENTS:
        message = _packet(stamped, topic)
    elif topic.message_type == COMPRESSED:
        data = cv2.imencode(".jpg", _image("rgb8", topic.size))[1].tobytes()
        message = bag_message(COMPRESSED, header=stamped, format="jpeg", data=data)
    else:
        message = image_message(bag_message, _image(topic.holds, topic.size), topic.holds, stamped)
    writer.write_message(name, at_ns, message)


def _image(encoding: str, size: tuple[int, int]) -> Any:
    channels, number = _PIXELS[encoding]
    values = 900 + np.arange(size[0] * size[1] * int(np.prod(channels))) % 200
    return (values % 250 if number == np.uint8 else values).reshape(*size, *channels).astype(number)


def _cloud(stamped: Any, further: list[str]) -> Any:
    names = ["x", "y", "z", *further]
    points = np.arange(1, 20 * len(names) + 1, dtype=np.float32)
    field = "sensor_msgs/msg/PointField"
    fields = [bag_message(field, name=name, offset=4 * at, datatype=7, count=1) for at, name in enumerate(names)]
    return bag_message(
        CLOUD, header=stamped, height=1, width=20, fields=fields, is_bigendian=False, point_step=4 * len(names),
        row_step=80 * len(names), data=points.tobytes(), is_dense=True,
    )  # fmt: skip


def _packet(stamped: Any, topic: Topic) -> Any:
    events = np.array([(1 << 63) | (y << 48) | (x << 32) for x, y in ((1, 2), (3, 4))], "<u8")
    height, width = topic.size
    return bag_message(
        EVENTS, header=stamped, height=height, width=width, seq=0, time_base=0, encoding=topic.holds.split()[1],
        is_bigendian=False, events=events.tobytes(),
    )  # fmt: skip
