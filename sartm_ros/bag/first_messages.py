"""What the first message of each of a recording's sensor topics holds."""

from typing import Any, NamedTuple

from sartm_core.kinds import COMPRESSED_IMAGE, EVENT_ARRAY, EVENT_PACKET, IMAGE, POINT_CLOUD, EventModality
from sartm_ros.bag.order import header_of
from sartm_ros.bag.reader import Bag, Recorded
from sartm_ros.bag.sensor_kinds import Content
from sartm_ros.decoding.event_streams import EventStream
from sartm_ros.decoding.images import raw_array
from sartm_ros.decoding.point_clouds import cloud_points

SENSOR_TYPES = (IMAGE, COMPRESSED_IMAGE, POINT_CLOUD, EVENT_PACKET, EVENT_ARRAY)


class Look(NamedTuple):
    """The first message of a topic.

    Attributes:
        frame_id: of its header.
        content: None if it cannot be decoded.
        fault: why it cannot be used; "" if it can.
    """

    frame_id: str
    content: Content | None
    fault: str


def look_at(bag: Bag) -> dict[str, Look]:
    """Decodes the first message of each topic with a sensor's type."""
    missing = {name for name, found in bag.topics.items() if found.message_type in SENSOR_TYPES and found.count}
    first: dict[str, Recorded] = {}
    for message in bag.messages(missing) if missing else ():
        first.setdefault(message.topic, message)
        if len(first) == len(missing):
            break
    return {topic: _look(bag, message) for topic, message in first.items()}


def _look(bag: Bag, message: Recorded) -> Look:
    frame_id, content = "", None
    try:
        stamp, frame_id = header_of(message.data)
        decoded = bag.deserialize(message)
        content = _content(bag.topics[message.topic].message_type, decoded)
        if content.message_type == EVENT_PACKET:
            _decode_packet(decoded, content, stamp)
    except Exception as error:  # whatever the message holds
        return Look(frame_id, content, str(error))
    return Look(frame_id, content, "")


def _content(message_type: str, message: Any) -> Content:
    if message_type == POINT_CLOUD:
        fields = tuple(str(field.name) for field in message.fields)
        return Content(message_type, None, "", f"{len(cloud_points(message))} points", fields)
    if message_type in (EVENT_PACKET, EVENT_ARRAY):
        return Content(message_type, (int(message.height), int(message.width)), getattr(message, "encoding", ""), "")
    image = raw_array(message)
    encoding = message.encoding if message_type == IMAGE else message.format
    channels = 1 if image.ndim == 2 else image.shape[2]
    return Content(message_type, (image.shape[0], image.shape[1]), encoding, f"{channels} x {image.dtype}")


def _decode_packet(message: Any, content: Content, stamp_ns: int) -> None:
    """Raises for packets in a format that is unknown here: their type does not tell."""
    camera = EventModality.model_validate(
        {"name": "event", "kind": "event", "size": content.size, "topic": "/events", "encoding": "counts"}
    )
    EventStream(camera).add([message], [stamp_ns])
