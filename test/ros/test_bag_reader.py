"""Recordings as they are found: whole, split, compressed, cut off by a power cut, damaged, with unknown types."""

import errno
import shutil
import sqlite3
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import yaml
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.records import Chunk, DataEnd, Message
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.writer import CompressionType, IndexType
from mcap.writer import Writer as McapWriter
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from sartm_core.errors import SartmError
from sartm_ros.bag.reader import Recorded, open_bag, read_messages
from sartm_ros.bag.salvage import FoundTopic
from sartm_ros.bag.types import TYPESTORE, bag_message
from sartm_ros.bag.writer import BagWriter

T0 = 1_700_000_000_000_000_000
STEP = 10_000_000
PAGE = 4096
STRING = "std_msgs/msg/String"
SUFFIX = {StoragePlugin.MCAP: ".mcap", StoragePlugin.SQLITE3: ".db3"}
both_storages = pytest.mark.parametrize("storage", list(StoragePlugin), ids=lambda storage: storage.name.lower())


def string(text: str) -> bytes:
    return bytes(TYPESTORE.serialize_cdr(bag_message(STRING, data=text), STRING))


def some_messages(count: int, size: int = 200, first: int = 0) -> list[Recorded]:
    """Alternately of /a and /b; letters at random, so that compression leaves something."""
    letters = np.random.default_rng(first).integers(97, 123, (count, size), np.uint8)
    return [
        Recorded("/b" if index % 2 else "/a", T0 + index * STEP, string(bytes(row).decode()))
        for index, row in enumerate(letters, first)
    ]


def qos(latched: bool) -> Qos:
    durability = QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE
    never = QosTime(9223372036, 854775807)
    kind = (QosHistory.KEEP_LAST, 10, QosReliability.RELIABLE, durability, never, never)
    return Qos(*kind, QosLiveliness.AUTOMATIC, never, False)


def write_folder(
    folder: Path,
    messages: Sequence[Recorded],
    storage: StoragePlugin = StoragePlugin.MCAP,
    mode: CompressionMode = CompressionMode.NONE,
    version: Any = 9,
) -> Path:
    """As a recorder would; /b is latched."""
    folder.mkdir()
    for name, content in recorded(folder.name, tuple(messages), storage, mode, version).items():
        (folder / name).write_bytes(content)
    return folder


@cache  # SQLite waits for the disk
def recorded(
    name: str, messages: tuple[Recorded, ...], storage: StoragePlugin, mode: CompressionMode, version: Any
) -> dict[str, bytes]:
    with TemporaryDirectory() as scratch:
        writer = Writer(Path(scratch) / name, version=version, storage_plugin=storage)
        writer.set_compression(mode, CompressionFormat.ZSTD)
        with writer:
            connections = {
                topic: writer.add_connection(
                    topic, STRING, typestore=TYPESTORE, offered_qos_profiles=[qos(topic == "/b")]
                )
                for topic in ("/a", "/b")
            }
            for message in messages:
                writer.write(connections[message.topic], message.time_ns, message.data)
        return {file.name: file.read_bytes() for file in (Path(scratch) / name).iterdir()}


def storage_of(folder: Path) -> Path:
    (file,) = (file for file in folder.iterdir() if file.name != "metadata.yaml")
    return file


