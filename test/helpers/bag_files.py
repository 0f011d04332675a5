"""Recordings that the tests write: whole, split, compressed, in parts; and what is read of them."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import yaml
from mcap.records import Chunk, DataEnd, Message
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from sartm_core.errors import SartmError
from sartm_ros.bag.reader import Recorded, open_bag
from sartm_ros.bag.topics import FoundTopic
from sartm_ros.bag.types import TYPESTORE, bag_message

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
        Recorded("/b" if index % 2 else "/a", T0 + index * STEP, string(bytes(row).decode()), STRING)
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
        for topic, time_ns, data, _ in messages:
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
        if not str(error).startswith(f"{path}: nothing in it can be read"):
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
            messages = [Recorded("/b" if m.channel_id == 2 else "/a", m.log_time, m.data, STRING) for m in found]
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
