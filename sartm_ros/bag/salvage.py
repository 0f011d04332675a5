"""Recordings truncated by a power cut and the like: what is readable, and what was lost.

The readers of `rosbags` need the index, which is written last. These read from the beginning until nothing follows:
once to learn the topics, then again for the messages.
"""

import math
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from mcap.exceptions import EndOfFile
from mcap.reader import make_reader
from mcap.records import Channel, Chunk, McapRecord, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat

_FORMATS = {"ros2msg": MessageDefinitionFormat.MSG, "ros2idl": MessageDefinitionFormat.IDL}
NO_DEFINITION = MessageDefinition(MessageDefinitionFormat.NONE, "")
LARGEST_RECORD = 1 << 30
"""A record longer than this, 1 GiB, has a damaged length."""
_LATCHED_MARKS = ("durability: 1", "durability: transient_local")


@dataclass(frozen=True, slots=True)
class FoundTopic:
    """One topic of a file, with `count` messages."""

    message_type: str
    definition: MessageDefinition
    latched: bool
    count: int


class Salvaged:
    """The result of scanning one damaged file.

    Attributes:
        path: the file.
        topics: by name.
        start_ns, end_ns: time of recording of the first and of the last message, nanoseconds; 0 where there is none.
        losses: what could not be read, one line each.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.losses: list[str] = []
        self.topics: dict[str, FoundTopic] = {}
        kinds: dict[str, FoundTopic] = {}
        counts: Counter[str] = Counter()
        self.start_ns = self.end_ns = 0
        for topic, time_ns, _ in self._messages(kinds, self.losses):
            self.start_ns = min(time_ns, self.start_ns) if counts else time_ns
            self.end_ns = max(time_ns, self.end_ns)
            counts[topic] += 1
        self.topics = {name: replace(found, count=counts[name]) for name, found in kinds.items()}
        if self.losses and counts:
            seconds = (self.end_ns - self.start_ns) / 1e9
            self.losses = [f"{loss} Read: {sum(counts.values())} messages, {seconds:.2f} s." for loss in self.losses]

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """Yields (topic, time of recording in nanoseconds, CDR) in the order of writing."""
        return (entry for entry in self._messages({}, []) if entry[0] in topics)

    def _messages(self, topics: dict[str, FoundTopic], losses: list[str]) -> Iterator[tuple[str, int, bytes]]:
        read = _mcap_messages if self.path.suffix == ".mcap" else _sqlite_messages
        return read(self.path, topics, losses)


def is_suspicious(path: Path) -> bool:
    """Whether a .db3 ends within a page or in one of zeros; SQLite reads what is missing as zeros."""
    if path.suffix != ".db3":
        return False
    page = _page_size(path)
    with path.open("rb") as stream:
        stream.seek(max(path.stat().st_size - page, 0))
        end = stream.read()
    return _is_cut(path) or not end.strip(b"\0")


def _mcap_messages(path: Path, topics: dict[str, FoundTopic], losses: list[str]) -> Iterator[tuple[str, int, bytes]]:
    schemas: dict[int, Schema] = {}
    names: dict[int, str] = {}
    nameless = 0
    for record in chain(_mcap_summary(path), _mcap_records(path, losses)):
        if isinstance(record, Schema):
            schemas[record.id] = record
        elif isinstance(record, Channel) and record.topic and "\0" not in record.topic:
            names[record.id] = record.topic
            topics.setdefault(record.topic, _mcap_topic(record, schemas.get(record.schema_id)))
        elif isinstance(record, Message) and record.channel_id in names:
            yield names[record.channel_id], record.log_time, record.data
        elif isinstance(record, Message):
            nameless += 1
    if nameless:
        losses.append(f"{path.name}: {nameless} of its messages cannot be assigned to a topic.")


def _mcap_topic(channel: Channel, schema: Schema | None) -> FoundTopic:
    latched = any(mark in channel.metadata.get("offered_qos_profiles", "") for mark in _LATCHED_MARKS)
    kind = "unknown/msg/Unknown" if schema is None else schema.name
    return FoundTopic(kind, _definition(schema), latched, 0)


def _mcap_summary(path: Path) -> list[McapRecord]:
    """The summary of a complete file; the chunks repeat it, but the first of them may be damaged."""
    with path.open("rb") as stream, suppress(Exception):  # the library raises whatever its decoders raise
        summary = make_reader(stream).get_summary()
        return [*summary.schemas.values(), *summary.channels.values()] if summary else []
    return []


def _definition(schema: Schema | None) -> MessageDefinition:
    if schema is None or schema.encoding not in _FORMATS:
        return NO_DEFINITION
    return MessageDefinition(_FORMATS[schema.encoding], schema.data.decode(errors="replace"))


def _mcap_records(path: Path, losses: list[str]) -> Iterator[McapRecord]:
    """The records of all intact chunks."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        records = iter(StreamReader(stream, emit_chunks=True, record_size_limit=LARGEST_RECORD).records)
        begin = 0
        while True:
            record = None
            try:
                if stream.peek(1)[:1] == b"\0":
                    raise EndOfFile  # no record begins so: a power cut left zeros
                record = next(records, None)
                if record is None:
                    return
                found = breakup_chunk(record, validate_crc=True) if isinstance(record, Chunk) else [record]
            except Exception as error:  # the library raises whatever its decoders raise
                if record is None or stream.tell() == size:
                    losses.append(f"{path.name}: is truncated: no complete record follows byte {begin} of {size}.")
                    return
                losses.append(f"{path.name}: the chunk at byte {begin} is damaged and skipped ({error}).")
                found = []
            begin = stream.tell()
            yield from found


