"""Recordings that were cut off, as after a power cut: all that is readable, and what was lost.

The readers of `rosbags` need the index, which is written last. These read from the beginning until nothing follows:
once to learn the topics, then again for the messages.
"""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from mcap.records import Channel, Chunk, McapRecord, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat

_FORMATS = {"ros2msg": MessageDefinitionFormat.MSG, "ros2idl": MessageDefinitionFormat.IDL}
NO_DEFINITION = MessageDefinition(MessageDefinitionFormat.NONE, "")
LARGEST_RECORD = 1 << 30
"""A longer record, 1 GiB, is a damaged length."""
_UNKNOWN = "unknown/msg/Unknown"
_LATCHED_MARKS = ("durability: 1", "durability: transient_local")


@dataclass(frozen=True, slots=True)
class FoundTopic:
    """What a file says of one topic; `count` messages of it."""

    message_type: str
    definition: MessageDefinition
    latched: bool
    count: int


class Salvaged:
    """What a scan of one damaged file found.

    Attributes:
        path: the file.
        topics: by name.
        start_ns, end_ns: time of recording of the first and of the last message, nanoseconds; 0 where there is none.
        losses: what could not be read, a line each.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.losses: list[str] = []
        self.topics: dict[str, FoundTopic] = {}
        kinds: dict[str, FoundTopic] = {}
        counts: Counter[str] = Counter()
        self.start_ns = self.end_ns = 0
        for topic, time_ns, _ in self._messages(kinds, self.losses):
            counts[topic] += 1
            self.start_ns = min(time_ns, self.start_ns) if self.end_ns else time_ns
            self.end_ns = max(time_ns, self.end_ns)
        self.topics = {name: replace(found, count=counts[name]) for name, found in kinds.items()}
        if self.losses and self.end_ns:
            seconds = (self.end_ns - self.start_ns) / 1e9
            self.losses = [f"{loss} Read: {sum(counts.values())} messages, {seconds:.2f} s." for loss in self.losses]

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """Yields (topic, time of recording in nanoseconds, CDR) in the order of writing."""
        return (entry for entry in self._messages({}, []) if entry[0] in topics)

    def _messages(self, topics: dict[str, FoundTopic], losses: list[str]) -> Iterator[tuple[str, int, bytes]]:
        read = _mcap_messages if self.path.suffix == ".mcap" else _sqlite_messages
        return read(self.path, topics, losses)


def _mcap_messages(path: Path, topics: dict[str, FoundTopic], losses: list[str]) -> Iterator[tuple[str, int, bytes]]:
    schemas: dict[int, Schema] = {}
    names: dict[int, str] = {}
    for record in _mcap_records(path, losses):
        if isinstance(record, Schema):
            schemas[record.id] = record
        elif isinstance(record, Channel):
            names[record.id] = record.topic
            schema = schemas.get(record.schema_id)
            latched = any(mark in record.metadata.get("offered_qos_profiles", "") for mark in _LATCHED_MARKS)
            kind, definition = (
                ("unknown/msg/Unknown", NO_DEFINITION) if schema is None else (schema.name, _definition(schema))
            )
            topics.setdefault(record.topic, FoundTopic(kind, definition, latched, 0))
        elif isinstance(record, Message) and record.channel_id in names:
            yield names[record.channel_id], record.log_time, record.data


def _definition(schema: Schema | None) -> MessageDefinition:
    if schema is None or schema.encoding not in _FORMATS:
        return NO_DEFINITION
    return MessageDefinition(_FORMATS[schema.encoding], schema.data.decode(errors="replace"))


def _mcap_records(path: Path, losses: list[str]) -> Iterator[McapRecord]:
    """The records of all chunks that are whole."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        records = iter(StreamReader(stream, emit_chunks=True, record_size_limit=LARGEST_RECORD).records)
        begin = 0
        while True:
            try:
                record = next(records, None)
                if record is None:
                    return
                found = breakup_chunk(record, validate_crc=True) if isinstance(record, Chunk) else [record]
            except Exception as error:  # the library raises whatever its decoders raise
                if stream.tell() < size and isinstance(record, Chunk):
                    losses.append(f"{path.name}: the chunk at byte {begin} is damaged and left out ({error}).")
                    begin = stream.tell()
                    continue
                losses.append(f"{path.name}: is cut off: after byte {begin} of {size} no whole record follows.")
                return
            begin = stream.tell()
            yield from found


def _sqlite_messages(path: Path, topics: dict[str, FoundTopic], losses: list[str]) -> Iterator[tuple[str, int, bytes]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        # Lets SQLite open a file that is shorter than its header says.
        database.execute("PRAGMA writable_schema=ON")
        try:
            definitions = _sqlite_definitions(database)
            names = {}
            for number, name, kind, qos in database.execute("SELECT id, name, type, offered_qos_profiles FROM topics"):
                names[number] = name
                latched = any(mark in (qos or "") for mark in _LATCHED_MARKS)
                topics[name] = FoundTopic(kind, definitions.get(kind, NO_DEFINITION), latched, 0)
            # In the order of writing: the index by time may be in the part that is missing.
            for number, time_ns, data in database.execute("SELECT topic_id, timestamp, data FROM messages ORDER BY id"):
                if number in names:
                    yield names[number], time_ns, data
        except sqlite3.DatabaseError as error:
            losses.append(f"{path.name}: is cut off or damaged ({error}).")


def _sqlite_definitions(database: sqlite3.Connection) -> dict[str, MessageDefinition]:
    """Newer recordings have them."""
    try:
        rows = database.execute("SELECT topic_type, encoding, encoded_message_definition FROM message_definitions")
        return {kind: MessageDefinition(_FORMATS[form], text) for kind, form, text in rows if form in _FORMATS}
    except sqlite3.OperationalError:
        return {}
