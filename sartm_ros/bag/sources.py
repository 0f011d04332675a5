"""One storage file as a source of messages: through its index, or, where that is missing or wrong, from the beginning.

`rosbags` reads SQLite; an MCAP's chunks are read here, since `rosbags` and `mcap` decompress whatever a file asks for;
`salvage` reads what remains of damaged files.
"""

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Protocol

from mcap.data_stream import ReadDataStream
from mcap.reader import make_reader
from mcap.records import Chunk, ChunkIndex, Message
from mcap.stream_reader import breakup_chunk
from rosbags.rosbag2 import Reader

from sartm_core.errors import SartmError
from sartm_ros.bag.compression import LARGEST_CONTENT, plain_chunk
from sartm_ros.bag.salvage import Salvaged, is_suspicious, mcap_topic
from sartm_ros.bag.storage_files import unmerged
from sartm_ros.bag.topics import FoundTopic, Recorded, found_topic, merged

_MCAP_MAGIC = b"\x89MCAP0\r\n"
_NO_SCHEMA = "__schemaless__"
"""The library's name for it."""

_RECORD_HEAD_BYTES = 9
"""Of an MCAP's records: opcode and length."""
MOST_HELD = 2 * LARGEST_CONTENT
"""Bytes of messages held at a time, where chunks overlap in time."""

Topics = dict[tuple[str, str], FoundTopic]
"""By name and message type: a topic may have messages of two types."""


class Source(Protocol):
    """What a recording needs of a storage file.

    Attributes:
        path: the file, decompressed.
        topics: see `Topics`.
        start_ns, end_ns: time of recording of the first and of the last message; 0 where there is none.
    """

    path: Path
    topics: Topics
    start_ns: int
    end_ns: int

    def messages(self, topics: Collection[str]) -> Iterator[Recorded]:
        """Yields the messages of these topics, not decompressed."""
        ...

    def close(self) -> None:
        """Closes the file."""
        ...