def write_splits(
    folder: Path,
    parts: Sequence[Sequence[Recorded]],
    storage: StoragePlugin = StoragePlugin.MCAP,
    mode: CompressionMode = CompressionMode.NONE,
) -> list[Path]:
    """x_0, x_1, ... with one metadata.yaml; returns the storage files."""
    folder.mkdir()
    files, contents = [], []
    for index, part in enumerate(parts):
        alone = write_folder(folder / f"part_{index}", part, storage, mode)
        contents.append(yaml.safe_load((alone / "metadata.yaml").read_text())["rosbag2_bagfile_information"])
        file = storage_of(alone)
        files.append(file.rename(folder / f"x_{index}{''.join(file.suffixes)}"))
        shutil.rmtree(alone)
    whole = contents[0]
    whole["relative_file_paths"] = [file.name for file in files]
    whole["message_count"] = sum(content["message_count"] for content in contents)
    for index, topic in enumerate(whole["topics_with_message_count"]):
        topic["message_count"] = sum(c["topics_with_message_count"][index]["message_count"] for c in contents)
    times = [message.time_ns for part in parts for message in part]
    whole["duration"]["nanoseconds"] = max(times) - min(times)
    (folder / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": whole}))
    return files


def write_mcap(
    path: Path,
    messages: Sequence[Recorded],
    compression: CompressionType = CompressionType.ZSTD,
    schema: tuple[str, str, str] = (STRING, "ros2msg", "string data\n"),
    **options: Any,
) -> Path:
    """With small chunks that have checksums, as ROS's own recorder writes them."""
    with path.open("wb") as stream:
        writer = McapWriter(stream, chunk_size=2000, compression=compression, **options)
        writer.start("ros2", "test")
        number = writer.register_schema(schema[0], schema[1], schema[2].encode())
        profiles = {topic: yaml.safe_dump([profile(topic == "/b")]) for topic in {m.topic for m in messages}}
        channels = {
            topic: writer.register_channel(topic, "cdr", number, {"offered_qos_profiles": profiles[topic]})
            for topic in sorted(profiles)
        }
        for topic, time_ns, data in messages:
            writer.add_message(channels[topic], time_ns, data, time_ns)
        writer.finish()
    return path


def profile(latched: bool) -> dict[str, Any]:
    never = {"sec": 9223372036, "nsec": 854775807}
    return {
        "history": 1, "depth": 10, "reliability": 1, "durability": 1 if latched else 2, "deadline": never,
        "lifespan": never, "liveliness": 1, "liveliness_lease_duration": never,
        "avoid_ros_namespace_conventions": False,
    }  # fmt: skip


@dataclass
class Read:
    messages: list[Recorded]
    losses: list[str]
    topics: dict[str, FoundTopic]

    @property
    def lost(self) -> str:
        return "\n".join(self.losses)

    @property
    def counts(self) -> dict[str, int]:
        return {name: found.count for name, found in self.topics.items()}


def read(path: Path, definitions: Path | None = None) -> Read:
    with open_bag(path, definitions) as bag:
        return Read(list(bag.messages()), bag.losses, bag.topics)


def read_or_nothing(path: Path) -> Read | None:
    """None where the reader says, by the path, that there is nothing in it."""
    try:
        return read(path)
    except SartmError as error:
        if not str(error).startswith(f"{path}: nothing of it can be read"):
            raise
        return None


def counts_of(messages: Sequence[Recorded]) -> dict[str, int]:
    return {topic: sum(message.topic == topic for message in messages) for topic in ("/a", "/b")}


@dataclass
class Layout:
    """Where an mcap's chunks lie: (first byte, byte behind, messages); and the byte behind the last of them."""

    chunks: list[tuple[int, int, list[Recorded]]]
    data_end: int

    def whole(self, cut: int) -> list[Recorded]:
        """What stands in the chunks before a byte."""
        return [message for _, end, messages in self.chunks if end <= cut for message in messages]


def layout_of(data: bytes) -> Layout:
    stream = BytesIO(data)
    chunks, begin = [], 0
    for record in StreamReader(stream, emit_chunks=True).records:
        if isinstance(record, DataEnd):
            return Layout(chunks, begin)
        if isinstance(record, Chunk):
            found = [entry for entry in breakup_chunk(record) if isinstance(entry, Message)]
            messages = [Recorded("/b" if m.channel_id == 2 else "/a", m.log_time, m.data) for m in found]
            chunks.append((begin, stream.tell(), messages))
        begin = stream.tell()
    raise AssertionError


MESSAGES = some_messages(60)


@cache
def whole_mcap() -> bytes:
    with TemporaryDirectory() as folder:
        data = write_mcap(Path(folder) / "x.mcap", MESSAGES).read_bytes()
    layout = layout_of(data)
    assert len(layout.chunks) > 5
    assert layout.whole(len(data)) == MESSAGES
    return data


class TestWhole:
    @both_storages
    def test_a_folder_and_its_file_alone_give_the_same(self, tmp_path: Path, storage: StoragePlugin) -> None:
        folder = write_folder(tmp_path / "bag", MESSAGES, storage)
        for path in (folder, storage_of(folder)):
            with open_bag(path) as bag:
                assert list(bag.messages()) == MESSAGES
                assert list(bag.messages()) == MESSAGES, "a second time"
                assert [bag.deserialize(message).data for message in bag.messages()] == [
                    message.data[8:-1].decode() for message in MESSAGES
                ]
                assert bag.losses == []
                assert (bag.start_ns, bag.end_ns) == (MESSAGES[0].time_ns, MESSAGES[-1].time_ns)
                assert {name: (t.message_type, t.count) for name, t in bag.topics.items()} == {
                    "/a": (STRING, 30),
                    "/b": (STRING, 30),
                }
                assert bag.files == [storage_of(folder)]

    @both_storages
    def test_only_the_topics_that_were_asked_for(self, tmp_path: Path, storage: StoragePlugin) -> None:
        with open_bag(write_folder(tmp_path / "bag", MESSAGES, storage)) as bag:
            assert list(bag.messages(["/b"])) == [message for message in MESSAGES if message.topic == "/b"]
            assert list(bag.messages([])) == []
            assert list(bag.messages(["/nosuch"])) == []
            assert bag.losses == []

    @pytest.mark.parametrize("compression", list(CompressionType))
    def test_mcap_with_any_compression_of_its_chunks(self, tmp_path: Path, compression: CompressionType) -> None:
        found = read(write_mcap(tmp_path / "x.mcap", MESSAGES, compression))
        assert found.messages == MESSAGES
        assert found.losses == []

    @both_storages
    @pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE])
    def test_recordings_that_rosbag2_compressed(
        self, tmp_path: Path, storage: StoragePlugin, mode: CompressionMode
    ) -> None:
        folder = write_folder(tmp_path / "bag", MESSAGES, storage, mode)
        file = storage_of(folder)
        assert (file.suffix == ".zstd") == (mode == CompressionMode.FILE)
        for path in (folder, file):
            found = read(path)
            assert found.messages == MESSAGES
            assert found.losses == []
        with open_bag(folder) as bag:
            assert bag.files == [file], "from which its fingerprint is taken"
        (folder / "metadata.yaml").unlink()
        found = read(folder)
        assert found.messages == MESSAGES
        assert found.losses == [f"{folder}: was not closed in order (it has no metadata.yaml)."]

    @both_storages
    def test_splits_come_in_the_order_of_their_numbers(self, tmp_path: Path, storage: StoragePlugin) -> None:
        parts = [some_messages(4, first=4 * index) for index in range(11)]
        written = [message for part in parts for message in part]
        folder = tmp_path / "bag"
        files = write_splits(folder, parts, storage)
        found = read(folder)
        assert found.messages == written
        assert found.losses == []
        assert found.counts == {"/a": 22, "/b": 22}
        (folder / "metadata.yaml").unlink()
        with open_bag(folder) as bag:
            assert bag.files == files
            assert list(bag.messages()) == written
            assert bag.losses == [f"{folder}: was not closed in order (it has no metadata.yaml)."]
            assert {name: topic.count for name, topic in bag.topics.items()} == {"/a": 22, "/b": 22}
            assert (bag.start_ns, bag.end_ns) == (written[0].time_ns, written[-1].time_ns)

    @both_storages
    def test_metadata_that_disagree_with_the_files_about_qos(self, tmp_path: Path, storage: StoragePlugin) -> None:
        """rosbags then finds no message at all, without a word."""
        folder = write_folder(tmp_path / "bag", MESSAGES, storage)
        content = yaml.safe_load((folder / "metadata.yaml").read_text())
        for topic in content["rosbag2_bagfile_information"]["topics_with_message_count"]:
            topic["topic_metadata"]["offered_qos_profiles"] = ""
        (folder / "metadata.yaml").write_text(yaml.safe_dump(content))
        found = read(folder)
        assert found.messages == MESSAGES
        assert found.losses == []

    @pytest.mark.parametrize(
        "options", [{"use_chunking": False}, {"index_types": IndexType.NONE}], ids=["chunks", "index"]
    )
    def test_mcap_without_chunks_or_index_whose_messages_are_out_of_order(
        self, tmp_path: Path, options: dict[str, Any]
    ) -> None:
        """As with rosbag2's preset `fastwrite`, where two topics' messages crossed on their way to the disk."""
        written = [*MESSAGES[:20], MESSAGES[22], MESSAGES[20], MESSAGES[21], *MESSAGES[23:]]
        found = read(write_mcap(tmp_path / "x.mcap", written, **options))
        assert found.messages == written
        assert found.losses == []

    def test_mcap_whose_index_names_no_topics(self, tmp_path: Path) -> None:
        found = read(write_mcap(tmp_path / "x.mcap", MESSAGES, repeat_channels=False))
        assert found.messages == MESSAGES
        assert found.counts == {"/a": 30, "/b": 30}

    def test_a_clock_that_begins_at_zero(self, tmp_path: Path) -> None:
        early = [message._replace(time_ns=message.time_ns - T0) for message in MESSAGES]
        data = write_mcap(tmp_path / "x.mcap", early).read_bytes()
        with open_bag(tmp_path / "x.mcap") as bag:
            assert (bag.start_ns, bag.end_ns) == (0, 59 * STEP)
        (tmp_path / "cut.mcap").write_bytes(data[:-100])
        with open_bag(tmp_path / "cut.mcap") as bag:
            assert (bag.start_ns, bag.end_ns) == (0, 59 * STEP)
            assert list(bag.messages()) == early

    @both_storages
    def test_a_recording_without_messages(self, tmp_path: Path, storage: StoragePlugin) -> None:
        folder = write_folder(tmp_path / "bag", [], storage)
        for path in (folder, storage_of(folder)):
            with open_bag(path) as bag:
                assert list(bag.messages()) == []
                assert set(bag.topics) == {"/a", "/b"}
                assert (bag.start_ns, bag.end_ns, bag.losses) == (0, 0, [])

    @both_storages
    @pytest.mark.parametrize("name", ["run #3", "50%20", "what?", "drive.bag", "Fahrt über Öland"])
    def test_folders_with_any_name(self, tmp_path: Path, storage: StoragePlugin, name: str) -> None:
        folder = write_folder(tmp_path / "bag", MESSAGES, storage).rename(tmp_path / name)
        assert read(folder).messages == MESSAGES
        if storage == StoragePlugin.MCAP:
            write_mcap(storage_of(folder), MESSAGES)
        data = storage_of(folder).read_bytes()
        storage_of(folder).write_bytes(data[: len(data) // PAGE * PAGE - PAGE])
        found = read(folder)
        assert 0 < len(found.messages) < 60
        assert found.messages == MESSAGES[: len(found.messages)]

    def test_read_messages_gives_them_decoded(self, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "bag", MESSAGES)
        found = list(read_messages(folder, ["/a"]))
        assert [(topic, time_ns) for topic, time_ns, _ in found] == [(m.topic, m.time_ns) for m in MESSAGES[::2]]
        assert [message.data for _, _, message in found] == [m.data[8:-1].decode() for m in MESSAGES[::2]]


def check_cut_mcap(path: Path, expected: list[Recorded]) -> None:
    if not expected:
        # Not even a topic, except where the chunk with the topics has no message.
        with pytest.raises(SartmError, match="nothing of it can be read") as caught:
            read(path)
        assert str(path) in str(caught.value)
        return
    found = read(path)
    assert found.messages == expected
    assert found.counts == counts_of(expected)
    assert f"{path}: was not closed in order" in found.lost
    seconds = (expected[-1].time_ns - expected[0].time_ns) / 1e9
    assert f"{path.name}: " in found.losses[-1]
    assert found.losses[-1].endswith(f"Read: {len(expected)} messages, {seconds:.2f} s.")


class TestCutOffMcap:
    @pytest.mark.parametrize("percent", [0, 1, 3, 7, 14, 21, 30, 42, 50, 61, 69, 77, 85, 90, 95, 99])
    @pytest.mark.parametrize("rest", ["missing", "zeros"])
    def test_a_power_cut(self, tmp_path: Path, percent: int, rest: str) -> None:
        cut = len(whole_mcap()) * percent // 100
        path = tmp_path / "cut.mcap"
        path.write_bytes(whole_mcap()[:cut] + bytes(len(whole_mcap()) - cut if rest == "zeros" else 0))
        check_cut_mcap(path, layout_of(whole_mcap()).whole(cut))

    @pytest.mark.parametrize("behind", [-1, 0, 1, 8, 9, 40])
    def test_cuts_at_the_edge_of_a_chunk(self, tmp_path: Path, behind: int) -> None:
        cut = layout_of(whole_mcap()).chunks[2][1] + behind
        path = tmp_path / "cut.mcap"
        path.write_bytes(whole_mcap()[:cut])
        check_cut_mcap(path, layout_of(whole_mcap()).whole(cut))

    @pytest.mark.parametrize("place", ["magic", "header", "end of data", "summary", "footer", "last byte"])
    def test_cuts_outside_of_the_messages(self, tmp_path: Path, place: str) -> None:
        layout = layout_of(whole_mcap())
        cut = {
            "magic": 5,
            "header": 14,
            "end of data": layout.data_end + 3,
            "summary": layout.data_end + 60,
            "footer": len(whole_mcap()) - 20,
            "last byte": len(whole_mcap()) - 1,
        }[place]
        path = tmp_path / "cut.mcap"
        path.write_bytes(whole_mcap()[:cut])
        check_cut_mcap(path, [] if cut < 20 else MESSAGES)

    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    def test_any_byte(self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
        cut = data.draw(st.integers(0, len(whole_mcap()) - 1))
        path = tmp_path_factory.mktemp("cut") / "cut.mcap"
        path.write_bytes(whole_mcap()[:cut] + bytes(data.draw(st.sampled_from([0, 1, 7, 5000]))))
        check_cut_mcap(path, layout_of(whole_mcap()).whole(cut))

    def test_zeros_among_the_topics_that_are_named_again_at_the_end(self, tmp_path: Path) -> None:
        begin = whole_mcap().rindex(b"\x04", 0, whole_mcap().rindex(b"/b"))
        for cut in range(begin, begin + 30):
            (tmp_path / "cut.mcap").write_bytes(whole_mcap()[:cut] + bytes(5000))
            check_cut_mcap(tmp_path / "cut.mcap", MESSAGES)

    def test_without_chunks_each_message_counts(self, tmp_path: Path) -> None:
        data = write_mcap(tmp_path / "x.mcap", MESSAGES, use_chunking=False).read_bytes()
        begin = data.index(MESSAGES[40].data)
        for cut in (begin, begin + 100):
            (tmp_path / "cut.mcap").write_bytes(data[:cut])
            check_cut_mcap(tmp_path / "cut.mcap", MESSAGES[:40])

    def test_a_long_tail_of_zeros_costs_no_time(self, tmp_path: Path) -> None:
        path = tmp_path / "x.mcap"
        path.write_bytes(whole_mcap()[:9000] + bytes(30_000_000))
        begin = time.monotonic()
        check_cut_mcap(path, layout_of(whole_mcap()).whole(9000))
        assert time.monotonic() - begin < 4

    def test_a_length_that_is_garbage(self, tmp_path: Path) -> None:
        layout = layout_of(whole_mcap())
        begin = layout.chunks[3][0]
        garbage = whole_mcap()[: begin + 1] + struct.pack("<Q", 1 << 61) + whole_mcap()[begin + 9 :]
        (tmp_path / "x.mcap").write_bytes(garbage[: layout.data_end])
        check_cut_mcap(tmp_path / "x.mcap", layout.whole(begin))
        assert f"is cut off: after byte {begin} of" in read(tmp_path / "x.mcap").lost


def check_cut_sqlite(path: Path, written: list[Recorded], at_least: int) -> None:
    found = read_or_nothing(path)
    if found is None:
        assert at_least == 0
        return
    assert found.messages == written[: len(found.messages)]
    assert len(found.messages) >= at_least
    assert found.counts == {**dict.fromkeys(found.topics, 0), **counts_of(found.messages)}
    assert f"{path.name}: is cut off or damaged" in found.lost
    assert not found.messages or f"Read: {len(found.messages)} messages" in found.lost


WRITTEN = {60: some_messages(300, 60), 1500: some_messages(60, 1500), 9000: some_messages(40, 9000)}
"""Many to a page; few to a page; over several pages."""


def whole_db3(size: int) -> bytes:
    return recorded("x", tuple(WRITTEN[size]), StoragePlugin.SQLITE3, CompressionMode.NONE, 9)["x.db3"]


class TestCutOffSqlite:
    def at_least(self, size: int, share: float) -> int:
        """Some pages are of other tables and of the index."""
        return int(len(WRITTEN[size]) * (share - 0.45)) if share > 0.5 else 0

    @pytest.mark.parametrize("size", list(WRITTEN))
    @pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.45, 0.6, 0.75, 0.9])
    @pytest.mark.parametrize("rest", ["missing", "zeros"])
    def test_a_power_cut_between_pages(self, tmp_path: Path, size: int, share: float, rest: str) -> None:
        data = whole_db3(size)
        cut = int(len(data) * share) // PAGE * PAGE
        path = tmp_path / "cut.db3"
        path.write_bytes(data[:cut] + bytes(len(data) - cut if rest == "zeros" else 0))
        check_cut_sqlite(path, WRITTEN[size], self.at_least(size, share))

    @pytest.mark.parametrize("size", list(WRITTEN))
    @pytest.mark.parametrize("within", [1, 100, 1000, 2500, 3900, 4095])
    def test_a_cut_within_a_page(self, tmp_path: Path, size: int, within: int) -> None:
        """SQLite takes what is missing of the page for zeros: messages would come altered."""
        data = whole_db3(size)
        for page in (len(data) // PAGE * 7 // 10, len(data) // PAGE - 1):
            path = tmp_path / "cut.db3"
            path.write_bytes(data[: page * PAGE + within])
            check_cut_sqlite(path, WRITTEN[size], self.at_least(size, page * PAGE / len(data)))

    @settings(max_examples=60, deadline=None)
    @given(size=st.sampled_from(list(WRITTEN)), share=st.floats(0, 1, exclude_max=True))
    def test_any_byte(self, tmp_path_factory: pytest.TempPathFactory, size: int, share: float) -> None:
        path = tmp_path_factory.mktemp("cut") / "cut.db3"
        path.write_bytes(whole_db3(size)[: int(len(whole_db3(size)) * share)])
        check_cut_sqlite(path, WRITTEN[size], self.at_least(size, share))

    def test_zeros_for_the_last_pages_of_a_message(self, tmp_path: Path) -> None:
        """Beside metadata, whose presence says that all is well."""
        folder = write_folder(tmp_path / "bag", WRITTEN[9000], StoragePlugin.SQLITE3)
        data = storage_of(folder).read_bytes()
        for pages in range(2, 12):
            storage_of(folder).write_bytes(data[: -pages * PAGE] + bytes(pages * PAGE))
            found = read(folder)
            assert found.messages == WRITTEN[9000][: len(found.messages)]
            assert 25 < len(found.messages) < 40
            assert "bag.db3: is cut off or damaged" in found.lost

    def test_a_cut_among_the_topics(self, tmp_path: Path) -> None:
        path = tmp_path / "cut.db3"
        found = set()
        for cut in range(3 * PAGE + 3400, 4 * PAGE, 7):
            path.write_bytes(whole_db3(60)[:cut])
            check_cut_sqlite(path, WRITTEN[60], 0)
            read_so_far = read_or_nothing(path)
            found.add(tuple(read_so_far.topics) if read_so_far else ())
        assert found == {(), ("/a", "/b")}, "never with a name of zeros"

    def test_a_cut_of_the_last_page_is_seen_beside_metadata(self, tmp_path: Path) -> None:
        """rosbags opens such a file without a word."""
        written = WRITTEN[60]
        folder = write_folder(tmp_path / "bag", written, StoragePlugin.SQLITE3)
        data = storage_of(folder).read_bytes()
        for less in (1, 30, 200, 2000):
            storage_of(folder).write_bytes(data[:-less])
            check_cut_sqlite(folder / "bag.db3", written, 200)
            found = read(folder)
            assert found.messages == written[: len(found.messages)]
            assert "bag.db3: is cut off or damaged" in found.lost

    def test_an_image_that_ends_in_zeros_is_no_loss(self, tmp_path: Path) -> None:
        written = [message._replace(data=message.data[:500] + bytes(8500)) for message in WRITTEN[9000]]
        folder = write_folder(tmp_path / "bag", written, StoragePlugin.SQLITE3)
        if storage_of(folder).read_bytes()[-PAGE:].strip(b"\0"):
            pytest.skip("this SQLite does not end with the last message")
        found = read(folder)
        assert found.messages == written
        assert found.losses == []


class TestCutOffFolders:
    @pytest.mark.parametrize("suffix", [".mcap", ".db3"])
    def test_an_empty_file_alone(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"x{suffix}"
        path.touch()
        with pytest.raises(SartmError, match="nothing of it can be read") as caught:
            read(path)
        assert str(path) in str(caught.value)

    @both_storages
    @pytest.mark.parametrize("metadata", [True, False])
    @pytest.mark.parametrize("left", [0.0, 0.7])
    def test_the_last_split_was_being_written(
        self, tmp_path: Path, storage: StoragePlugin, metadata: bool, left: float
    ) -> None:
        folder = tmp_path / "bag"
        parts = [some_messages(100, 2000, first=100 * index) for index in range(3)]
        last = write_splits(folder, parts, storage)[-1]
        if storage == StoragePlugin.MCAP:
            write_mcap(last, parts[2])
        last.write_bytes(last.read_bytes()[: int(last.stat().st_size * left)])
        if not metadata:
            (folder / "metadata.yaml").unlink()
        found = read(folder)
        written = [message for part in parts for message in part]
        assert found.messages == written[: len(found.messages)]
        assert len(found.messages) >= 200 + 30 * (left > 0)
        assert found.counts == counts_of(found.messages)
        assert any(line.startswith(f"{last.name}: is cut off") for line in found.losses)

    @both_storages
    def test_a_split_that_is_gone(self, tmp_path: Path, storage: StoragePlugin) -> None:
        parts = [some_messages(4, first=4 * index) for index in range(3)]
        write_splits(tmp_path / "bag", parts, storage)[1].unlink()
        found = read(tmp_path / "bag")
        assert found.messages == [*parts[0], *parts[2]]
        assert f"x_1{SUFFIX[storage]}" in found.lost

    @pytest.mark.parametrize(
        "content",
        [b"", b"\0" * 4096, b"rosbag2_bagfile_information:\n  version: 9\n", b"\xff{"],
        ids=["empty", "zeros", "half", "binary"],
    )
    def test_metadata_that_are_cut_off(self, tmp_path: Path, content: bytes) -> None:
        parts = [some_messages(4), some_messages(4, first=4)]
        write_splits(tmp_path / "bag", parts)
        (tmp_path / "bag" / "metadata.yaml").write_bytes(content)
        found = read(tmp_path / "bag")
        assert found.messages == [*parts[0], *parts[1]]
        assert f"{tmp_path / 'bag'}: was not closed in order" in found.lost

    @both_storages
    def test_compressed_splits_and_one_that_was_just_being_compressed(
        self, tmp_path: Path, storage: StoragePlugin
    ) -> None:
        """rosbag2 compresses a file when it is full, then removes it, and writes metadata.yaml at the end."""
        folder = tmp_path / "bag"
        parts = [some_messages(100, 2000, first=100 * index) for index in range(3)]
        first, second, third = write_splits(folder, parts, storage, CompressionMode.FILE)
        (folder / "metadata.yaml").unlink()
        original = storage_of(write_folder(tmp_path / "original", parts[1], storage)).rename(folder / second.stem)
        written = [message for part in parts for message in part]
        for left in (second.stat().st_size, 100_000, 1000, 0):
            second.write_bytes(second.read_bytes()[:left])
            with open_bag(folder) as bag:
                assert bag.files == [first, original, third]
                assert list(bag.messages()) == written
                assert bag.losses == [f"{folder}: was not closed in order (it has no metadata.yaml)."]

    @both_storages
    @pytest.mark.parametrize("damage", ["cut", "bytes"])
    def test_compressed_splits_that_are_damaged(self, tmp_path: Path, storage: StoragePlugin, damage: str) -> None:
        folder = tmp_path / "bag"
        parts = [some_messages(100, 2000, first=100 * index) for index in range(3)]
        files = write_splits(folder, parts, storage, CompressionMode.FILE)
        (folder / "metadata.yaml").unlink()
        data = bytearray(files[1].read_bytes())
        half = len(data) // 2
        data[half:] = b"" if damage == "cut" else b"\xff" * (len(data) - half)
        files[1].write_bytes(data)
        found = read(folder)
        written = [*parts[0], *parts[1][: len(found.messages) - 200], *parts[2]]
        assert found.messages == written
        assert any(line.startswith(f"{files[1].stem}: is cut off") for line in found.losses)

    def test_a_compressed_split_that_is_cut_beside_metadata(self, tmp_path: Path) -> None:
        parts = [some_messages(100, 2000), some_messages(100, 2000, first=100)]
        files = write_splits(tmp_path / "bag", parts, StoragePlugin.SQLITE3, CompressionMode.FILE)
        files[1].write_bytes(files[1].read_bytes()[:-50_000])
        found = read(tmp_path / "bag")
        written = [*parts[0], *parts[1]]
        assert found.messages == written[: len(found.messages)]
        assert 130 < len(found.messages) < 200
        assert "x_1.db3: is cut off or damaged" in found.lost


class TestDamage:
    @pytest.mark.parametrize("compression", list(CompressionType))
    @pytest.mark.parametrize("number", [0, 3, -1], ids=["first", "middle", "last"])
    def test_a_damaged_chunk(self, tmp_path: Path, compression: CompressionType, number: int) -> None:
        data = bytearray(write_mcap(tmp_path / "x.mcap", MESSAGES, compression).read_bytes())
        begin, end, gone = layout_of(bytes(data)).chunks[number]
        for at in range(end - 700, end - 600):
            data[at] ^= 0x55
        (tmp_path / "x.mcap").write_bytes(data)
        expected = [message for message in MESSAGES if message not in gone]
        with open_bag(tmp_path / "x.mcap") as bag:
            assert list(bag.messages()) == expected
            lost = "\n".join(bag.losses)
            assert f"x.mcap: the chunk at byte {begin} is damaged and left out" in lost
            assert f"x.mcap: {len(gone)} of 60 messages cannot be read" in lost
            losses = list(bag.losses)
            assert list(bag.messages()) == expected
            assert bag.losses == losses, "a loss is stated once"
            assert list(bag.messages(["/b"])) == [message for message in expected if message.topic == "/b"]

    def test_messages_at_one_time_on_both_sides_of_the_damage(self, tmp_path: Path) -> None:
        written = [message._replace(time_ns=T0 + index // 7 * STEP) for index, message in enumerate(MESSAGES)]
        data = bytearray(write_mcap(tmp_path / "x.mcap", written).read_bytes())
        layout = layout_of(bytes(data))
        for begin, end, gone in layout.chunks[1:]:
            broken = bytearray(data)
            broken[(begin + end) // 2] ^= 0x55
            (tmp_path / "x.mcap").write_bytes(broken)
            assert read(tmp_path / "x.mcap").messages == [message for message in written if message not in gone]

    def test_chunks_that_are_not_in_the_order_of_time(self, tmp_path: Path) -> None:
        early, middle, late = MESSAGES[:18], MESSAGES[18:36], MESSAGES[36:54]
        data = bytearray(write_mcap(tmp_path / "x.mcap", [*late, *early, *middle]).read_bytes())
        assert read(tmp_path / "x.mcap").messages == MESSAGES[:54]
        layout = layout_of(bytes(data))
        begin, end, gone = next(chunk for chunk in layout.chunks if middle[0] in chunk[2] and middle[5] in chunk[2])
        data[(begin + end) // 2] ^= 0x55
        (tmp_path / "x.mcap").write_bytes(data)
        found = read(tmp_path / "x.mcap").messages
        assert sorted(found) == sorted(message for message in MESSAGES[:54] if message not in gone)

    @pytest.mark.parametrize("mode", [CompressionMode.NONE, CompressionMode.FILE])
    @pytest.mark.parametrize("metadata", [True, False])
    @pytest.mark.parametrize("split", [0, 1, 2])
    def test_a_damaged_chunk_in_one_of_the_splits(
        self, tmp_path: Path, split: int, metadata: bool, mode: CompressionMode
    ) -> None:
        folder = tmp_path / "bag"
        # The first messages of a split came while the last ones before it were still being written.
        parts = [some_messages(30, first=18 * index) for index in range(3)]
        parts = [[message._replace(data=string(f"{n} {message.data!r}")) for message in p] for n, p in enumerate(parts)]
        files = write_splits(folder, parts)
        write_mcap(files[split], parts[split])
        data = bytearray(files[split].read_bytes())
        begin, end, gone = layout_of(bytes(data)).chunks[1]
        data[(begin + end) // 2] ^= 0x55
        files[split].write_bytes(data)
        if mode == CompressionMode.FILE:
            compress(folder, files)
        if not metadata:
            (folder / "metadata.yaml").unlink()
        found = read(folder)
        assert found.messages == [message for part in parts for message in part if message not in gone]
        assert f"x_{split}.mcap: the chunk at byte {begin} is damaged and left out" in found.lost
        assert f"{len(gone)} of {90 if metadata else 30} messages cannot be read" in found.lost

    def test_the_first_chunk_says_which_topics_there_are(self, tmp_path: Path) -> None:
        layout = layout_of(whole_mcap())
        data = bytearray(whole_mcap())
        data[layout.chunks[0][1] - 50] ^= 0x55
        rest = [message for message in MESSAGES if message not in layout.chunks[0][2]]
        (tmp_path / "whole.mcap").write_bytes(data)
        assert read(tmp_path / "whole.mcap").messages == rest
        (tmp_path / "cut.mcap").write_bytes(data[: layout.data_end])
        with pytest.raises(SartmError, match=f"nothing says of which topic {len(rest)} of its messages are"):
            read(tmp_path / "cut.mcap")

    @settings(max_examples=60, deadline=None)
    @given(data=st.data())
    def test_any_byte(self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, layout_of(whole_mcap()).data_end - 1))
        broken = bytearray(whole_mcap())
        broken[at] ^= data.draw(st.integers(1, 255))
        path = tmp_path_factory.mktemp("damaged") / "x.mcap"
        path.write_bytes(broken)
        found = read_or_nothing(path)
        if found is None:
            assert at < 8, "only without its first bytes it is nobody's file"
            return
        kept = [message for message in MESSAGES if message in found.messages]
        assert found.messages == kept, "in order, none twice, none altered"
        assert len(kept) == 60 or "x.mcap" in found.lost

    @pytest.mark.parametrize(
        "damage",
        [
            lambda data: b"",
            lambda data: data[:3],
            lambda data: data[:6],
            lambda data: data[:-50],
            lambda data: data[:4] + b"\xff\xff\xff\x7f" + data[8:],
            lambda data: b"\x28\xb5\x2f\xfd" + data[4:],
        ],
        ids=["nothing", "no header", "no length", "cut", "length", "no zstd"],
    )
    @both_storages
    def test_a_message_whose_bytes_are_damaged(
        self, tmp_path: Path, storage: StoragePlugin, damage: Callable[[bytes], bytes]
    ) -> None:
        written = list(MESSAGES[:5])
        written[2] = written[2]._replace(data=damage(written[2].data))
        decoded = []
        with open_bag(write_folder(tmp_path / "bag", written, storage)) as bag:
            for index, message in enumerate(bag.messages()):
                assert message == written[index]
                if index == 2:
                    with pytest.raises(SartmError, match="^/a: a message's bytes are no std_msgs/msg/String"):
                        bag.deserialize(message)
                else:
                    decoded.append(bag.deserialize(message).data)
        assert decoded == [written[index].data[8:-1].decode() for index in (0, 1, 3, 4)]


def compress(folder: Path, files: list[Path]) -> None:
    """As rosbag2 does with each file of a recording."""
    content = yaml.safe_load((folder / "metadata.yaml").read_text())
    whole = content["rosbag2_bagfile_information"]
    whole |= {"compression_mode": "FILE", "compression_format": "zstd"}
    whole["relative_file_paths"] = [f"{file.name}.zstd" for file in files]
    (folder / "metadata.yaml").write_text(yaml.safe_dump(content))
    for file in files:
        file.with_name(f"{file.name}.zstd").write_bytes(zstandard.compress(file.read_bytes()))
        file.unlink()


class TestSqliteLog:
    """A recorder that was killed leaves what it wrote last in SQLite's log."""

    @pytest.fixture
    def killed(self, tmp_path: Path) -> Path:
        source = write_folder(tmp_path / "source", MESSAGES[:20], StoragePlugin.SQLITE3)
        with closing(sqlite3.connect(source / "source.db3")) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.executemany(
                "INSERT INTO messages(topic_id, timestamp, data) VALUES(?, ?, ?)",
                [(1 if m.topic == "/a" else 2, m.time_ns, m.data) for m in MESSAGES[20:]],
            )
            database.commit()
            shutil.copytree(source, tmp_path / "killed")
        assert (tmp_path / "killed" / "source.db3-wal").stat().st_size > 0
        return tmp_path / "killed"

    @pytest.mark.parametrize("gone", [[], ["source.db3-shm"], ["metadata.yaml"], ["source.db3-shm", "metadata.yaml"]])
    @pytest.mark.parametrize("alone", [True, False])
    def test_its_messages_are_read(self, killed: Path, gone: list[str], alone: bool) -> None:
        for name in gone:
            (killed / name).unlink()
        path = killed / "source.db3" if alone else killed
        log = (killed / "source.db3-wal").read_bytes()
        for _ in range(2):
            found = read(path)
            assert found.messages == MESSAGES
            assert found.counts == {"/a": 30, "/b": 30}
            assert found.topics["/b"].latched
            assert str(path) in found.lost
            assert ("it has no" if "metadata.yaml" in gone and not alone else "source.db3-wal was not") in found.lost
        assert (killed / "source.db3-wal").read_bytes() == log, "reading changes nothing"

    def test_a_log_that_is_cut_off(self, killed: Path) -> None:
        log = killed / "source.db3-wal"
        log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
        found = read(killed)
        assert found.messages == MESSAGES[: len(found.messages)]
        assert len(found.messages) >= 20
        assert "source.db3-wal was not merged" in found.lost

    def test_an_empty_log_is_none(self, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "bag", MESSAGES, StoragePlugin.SQLITE3)
        (folder / "bag.db3-wal").touch()
        found = read(folder)
        assert found.messages == MESSAGES
        assert found.losses == []


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
        messages.append(Recorded("/reading", T0 + index * STEP, bytes(data)))
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

    def test_nobody_defines_a_type(self, undefined: Path) -> None:
        with open_bag(undefined) as bag:
            messages = list(bag.messages())
            assert messages == readings()[1]
            assert bag.topics["/reading"].message_type == READING
            with pytest.raises(SartmError, match=f"^/reading: .*{READING}.*--msgs"):
                bag.deserialize(messages[0])

    def test_nobody_defines_a_part_of_a_type(self, undefined: Path, tmp_path: Path) -> None:
        msgs = write_msgs(
            tmp_path / "src",
            my_msgs__Reading=READING_TEXT,
            my_msgs__Particle="other_msgs/Deep deep\n",
            my_msgs__Unused="other_msgs/Another here\n",
        )
        with open_bag(undefined, msgs) as bag:
            assert bag.losses == [f"{READING} is made of other_msgs/msg/Deep, which nobody defines."]
            with pytest.raises(SartmError, match=f"^/reading: .*{READING}.*--msgs"):
                bag.deserialize(next(bag.messages()))

    @pytest.mark.parametrize(
        "text",
        ["<!DOCTYPE html>\n", "float64\n", "float64 a\nfloat64 a\n", "uint8[<=] a\n", "int32 A=\n", "\x00\x01"],
        ids=["page", "no name", "name twice", "no bound", "no value", "binary"],
    )
    def test_a_file_that_is_no_definition_is_named(self, undefined: Path, tmp_path: Path, text: str) -> None:
        msgs = write_msgs(tmp_path / "src", my_msgs__Good="int32 a\n", my_msgs__Reading=text)
        with pytest.raises(SartmError, match="Reading.msg: is no message definition") as caught:
            read(undefined, msgs)
        assert str(msgs / "my_msgs" / "msg" / "Reading.msg") in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_definition_that_is_no_text(self, undefined: Path, tmp_path: Path) -> None:
        msgs = write_msgs(tmp_path / "src", my_msgs__Reading=READING_TEXT)
        (msgs / "my_msgs" / "msg" / "Reading.msg").write_bytes(b"\xff\xfe\x00i")
        with pytest.raises(SartmError, match="Reading.msg: is no message definition"):
            read(undefined, msgs)

    def test_a_package_with_an_impossible_name(self, undefined: Path, tmp_path: Path) -> None:
        msgs = write_msgs(tmp_path / "src", **{"2d_msgs__Scan": "Point[] points\n", "2d_msgs__Point": "int32 x\n"})
        with pytest.raises(SartmError, match="2d_msgs/msg/.*is no message definition"):
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


class TestWhatIsNoRecording:
    def test_what_is_missing(self, tmp_path: Path) -> None:
        for name in ("missing", "missing.mcap", "missing.bag"):
            with pytest.raises(SartmError, match=f"{tmp_path / name}: no such recording"):
                read(tmp_path / name)

    def test_a_bag_of_ros_1(self, tmp_path: Path) -> None:
        path = tmp_path / "old.bag"
        path.write_bytes(b"#ROSBAG V2.0\n" + bytes(100))
        with pytest.raises(SartmError, match=f"{path}: is a ROS 1 bag.*rosbags-convert --src {path} --dst old"):
            read(path)

    def test_folders_and_files_of_other_things(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "image.png").write_bytes(b"x")
        (tmp_path / "other" / "archive.tar.zstd").write_bytes(b"x")
        (tmp_path / "other" / "folder.mcap").mkdir()
        (tmp_path / "metadata.yaml").write_text("rosbag2_bagfile_information: {}\n")
        for name in ("empty", "other", "metadata.yaml", "other/image.png"):
            with pytest.raises(SartmError, match=f"{tmp_path / name}: is no recording. Give a rosbag2 folder"):
                read(tmp_path / name)

    @pytest.mark.parametrize("suffix", [".mcap", ".db3", ".mcap.zstd"])
    @pytest.mark.parametrize(
        "content",
        [b"hello\n", b"Dear diary, " * 1000, b"\0" * 10_000, b"\x89MCAP0\r\n"],
        ids=["short", "text", "zeros", "magic"],
    )
    def test_a_file_of_something_else(self, tmp_path: Path, suffix: str, content: bytes) -> None:
        path = tmp_path / f"x{suffix}"
        path.write_bytes(content)
        with pytest.raises(SartmError, match="nothing of it can be read") as caught:
            read(path)
        assert str(path) in str(caught.value)


def latched(path: Path) -> list[str]:
    return [name for name, topic in sorted(read(path).topics.items()) if topic.latched]


class TestLatched:
    @both_storages
    @pytest.mark.parametrize("version", [8, 9])
    def test_topics_of_whole_recordings(self, tmp_path: Path, storage: StoragePlugin, version: int) -> None:
        folder = write_folder(tmp_path / "bag", MESSAGES, storage, version=version)
        for path in (folder, storage_of(folder)):
            assert latched(path) == ["/b"]

    @both_storages
    @pytest.mark.parametrize("version", [8, 9])
    def test_topics_of_recordings_that_were_cut_off(self, tmp_path: Path, storage: StoragePlugin, version: int) -> None:
        messages = some_messages(100, 2000)
        file = storage_of(write_folder(tmp_path / "bag", messages, storage, version=version))
        file.write_bytes(file.read_bytes()[: -5 if storage == StoragePlugin.MCAP else -10 * PAGE])
        for path in (tmp_path / "bag", file):
            assert read(path).losses
            assert latched(path) == ["/b"]

    def test_topics_that_the_writer_wrote(self, tmp_path: Path) -> None:
        for path in (tmp_path / "bag", tmp_path / "single.mcap"):
            with BagWriter(path) as writer:
                writer.add_topic("/a", STRING)
                writer.add_topic("/b", STRING, latched=True)
            assert latched(path) == ["/b"]


class TestWriter:
    @pytest.mark.parametrize("name", ["bag", "bag.mcap"])
    def test_what_is_written_is_read(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / "new" / name
        path.parent.mkdir()
        with BagWriter(path) as writer:
            writer.add_topic("/a", STRING)
            writer.add_topic("/b", STRING)
            for index, message in enumerate(MESSAGES):
                if index % 3 == 0:
                    writer.write_message(
                        message.topic, message.time_ns, bag_message(STRING, data=message.data[8:-1].decode())
                    )
                else:
                    writer.write(message.topic, message.time_ns, memoryview(message.data))
        found = read(path)
        assert found.messages == MESSAGES
        assert found.losses == []
        assert path.is_file() == (name == "bag.mcap")
        assert list(path.parent.iterdir()) == [path]

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

    @pytest.mark.parametrize("name", ["bag", "bag.mcap"])
    @pytest.mark.parametrize("finished", [True, False])
    @pytest.mark.parametrize("full", [True, False], ids=["full disk", "disk"])
    def test_nothing_is_left_behind_after_an_exception(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, finished: bool, full: bool
    ) -> None:
        def fail(*_: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def record() -> None:
            with BagWriter(tmp_path / name) as writer:
                writer.add_topic("/a", STRING)
                writer.write("/a", T0, MESSAGES[0].data)
                (writer.folder / "report.html").write_text("beside the recording")
                if finished:
                    writer.finish_file()
                if full:
                    monkeypatch.setattr(Writer, "close", fail)
                    monkeypatch.setattr(Writer, "abort", fail)
                raise KeyError("why it failed")

        with pytest.raises(KeyError, match="why it failed"):
            record()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["bag", "bag.mcap"])
    def test_what_exists_is_not_overwritten(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        with BagWriter(path) as writer:
            writer.add_topic("/a", STRING)
            writer.write("/a", T0, MESSAGES[0].data)
        with pytest.raises(SartmError, match=f"{path}: exists already and is not overwritten"):
            BagWriter(path)
        assert [message.data for message in read(path).messages] == [MESSAGES[0].data]
        with BagWriter(path, replace=True) as writer:
            writer.add_topic("/a", STRING)
            assert read(path).messages, "until the new one is complete"
        assert read(path).messages == []
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("name", ["bag", "bag.mcap"])
    @pytest.mark.parametrize("replace", [True, False])
    def test_nor_what_is_no_bag_or_came_meanwhile(self, tmp_path: Path, name: str, replace: bool) -> None:
        path = tmp_path / name
        writer = BagWriter(path, replace)
        writer.add_topic("/a", STRING)
        path.mkdir()
        (path / "thesis.tex").write_text("precious")
        with pytest.raises(SartmError, match="exists already and is not overwritten"):
            writer.close()
        assert (path / "thesis.tex").read_text() == "precious"
        with pytest.raises(SartmError, match="exists already and is not overwritten"):
            BagWriter(path, replace)
        assert storage_of(writer.folder).suffix == ".mcap", "what was recorded is kept"
