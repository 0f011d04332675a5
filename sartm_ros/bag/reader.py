"""Reads rosbag2 recordings, through `rosbags`; what was cut off, through `salvage`."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader

from sartm_core.errors import SartmError
from sartm_core.files import natural_key
from sartm_ros.bag.salvage import FoundTopic, Salvaged
from sartm_ros.bag.types import Definitions, read_definitions, typestore_of

STORAGE_SUFFIXES = (".mcap", ".db3")


class Recorded(NamedTuple):
    """One message as it lies in the bag.

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
        losses: what could not be read, a line each; grows while messages are read.
    """

    def __init__(
        self, path: Path, files: list[Path], sources: list[Reader | Salvaged], losses: list[str], given: Definitions
    ) -> None:
        self.path, self.files, self.losses = path, files, losses
        self._sources = sources
        self.topics: dict[str, FoundTopic] = {}
        for source in sources:
            for name, found in _topics(source).items():
                known = self.topics.get(name)
                self.topics[name] = found if known is None else replace(known, count=known.count + found.count)
        spans = [(s.start_ns, s.end_ns) if isinstance(s, Salvaged) else (s.start_time, s.end_time - 1) for s in sources]
        spans = [(start, end) for start, end in spans if 0 < start <= end]
        self.start_ns, self.end_ns = min((s for s, _ in spans), default=0), max((e for _, e in spans), default=0)
        definitions = [(found.message_type, found.definition) for found in self.topics.values()]
        self.typestore, remarks = typestore_of(definitions, given)
        self.losses += remarks

    def messages(self, topics: Collection[str] | None = None) -> Iterator[Recorded]:
        """Yields the messages in the order of recording; where the bag turns out to be damaged, what follows.

        Args:
            topics: only these; by default all.
        """
        wanted = set(self.topics if topics is None else topics)
        for source in self._sources:
            if isinstance(source, Salvaged):
                yield from (Recorded(*entry) for entry in source.messages(wanted))
            else:
                yield from self._intact(source, wanted)

    def _intact(self, reader: Reader, wanted: set[str]) -> Iterator[Recorded]:
        chosen = [connection for connection in reader.connections if connection.topic in wanted]
        if not chosen:
            return
        found = reader.messages(chosen)
        time_ns = 0
        while True:
            try:
                entry = next(found, None)
            except Exception as error:  # the library raises whatever its decoders raise
                self.losses.append(f"{self.path}: is damaged after {(time_ns - self.start_ns) / 1e9:.2f} s ({error}).")
                yield from self._after(time_ns, wanted)
                return
            if entry is None:
                return
            connection, time_ns, data = entry
            yield Recorded(connection.topic, time_ns, bytes(data))

    def _after(self, time_ns: int, wanted: set[str]) -> Iterator[Recorded]:
        """What can be read behind a damaged place."""
        for path in self.files:
            salvaged = Salvaged(path)
            self.losses += [loss for loss in salvaged.losses if loss not in self.losses]
            yield from (Recorded(*entry) for entry in salvaged.messages(wanted) if entry[1] > time_ns)

    def deserialize(self, message: Recorded) -> Any:
        """The message as an object of `rosbags`' types.

        Raises:
            SartmError: nobody knows its type, or its bytes do not fit it.
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
            raise SartmError(f"{message.topic}: a message's bytes are no {kind} ({error}).") from error


@contextmanager
def open_bag(path: Path, definitions: Path | None = None) -> Iterator[Bag]:
    """Opens a rosbag2 recording: a folder, whole or cut off (without metadata.yaml), or a single .mcap or .db3.

    Args:
        path: the folder or file.
        definitions: folder of .msg files, for types that neither the recording nor ROS's own packages define.

    Raises:
        SartmError: no bag, or nothing of it can be read.
    """
    given = {} if definitions is None else read_definitions(definitions)
    files = _storage_files(path)
    sources, losses = _open(path, files)
    try:
        yield Bag(path, files, sources, losses, given)
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
    if path.suffix == ".bag":
        raise SartmError(f"{path}: is a ROS 1 bag. Convert it: rosbags-convert --src {path} --dst {path.stem}")
    if not path.exists():
        raise SartmError(f"{path}: no such recording. Give a rosbag2 folder, or a .mcap or .db3 file.")
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.suffix in STORAGE_SUFFIXES]
    compressed = path.is_dir() and any(file.suffixes[-1:] == [".zstd"] for file in path.iterdir())
    if not compressed and (not files or files[0].suffix not in STORAGE_SUFFIXES):
        raise SartmError(f"{path}: is no recording. Give a rosbag2 folder, or a .mcap or .db3 file.")
    return sorted(files, key=lambda file: natural_key(file.name))


def _open(path: Path, files: list[Path]) -> tuple[list[Reader | Salvaged], list[str]]:
    reason = _why_unclean(path, files)
    if reason is None:
        try:
            return [_opened(path)], []
        except Exception as error:  # the library raises whatever its parsers raise
            reason = str(error)
    sources: list[Reader | Salvaged] = []
    losses = [f"{path}: was not closed in order ({reason})."]
    for file in files:
        try:
            if _log_of(file).exists():
                raise SartmError("its log was not merged")
            sources.append(_opened(file))
        except Exception:
            salvaged = Salvaged(file)
            losses += salvaged.losses
            sources.append(salvaged)
    if not any(_topics(source) for source in sources):
        raise SartmError(f"{path}: nothing of it can be read. {' '.join(losses)}")
    return sources, losses


def _opened(path: Path) -> Reader:
    reader = Reader(path)
    reader.open()
    return reader


def _log_of(file: Path) -> Path:
    return file.with_name(f"{file.name}-wal")


def _why_unclean(path: Path, files: list[Path]) -> str | None:
    """Signs that the recorder did not end in order, which rosbags overlooks or cannot do without."""
    if path.is_dir() and not (path / "metadata.yaml").is_file():
        return "it has no metadata.yaml"
    # Messages in SQLite's log are not in the database yet.
    unmerged = [file.name for file in files if _log_of(file).exists() and _log_of(file).stat().st_size]
    return f"{unmerged[0]}-wal was not merged" if unmerged else None


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
