"""Recordings made to exhaust whoever opens them: what is beside the bomb is read, within bounds."""

import io
import os
import resource
import sqlite3
import struct
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import lz4.frame
import numpy as np
import pytest
import yaml
import zstandard
from filelock import FileLock
from mcap.writer import CompressionType, Writer

from sartm_core.errors import SartmError
from sartm_core.rig import ClassSpec
from sartm_ros.bag import compression, sources
from sartm_ros.bag.compression import scratch_folder
from sartm_ros.bag.reader import open_bag
from sartm_ros.bag.rig_draft import draft_rig
from sartm_ros.bag.survey import survey
from sartm_ros.bag.types import TYPESTORE, bag_message
from sartm_ros.decoding.images import header

T0 = 1_700_000_000_000_000_000
STRING, IMAGE, COMPRESSED = "std_msgs/msg/String", "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
SAID = bytes(TYPESTORE.serialize_cdr(bag_message(STRING, data="hello"), STRING))
CLASSES = (ClassSpec(name="road", color=(1, 2, 3)),)


def zeros(count: int, sized: bool = True) -> bytes:
    """Zeros as zstd."""
    stream = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(stream, size=count if sized else -1, closefd=False) as writer:
        for _ in range(count >> 20):
            writer.write(bytes(1 << 20))
    return stream.getvalue()


def claims(count: int) -> bytes:
    """A zstd frame whose header claims so many bytes (RFC 8878, 3.1.1.1: an 8-byte size, single segment)."""
    return b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", count) + b"\x03\x00\x00\x00"


def mcap(
    path: Path, messages: list[tuple[str, str, bytes]], definitions: dict[str, tuple[str, str]] | None = None
) -> Path:
    """Writes (topic, type, data), by default with ROS's definitions; others as type -> (encoding, text)."""
    with path.open("wb") as stream:
        writer = Writer(stream, compression=CompressionType.NONE)
        writer.start(profile="ros2", library="test")
        channels: dict[str, int] = {}
        for index, (topic, kind, data) in enumerate(messages):
            if topic not in channels:
                form, text = (definitions or {}).get(kind) or (
                    "ros2msg",
                    TYPESTORE.generate_msgdef(kind, ros_version=2)[0],
                )
                channels[topic] = writer.register_channel(
                    topic, "cdr", writer.register_schema(kind, form, text.encode())
                )
            writer.add_message(channels[topic], T0 + index, data, T0 + index)
        writer.finish()
    return path


def said(path: Path) -> tuple[list[str], list[str]]:
    """The texts on /said, and what was lost."""
    with open_bag(path) as bag:
        texts = [bag.deserialize(message).data for message in bag.messages() if message.topic == "/said"]
        return texts, bag.losses


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """The bounds, small."""
    monkeypatch.setattr(compression, "LARGEST_CONTENT", 1 << 20)
    return 1 << 20


