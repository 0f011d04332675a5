"""Attachments and metadata records, added to a complete MCAP; read back by the `mcap` library and by `rosbags`."""

from pathlib import Path

import pytest
from bag_files import MESSAGES, STRING, T0, string, write_folder
from foreign_files import Channel, write_channels
from mcap.reader import NonSeekingReader, make_reader
from mcap.records import Attachment, Metadata
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import Reader, StoragePlugin

from sartm_core.errors import SartmError
from sartm_ros.bag.mcap_extras import add_extras
from sartm_ros.bag.reader import open_bag
from sartm_ros.bag.writer import BagWriter

CALIBRATION = Attachment(T0 - 5, T0, "calibration.yaml", "application/yaml", b"fx: 431.5\n")
DRIVER = Metadata("run", {"driver": "anna", "site": "Bern, Länggasse"})


def written(path: Path, with_extras: bool = True) -> Path:
    with BagWriter(path) as writer:
        writer.add_topic("/a", STRING)
        for n in range(40):
            writer.write("/a", T0 + n, string(f"message {n} " + "x" * 50_000))
        if with_extras:
            writer.extras = iter([CALIBRATION, DRIVER])
    return path


def test_what_is_added_is_found_by_its_index(tmp_path: Path) -> None:
    with written(tmp_path / "x.mcap").open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        assert list(reader.iter_attachments()) == [CALIBRATION]
        assert [record for record in reader.iter_metadata() if record.name != "rosbag2"] == [DRIVER]
        assert len(list(reader.iter_messages())) == 40
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        assert len(summary.chunk_indexes) > 1
        counts = (summary.statistics.attachment_count, summary.statistics.metadata_count)
        assert counts == (1, len(summary.metadata_indexes)) == (1, 2)


def test_and_by_those_who_read_from_the_beginning(tmp_path: Path) -> None:
    with written(tmp_path / "x.mcap").open("rb") as stream:
        reader = NonSeekingReader(stream, validate_crcs=True)
        assert list(reader.iter_attachments()) == [CALIBRATION]
    with (tmp_path / "x.mcap").open("rb") as stream:
        assert len(list(NonSeekingReader(stream).iter_messages())) == 40


def test_the_messages_are_where_they_were(tmp_path: Path) -> None:
    plain, extended = written(tmp_path / "plain", with_extras=False), written(tmp_path / "extended")
    contents = []
    for path in (plain, extended):
        with Reader(path) as reader:
            contents.append([(one.topic, time_ns, bytes(data)) for one, time_ns, data in reader.messages()])
    assert contents[0] == contents[1]


def test_a_recordings_extras_but_for_its_recorders_own(tmp_path: Path) -> None:
    def extra(writer: McapWriter) -> None:
        writer.add_attachment(CALIBRATION.create_time, T0, "calibration.yaml", "application/yaml", CALIBRATION.data)
        writer.add_metadata("rosbag2", {"serialized_metadata": "version: 9"})
        writer.add_metadata(DRIVER.name, DRIVER.metadata)

    channel = Channel("/a", STRING, [(T0, string("x"))], schema=b"string data\n")
    path = write_channels(tmp_path / "x.mcap", [channel], extra=extra)
    for _ in ("whole", "cut off"):
        with open_bag(path) as bag:
            assert list(bag.extras()) == [CALIBRATION, DRIVER]
        path.write_bytes(path.read_bytes()[:-9])
    with open_bag(write_folder(tmp_path / "database", MESSAGES, StoragePlugin.SQLITE3)) as bag:
        assert list(bag.extras()) == []


def test_a_file_without_an_index_is_left_as_it_is(tmp_path: Path) -> None:
    channel = Channel("/a", STRING, [(T0, string("x"))], schema=b"string data\n")
    path = write_channels(tmp_path / "x.mcap", [channel], use_statistics=False)
    before = path.read_bytes()
    with pytest.raises(SartmError, match="has no index"):
        add_extras(path, [DRIVER])
    assert path.read_bytes() == before


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sartm_ros.bag.writer.add_extras", fail)
    with pytest.raises(OSError, match="No space left"):
        written(tmp_path / "x.mcap")
    assert list(tmp_path.iterdir()) == []
