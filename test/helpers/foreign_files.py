"""Storage files as other recorders write them, by the `mcap` library and SQLite alone: no code of ours."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter

RELIABLE, BEST_EFFORT = 1, 2
TRANSIENT_LOCAL, VOLATILE = 1, 2
KEEP_LAST, KEEP_ALL, UNKNOWN = 1, 2, 3


class Channel(NamedTuple):
    """A topic and its messages: (time of recording, data)."""

    topic: str
    kind: str
    messages: Sequence[tuple[int, bytes]]
    encoding: str = "cdr"
    schema_encoding: str = "ros2msg"
    schema: bytes = b""
    qos: Sequence[dict[str, Any]] = ()


def profile(
    reliability: int = RELIABLE, durability: int = VOLATILE, depth: int = 10, history: int = KEEP_LAST
) -> dict[str, Any]:
    """As rosbag2 notes a publisher's QoS."""
    never = {"sec": 9223372036, "nsec": 854775807}
    return {
        "history": history, "depth": depth, "reliability": reliability, "durability": durability, "deadline": never,
        "lifespan": never, "liveliness": 1, "liveliness_lease_duration": never,
        "avoid_ros_namespace_conventions": False,
    }  # fmt: skip


def write_channels(
    path: Path,
    channels: Iterable[Channel],
    profile: str = "ros2",
    extra: Callable[[McapWriter], None] = lambda writer: None,
    **options: Any,
) -> Path:
    """An MCAP; a channel without `kind` has no schema."""
    with path.open("wb") as stream:
        writer = McapWriter(stream, chunk_size=2000, compression=CompressionType.ZSTD, **options)
        writer.start(profile, "test")
        entries = []
        for one in channels:
            schema = writer.register_schema(one.kind, one.schema_encoding, one.schema) if one.kind else 0
            metadata = {"offered_qos_profiles": yaml.safe_dump(list(one.qos))} if one.qos else {}
            number = writer.register_channel(one.topic, one.encoding, schema, metadata)
            entries += [(time_ns, number, data) for time_ns, data in one.messages]
        for time_ns, number, data in sorted(entries):
            writer.add_message(number, time_ns, data, time_ns)
        extra(writer)
        writer.finish()
    return path


def write_database(path: Path, channels: Iterable[Channel]) -> Path:
    """A .db3 in the layout of rosbag2 since Iron."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            "CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);"
            "CREATE TABLE metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL, metadata TEXT NOT NULL);"
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,"
            " serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL,"
            " type_description_hash TEXT NOT NULL);"
            "CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT NOT NULL,"
            " encoding TEXT NOT NULL, encoded_message_definition TEXT NOT NULL, type_description_hash TEXT NOT NULL);"
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL,"
            " data BLOB NOT NULL);"
            "CREATE INDEX timestamp_idx ON messages (timestamp ASC);"
            "INSERT INTO schema VALUES(4, 'jazzy');"
        )
        for number, one in enumerate(channels, 1):
            qos = yaml.safe_dump(list(one.qos)) if one.qos else ""
            database.execute("INSERT INTO topics VALUES(?, ?, ?, ?, ?, '')",
                             (number, one.topic, one.kind, one.encoding, qos))  # fmt: skip
            database.execute("INSERT INTO message_definitions VALUES(?, ?, ?, ?, '')",
                             (number, one.kind, one.schema_encoding, one.schema.decode()))  # fmt: skip
            database.executemany("INSERT INTO messages VALUES(NULL, ?, ?, ?)",
                                 [(number, time_ns, data) for time_ns, data in one.messages])  # fmt: skip
        database.commit()
    return path