class TestZstd:
    @pytest.mark.parametrize("bomb", [claims(12 << 30), zeros(4 << 20), zeros(4 << 20, sized=False)])
    def test_a_message(self, tmp_path: Path, small: int, bomb: bytes) -> None:
        path = mcap(tmp_path / "a.mcap", [("/said", STRING, SAID), ("/bomb", STRING, bomb), ("/said", STRING, SAID)])
        texts, losses = said(path)
        assert texts == ["hello", "hello"]
        assert losses == [
            f"{path}: of /bomb not all messages are read (more than {small} bytes in {len(bomb)} of zstd)."
        ]

    def test_a_message_within_bounds(self, tmp_path: Path, small: int) -> None:
        sizes = [zstandard.ZstdCompressor(write_content_size=known).compress(SAID) for known in (True, False)]
        texts, losses = said(mcap(tmp_path / "a.mcap", [("/said", STRING, data) for data in sizes]))
        assert (texts, losses) == (["hello", "hello"], [])

    @pytest.mark.parametrize(
        ("form", "content", "claimed"),
        [("zstd", claims(12 << 30), 12 << 30), ("zstd", zeros(4 << 20), 4 << 20), ("zstd", zeros(4 << 20), 100),
         ("zstd", zeros(4 << 20, sized=False), 100), ("zstd", claims(100), 1 << 62), ("", bytes(100), 1 << 62),
         ("lz4", lz4.frame.compress(bytes(4 << 20)), 4 << 20), ("lz4", lz4.frame.compress(bytes(4 << 20)), 100)],
        ids=["claimed", "true", "a lie", "a lie, streamed", "a claim", "a claim, not compressed", "lz4", "lz4, a lie"],
    )  # fmt: skip
    def test_a_chunk(self, tmp_path: Path, small: int, form: str, content: bytes, claimed: int) -> None:
        whole = mcap(tmp_path / "whole.mcap", [("/said", STRING, SAID)]).read_bytes()
        body = struct.pack("<QQQI", T0, T0, claimed, 0)
        body += struct.pack("<I", len(form)) + form.encode() + struct.pack("<Q", len(content)) + content
        bomb = b"\x06" + struct.pack("<Q", len(body)) + body
        begin = 8 + 9 + int.from_bytes(whole[9:17], "little")  # behind the magic number and the header
        path = tmp_path / "bomb.mcap"
        path.write_bytes(whole[:begin] + bomb + whole[begin:])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        texts, losses = said(path)
        assert texts == ["hello"]
        assert any(f"the chunk at byte {begin} is damaged and skipped" in loss for loss in losses), losses
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kB"

    def test_a_file(self, tmp_path: Path, small: int) -> None:
        whole = mcap(tmp_path / "whole.mcap", [("/said", STRING, SAID)]).read_bytes()
        compressor = zstandard.ZstdCompressor()
        path = tmp_path / "bomb.mcap.zstd"
        path.write_bytes(compressor.compress(whole) + zeros(64 << 20))
        texts, losses = said(path)
        assert texts == ["hello"]
        size = path.stat().st_size
        assert losses[0] == f"bomb.mcap.zstd: holds more than 1000 times its {size} bytes; no more is read."

    def test_no_room(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(source: object) -> None:
            raise OSError(28, "No space left on device")

        path = tmp_path / "a.mcap.zstd"
        path.write_bytes(zeros(1 << 20))
        monkeypatch.setattr(compression, "_blocks", full)
        with pytest.raises(SartmError, match=r"a.mcap.zstd: .* has no room .* Set TMPDIR .* zstd -d a.mcap.zstd"):
            said(path)

    def test_chunks_that_all_overlap(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """By the time of recording all would be in memory; in the order of writing, one."""
        monkeypatch.setattr(sources, "MOST_HELD", 3 << 20)
        path = tmp_path / "a.mcap"
        with path.open("wb") as stream:
            writer = Writer(stream, chunk_size=1 << 20)
            writer.start(profile="ros2", library="test")
            schema = writer.register_schema(STRING, "ros2msg", b"string data")
            channel = writer.register_channel("/said", "cdr", schema)
            long = bag_message(STRING, data="x" * (1 << 20))
            for index in range(6):
                for at in (T0, T0 + 100 + index):
                    writer.add_message(channel, at, bytes(TYPESTORE.serialize_cdr(long, STRING)), at)
            writer.finish()
        texts, _ = said(path)
        assert len(texts) == 12


class TestScratch:
    def test_what_a_killed_process_left_is_removed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        for name, age_s in (
            ("sartm-bag-killed", 3600),
            ("sartm-bag-used", 3600),
            ("sartm-bag-new", 0),
            ("other", 3600),
        ):
            (tmp_path / name).mkdir()
            (tmp_path / name / "drive.mcap").write_bytes(bytes(1000))
            os.utime(tmp_path / name, (time.time() - age_s,) * 2)
        with FileLock(tmp_path / "sartm-bag-used" / ".lock"):
            os.utime(tmp_path / "sartm-bag-used", (time.time() - 3600,) * 2)
            with scratch_folder() as mine:
                assert sorted(path.name for path in tmp_path.iterdir() if path != mine) == [
                    "other", "sartm-bag-new", "sartm-bag-used",
                ]  # fmt: skip
        assert not mine.exists()


class TestSqlite:
    TOPICS = (
        "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT,"
        " offered_qos_profiles TEXT); INSERT INTO topics VALUES(1, '/said', 'std_msgs/msg/String', 'cdr', '');"
    )

    @pytest.mark.parametrize(
        "messages",
        ["CREATE VIEW messages AS WITH RECURSIVE r(id, topic_id, timestamp, data) AS (SELECT 1, 1, 1, x'00' UNION ALL"
         " SELECT id + 1, 1, id + 1, x'00' FROM r) SELECT * FROM r;",
         "CREATE VIEW messages AS SELECT 1 AS id, 1 AS topic_id, 1 AS timestamp, zeroblob(990000000) AS data;",
         "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER,"
         " data BLOB GENERATED ALWAYS AS (zeroblob(990000000))); INSERT INTO messages VALUES(1, 1, 1);"],
        ids=["endless", "large", "generated"],
    )  # fmt: skip
    def test_what_is_computed_is_not_read(self, tmp_path: Path, messages: str) -> None:
        path = tmp_path / "a.db3"
        with closing(sqlite3.connect(path)) as database:
            database.executescript(self.TOPICS + messages)
        with pytest.raises(SartmError, match="messages is computed, not stored; no recorder writes that"):
            said(path)


def idl(*constants: str) -> str:
    """A message A with these constants."""
    return (
        f"module pkg {{ module msg {{ module A_Constants {{ {' '.join(constants)} }}; struct A {{ long x; }}; }}; }};"
    )


class TestDefinitions:
    """One that is unusable costs its own topic."""

    UNUSABLE = {  # noqa: RUF012 (constant)
        "nested": ("ros2idl", "module a { " * 3000 + "struct A { long x; };" + " };" * 3000),
        "shift": ("ros2idl", idl("const long X = 1 << 40000000000;")),
        "large shift": ("ros2idl", idl("const long X = 1 << 99999999999999999999;")),
        "squares": ("ros2idl", idl("const long A = 1 << 99;", *(f"const long B{i} = A * A;" for i in range(40)))),
        "product": ("ros2idl", idl("const long X = 9 /* const */ *9;")),
        "infinite": ("ros2msg", "float64 FOO=1e999\nint32 a\n"),
        "constant": ("ros2msg", "int32 X=99999999999999999999\nint32 a\n"),
        "array": ("ros2msg", f"int32[{10**40}] a\n"),
        "default": ("ros2msg", "int32 a=99999999999\n"),
        "long": ("ros2msg", "".join(f"int32 f{i}\n" for i in range(50_000))),
    }

    @pytest.mark.parametrize("name", UNUSABLE)
    def test_the_rest_is_read(self, tmp_path: Path, name: str) -> None:
        messages = [("/odd", "pkg/msg/A", b"\0\1\0\0" + bytes(64)), ("/said", STRING, SAID)]
        started = time.monotonic()
        texts, _ = said(mcap(tmp_path / "a.mcap", messages, {"pkg/msg/A": self.UNUSABLE[name]}))
        assert texts == ["hello"]
        assert time.monotonic() - started < 20

    def test_a_parser_of_quadratic_time_does_not_see_it(self, tmp_path: Path) -> None:
        text = "string A=" + '"' * 110_000 + "\nint32 a\n"
        path = mcap(
            tmp_path / "a.mcap",
            [("/odd", "pkg/msg/A", bytes(8)), ("/said", STRING, SAID)],
            {"pkg/msg/A": ("ros2msg", text)},
        )
        texts, losses = said(path)
        assert texts == ["hello"]
        assert any("110000 quotation marks, expected at most 1000" in loss for loss in losses)

    def test_constants_that_are_no_bombs(self, tmp_path: Path) -> None:
        text = (
            'module pkg { module msg { module A_Constants { const long X = 1 << 3; const string S = "const * <<"; };'
            ' @verbatim (language="comment", text="const x * y") struct A { long x; /* a * b */ }; }; };'
        )
        path = mcap(tmp_path / "a.mcap", [("/odd", "pkg/msg/A", b"\0\1\0\0\7\0\0\0")], {"pkg/msg/A": ("ros2idl", text)})
        with open_bag(path) as bag:
            assert [bag.deserialize(message).x for message in bag.messages()] == [7]
            assert bag.losses == []


def image(seconds: int, nanoseconds: int) -> bytes:
    message = bag_message(
        IMAGE, header=header(bag_message, 0, "cam"), height=4, width=6, encoding="rgb8", is_bigendian=0, step=18,
        data=np.arange(72, dtype=np.uint8),
    )  # fmt: skip
    data = bytearray(TYPESTORE.serialize_cdr(message, IMAGE))
    data[4:12] = struct.pack("<iI", seconds, nanoseconds)
    return bytes(data)


class TestDraft:
    def drafted(self, path: Path) -> tuple[str, list[str]]:
        with open_bag(path) as bag:
            return draft_rig(bag, survey(bag), "mine", CLASSES)

    def test_a_format_adds_no_fields(self, tmp_path: Path, encode: Callable[[np.ndarray], bytes]) -> None:
        fields = {"data": np.frombuffer(encode(np.zeros((4, 6, 3), np.uint8)), np.uint8)}
        evil = "png\n    required: true\nreference: evil # \x1b[31m"
        message = bag_message(COMPRESSED, header=header(bag_message, T0, "cam"), format=evil, **fields)
        data = bytes(TYPESTORE.serialize_cdr(message, COMPRESSED))
        text, _ = self.drafted(mcap(tmp_path / "a.mcap", [("/cam/image/compressed", COMPRESSED, data)] * 3))
        content = yaml.safe_load(text)
        assert content["reference"] == "rgb"
        assert "required" not in content["modalities"]["rgb"]
        assert "png     required: true reference: evil" in text, "it is shown"

    @pytest.mark.parametrize("name", ["/x\nkind: evil\n  # ok/image", "/\x1b[31m/image", "/<script>/image"])
    def test_a_topic_that_is_none_is_left_out(self, tmp_path: Path, name: str) -> None:
        messages = [(topic, IMAGE, image(100 + at, 0)) for at in range(3) for topic in ("/cam/image", name)]
        text, remarks = self.drafted(mcap(tmp_path / "a.mcap", messages))
        assert yaml.safe_load(text)["modalities"]["rgb"]["topic"] == "/cam/image"
        assert any("is left out: its name is not that of a topic of ROS 2" in remark for remark in remarks)
        assert all(remark.isprintable() for remark in remarks)


def test_a_stamp_that_no_time_can_hold_is_one_damaged_message(tmp_path: Path) -> None:
    stamps = [(100, 0), ((1 << 31) - 1, (1 << 32) - 1), (101, 0)]
    path = mcap(tmp_path / "a.mcap", [("/cam/image", IMAGE, image(*stamp)) for stamp in stamps])
    with open_bag(path) as bag:
        found = survey(bag).topics["/cam/image"]
    assert (found.count, found.unstamped, found.backwards) == (3, 1, 0)


@pytest.fixture
def encode() -> Callable[[np.ndarray], bytes]:
    from sartm_core.datasets.png import png_bytes

    return png_bytes
