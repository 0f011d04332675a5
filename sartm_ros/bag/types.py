"""Message types without ROS: ROS's own, those that a recording brings along, those of a folder of .msg files."""

import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat, Nodetype
from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from sartm_core.errors import SartmError

_EVENT_PACKET = """\
std_msgs/Header header
uint32 height
uint32 width
uint64 seq
uint64 time_base
string encoding
bool is_bigendian
uint8[] events
"""
_IDL_RULER = "=" * 80 + "\n"

Definitions = dict[str, Any]
"""Message type -> its parse tree, as `rosbags` has it."""

TYPESTORE = get_typestore(Stores.ROS2_KILTED)
TYPESTORE.register(get_types_from_msg(_EVENT_PACKET, "event_camera_msgs/msg/EventPacket"))
"""The types that bags are written with; event cameras' packets are not among ROS's own."""


def bag_message(message_type: str, **fields: Any) -> Any:
    """A message of `rosbags`' types; bytes and array.array stand for `uint8[]`, one byte for a `byte`."""
    kinds = dict(TYPESTORE.fielddefs[message_type][1])
    return TYPESTORE.types[message_type](**{name: _converted(value, kinds[name][0]) for name, value in fields.items()})


def _converted(value: Any, kind: Nodetype) -> Any:
    if not isinstance(value, bytes | array.array):
        return value
    return value[0] if kind == Nodetype.BASE else np.frombuffer(value, np.uint8)


def read_definitions(folder: Path) -> Definitions:
    """The types of all `<package>/msg/<Name>.msg` below a folder, such as the checkout of a driver's messages.

    Raises:
        SartmError: no such files, or one that is no message definition.
    """
    files = sorted(path for path in folder.rglob("*.msg") if path.parent.name == "msg")
    if not files:
        raise SartmError(f"{folder}: holds no message definitions; expected files <package>/msg/<Name>.msg.")
    definitions: Definitions = {}
    for path in files:
        name = f"{path.resolve().parent.parent.name}/msg/{path.stem}"
        try:
            definitions |= get_types_from_msg(path.read_text(encoding="utf-8"), name)
        except (TypesysError, UnicodeDecodeError) as error:
            raise SartmError(f"{path}: is no message definition ({error}).") from error
    return definitions


def typestore_of(embedded: Iterable[tuple[str, MessageDefinition]], given: Definitions) -> tuple[Typestore, list[str]]:
    """The types to read one recording with: its own definitions first, then the given ones, then ROS's.

    Args:
        embedded: (message type, what the recording says of it).
        given: of `read_definitions`.

    Returns:
        The types, and a remark for each definition that cannot be read.
    """
    definitions: Definitions = {**TYPESTORE.fielddefs, **given}
    remarks = []
    for message_type, definition in embedded:
        try:
            definitions |= _parsed(message_type, definition)
        except (TypesysError, ValueError, IndexError) as error:
            remarks.append(f"its definition of {message_type} cannot be read ({error}).")
    store = get_typestore(Stores.EMPTY)
    store.register(definitions)
    return store, remarks


def _parsed(message_type: str, definition: MessageDefinition) -> Definitions:
    if definition.format == MessageDefinitionFormat.MSG:
        return dict(get_types_from_msg(definition.data, message_type))
    if definition.format != MessageDefinitionFormat.IDL:
        return {}
    if not definition.data.startswith(f"{_IDL_RULER}IDL: "):
        return dict(get_types_from_idl(definition.data))
    parts = definition.data.split(_IDL_RULER)[1:]
    return {name: tree for part in parts for name, tree in get_types_from_idl(part.split("\n", 1)[1]).items()}
