"""Reads rosbag2 recordings, through `rosbags`; truncated ones, through `salvage`."""

import heapq
import itertools
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import yaml
import zstandard
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader

from sartm_core.errors import SartmError
from sartm_core.files import natural_key
from sartm_ros.bag.salvage import FoundTopic, Salvaged, is_suspicious
from sartm_ros.bag.types import Definitions, read_definitions, typestore_of

STORAGE_SUFFIXES = (".mcap", ".db3")
COMPRESSED_SUFFIX = ".zstd"
_COMPRESSED_MARK = b"\x28\xb5\x2f\xfd"
"""The magic number of zstd; CDR begins with a zero."""


class Recorded(NamedTuple):
    """One message as stored in the bag.

    Attributes:
        topic: its name.
        time_ns: when it was recorded, nanoseconds.
        data: the message in CDR.
    """

    topic: str
    time_ns: int
    data: bytes


class Bag:
    """An open recording.

    Attributes:
        path: as it was given.
        files: its storage files, in the order of recording.
        topics: by name.
        start_ns, end_ns: time of recording of the first and of the last message; equal where there are none.
        losses: what could not be read, one line each; grows while messages are read.
    """

    def __init__(
        self,
        path: Path,
        files: list[Path],
        sources: list[Reader | Salvaged],
        losses: list[str],
        given: Definitions,
        scratch: Path,
    ) -> None:
        self.path, self.files, self.losses = path, files, losses
        self._sources, self._scratch = sources, scratch
        self.topics: dict[str, FoundTopic] = {}
        spans = []
        for source in sources:
            topics = _topics(source)
            for name, found in topics.items():
                known = self.topics.get(name)
                self.topics[name] = found if known is None else replace(known, count=known.count + found.count)
            if any(found.count for found in topics.values()):
                spans.append(_span(source))
        self._overlap = any(later[0] < earlier[1] for earlier, later in itertools.pairwise(spans))
        self.start_ns, self.end_ns = min((s for s, _ in spans), default=0), max((e for _, e in spans), default=0)
        definitions = [(found.message_type, found.definition) for found in self.topics.values()]
        self.typestore, remarks = typestore_of(definitions, given)
        self.losses += remarks

    def messages(self, topics: Collection[str] | None = None) -> Iterator[Recorded]:
        """Yields the messages in the order of recording; of a damaged bag, what can be salvaged.

        Args:
            topics: only these; by default all.
        """
        wanted = set(self.topics if topics is None else topics)
        found = [
            source.messages(wanted) if isinstance(source, Salvaged) else self._intact(source, wanted)
            for source in self._sources
        ]
        # Splits follow one another; several recorders of one drive overlap.
        in_order = heapq.merge(*found, key=lambda entry: entry[1]) if self._overlap else itertools.chain(*found)
        for topic, time_ns, data in in_order:
            yield Recorded(topic, time_ns, _decompressed(data))

    def _intact(self, reader: Reader, wanted: set[str]) -> Iterator[tuple[str, int, bytes]]:
        chosen = [connection for connection in reader.connections if connection.topic in wanted]
        expected = sum(connection.msgcount for connection in chosen)
        count = latest_ns = 0
        reason = ""
        try:
            for connection, time_ns, data in reader.messages(chosen) if chosen else ():
                count, latest_ns = count + 1, max(time_ns, latest_ns)
                yield connection.topic, time_ns, bytes(data)
        except Exception as error:  # the library raises whatever its decoders raise
            reason = f" ({error or type(error).__name__})"
        if reason or (expected and not count):
            for entry in self._behind(reader.path, wanted, count, latest_ns):
                count += 1
                yield entry
        if count < expected:
            self._lose([f"{reader.path.name}: {expected - count} of {expected} messages cannot be read{reason}."])

    def _behind(self, path: Path, wanted: set[str], read: int, latest_ns: int) -> Iterator[tuple[str, int, bytes]]:
        """What can be read where the library gave up after `read` messages, none of them later than `latest_ns`."""
        for file in self.files if path.is_dir() else [path]:
            salvaged = Salvaged(_plain(file, self._scratch))
            self._lose(salvaged.losses)
            for entry in salvaged.messages(wanted):
                if read and entry[1] <= latest_ns:
                    read -= 1
                else:
                    yield entry

    def _lose(self, losses: list[str]) -> None:
        self.losses += [loss for loss in losses if loss not in self.losses]

    def deserialize(self, message: Recorded) -> Any:
        """The message as an object of `rosbags`' types.

        Raises:
            SartmError: its type is unknown, or its bytes do not match it.
        """
        kind = self.topics[message.topic].message_type
        if kind not in self.typestore.types:
            raise SartmError(
                f"{message.topic}: the recording does not define {kind}. Give the folder of its package's .msg files "
                "with --msgs."
            )
        try:
            return self.typestore.deserialize_cdr(message.data, kind)
        except Exception as error:  # the library raises whatever the bytes lead to
            raise SartmError(f"{message.topic}: a message cannot be decoded as {kind} ({error}).") from error


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
    files = _storage_files(path)
    compressed = any(file.suffix == COMPRESSED_SUFFIX for file in files)
    with TemporaryDirectory() if compressed else nullcontext("") as folder:
        sources, losses = _open(path, files, Path(folder))
        try:
            yield Bag(path, files, sources, losses, given, Path(folder))
        finally:
            for source in sources:
                if isinstance(source, Reader):
                    source.close()


def read_messages(path: Path, topics: Collection[str] | None = None) -> Iterator[tuple[str, int, Any]]:
    """Yields (topic, time in nanoseconds, message) in the order of recording; errors as `open_bag`."""
    with open_bag(path) as bag:
        for message in bag.messages(topics):
            yield message.topic, message.time_ns, bag.deserialize(message)


