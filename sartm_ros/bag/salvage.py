"""Recordings truncated by a power cut and the like: what is readable, and what was lost.

The readers of `rosbags` need the index, which is written last. These read from the beginning until nothing follows:
once to learn the topics, then again for the messages.
"""

import math
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path

from mcap.exceptions import EndOfFile
from mcap.reader import make_reader
from mcap.records import Channel, Chunk, McapRecord, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from rosbags.interfaces import MessageDefinition

from sartm_ros.bag.compression import plain_chunk
from sartm_ros.bag.topics import NO_DEFINITION, FoundTopic, Recorded, definition_of, found_topic, offered_qos

LARGEST_RECORD = 1 << 30
"""A record longer than this, 1 GiB, has a damaged length."""


class Salvaged:
    """The result of scanning one damaged file.

    Attributes:
        path: the file.
        topics: by name and message type.
        start_ns, end_ns: time of recording of the first and of the last message, nanoseconds; 0 where there is none.
        losses: what could not be read, one line each.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.losses: list[str] = []
        self.topics: dict[tuple[str, str], FoundTopic] = {}
        kinds: Kinds = {}
        counts: Counter[tuple[str, str]] = Counter()
        self.start_ns = self.end_ns = 0
        for message in self._messages(kinds, self.losses):
            self.start_ns = min(message.time_ns, self.start_ns) if counts else message.time_ns
            self.end_ns = max(message.time_ns, self.end_ns)
            counts[message.topic, message.message_type] += 1
        self.topics = {key: replace(found, count=counts[key]) for key, found in kinds.items()}
        if self.losses and counts:
            seconds = (self.end_ns - self.start_ns) / 1e9
            self.losses = [f"{loss} Read: {sum(counts.values())} messages, {seconds:.2f} s." for loss in self.losses]

    def messages(self, topics: Collection[str]) -> Iterator[Recorded]:
        """Yields the messages of these topics in the order of writing."""
        return (message for message in self._messages({}, []) if message.topic in topics)

    def close(self) -> None:
        """Nothing is kept open."""

    def _messages(self, kinds: "Kinds", losses: list[str]) -> Iterator[Recorded]:
        read = _mcap_messages if self.path.suffix == ".mcap" else _sqlite_messages
        return read(self.path, kinds, losses)


Kinds = dict[tuple[str, str], FoundTopic]
"""By name and message type; filled while messages are read."""


def is_suspicious(path: Path) -> bool:
    """Whether a .db3 ends within a page or in one of zeros (SQLite reads what is missing as zeros), or is computed."""
    if path.suffix != ".db3":
        return False
    with _sqlite(path) as database, suppress(sqlite3.DatabaseError):
        if _computed(database):
            return True
    page = _page_size(path)
    with path.open("rb") as stream:
        stream.seek(max(path.stat().st_size - page, 0))
        end = stream.read()
    return _is_cut(path) or not end.strip(b"\0")


def _mcap_messages(path: Path, kinds: Kinds, losses: list[str]) -> Iterator[Recorded]:
    schemas: dict[int, Schema] = {}
    names: dict[int, tuple[str, str]] = {}
    nameless = 0
    for record in chain(_mcap_summary(path), mcap_records(path, losses)):
        if isinstance(record, Schema):
            schemas[record.id] = record
        elif isinstance(record, Channel) and record.id in names:
            pass  # named again by the index, which may end in zeros; the first counts
        elif isinstance(record, Channel) and record.topic and "\0" not in record.topic:
            found = mcap_topic(record, schemas.get(record.schema_id))
            names[record.id] = record.topic, found.message_type
            kinds.setdefault(names[record.id], found)
        elif isinstance(record, Message) and record.channel_id in names:
            topic, kind = names[record.channel_id]
            yield Recorded(topic, record.log_time, record.data, kind)
        elif isinstance(record, Message):
            nameless += 1
    if nameless:
        losses.append(f"{path.name}: {nameless} of its messages cannot be assigned to a topic.")


def mcap_topic(channel: Channel, schema: Schema | None) -> FoundTopic:
    """What an MCAP says of a topic's messages."""
    offered = offered_qos(channel.metadata.get("offered_qos_profiles", ""))
    if schema is None:
        return found_topic("", channel.message_encoding, NO_DEFINITION, offered)
    definition = definition_of(schema.encoding, schema.data.decode(errors="replace"))
    return found_topic(schema.name, channel.message_encoding, definition, offered)


