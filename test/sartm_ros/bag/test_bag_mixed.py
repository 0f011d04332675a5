"""Recordings that hold other things than rosbag2 writes: other encodings, two types of one topic, ROS 1."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from bag_files import MESSAGES, STRING, T0, both_storages, read, string, write_folder
from foreign_files import Channel, write_channels, write_database
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from rosbags.typesys import Stores, get_typestore
from typer.testing import CliRunner

from sartm_core.errors import SartmError
from sartm_ros.bag.order import header_of
from sartm_ros.bag.reader import open_bag
from sartm_ros.bag.survey import survey
from sartm_ros.bag.types import TYPESTORE, bag_message
from sartm_ros.bag.writer import BagWriter
from sartm_ros.cli import app
from sartm_ros.decoding.images import header, image_message

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
TEXT = b"string data\n"
PLAIN = Channel("/a", STRING, [(T0 + n, string(f"message {n}")) for n in range(6)], schema=TEXT)


def told(path: Path, *arguments: str) -> str:
    """What a command says; it must not end in a traceback."""
    result = CliRunner().invoke(app, ["bag", *arguments, str(path)], env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.output


class TestOtherEncodings:
    JSON = Channel("/log", "foxglove.Log", [(T0, b'{"level": 2}')], "json", "jsonschema", b'{"type": "object"}')
    PROTOBUF = Channel(
        "/fox", "foxglove.CompressedImage", [(T0, b"\x0a\x04abcd")], "protobuf", "protobuf", b"\xff\xfe\x0a"
    )
    SCHEMALESS = Channel("/free", "", [(T0, b"{}")], "json")

    @pytest.mark.parametrize("profile", ["ros2", "", "x-own"])
    @pytest.mark.parametrize(
        ("other", "expected"),
        [
            (JSON, "/log: encoded as json (foxglove.Log), not as ROS 2's CDR; counted, but not decoded."),
            (PROTOBUF, "/fox: encoded as protobuf (foxglove.CompressedImage), not as ROS 2's CDR; counted, but"),
            (SCHEMALESS, "/free: encoded as json (unknown), not as ROS 2's CDR; counted, but not decoded."),
        ],
        ids=["json", "protobuf", "schemaless"],
    )
    def test_channels_beside_those_in_cdr(self, tmp_path: Path, profile: str, other: Channel, expected: str) -> None:
        path = write_channels(tmp_path / "x.mcap", [PLAIN, other], profile)
        with open_bag(path) as bag:
            decoded = [bag.deserialize(message).data for message in bag.messages(["/a"])]
            assert decoded == [f"message {n}" for n in range(6)]
            assert [loss for loss in bag.losses if not loss.startswith(expected)] == []
            assert len(bag.losses) == 1
            assert bag.topics[other.topic].count == 1
            (message,) = bag.messages([other.topic])
            assert message.data == other.messages[0][1]
            with pytest.raises(SartmError, match=f"{other.topic}: its messages are encoded as {other.encoding}"):
                bag.deserialize(message)
            assert survey(bag).topics[other.topic].kinds == ()
        assert expected in told(path, "info")

    def test_json_of_a_type_of_ros_is_not_taken_for_it(self, tmp_path: Path) -> None:
        """As bridges to the web write it."""
        text = TYPESTORE.generate_msgdef(IMAGE, ros_version=2)[0].encode()
        bridge = Channel("/camera/image_raw", IMAGE, [(T0, b'{"header": {}}')], "json", "ros2msg", text)
        with open_bag(write_channels(tmp_path / "x.mcap", [PLAIN, bridge])) as bag:
            assert bag.topics["/camera/image_raw"].message_type == f"{IMAGE} as json"
            found = survey(bag).topics["/camera/image_raw"]
            assert (found.kinds, found.stamped) == ((), False)
            with pytest.raises(SartmError, match="/camera/image_raw: its messages are encoded as json"):
                bag.deserialize(next(bag.messages(["/camera/image_raw"])))

    def test_a_file_that_is_cut_off_holds_them_too(self, tmp_path: Path) -> None:
        path = write_channels(tmp_path / "x.mcap", [PLAIN, self.JSON])
        path.write_bytes(path.read_bytes()[:-20])
        found = read(path)
        assert len(found.messages) == 7
        assert "was not closed properly" in found.losses[0]
        assert "/log: encoded as json" in found.losses[-1]

    def test_nothing_but_profile_and_index_is_unusual(self, tmp_path: Path) -> None:
        """As `mcap merge`, `mcap recover` and the Foxglove SDK write; all can be read, so nothing is told."""
        for name, options in (("x", {}), ("y", {"use_chunking": False}), ("z", {"repeat_channels": False})):
            found = read(write_channels(tmp_path / f"{name}.mcap", [PLAIN], "", **options))
            assert [message.data for message in found.messages] == [data for _, data in PLAIN.messages]
            assert found.losses == []

    def test_cdr_without_a_schema(self, tmp_path: Path) -> None:
        path = write_channels(tmp_path / "x.mcap", [PLAIN, Channel("/raw", "", [(T0, string("?"))])])
        with open_bag(path) as bag:
            assert bag.losses == ["/raw: has no schema, so its messages are of an unknown type and not decoded."]
            with pytest.raises(SartmError, match="^/raw: has no schema"):
                bag.deserialize(next(bag.messages(["/raw"])))

    def test_short_names_of_types(self, tmp_path: Path) -> None:
        path = write_channels(tmp_path / "x.mcap", [PLAIN._replace(kind="std_msgs/String")], "")
        with open_bag(path) as bag:
            assert bag.topics["/a"].message_type == STRING
            assert bag.deserialize(next(bag.messages())).data == "message 0"

    def test_a_database_in_another_serialization(self, tmp_path: Path) -> None:
        """rosbag2 can be given converters, and writes `unknown` where it found no definition."""
        other = Channel("/json", STRING, [(T0, b"{}")], "json", "unknown")
        with open_bag(write_database(tmp_path / "x.db3", [PLAIN, other])) as bag:
            assert bag.deserialize(next(bag.messages(["/a"]))).data == "message 0"
            assert bag.losses == [
                f"/json: encoded as json ({STRING}), not as ROS 2's CDR; counted, but not decoded. "
                "Topics in CDR are read as usual."
            ]

    @pytest.mark.parametrize("kind", [b"\x00\x07", b"\x00\x06", b"\x7b\x22"], ids=["xcdr2", "xcdr2 big", "json"])
    def test_stamps_are_read_of_nothing_but_cdr(self, kind: bytes) -> None:
        message = image_message(bag_message, rows(), "mono8", header(bag_message, T0, "cam"))
        data = bytes(TYPESTORE.serialize_cdr(message, IMAGE))
        assert header_of(data) == (T0, "cam")
        with pytest.raises(SartmError, match=f"not in CDR: it begins with {kind.hex(' ')}.*expected 00 00 or 00 01"):
            header_of(kind + data[2:])


def rows() -> Any:
    return np.arange(12, dtype=np.uint8).reshape(3, 4)


class TestMetadata:
    @both_storages
    @pytest.mark.parametrize("version", [1, 8, 9, 10, 99])
    @pytest.mark.parametrize("storage_id", ["as written", "", "unheard_of"])
    def test_any_version_and_storage(
        self, tmp_path: Path, storage: StoragePlugin, version: int, storage_id: str
    ) -> None:
        folder = write_folder(tmp_path / "bag", MESSAGES, storage)
        content = yaml.safe_load((folder / "metadata.yaml").read_text())
        content["rosbag2_bagfile_information"] |= {"version": version, "from_the_future": {"a": [1]}}
        if storage_id != "as written":
            content["rosbag2_bagfile_information"]["storage_identifier"] = storage_id
        (folder / "metadata.yaml").write_text(yaml.safe_dump(content))
        found = read(folder)
        assert found.messages == MESSAGES
        assert found.losses == []

    def test_a_storage_that_is_not_read_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "bag").mkdir()
        content = {"version": 9, "storage_identifier": "hdf5", "relative_file_paths": ["bag_0.h5"]}
        (tmp_path / "bag" / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": content}))
        (tmp_path / "bag" / "bag_0.h5").write_bytes(b"x")
        with pytest.raises(SartmError, match="metadata.yaml names the storage 'hdf5'.*ros2 bag convert"):
            read(tmp_path / "bag")


class TestTwoTypesOfOneTopic:
    """ros2/rosbag2: a driver that was restarted with another setting."""

    TOPIC = "/camera/image_raw"

    def channels(self, images: int, compressed: int) -> list[Channel]:
        kinds: dict[str, list[tuple[int, bytes]]] = {IMAGE: [], COMPRESSED: []}
        for n in range(compressed):
            stamped = header(bag_message, T0 + n, "cam")
            message = bag_message(COMPRESSED, header=stamped, format="jpeg", data=bytes([n, 7]))
            kinds[COMPRESSED].append((T0 + n, bytes(TYPESTORE.serialize_cdr(message, COMPRESSED))))
        for n in range(compressed, compressed + images):
            message = image_message(bag_message, rows(), "mono8", header(bag_message, T0 + n, "cam"))
            kinds[IMAGE].append((T0 + n, bytes(TYPESTORE.serialize_cdr(message, IMAGE))))
        return [
            Channel(self.TOPIC, kind, found, schema=TYPESTORE.generate_msgdef(kind, ros_version=2)[0].encode())
            for kind, found in kinds.items()
        ]

    @pytest.mark.parametrize("suffix", ["mcap", "db3"])
    @pytest.mark.parametrize("turned", [False, True])
    @pytest.mark.parametrize("cut", [False, True])
    def test_each_is_decoded_as_its_own(self, tmp_path: Path, suffix: str, turned: bool, cut: bool) -> None:
        channels = self.channels(5, 3)[:: -1 if turned else 1]
        path = (write_channels if suffix == "mcap" else write_database)(tmp_path / f"x.{suffix}", channels)
        if cut and suffix == "mcap":
            path.write_bytes(path.read_bytes()[:-9])
        elif cut:
            path.with_name("x.db3-wal").write_bytes(b"\0" * 10)
        with open_bag(path) as bag:
            found = [(m.message_type, bag.deserialize(m)) for m in bag.messages()]
            assert sorted(kind for kind, _ in found) == [COMPRESSED] * 3 + [IMAGE] * 5
            assert {getattr(message, "format", None) for kind, message in found if kind == COMPRESSED} == {"jpeg"}
            assert {getattr(message, "encoding", None) for kind, message in found if kind == IMAGE} == {"mono8"}
            assert (bag.topics[self.TOPIC].message_type, bag.topics[self.TOPIC].count) == (IMAGE, 8)
            (line,) = (loss for loss in bag.losses if loss.startswith(self.TOPIC))
            assert "holds messages of 2 types" in line
            assert f"5 of {IMAGE}" in line
            assert f"3 of {COMPRESSED}" in line

    def test_the_type_of_most_messages_stands_for_the_topic(self, tmp_path: Path) -> None:
        with open_bag(write_channels(tmp_path / "x.mcap", self.channels(2, 4))) as bag:
            assert bag.topics[self.TOPIC].message_type == COMPRESSED


ROS1 = get_typestore(Stores.ROS1_NOETIC)


def write_ros1(path: Path) -> Path:
    with Ros1Writer(path) as writer:
        connection = writer.add_connection("/text", STRING, typestore=ROS1)
        message = ROS1.types[STRING](data="old")
        writer.write(connection, T0, ROS1.serialize_ros1(message, STRING))
    return path


class TestRos1:
    @pytest.mark.parametrize(
        ("name", "in_a_folder"), [("drive.bag", True), ("it's 1.bag", False), ("drive.2016-05-01.bag", False)]
    )
    def test_the_way_out_that_is_named_works(self, tmp_path: Path, name: str, in_a_folder: bool) -> None:
        (tmp_path / "ros 1").mkdir()
        path = write_ros1(tmp_path / "ros 1" / name)
        with pytest.raises(SartmError, match="ROS 1 bag") as caught:
            read(path.parent if in_a_folder else path)
        command = shlex.split(str(caught.value).split("Convert it: ")[1])
        assert command[0] == "rosbags-convert"
        program = Path(sys.executable).with_name(command[0])
        subprocess.run([program, *command[1:]], cwd=tmp_path, check=True, capture_output=True)
        with open_bag(tmp_path / name.removesuffix(".bag")) as bag:
            assert [bag.deserialize(message).data for message in bag.messages()] == ["old"]
            assert bag.losses == []

    def test_one_without_its_suffix(self, tmp_path: Path) -> None:
        path = write_ros1(tmp_path / "x.bag").rename(tmp_path / "download")
        with pytest.raises(SartmError, match=f"{path}: is a ROS 1 bag.*rosbags-convert"):
            read(path)

    def test_one_that_was_being_recorded(self, tmp_path: Path) -> None:
        path = tmp_path / "drive.bag.active"
        path.write_bytes(b"#ROSBAG V2.0\n" + bytes(100))
        with pytest.raises(SartmError, match=r"is a ROS 1 bag\..*rosbag reindex drive.bag.*drive.bag --dst drive$"):
            read(path)

    def test_one_that_was_put_into_an_mcap(self, tmp_path: Path) -> None:
        """rerun-io/rerun#12780: `mcap convert`."""
        text = ROS1.generate_msgdef(IMAGE, ros_version=1)[0].encode()
        channel = Channel("/camera/image_raw", "sensor_msgs/Image", [(T0, bytes(40))], "ros1", "ros1msg", text)
        path = write_channels(tmp_path / "x.mcap", [channel], "ros1")
        said = told(path, "info")
        assert "/camera/image_raw: encoded as ros1 (sensor_msgs/Image)" in said
        assert "Convert the .bag itself, and its messages with it: rosbags-convert --src NAME.bag --dst NAME" in said
        assert "not closed" not in said