def _sqlite_messages(path: Path, topics: dict[str, FoundTopic], losses: list[str]) -> Iterator[tuple[str, int, bytes]]:
    last = None
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        # Lets SQLite open a file shorter than its header says.
        database.execute("PRAGMA writable_schema=ON")
        try:
            for row in _sqlite_rows(database, _first_cut_row(path), topics):
                if last is not None:
                    yield last
                last = row
            if _is_cut(path):
                raise sqlite3.DatabaseError("it ends within a page")
        except sqlite3.DatabaseError as error:
            losses.append(f"{path.name}: is truncated or damaged ({error}).")
            # The last page of a message that spans several may have been read as zeros.
            if last is not None and len(last[2]) > _page_size(path) // 2 and last[2].endswith(b"\0"):
                return
    if last is not None:
        yield last


def _sqlite_rows(
    database: sqlite3.Connection, end: float, topics: dict[str, FoundTopic]
) -> Iterator[tuple[str, int, bytes]]:
    definitions = _sqlite_definitions(database)
    names = {}
    for number, name, kind, qos in database.execute("SELECT id, name, type, offered_qos_profiles FROM topics"):
        if not all(isinstance(text, str) and "\0" not in text for text in (name, kind, qos or "")):
            raise sqlite3.DatabaseError(f"topic {number} is incomplete")
        names[number] = name
        latched = any(mark in (qos or "") for mark in _LATCHED_MARKS)
        topics[name] = FoundTopic(kind, definitions.get(kind, NO_DEFINITION), latched, 0)
    # In the order of writing: the index by time may be in the missing part.
    query = "SELECT id, topic_id, timestamp, data FROM messages ORDER BY id"
    for row, number, time_ns, data in database.execute(query):
        if row >= end or number not in names or not isinstance(time_ns, int) or not isinstance(data, bytes):
            raise sqlite3.DatabaseError(f"message {row} is incomplete")
        yield names[number], time_ns, data


def _is_cut(path: Path) -> bool:
    return path.stat().st_size % _page_size(path) > 0


def _page_size(path: Path) -> int:
    with path.open("rb") as stream:
        size = int.from_bytes(stream.read(18)[16:], "big")
    return size if size > 1 else 1 << 16


def _first_cut_row(path: Path) -> float:
    """The first message on an incomplete last page; infinity where there is none."""
    with path.open("rb") as stream:
        stream.seek(path.stat().st_size // _page_size(path) * _page_size(path))
        page = stream.read()
    if page[:1] != b"\x0d":  # a table leaf page
        return math.inf
    numbers = _varints(page[max(int.from_bytes(page[8:10], "big"), 8) :])
    next(numbers, 0)  # size of the message
    return next(numbers, math.inf)


def _varints(data: bytes) -> Iterator[int]:
    """SQLite's variable-length integers, one after the other."""
    value = 0
    for byte in data:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            yield value
            value = 0


def _sqlite_definitions(database: sqlite3.Connection) -> dict[str, MessageDefinition]:
    """Message definitions, which newer recordings contain."""
    try:
        rows = database.execute("SELECT topic_type, encoding, encoded_message_definition FROM message_definitions")
        return {kind: MessageDefinition(_FORMATS[form], text) for kind, form, text in rows if form in _FORMATS}
    except sqlite3.DatabaseError:
        return {}
