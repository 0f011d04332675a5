"""Recordings of unknown message types: read by the definitions in them or in files beside them."""

import shutil
import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from bag_files import MESSAGES, STEP, STRING, T0, both_storages, read, storage_of, write_mcap
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from sartm_core.errors import SartmError
from sartm_ros.bag.reader import Recorded, open_bag
from sartm_ros.bag.writer import BagWriter

READING = "my_msgs/msg/Reading"
READING_TEXT = "std_msgs/Header header\nfloat64 value\nParticle[] parts\n"
PARTICLE_TEXT = "uint8 size\nstring name\n"
RULER = "=" * 80 + "\n"


def readings() -> tuple[Any, list[Recorded]]:
    """A type that is not among ROS's own: its typestore, and messages."""
    store = get_typestore(Stores.ROS2_KILTED)
    store.register(get_types_from_msg(READING_TEXT, READING))
    store.register(get_types_from_msg(PARTICLE_TEXT, "my_msgs/msg/Particle"))
    kinds = store.types
    messages = []
    for index in range(6):
        stamp = kinds["builtin_interfaces/msg/Time"](sec=index, nanosec=5)
        header = kinds["std_msgs/msg/Header"](stamp=stamp, frame_id="tube")
        parts = [kinds["my_msgs/msg/Particle"](size=n, name=f"p{n}") for n in range(index)]
        data = store.serialize_cdr(kinds[READING](header=header, value=index / 4, parts=parts), READING)
        messages.append(Recorded("/reading", T0 + index * STEP, bytes(data), READING))
    return store, messages


def check_readings(path: Path, definitions: Path | None = None) -> None:
    with open_bag(path, definitions) as bag:
        for index, message in enumerate(bag.messages()):
            decoded = bag.deserialize(message)
            assert (decoded.header.frame_id, decoded.header.stamp.sec, decoded.value) == ("tube", index, index / 4)
            assert [(part.size, part.name) for part in decoded.parts] == [(n, f"p{n}") for n in range(index)]
        assert index == 5


def write_msgs(folder: Path, **texts: str) -> Path:
    """`my_msgs__Reading="..."` becomes `my_msgs/msg/Reading.msg`."""
    for name, text in texts.items():
        package, kind = name.split("__")
        (folder / package / "msg").mkdir(parents=True, exist_ok=True)
        (folder / package / "msg" / f"{kind}.msg").write_bytes(text.encode())
    return folder


