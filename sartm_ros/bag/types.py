"""Message types without ROS: ROS's own, those embedded in a recording, those of a folder of .msg files."""

import array
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat, Nodetype
from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from sartm_core.errors import SartmError

EVENT_PACKET_DEFINITION = """\
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
_DIRECTIVE = re.compile(r"^[ \t]*#.*$", re.MULTILINE)
"""`#include "std_msgs/msg/Header.idl"`: for a preprocessor, which the library has not; the included follows in its own
section."""
LARGEST_DEFINITION = 1 << 17
"""Characters; ROS's own have 4,300 at most, with all that they use and no comments."""
MOST_QUOTES = 1000
"""Behind each quotation mark the parser may look for the second one as far as the end."""
_NOT_CODE = re.compile(r'"(?:[^"\\]|\\.)*"|/\*.*?\*/|//[^\n]*', re.DOTALL)
_GROWING = re.compile(r"\*|<<(?!\s*\d{1,2}\b)")
"""In a constant of IDL; the library computes `1 << 40000000000` and squares of squares to the last digit."""

Definitions = dict[str, Any]
"""Message type -> its parse tree, as `rosbags` has it."""

TYPESTORE = get_typestore(Stores.ROS2_KILTED)
TYPESTORE.register(get_types_from_msg(EVENT_PACKET_DEFINITION, "event_camera_msgs/msg/EventPacket"))
"""The types that bags are written with; event packets are not among ROS's own."""


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
        SartmError: no such files, or one that is not a message definition.
    """
    files = sorted(path for path in folder.rglob("*.msg") if path.parent.name == "msg")
    if not files:
        raise SartmError(f"{folder}: holds no message definitions; expected files <package>/msg/<Name>.msg.")
    definitions: Definitions = {}
    for path in files:
        name = f"{path.resolve().parent.parent.name}/msg/{path.stem}"
        try:
            definitions |= _usable(get_types_from_msg(path.read_text(encoding="utf-8-sig"), name))
        except Exception as error:  # the library raises whatever its parsers raise
            raise SartmError(f"{path}: is not a message definition ({_brief(error)}).") from error
    return definitions


def typestore_of(embedded: Iterable[tuple[str, MessageDefinition]], given: Definitions) -> tuple[Typestore, list[str]]:
    """The types to read one recording with: its own definitions first, then the given ones, then ROS's.

    Args:
        embedded: (message type, what the recording says of it).
        given: of `read_definitions`.

    Returns:
        The types whose definitions are complete, and a remark for each unusable definition.
    """
    definitions: Definitions = {**TYPESTORE.fielddefs, **given}
    remarks, recorded = [], []
    for message_type, definition in embedded:
        recorded.append(message_type)
        try:
            definitions |= _parsed(message_type, definition)
        except Exception as error:
            remarks.append(f"its definition of {message_type} cannot be read ({_brief(error)}).")
    missing: dict[str, str] = {}
    while incomplete := _incomplete(definitions):
        missing |= {name: missing.get(part, part) for name, part in incomplete.items()}
        definitions = {name: tree for name, tree in definitions.items() if name not in missing}
    remarks += [f"{name} uses {missing[name]}, which is not defined." for name in recorded if name in missing]
    # ROS's unchanged types need no classes of their own: making them all takes longer than opening a bag.
    store = get_typestore(Stores.EMPTY)
    store.register({name: tree for name, tree in definitions.items() if TYPESTORE.fielddefs.get(name) is not tree})
    for name in definitions.keys() - store.types.keys():
        store.types[name], store.fielddefs[name] = TYPESTORE.types[name], TYPESTORE.fielddefs[name]
    return store, remarks


def _incomplete(definitions: Definitions) -> dict[str, str]:
    """The types that use an undefined type, and which."""
    needs = {name: [_element(kind) for _, kind in fields] for name, (_, fields) in definitions.items()}
    return {
        name: part
        for name, kinds in needs.items()
        for node, part in kinds
        if node == Nodetype.NAME and part not in definitions
    }


def _element(kind: Any) -> Any:
    """The kind of an array's elements; any other kind as it is."""
    return kind[1][0] if kind[0] in (Nodetype.ARRAY, Nodetype.SEQUENCE) else kind


def _brief(error: Exception) -> str:
    """The parser's errors quote the whole definition; the offending line suffices."""
    lines = (str(error) or type(error).__name__).splitlines()
    return f"cannot parse: {lines[3]}" if len(lines) > 3 else " ".join(lines)


def _parsed(message_type: str, definition: MessageDefinition) -> Definitions:
    text = definition.data.replace("\r\n", "\n")
    if len(text) > LARGEST_DEFINITION:
        raise TypesysError(f"it has {len(text)} characters, expected at most {LARGEST_DEFINITION}")
    quotes = text.count('"') + text.count("'")
    if quotes > MOST_QUOTES:
        raise TypesysError(f"it has {quotes} quotation marks, expected at most {MOST_QUOTES}")
    if definition.format == MessageDefinitionFormat.MSG:
        return _usable(get_types_from_msg(text, message_type))
    if definition.format != MessageDefinitionFormat.IDL:
        return {}
    trees: Definitions = {}
    for statement in _NOT_CODE.sub("", text).split(";"):
        if "const" in statement and _GROWING.search(statement):
            raise TypesysError(f"a constant is computed: {' '.join(statement.split())[-60:]}")
    for section in _idl_sections(text):
        trees |= get_types_from_idl(section)
    return _usable(trees)


def _idl_sections(text: str) -> list[str]:
    """The IDL files that rosbag2 strings together: each behind a ruler and a line `IDL: <type>`."""
    parts = text.split(_IDL_RULER)
    sections = [part.partition("\n")[2] if part.startswith("IDL: ") else part for part in parts]
    return [_DIRECTIVE.sub("", section) for section in sections if section.strip()]


def _usable(definitions: Definitions) -> Definitions:
    """Unchanged; the library detects some faults, such as duplicate field names, only when it makes classes of them.

    Raises:
        TypesysError: there is such a fault.
    """
    get_typestore(Stores.EMPTY).register(definitions)
    return definitions