def _mcap_summary(path: Path) -> list[McapRecord]:
    """The summary of a complete file; the chunks repeat it, but the first of them may be damaged."""
    with path.open("rb") as stream, suppress(Exception):  # the library raises whatever its decoders raise
        summary = make_reader(stream).get_summary()
        return [*summary.schemas.values(), *summary.channels.values()] if summary else []
    return []


def mcap_records(path: Path, losses: list[str], chunks: bool = True) -> Iterator[McapRecord]:
    """The records of all intact chunks, and those outside of chunks; with `chunks=False` the latter alone."""
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
                if not isinstance(record, Chunk):
                    found = [record]
                else:
                    found = breakup_chunk(plain_chunk(record), validate_crc=True) if chunks else []
            except Exception as error:  # the library raises whatever its decoders raise
                if record is None or stream.tell() == size:
                    losses.append(f"{path.name}: is truncated: no complete record follows byte {begin} of {size}.")
                    return
                losses.append(f"{path.name}: the chunk at byte {begin} is damaged and skipped ({error}).")
                found = []
            begin = stream.tell()
            yield from found


def _sqlite_messages(path: Path, kinds: Kinds, losses: list[str]) -> Iterator[Recorded]:
    last = None
    with _sqlite(path) as database:
        # Lets SQLite open a file shorter than its header says.
        database.execute("PRAGMA writable_schema=ON")
        try:
            for row in _sqlite_rows(database, _first_cut_row(path), kinds):
                if last is not None:
                    yield last
                last = row
            if _is_cut(path):
                raise sqlite3.DatabaseError("it ends within a page")
        except sqlite3.DatabaseError as error:
            losses.append(f"{path.name}: is truncated or damaged ({error}).")
            # The last page of a message that spans several may have been read as zeros.
            if last is not None and len(last.data) > _page_size(path) // 2 and last.data.endswith(b"\0"):
                return
    if last is not None:
        yield last


def _sqlite(path: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True))


def _computed(database: sqlite3.Connection) -> str:
    """What is computed when it is read, such as a view, of which a few bytes can go on for ever; "" for nothing."""
    tables = database.execute(
        "SELECT name, type, rootpage FROM sqlite_master WHERE type IN ('view', 'table')"
    ).fetchall()
    for name, kind, page in tables:
        hidden = database.execute("SELECT 1 FROM pragma_table_xinfo(?) WHERE hidden > 0", (name,)).fetchone()
        if kind == "view" or not page or hidden:
            return str(name)
    return ""


def _sqlite_rows(database: sqlite3.Connection, end: float, kinds: Kinds) -> Iterator[Recorded]:
    if computed := _computed(database):
        raise sqlite3.DatabaseError(f"{computed} is computed, not stored; no recorder writes that")
    definitions = _sqlite_definitions(database)
    names = {}
    query = "SELECT id, name, type, serialization_format, offered_qos_profiles FROM topics"
    for number, name, kind, encoding, qos in database.execute(query):
        encoding, qos = encoding or "", qos or ""
        if not all(isinstance(text, str) and "\0" not in text for text in (name, kind, encoding, qos)):
            raise sqlite3.DatabaseError(f"topic {number} is incomplete")
        found = found_topic(kind, encoding, definitions.get(kind, NO_DEFINITION), offered_qos(qos))
        names[number] = name, found.message_type
        kinds.setdefault(names[number], found)
    # In the order of writing: the index by time may be in the missing part.
    query = "SELECT id, topic_id, timestamp, data FROM messages ORDER BY id"
    for row, number, time_ns, data in database.execute(query):
        if row >= end or number not in names or not isinstance(time_ns, int) or not isinstance(data, bytes):
            raise sqlite3.DatabaseError(f"message {row} is incomplete")
        topic, kind = names[number]
        yield Recorded(topic, time_ns, data, kind)


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
        return {kind: definition_of(form, text) for kind, form, text in rows}
    except sqlite3.DatabaseError:
        return {}