class TestDefinitions:
    @pytest.fixture
    def undefined(self, tmp_path: Path) -> Path:
        """A bag that does not say what its messages are, as with rosbag2 before Iron."""
        return write_mcap(tmp_path / "x.mcap", readings()[1], schema=(READING, "", ""))

    @both_storages
    @pytest.mark.parametrize("cut", [False, True])
    def test_the_bag_itself_defines_a_type(self, tmp_path: Path, storage: StoragePlugin, cut: bool) -> None:
        store, messages = readings()
        with Writer(tmp_path / "bag", version=9, storage_plugin=storage) as writer:
            connection = writer.add_connection("/reading", READING, typestore=store)
            for message in messages:
                writer.write(connection, message.time_ns, message.data)
        file = storage_of(tmp_path / "bag")
        if cut and storage == StoragePlugin.MCAP:
            file.write_bytes(file.read_bytes()[:-10])
        elif cut:
            with closing(sqlite3.connect(file)) as database:
                database.execute("PRAGMA journal_mode=WAL")
                database.execute("INSERT INTO metadata(metadata_version, metadata) VALUES(9, '')")
                database.commit()
                shutil.copytree(tmp_path / "bag", tmp_path / "cut")
            file = tmp_path / "cut" / file.name
        assert bool(read(file).losses) == cut
        check_readings(file)

    @pytest.mark.parametrize(
        ("encoding", "text"),
        [
            ("ros2msg", f"{READING_TEXT}{RULER}MSG: my_msgs/Particle\n{PARTICLE_TEXT}"),
            ("ros2msg", f"{READING_TEXT}{RULER}MSG: my_msgs/Particle\n{PARTICLE_TEXT}".replace("\n", "\r\n")),
            (
                "ros2idl",
                f"{RULER}IDL: {READING}\n"
                "module my_msgs { module msg { struct Reading { std_msgs::msg::Header header; double value; "
                "sequence<my_msgs::msg::Particle> parts; }; }; };\n"
                f"{RULER}IDL: my_msgs/msg/Particle\n"
                "module my_msgs { module msg { struct Particle { octet size; string name; }; }; };\n",
            ),
        ],
        ids=["msg", "lines of Windows", "idl"],
    )
    def test_definitions_as_recorders_write_them(self, tmp_path: Path, encoding: str, text: str) -> None:
        check_readings(write_mcap(tmp_path / "x.mcap", readings()[1], schema=(READING, encoding, text)))
        assert read(tmp_path / "x.mcap").losses == []

    def test_a_folder_of_msg_files(self, undefined: Path, tmp_path: Path) -> None:
        msgs = write_msgs(tmp_path / "src", my_msgs__Reading=READING_TEXT, my_msgs__Particle=PARTICLE_TEXT)
        (msgs / "my_msgs" / "README.msg").write_text("this is no definition, and not in a folder msg")
        check_readings(undefined, msgs)
        check_readings(undefined, msgs / "my_msgs")
        assert read(undefined, msgs).losses == []

    def test_msg_files_of_two_packages_from_an_editor_of_windows(self, undefined: Path, tmp_path: Path) -> None:
        msgs = write_msgs(
            tmp_path / "src",
            my_msgs__Reading="\ufeff" + READING_TEXT.replace("Particle", "parts_msgs/Particle").replace("\n", "\r\n"),
            parts_msgs__Particle=PARTICLE_TEXT,
        )
        check_readings(undefined, msgs)

    def test_an_undefined_type(self, undefined: Path) -> None:
        with open_bag(undefined) as bag:
            messages = list(bag.messages())
            assert messages == readings()[1]
            assert bag.topics["/reading"].message_type == READING
            with pytest.raises(SartmError, match=f"^/reading: .*{READING}.*--msgs"):
                bag.deserialize(messages[0])

    def test_a_type_with_an_undefined_field(self, undefined: Path, tmp_path: Path) -> None:
        msgs = write_msgs(
            tmp_path / "src",
            my_msgs__Reading=READING_TEXT,
            my_msgs__Particle="other_msgs/Deep deep\n",
            my_msgs__Unused="other_msgs/Another here\n",
        )
        with open_bag(undefined, msgs) as bag:
            assert bag.losses == [f"{READING} uses other_msgs/msg/Deep, which is not defined."]
            with pytest.raises(SartmError, match=f"^/reading: .*{READING}.*--msgs"):
                bag.deserialize(next(bag.messages()))

    @pytest.mark.parametrize(
        "text",
        ["<!DOCTYPE html>\n", "float64\n", "float64 a\nfloat64 a\n", "uint8[<=] a\n", "int32 A=\n", "\x00\x01"],
        ids=["page", "no name", "name twice", "no bound", "no value", "binary"],
    )
    def test_a_file_that_is_no_definition_is_named(self, undefined: Path, tmp_path: Path, text: str) -> None:
        msgs = write_msgs(tmp_path / "src", my_msgs__Good="int32 a\n", my_msgs__Reading=text)
        with pytest.raises(SartmError, match="Reading.msg: is not a message definition") as caught:
            read(undefined, msgs)
        assert str(msgs / "my_msgs" / "msg" / "Reading.msg") in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_definition_that_is_no_text(self, undefined: Path, tmp_path: Path) -> None:
        msgs = write_msgs(tmp_path / "src", my_msgs__Reading=READING_TEXT)
        (msgs / "my_msgs" / "msg" / "Reading.msg").write_bytes(b"\xff\xfe\x00i")
        with pytest.raises(SartmError, match="Reading.msg: is not a message definition"):
            read(undefined, msgs)

    def test_a_package_with_an_impossible_name(self, undefined: Path, tmp_path: Path) -> None:
        msgs = write_msgs(tmp_path / "src", **{"2d_msgs__Scan": "Point[] points\n", "2d_msgs__Point": "int32 x\n"})
        with pytest.raises(SartmError, match="2d_msgs/msg/.*is not a message definition"):
            read(undefined, msgs)

    @pytest.mark.parametrize("name", ["nosuch", "empty", "wrong"])
    def test_a_folder_without_msg_files_is_named(self, undefined: Path, tmp_path: Path, name: str) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "wrong").mkdir()
        (tmp_path / "wrong" / "Reading.msg").write_text(READING_TEXT)
        with pytest.raises(SartmError, match=f"{name}: holds no message definitions.*<package>/msg/<Name>.msg"):
            read(undefined, tmp_path / name)

    def test_the_bags_own_definitions_win(self, tmp_path: Path) -> None:
        number = Recorded("/a", T0, b"\0\1\0\0" + struct.pack("<i", -7))
        path = write_mcap(tmp_path / "x.mcap", [number], schema=(STRING, "ros2msg", "int32 number\n"))
        msgs = write_msgs(tmp_path / "src", std_msgs__String="float64 wrong\n")
        for definitions in (None, msgs):
            with open_bag(path, definitions) as bag:
                assert bag.deserialize(number).number == -7

    def test_definitions_that_were_given_win_over_those_of_ros(self, tmp_path: Path) -> None:
        number = Recorded("/a", T0, b"\0\1\0\0" + struct.pack("<i", -7))
        path = write_mcap(tmp_path / "x.mcap", [number], schema=(STRING, "", ""))
        with open_bag(path, write_msgs(tmp_path / "src", std_msgs__String="int32 number\n")) as bag:
            assert bag.deserialize(number).number == -7

    def test_a_part_of_another_version_in_the_bag(self, tmp_path: Path) -> None:
        text = f"std_msgs/Header header\nbool on\n{RULER}MSG: std_msgs/Header\nuint32 seq\nstring frame_id\n"
        message = Recorded("/a", T0, b"\0\1\0\0" + struct.pack("<II2s2x", 9, 2, b"m\0")[:-2] + b"\1")
        path = write_mcap(tmp_path / "x.mcap", [message], schema=("my_msgs/msg/Switch", "ros2msg", text))
        with open_bag(path) as bag:
            decoded = bag.deserialize(message)
        assert (decoded.header.seq, decoded.header.frame_id, decoded.on) == (9, "m", True)

    @pytest.mark.parametrize(
        "text",
        ["\ufffd", "string data\nstring data\n", "string\n" * 300, f"{RULER}MSG: \n"],
        ids=["no text", "name twice", "long", "no part"],
    )
    def test_a_damaged_definition_in_the_bag(self, tmp_path: Path, text: str) -> None:
        """ROS's own serves; the remark is a line."""
        path = write_mcap(tmp_path / "x.mcap", MESSAGES, schema=(STRING, "ros2msg", text))
        with open_bag(path) as bag:
            assert bag.deserialize(next(bag.messages())).data == MESSAGES[0].data[8:-1].decode()
            assert set(bag.losses) == {bag.losses[0]}
            assert f"its definition of {STRING} cannot be read" in bag.losses[0]
            assert "\n" not in bag.losses[0]
            assert len(bag.losses[0]) < 200

    @pytest.mark.parametrize("name", ["copy", "copy.mcap"])
    def test_copies_of_messages_that_ros_does_not_know(self, tmp_path: Path, name: str) -> None:
        messages = readings()[1]
        text = f"{READING_TEXT}{RULER}MSG: my_msgs/Particle\n{PARTICLE_TEXT}"
        source = write_mcap(tmp_path / "source.mcap", messages, schema=(READING, "ros2msg", text))
        with open_bag(source) as bag, BagWriter(tmp_path / name) as writer:
            writer.add_topic("/reading", READING, typestore=bag.typestore)
            for message in bag.messages():
                writer.write(message.topic, message.time_ns, message.data)
        assert read(tmp_path / name).messages == messages
        check_readings(tmp_path / name)