def _storage_files(path: Path) -> list[Path]:
    if not path.exists():
        raise SartmError(f"{path}: no such recording. Give a rosbag2 folder, or a .mcap or .db3 file.")
    if path.suffix == ".bag" and path.is_file():
        raise SartmError(f"{path}: is a ROS 1 bag. Convert it: rosbags-convert --src {path} --dst {path.stem}")
    here = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
    # A file that also exists uncompressed was being compressed when the recorder ended.
    originals = {file.name for file in here}
    here = [file for file in here if file.suffix != COMPRESSED_SUFFIX or file.stem not in originals]
    files = [file for file in here if file.name.removesuffix(COMPRESSED_SUFFIX).endswith(STORAGE_SUFFIXES)]
    if not files:
        raise SartmError(f"{path}: is not a recording. Give a rosbag2 folder, or a .mcap or .db3 file.")
    return sorted(files, key=lambda file: natural_key(file.name))


def _open(path: Path, files: list[Path], scratch: Path) -> tuple[list[Reader | Salvaged], list[str]]:
    """Opens each file by itself: what metadata.yaml says of spans and splits is often wrong (rosbag2#1413, #1619)."""
    reason = _why_unclean(path, files)
    sources: list[Reader | Salvaged] = []
    losses: list[str] = []
    for file in files:
        plain = _plain(file, scratch)
        try:
            if _unmerged(file) or is_suspicious(plain):
                raise SartmError("the library would overlook the missing part")
            sources.append(_opened(plain))
        except Exception as error:  # the library raises whatever its parsers raise
            reason = reason or (None if isinstance(error, SartmError) else str(error))
            salvaged = Salvaged(plain)
            losses += salvaged.losses
            sources.append(salvaged)
    losses = (
        ([f"{path}: was not closed properly ({reason})."] if reason else []) + _unlike_metadata(path, files) + losses
    )
    if not any(_topics(source) for source in sources):
        raise SartmError(f"{path}: nothing in it can be read. {' '.join(losses)}")
    return sources, losses


def _unlike_metadata(path: Path, files: list[Path]) -> list[str]:
    """A line for each storage file that metadata.yaml names and that is not there, or the other way round."""
    if not path.is_dir() or (named := _named_in_metadata(path)) is None:
        return []
    here = {file.name.removesuffix(COMPRESSED_SUFFIX) for file in files}
    return [
        *(f"{path.name}: metadata.yaml names {name}, which is missing." for name in sorted(named - here)),
        *(f"{path.name}: {name} is read, though metadata.yaml does not name it." for name in sorted(here - named)),
    ]


def _named_in_metadata(path: Path) -> set[str] | None:
    """The storage files' names without that of their compression; None where metadata.yaml cannot be understood."""
    try:
        described = yaml.safe_load((path / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
        return {PurePath(str(name)).name.removesuffix(COMPRESSED_SUFFIX) for name in described["relative_file_paths"]}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return None


def _opened(path: Path) -> Reader:
    reader = Reader(path)
    reader.open()
    if sum(connection.msgcount for connection in reader.connections) < reader.message_count:
        reader.close()
        raise SartmError("its index does not name all topics")
    return reader


def _plain(path: Path, scratch: Path) -> Path:
    """The file itself, or the content of a compressed one, as far as it can be decompressed."""
    if path.suffix != COMPRESSED_SUFFIX or path.is_dir():
        return path
    plain = scratch / path.stem
    if not plain.exists():
        with path.open("rb") as source, plain.open("wb") as target, suppress(zstandard.ZstdError):
            zstandard.ZstdDecompressor().copy_stream(source, target)
    return plain


def _decompressed(data: bytes) -> bytes:
    """A message decompressed, where the recorder compressed each; only metadata.yaml says so, if it exists."""
    if data.startswith(_COMPRESSED_MARK):
        with suppress(zstandard.ZstdError):
            return zstandard.ZstdDecompressor().decompress(data)
    return data


def _unmerged(file: Path) -> bool:
    """Whether messages are still in SQLite's write-ahead log, which rosbags does not read."""
    logs = [one.with_name(f"{one.name}-wal") for one in (file, file.resolve())]  # beside a link, or its target
    return any(log.exists() and log.stat().st_size > 0 for log in logs)


def _why_unclean(path: Path, files: list[Path]) -> str | None:
    """Signs that the recorder was not closed properly, which rosbags overlooks or cannot handle."""
    if path.is_dir() and not (path / "metadata.yaml").is_file():
        return "it has no metadata.yaml"
    if path.is_dir() and _named_in_metadata(path) is None:
        return "its metadata.yaml is damaged"
    unmerged = [file.name for file in files if _unmerged(file)]
    return f"{unmerged[0]}-wal was not merged" if unmerged else None


def _span(source: Reader | Salvaged) -> tuple[int, int]:
    if isinstance(source, Salvaged):
        return source.start_ns, source.end_ns
    return source.start_time, source.end_time - 1


def _topics(source: Reader | Salvaged) -> dict[str, FoundTopic]:
    if isinstance(source, Salvaged):
        return source.topics
    topics: dict[str, FoundTopic] = {}
    for connection in source.connections:
        known = topics.get(connection.topic)
        count = connection.msgcount + (known.count if known else 0)
        topics[connection.topic] = FoundTopic(connection.msgtype, connection.msgdef, _is_latched(connection), count)
    return topics


def _is_latched(connection: Connection) -> bool:
    profiles = getattr(connection.ext, "offered_qos_profiles", [])
    return bool(profiles) and profiles[0].durability.name == "TRANSIENT_LOCAL"
