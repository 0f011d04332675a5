"""Writes rosbag2 recordings, through `rosbags`."""

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys.store import Typestore

from sartm_core.outputs import Draft, check_replaceable
from sartm_ros.bag.mcap_extras import Extra, add_extras
from sartm_ros.bag.types import TYPESTORE

_METADATA = "metadata.yaml"


class BagWriter:
    """Writes one recording (mcap, compressed chunks), which appears under its name only when complete.

    Args:
        path: a rosbag2 folder (`out/demo` will hold `demo.mcap` and `metadata.yaml`), or the name of a single `.mcap`.
        replace: whether an existing bag may be replaced.
        beside: names of the files that are added to `folder`, and replaced with the bag.

    Raises:
        SartmError: something exists there that must not be replaced, or another process is writing this bag.
    """

    def __init__(self, path: Path, replace: bool = False, beside: Collection[str] = ()) -> None:
        self.path, self._replace = path, replace
        self._single = path.suffix == ".mcap"
        self._own = {path.name} if self._single else {f"{path.resolve().name}.mcap", _METADATA, *beside}
        self._check_free()
        self._draft = Draft(path)
        self.folder = self._draft.folder / path.stem if self._single else self._draft.content
        """Where the bag is written until complete; more files may be added here."""
        self._writer = Writer(self.folder, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._connections: dict[tuple[str, str], Connection] = {}
        self._types: dict[str, str] = {}
        self.extras: Iterable[Extra] = ()
        """Attachments and metadata records, written when the file is finished."""
        self._writer.open()
        self._open = True

    def add_topic(
        self,
        topic: str,
        message_type: str,
        latched: bool = False,
        typestore: Typestore = TYPESTORE,
        offered: Sequence[Qos] | None = None,
    ) -> None:
        """Declares a topic; once for each type, if its messages are of several.

        Args:
            topic: its name.
            message_type: such as `sensor_msgs/msg/Image`.
            latched: whether late subscribers receive the last message.
            typestore: has the type's definition.
            offered: QoS of the publishers, empty where it is not known; by default reliable, and latched or not.
        """
        profiles = [_qos(latched)] if offered is None else list(offered)
        self._types.setdefault(topic, message_type)
        self._connections[topic, message_type] = self._writer.add_connection(
            topic, message_type, typestore=typestore, offered_qos_profiles=profiles
        )

    def write(self, topic: str, time_ns: int, serialized: bytes | memoryview, message_type: str = "") -> None:
        """Adds a message in CDR, as DDS delivers it; `message_type` where the topic has several."""
        self._writer.write(self._connections[topic, message_type or self._types[topic]], time_ns, serialized)

    def write_message(self, topic: str, time_ns: int, message: Any) -> None:
        """Adds a message of `rosbags`' types."""
        self.write(topic, time_ns, TYPESTORE.serialize_cdr(message, self._types[topic]))

    def note(self, custom_data: dict[str, str]) -> None:
        """Adds to the notes of metadata.yaml."""
        for key, value in custom_data.items():
            self._writer.set_custom_data(key, value)

    def finish_file(self) -> None:
        """Finishes the bag's file, so that it can be read; `close` gives it its name."""
        if self._open:
            self._writer.close()
            self._open = False
            add_extras(self.folder / f"{self.folder.name}.mcap", self.extras)

    def close(self) -> None:
        """Gives the bag its name.

        Raises:
            SartmError: something was created there meanwhile; the bag stays in `folder`.
        """
        self.finish_file()
        self._draft.publish(self._check_free(), self.folder / self.path.name if self._single else self.folder)

    def _check_free(self) -> Collection[str]:
        """Returns the names of the files that may be replaced."""
        is_bag = self.path.is_file() if self._single else (self.path / _METADATA).is_file()
        own = self._own if self._replace and is_bag else ()
        check_replaceable(self.path, own)
        return own

    def _finish_or_remove(self) -> None:
        try:
            self.finish_file()
        except BaseException:  # such as a full disk
            self._draft.discard()
            raise

    def __enter__(self) -> "BagWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._finish_or_remove()
            self.close()
            return
        with suppress(Exception):  # even this fails on a full disk
            self._writer.abort()
        self._draft.discard()


def _qos(latched: bool) -> Qos:
    durability = QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE
    endless = QosTime(9223372036, 854775807)
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=1 if latched else 10,
        reliability=QosReliability.RELIABLE,
        durability=durability,
        deadline=endless,
        lifespan=endless,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=endless,
        avoid_ros_namespace_conventions=False,
    )
