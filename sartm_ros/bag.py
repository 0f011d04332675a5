"""rosbag2 in and out, through `rosbags`: no ROS installation needed."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionFormat, CompressionMode, ReaderError, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from sartm_core.errors import SartmError

TYPESTORE = get_typestore(Stores.ROS2_KILTED)
TYPESTORE.register(
    get_types_from_msg(
        """\
std_msgs/Header header
uint32 height
uint32 width
uint64 seq
uint64 time_base
string encoding
bool is_bigendian
uint8[] events
""",
        "event_camera_msgs/msg/EventPacket",
    )
)
"""The types that bags are written with; event cameras' packets are not among ROS's own."""


class BagWriter:
    """Writes one rosbag2 folder (mcap, compressed chunks), which gets its name when all is written.

    The bag's file is called as the folder: `out/demo` holds `demo.mcap` and `metadata.yaml`.

    Args:
        path: the folder.
        replace: whether a bag that lies there may be replaced.

    Raises:
        SartmError: something lies there that must not be replaced.
    """

    def __init__(self, path: Path, replace: bool = False) -> None:
        self.path = path
        if path.exists() and not (replace and (path / "metadata.yaml").is_file()):
            raise SartmError(f"{path}: exists already and is not overwritten. Remove it, or choose another folder.")
        self._parent = path.with_name(f".{path.name}.part")
        shutil.rmtree(self._parent, ignore_errors=True)
        self.folder = self._parent / path.name
        """Where the bag lies until it is complete; more files may be put here."""
        self._writer = Writer(self.folder, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._connections: dict[str, Connection] = {}
        self._writer.open()
        self._open = True

    def add_topic(self, topic: str, message_type: str, latched: bool = False) -> None:
        """Declares a topic, `message_type` such as `sensor_msgs/msg/Image`."""
        self._connections[topic] = self._writer.add_connection(
            topic, message_type, typestore=TYPESTORE, offered_qos_profiles=[_qos(latched)]
        )

    def write(self, topic: str, time_ns: int, serialized: bytes) -> None:
        """Adds a message in CDR, as DDS delivers it."""
        self._writer.write(self._connections[topic], time_ns, serialized)

    def write_message(self, topic: str, time_ns: int, message: Any) -> None:
        """Adds a message of `rosbags`' types."""
        self.write(topic, time_ns, bytes(TYPESTORE.serialize_cdr(message, self._connections[topic].msgtype)))

    def finish_file(self) -> None:
        """Ends the bag's file, so that it can be read; the folder gets its name at `close`."""
        if self._open:
            self._writer.close()
            self._open = False

    def close(self) -> None:
        """Gives the folder its name."""
        self.finish_file()
        shutil.rmtree(self.path, ignore_errors=True)
        self.folder.rename(self.path)
        self._parent.rmdir()

    def __enter__(self) -> "BagWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.finish_file()
            shutil.rmtree(self._parent, ignore_errors=True)


@contextlib.contextmanager
def open_bag(path: Path) -> Iterator[AnyReader]:
    """Opens a rosbag2 folder for reading.

    Raises:
        SartmError: no bag, or a damaged one.
    """
    try:
        with AnyReader([path], default_typestore=TYPESTORE) as reader:
            yield reader
    except (AnyReaderError, ReaderError, FileNotFoundError) as error:
        raise SartmError(
            f"{path}: cannot be read as a bag ({error}). Give the folder that holds metadata.yaml."
        ) from error


def read_messages(path: Path, topics: set[str] | None = None) -> Iterator[tuple[str, int, Any]]:
    """Yields (topic, time in nanoseconds, message) in the order of recording; errors as `open_bag`.

    Args:
        path: a rosbag2 folder.
        topics: only these; by default all.
    """
    with open_bag(path) as reader:
        chosen = [c for c in reader.connections if topics is None or c.topic in topics]
        for connection, time_ns, serialized in reader.messages(connections=chosen):
            yield connection.topic, time_ns, reader.deserialize(serialized, connection.msgtype)


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