class Indexed:
    """A file with an index. Where it turns out to be damaged, what can be salvaged follows.

    Args:
        path: the file.
        topics: as the index has them.
        span: time of the first and of the last message.
        read: yields the messages of some topics, in the order of time.
        close: closes the file.

    Attributes:
        losses: what turned out to be unreadable while messages were read, one line each; the recording's list.
    """

    def __init__(
        self,
        path: Path,
        topics: Topics,
        span: tuple[int, int],
        read: Callable[[Collection[str]], Iterator[Recorded]],
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.path, self.topics = path, topics
        self.losses: list[str] = []
        counted = any(found.count for found in topics.values())
        self.start_ns, self.end_ns = span if counted else (0, 0)
        self._read, self.close = read, close

    def messages(self, topics: Collection[str]) -> Iterator[Recorded]:
        """As `Source`."""
        expected = sum(found.count for (topic, _), found in self.topics.items() if topic in topics)
        count = latest_ns = 0
        reason = ""
        try:
            for message in self._read(topics) if expected else ():
                count, latest_ns = count + 1, max(message.time_ns, latest_ns)
                yield message
        except Exception as error:  # the library raises whatever its decoders raise
            reason = f" ({error or type(error).__name__})"
        if reason or (expected and not count):
            for message in self._behind(topics, count, latest_ns):
                count += 1
                yield message
        if count < expected:
            self._lose([f"{self.path.name}: {expected - count} of {expected} messages cannot be read{reason}."])

    def _behind(self, topics: Collection[str], read: int, latest_ns: int) -> Iterator[Recorded]:
        """What can be read where the library gave up after `read` messages, none of them later than `latest_ns`."""
        salvaged = Salvaged(self.path)
        self._lose(salvaged.losses)
        for message in salvaged.messages(topics):
            if read and message.time_ns <= latest_ns:
                read -= 1
            else:
                yield message

    def _lose(self, losses: list[str]) -> None:
        self.losses += [loss for loss in losses if loss not in self.losses]


def open_source(path: Path, original: Path, losses: list[str]) -> tuple[Source, str]:
    """Opens a storage file.

    Args:
        path: the file, decompressed.
        original: where it stands, beside SQLite's log.
        losses: receives what turns out to be unreadable while messages are read.

    Returns:
        The source, and why the file seems not to have been closed properly; "" where it was.
    """
    reason = ""
    attempt = _through_index if path.suffix == ".mcap" else _through_rosbags
    if not (unmerged(original) or is_suspicious(path)):
        try:
            source = attempt(path)
            source.losses = losses
            return source, ""
        except Exception as error:  # the libraries raise whatever their parsers raise
            reason = str(error) or type(error).__name__
    salvaged = Salvaged(path)
    return salvaged, "" if not salvaged.losses and _has_end(path) else reason


def _has_end(path: Path) -> bool:
    """Whether the file ends as its recorder ends it; SQLite has no such mark."""
    if path.suffix != ".mcap":
        return True
    with path.open("rb") as stream:
        stream.seek(max(path.stat().st_size - len(_MCAP_MAGIC), 0))
        return stream.read() == _MCAP_MAGIC


def _through_rosbags(path: Path) -> Indexed:
    reader = Reader(path)
    reader.open()
    kinds = {
        one.id: found_topic(
            one.msgtype.replace(_NO_SCHEMA, ""),
            one.ext.serialization_format,
            one.msgdef,
            one.ext.offered_qos_profiles,
        )
        for one in reader.connections
    }
    topics: Topics = {}
    for one in reader.connections:
        _add(topics, one.topic, kinds[one.id], one.msgcount)

    def read(wanted: Collection[str]) -> Iterator[Recorded]:
        chosen = [one for one in reader.connections if one.topic in wanted]
        for one, time_ns, data in reader.messages(chosen) if chosen else ():
            yield Recorded(one.topic, time_ns, bytes(data), kinds[one.id].message_type)

    if sum(found.count for found in topics.values()) < reader.message_count:
        reader.close()
        raise SartmError("its index does not name all topics")
    return Indexed(path, topics, (reader.start_time, reader.end_time - 1), read, reader.close)


def _through_index(path: Path) -> Indexed:
    if not _has_end(path):  # the library takes whatever stands there
        raise SartmError("it does not end as MCAP files do")
    with path.open("rb") as stream:
        summary = make_reader(stream).get_summary()
    if summary is None or summary.statistics is None or not summary.chunk_indexes:
        raise SartmError("it has no index")
    counts = summary.statistics.channel_message_counts
    kinds = {one.id: mcap_topic(one, summary.schemas.get(one.schema_id)) for one in summary.channels.values()}
    topics: Topics = {}
    for one in summary.channels.values():
        _add(topics, one.topic, kinds[one.id], counts.get(one.id, 0))
    if sum(found.count for found in topics.values()) < summary.statistics.message_count:
        raise SartmError("its index does not name all topics")

    def read(wanted: Collection[str]) -> Iterator[Recorded]:
        names = {one.id: one.topic for one in summary.channels.values() if one.topic in wanted}
        with path.open("rb") as stream:
            for message in _in_order(stream, summary.chunk_indexes, names):
                number = message.channel_id
                yield Recorded(names[number], message.log_time, message.data, kinds[number].message_type)

    statistics = summary.statistics
    return Indexed(path, topics, (statistics.message_start_time, statistics.message_end_time), read)


def _in_order(stream: BinaryIO, chunks: Iterable[ChunkIndex], channels: Collection[int]) -> Iterator[Message]:
    """The messages of some channels by the time of recording; at one time, as they were written."""
    waiting: list[tuple[int, int, int, ChunkIndex | Message]] = [  # time, offset of the chunk, number in it
        (one.message_start_time, one.chunk_start_offset, -1, one)
        for one in chunks
        if not one.message_index_offsets or not one.message_index_offsets.keys().isdisjoint(channels)
    ]
    heapq.heapify(waiting)
    held = 0
    while waiting:
        _, offset, _, item = heapq.heappop(waiting)
        if isinstance(item, Message):
            held -= len(item.data)
            yield item
            continue
        stream.seek(offset + _RECORD_HEAD_BYTES)
        chunk = plain_chunk(Chunk.read(ReadDataStream(stream)))
        for number, record in enumerate(breakup_chunk(chunk, validate_crc=True)):
            if isinstance(record, Message) and record.channel_id in channels:
                heapq.heappush(waiting, (record.log_time, offset, number, record))
                held += len(record.data)
        if held > MOST_HELD:
            raise SartmError("too many of its chunks overlap in time")


def _add(topics: Topics, topic: str, kind: FoundTopic, count: int) -> None:
    key = topic, kind.message_type
    topics[key] = merged(topics.get(key), replace(kind, count=count))
