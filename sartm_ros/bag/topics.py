"""A topic as a storage file describes it (type, encoding, definition, QoS of its publishers), and its messages."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat, Qos, QosDurability
from rosbags.rosbag2.metadata import parse_qos

CDR = "cdr"
UNKNOWN_TYPE = "unknown"
"""Of a channel without a schema."""
NO_DEFINITION = MessageDefinition(MessageDefinitionFormat.NONE, "")
_FORMATS = {
    "ros2msg": MessageDefinitionFormat.MSG,
    "ros2idl": MessageDefinitionFormat.IDL,
    "omgidl": MessageDefinitionFormat.IDL,
}
_SHORT = re.compile(r"([A-Za-z]\w*)/([A-Za-z]\w*)")
_QUOTED_AT_MOST = 5


@dataclass(frozen=True, slots=True)
class FoundTopic:
    """The messages of one type on one topic.

    Attributes:
        message_type: such as `sensor_msgs/msg/Image`; in another encoding than CDR `foxglove.Log as json`, which names
            no type of ROS 2: nothing takes such messages for its own.
        definition: what the recording says of the type.
        count: messages.
        encoding: `cdr`, or what an MCAP may hold beside it: `json`, `protobuf`, `ros1` ...
        offered: QoS of the publishers; empty where the recording does not say.
    """

    message_type: str
    definition: MessageDefinition
    count: int
    encoding: str = CDR
    offered: tuple[Qos, ...] = ()

    @property
    def latched(self) -> bool:
        """Whether late subscribers were to receive the last messages."""
        return any(qos.durability == QosDurability.TRANSIENT_LOCAL for qos in self.offered)


class Recorded(NamedTuple):
    """One message as stored in the bag.

    Attributes:
        topic: its name.
        time_ns: when it was recorded, nanoseconds.
        data: the message in CDR; in another encoding where `FoundTopic.encoding` says so.
        message_type: as `FoundTopic.message_type`; "": that of its topic.
    """

    topic: str
    time_ns: int
    data: bytes
    message_type: str = ""


def found_topic(
    type_name: str, encoding: str, definition: MessageDefinition, offered: Iterable[Qos] = (), count: int = 0
) -> FoundTopic:
    """A topic by the names that the file gives to its type ("": none) and encoding ("": CDR)."""
    encoding, name, profiles = encoding or CDR, type_name or UNKNOWN_TYPE, tuple(offered)
    if encoding != CDR:
        return FoundTopic(f"{name} as {encoding}", NO_DEFINITION, count, encoding, profiles)
    # Some recorders write sensor_msgs/Image.
    name = _SHORT.sub(r"\1/msg/\2", name) if _SHORT.fullmatch(name) else name
    return FoundTopic(name, definition, count, CDR, profiles)


def definition_of(form: str, text: str) -> MessageDefinition:
    """A definition by the name of its format; `NO_DEFINITION` for formats that are not ROS 2's."""
    return MessageDefinition(_FORMATS[form], text) if form in _FORMATS else NO_DEFINITION


def offered_qos(text: str) -> tuple[Qos, ...]:
    """The QoS profiles that the recorder noted, as YAML; none where they cannot be understood."""
    try:
        return tuple(parse_qos(text))
    except Exception:  # the library raises whatever its parser raises
        return ()


def merged(known: FoundTopic | None, found: FoundTopic) -> FoundTopic:
    """One topic of two files."""
    if known is None:
        return found
    definition = found.definition if known.definition == NO_DEFINITION else known.definition
    return replace(
        known, count=known.count + found.count, definition=definition, offered=known.offered or found.offered
    )


def remarks_on(kinds: dict[tuple[str, str], FoundTopic]) -> list[str]:
    """A line for each encoding and each topic of which not all can be decoded as one type of ROS 2's.

    Args:
        kinds: by topic and message type.
    """
    kinds = {key: found for key, found in kinds.items() if found.count}
    lines = []
    for encoding in sorted({found.encoding for found in kinds.values()} - {CDR}):
        of_it = [(topic, kind) for (topic, kind), found in kinds.items() if found.encoding == encoding]
        lines.append(_not_cdr(encoding, of_it))
    untyped = [topic for topic, kind in kinds if kind == UNKNOWN_TYPE]
    if untyped:
        lines.append(f"{_listed(untyped)}: has no schema, so its messages are of an unknown type and not decoded.")
    for topic in sorted({topic for topic, _ in kinds}):
        types = {kind: found.count for (name, kind), found in kinds.items() if name == topic}
        if len(types) > 1:
            counts = ", ".join(f"{count} of {kind}" for kind, count in types.items())
            lines.append(f"{topic}: holds messages of {len(types)} types ({counts}); each is decoded as its own.")
    return lines


def _not_cdr(encoding: str, of_it: list[tuple[str, str]]) -> str:
    types = _listed(sorted({kind.removesuffix(f" as {encoding}") for _, kind in of_it}))
    what = f"{_listed([topic for topic, _ in of_it])}: encoded as {encoding} ({types}), not as ROS 2's CDR"
    if encoding == "ros1":
        return (
            f"{what}: a ROS 1 bag that was put into an MCAP. Convert the .bag itself, and its messages with it: "
            "rosbags-convert --src NAME.bag --dst NAME"
        )
    return f"{what}; counted, but not decoded. Topics in CDR are read as usual."


def _listed(names: list[str]) -> str:
    more = len(names) - _QUOTED_AT_MOST
    return ", ".join(names[:_QUOTED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