class TestNames:
    @pytest.mark.parametrize("name", ["drive.2024-05-01.run1", "run.1", "v1.2.mcap.d", ".hidden.x"])
    @pytest.mark.parametrize("single", [False, True])
    def test_dots_are_part_of_a_name(self, tmp_path: Path, name: str, single: bool) -> None:
        out = tmp_path / (f"{name}.mcap" if single else name)
        with BagWriter(out) as writer:
            writer.add_topic("/a", STRING)
            writer.write("/a", T0, string("here"))
        assert [path.name for path in tmp_path.iterdir()] == [out.name]
        with open_bag(out) as bag:
            assert bag.name == name
            assert [bag.deserialize(message).data for message in bag.messages()] == ["here"]
            assert bag.losses == []

    def test_names_that_the_path_does_not_say(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = write_folder(tmp_path / "run.2024-01-01", MESSAGES)
        monkeypatch.chdir(folder)
        for path in (Path(), Path("..") / folder.name, next(folder.glob("*.mcap"))):
            with open_bag(path) as bag:
                assert bag.name == "run.2024-01-01"

    def test_a_compressed_split_with_dots(self, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "run.2024.05", MESSAGES, mode=CompressionMode.FILE)
        assert read(folder).messages == MESSAGES
        (file,) = folder.glob("*.zstd")
        with open_bag(file) as bag:
            assert bag.name == "run.2024.05"


def test_play_of_what_cannot_be_published_is_no_traceback(tmp_path: Path) -> None:
    odd = [
        TestOtherEncodings.JSON,
        Channel("/meta", "RealsenseMetadata", [(T0, b"\0\1\0\0")], schema_encoding=""),
        Channel("/fib/_action/feedback", "example_interfaces/action/Fibonacci_FeedbackMessage", [(T0, b"\0\1\0\0")],
                schema_encoding=""),
        Channel("no name of ROS", STRING, [(T0, string("x"))], schema=TEXT),
        *TestTwoTypesOfOneTopic().channels(3, 2),
    ]  # fmt: skip
    path = write_channels(tmp_path / "x.mcap", [PLAIN, *odd])
    script = f"from sartm_ros.cli import app; app(['bag', 'play', {str(path)!r}, '--wait-for', '0'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    said = " ".join((done.stdout + done.stderr).split())
    assert "9 messages published" in said
    for expected in (
        "/log is left out: its messages are encoded as json",
        "/meta is left out: 'RealsenseMetadata' is not a type",
        "/fib/_action/feedback is left out: example_interfaces/action/Fibonacci_FeedbackMessage is not installed",
        "no name of ROS is left out: Invalid topic name",
        f"/camera/image_raw: its messages of {COMPRESSED} are left out; a publisher has one type",
    ):
        assert expected in said
