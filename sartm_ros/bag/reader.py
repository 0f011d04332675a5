"""Reads rosbag2 recordings, through `sources`: one for each storage file."""

import heapq
import itertools
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from sartm_core.errors import SartmError
from sartm_ros.bag.compression import COMPRESSED_SUFFIX, decompressed, plain_file, scratch_folder
from sartm_ros.bag.mcap_extras import Extra, extras_of
from sartm_ros.bag.salvage import Salvaged
from sartm_ros.bag.sources import Source, Topics, open_source
from sartm_ros.bag.spans import JUMP_NS, jump_remark, longest, spans_of
from sartm_ros.bag.storage_files import recording_name, storage_files, unlike_metadata, why_unclean
from sartm_ros.bag.topics import CDR, UNKNOWN_TYPE, FoundTopic, Recorded, merged, remarks_on
from sartm_ros.bag.types import Definitions, read_definitions, typestore_of

__all__ = ["Bag", "Recorded", "open_bag", "read_messages"]


class Bag:
    """An open recording.

    Attributes:
        path: as it was given.
        name: of the recording, see `storage_files.recording_name`.
        files: its storage files, in the order of recording.
        topics: by name; where a topic has messages of several types, `message_type` is that of the most, and `count`
            that of all.
        kinds: by name and message type.
        start_ns, end_ns: time of recording of the first and of the last message; equal where there are none. Messages
            before the clock was set are left out, see `within`.
        losses: what could not be read, one line each; grows while messages are read.
    """

    def __init__(
        self, path: Path, files: list[Path], sources: list[Source], losses: list[str], given: Definitions
    ) -> None:
        self.path, self.name, self.files, self.losses = path, recording_name(path), files, losses
        self._sources = sources
        self.kinds: Topics = {}
        for source in sources:
            for key, found in source.topics.items():
                self.kinds[key] = merged(self.kinds.get(key), found)
        self.topics = _by_name(self.kinds)
        spans = [(s.start_ns, s.end_ns) for s in sources if any(found.count for found in s.topics.values())]
        self._overlap = any(later[0] < earlier[1] for earlier, later in itertools.pairwise(spans))
        self.start_ns, self.end_ns = min((s for s, _ in spans), default=0), max((e for _, e in spans), default=0)
        definitions = dict.fromkeys((found.message_type, found.definition) for found in self.kinds.values())
        self.typestore, remarks = typestore_of(definitions, given)
        self.losses += [*remarks, *remarks_on(self.kinds)]
        if self.end_ns - self.start_ns > JUMP_NS:
            self._leave_out_jumps()

    def _leave_out_jumps(self) -> None:
        spans = spans_of(message.time_ns for message in self.messages())
        if len(spans) > 1:
            kept = longest(spans)
            self.start_ns, self.end_ns, _ = kept
            self.losses.append(f"{self.path}: {jump_remark(spans, kept)}")

    def within(self, time_ns: int) -> bool:
        """Whether a time of recording lies in the span; the clock was not set yet at any other."""
        return self.start_ns <= time_ns <= self.end_ns

    def messages(self, topics: Collection[str] | None = None) -> Iterator[Recorded]:
        """Yields the messages in the order of recording; of a damaged bag, what can be salvaged.

        Args:
            topics: only these; by default all.
        """
        wanted = set(self.topics if topics is None else topics)
        found = [source.messages(wanted) for source in self._sources]
        # Splits follow one another; several recorders of one drive overlap.
        in_order = (
            heapq.merge(*found, key=lambda message: message.time_ns) if self._overlap else itertools.chain(*found)
        )
        for message in in_order:
            try:
                data = decompressed(message.data)
            except SartmError as error:
                self._lose(f"{self.path}: of {message.topic} not all messages are read ({error}).")
                continue
            yield message if data is message.data else message._replace(data=data)

    def _lose(self, loss: str) -> None:
        if loss not in self.losses:
            self.losses.append(loss)

    def extras(self) -> Iterator[Extra]:
        """The attachments and metadata records of its MCAPs."""
        for source in self._sources:
            yield from extras_of(source.path)

    def deserialize(self, message: Recorded) -> Any:
        """The message as an object of `rosbags`' types.

        Raises:
            SartmError: it is not in CDR, its type is unknown, or its bytes do not match it.
        """
        kind = message.message_type or self.topics[message.topic].message_type
        if kind not in self.typestore.types:
            raise SartmError(f"{message.topic}: {self._why_undefined(message.topic, kind)}")
        try:
            return self.typestore.deserialize_cdr(message.data, kind)
        except Exception as error:  # the library raises whatever the bytes lead to
            raise SartmError(f"{message.topic}: a message cannot be decoded as {kind} ({error}).") from error

    def _why_undefined(self, topic: str, kind: str) -> str:
        found = self.kinds.get((topic, kind))
        if found is not None and found.encoding != CDR:
            return f"its messages are encoded as {found.encoding}, not as ROS 2's CDR, and cannot be decoded."
        if kind == UNKNOWN_TYPE:
            return "has no schema; of which type its messages are is not known."
        return f"the recording does not define {kind}. Give the folder of its package's .msg files with --msgs."


@contextmanager
def open_bag(path: Path, definitions: Path | None = None) -> Iterator[Bag]:
    """Opens a rosbag2 recording: a folder, whole or cut off (without metadata.yaml), or a single .mcap or .db3.

    Args:
        path: the folder or file.
        definitions: folder of .msg files, for types that neither the recording nor ROS's own packages define.

    Raises:
        SartmError: not a bag, or nothing in it can be read.
    """
    given = {} if definitions is None else read_definitions(definitions)
    files = storage_files(path)
    compressed = any(file.suffix == COMPRESSED_SUFFIX for file in files)
    with scratch_folder() if compressed else nullcontext(path) as folder, ExitStack() as opened:
        sources, losses = _open(path, files, folder)
        for source in sources:
            opened.callback(source.close)
        yield Bag(path, files, sources, losses, given)


def read_messages(path: Path, topics: Collection[str] | None = None) -> Iterator[tuple[str, int, Any]]:
    """Yields (topic, time in nanoseconds, message) in the order of recording; errors as `open_bag`."""
    with open_bag(path) as bag:
        for message in bag.messages(topics):
            yield message.topic, message.time_ns, bag.deserialize(message)


def _open(path: Path, files: list[Path], scratch: Path) -> tuple[list[Source], list[str]]:
    """Opens each file by itself: what metadata.yaml says of spans and splits is often wrong (rosbag2#1413, #1619)."""
    reason = why_unclean(path, files) or ""
    losses: list[str] = []
    sources: list[Source] = []
    salvaged: list[str] = []
    for file in files:
        source, unclean = open_source(plain_file(file, scratch, losses), file, losses)
        reason = reason or unclean
        salvaged += source.losses if isinstance(source, Salvaged) else []
        sources.append(source)
    unclosed = [f"{path}: was not closed properly ({reason})."] if reason else []
    losses += [*unclosed, *unlike_metadata(path, files), *salvaged]
    if not any(source.topics for source in sources):
        raise SartmError(f"{path}: nothing in it can be read. {' '.join(losses)}")
    return sources, losses


def _by_name(kinds: Topics) -> dict[str, FoundTopic]:
    """One entry for each topic: of its types the one with the most messages, with the number of all."""
    topics: dict[str, FoundTopic] = {}
    counts: Counter[str] = Counter()
    for (name, _), found in kinds.items():
        counts[name] += found.count
        if name not in topics or found.count > topics[name].count:
            topics[name] = found
    return {name: replace(found, count=counts[name]) for name, found in topics.items()}
