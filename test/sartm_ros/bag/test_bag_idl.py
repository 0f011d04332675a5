"""Definitions in IDL, as rosbag2 strings the installed files together where a package was built without .msg files."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bag_files import T0, read
from foreign_files import Channel, write_channels, write_database
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from sartm_ros.bag.reader import open_bag
from sartm_ros.bag.survey import survey
from sartm_ros.bag.types import typestore_of

EVENT_ARRAY = "dvs_msgs/msg/EventArray"
COMMENT = """\
// generated from rosidl_adapter/resource/msg.idl.em
// with input from {name}.msg
// generated code does not contain a copyright notice

"""
IDL = {
    EVENT_ARRAY: """\
#include "dvs_msgs/msg/Event.idl"
#include "std_msgs/msg/Header.idl"

module dvs_msgs {
  module msg {
    struct EventArray {
      std_msgs::msg::Header header;

      uint32 height;

      uint32 width;

      @verbatim (language="comment", text=
        "#include nothing here: \\"quoted\\" text")
      sequence<dvs_msgs::msg::Event> events;
    };
  };
};
""",
    "dvs_msgs/msg/Event": """\
#include "builtin_interfaces/msg/Time.idl"

module dvs_msgs {
  module msg {
    @verbatim (language="comment", text=
      "A DVS event")
    struct Event {
      uint16 x;

      uint16 y;

      builtin_interfaces::msg::Time ts;

      boolean polarity;
    };
  };
};
""",
    "std_msgs/msg/Header": """\
#include "builtin_interfaces/msg/Time.idl"

module std_msgs {
  module msg {
    struct Header {
      builtin_interfaces::msg::Time stamp;

      string frame_id;
    };
  };
};
""",
    "builtin_interfaces/msg/Time": """\

module builtin_interfaces {
  module msg {
    struct Time {
      int32 sec;

      uint32 nanosec;
    };
  };
};
""",
}


def as_rosbag2_writes(kind: str, file_of: Callable[[str], str]) -> str:
    """`rosbag2_cpp`, local_message_definition_source.cpp: the type, then what it includes, depth first, each once."""
    seen: set[str] = set()

    def with_included(name: str) -> str:
        text = file_of(name)
        included = re.findall(r"""(?:^|\n)#include\s+(?:"|<)([a-zA-Z0-9_/]+)\.idl(?:"|>)""", text)
        for other in sorted(set(included)):
            if other not in seen:
                seen.add(other)
                text += f"\n{delimiter(other)}{with_included(other)}"
        return text

    return delimiter(kind) + with_included(kind)


def delimiter(kind: str) -> str:
    return "=" * 80 + f"\nIDL: {kind}\n"


def dvs_text() -> str:
    return as_rosbag2_writes(EVENT_ARRAY, lambda kind: COMMENT.format(name=kind) + IDL[kind])


def events(count: int) -> tuple[bytes, Any]:
    """A message of `count` events in CDR, by the definitions in .msg."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    store.register(get_types_from_msg("uint16 x\nuint16 y\nbuiltin_interfaces/Time ts\nbool polarity\n",
                                      "dvs_msgs/msg/Event"))  # fmt: skip
    store.register(get_types_from_msg("std_msgs/Header header\nuint32 height\nuint32 width\nEvent[] events\n",
                                      EVENT_ARRAY))  # fmt: skip
    kinds = store.types
    time = kinds["builtin_interfaces/msg/Time"]
    found = [
        kinds["dvs_msgs/msg/Event"](x=n % 320, y=n % 240, ts=time(sec=1_700_000_000, nanosec=n), polarity=n % 3 == 0)
        for n in range(count)
    ]
    header = kinds["std_msgs/msg/Header"](stamp=time(sec=1_700_000_000, nanosec=7), frame_id="dvs")
    message = kinds[EVENT_ARRAY](header=header, height=240, width=320, events=found)
    return bytes(store.serialize_cdr(message, EVENT_ARRAY)), message


@pytest.mark.parametrize("write", [write_channels, write_database])
@pytest.mark.parametrize("lines", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_a_recording_of_dvs_msgs(tmp_path: Path, write: Callable[..., Path], lines: str) -> None:
    data, message = events(40)
    channel = Channel("/dvs/events", EVENT_ARRAY, [(T0 + n * 20_000_000, data) for n in range(20)],
                      schema_encoding="ros2idl", schema=dvs_text().replace("\n", lines).encode())  # fmt: skip
    path = write(tmp_path / ("x.mcap" if write is write_channels else "x.db3"), [channel])
    assert read(path).losses == []
    with open_bag(path) as bag:
        found = bag.deserialize(next(bag.messages()))
        assert (found.header.frame_id, found.header.stamp.nanosec, found.height, found.width) == ("dvs", 7, 240, 320)
        assert [(e.x, e.y, e.ts.nanosec, e.polarity) for e in found.events] == [
            (e.x, e.y, e.ts.nanosec, e.polarity) for e in message.events
        ]
        assert "event" in survey(bag).topics["/dvs/events"].kinds


def test_only_the_lines_of_the_preprocessor_are_left_out() -> None:
    text = dvs_text().replace(
        "IDL: dvs_msgs/msg/EventArray\n", "IDL: dvs_msgs/msg/EventArray\n#ifndef A__B\n  #define A__B 1\n"
    )
    definition = MessageDefinition(MessageDefinitionFormat.IDL, text + "#endif\n")
    store, remarks = typestore_of([(EVENT_ARRAY, definition)], {})
    assert remarks == []
    assert [name for name, _ in store.fielddefs[EVENT_ARRAY][1]] == ["header", "height", "width", "events"]


SHARE = Path(sys.prefix) / "share"
INSTALLED = [
    "sensor_msgs/msg/CameraInfo",
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/PointCloud2",
    "geometry_msgs/msg/TransformStamped",
    "diagnostic_msgs/msg/DiagnosticArray",
    "std_msgs/msg/String",
]


@pytest.mark.parametrize("kind", INSTALLED)
def test_the_files_of_the_message_generators(kind: str) -> None:
    """With comments, typedefs of arrays and all; the fields are those of the .msg files."""
    if not (SHARE / f"{kind}.idl").is_file():
        pytest.skip("ROS's packages here bring no .idl files")
    text = as_rosbag2_writes(kind, lambda name: (SHARE / f"{name}.idl").read_text())
    store, remarks = typestore_of([(kind, MessageDefinition(MessageDefinitionFormat.IDL, text))], {})
    assert remarks == []
    expected = get_typestore(Stores.ROS2_KILTED).fielddefs[kind][1]
    assert [name for name, _ in store.fielddefs[kind][1]] == [name for name, _ in expected]
