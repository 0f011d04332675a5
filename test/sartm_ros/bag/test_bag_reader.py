"""Recordings as they are found: whole, split, compressed, latched; what is no recording; and the writer."""

import contextlib
import errno
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml
from bag_files import (
    MESSAGES,
    PAGE,
    STEP,
    STRING,
    T0,
    both_storages,
    read,
    some_messages,
    storage_of,
    write_folder,
    write_mcap,
    write_splits,
)
from mcap.writer import CompressionType, IndexType
from rosbags.rosbag2 import CompressionMode, StoragePlugin, Writer

from sartm_core.errors import SartmError
from sartm_ros.bag.reader import open_bag, read_messages
from sartm_ros.bag.types import bag_message
from sartm_ros.bag.writer import BagWriter


class TestWhole:
    @both_storages
    def test_a_folder_and_its_file_alone_give_the_same(self, tmp_path: Path, storage: StoragePlugin) -> None:
        folder = write_folder(tmp_path / "bag", MESSAGES, storage)
        for path in (folder, storage_of(folder)):
            with open_bag(path) as bag:
                assert list(bag.messages()) == MESSAGES
                assert list(bag.messages()) == MESSAGES, "a second time"
                assert [bag.deserialize(message).data for message in bag.messages()] == [
                    message.data[8:-1].decode() for message in MESSAGES
                ]
                assert bag.losses == []
                assert (bag.start_ns, bag.end_ns) == (MESSAGES[0].time_ns, MESSAGES[-1].time_ns)
                assert {name: (t.message_type, t.count) for name, t in bag.topics.items()} == {
                    "/a": (STRING, 30),
                    "/b": (STRING, 30),
                }
                assert bag.files == [storage_of(folder)]

    @both_storages
    def test_only_the_topics_that_were_asked_for(self, tmp_path: Path, storage: StoragePlugin) -> None:
        with open_bag(write_folder(tmp_path / "bag", MESSAGES, storage)) as bag:
            assert list(bag.messages(["/b"])) == [message for message in MESSAGES if message.topic == "/b"]
            assert list(bag.messages([])) == []
            assert list(bag.messages(["/nosuch"])) == []
            assert bag.losses == []

    @pytest.mark.parametrize("compression", list(CompressionType))
    def test_mcap_with_any_compression_of_its_chunks(self, tmp_path: Path, compression: CompressionType) -> None:
        found = read(write_mcap(tmp_path / "x.mcap", MESSAGES, compression))
        assert found.messages == MESSAGES
        assert found.losses == []

    @both_storages
    @pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE])
    def test_recordings_that_rosbag2_compressed(
        self, tmp_path: Path, storage: StoragePlugin, mode: CompressionMode
    ) -> None:
        folder = write_folder(tmp_path / "bag", MESSAGES, storage, mode)
        file = storage_of(folder)
        assert (file.suffix == ".zstd") == (mode == CompressionMode.FILE)
        for path in (folder, file):
            found = read(path)
            assert found.messages == MESSAGES
            assert found.losses == []
        with open_bag(folder) as bag:
            assert bag.files == [file], "from which its fingerprint is taken"
        (folder / "metadata.yaml").unlink()
        found = read(folder)
        assert found.messages == MESSAGES
        assert found.losses == [f"{folder}: was not closed properly (it has no metadata.yaml)."]

    @both_storages
    def test_splits_come_in_the_order_of_their_numbers(self, tmp_path: Path, storage: StoragePlugin) -> None:
        parts = [some_messages(4, first=4 * index) for index in range(11)]
        written = [message for part in parts for message in part]
        folder = tmp_path / "bag"
        files = write_splits(folder, parts, storage)
        found = read(folder)
        assert found.messages == written
        assert found.losses == []
        assert found.counts == {"/a": 22, "/b": 22}
        (folder / "metadata.yaml").unlink()
        with open_bag(folder) as bag:
            assert bag.files == files
            assert list(bag.messages()) == written
            assert bag.losses == [f"{folder}: was not closed properly (it has no metadata.yaml)."]
            assert {name: topic.count for name, topic in bag.topics.items()} == {"/a": 22, "/b": 22}
            assert (bag.start_ns, bag.end_ns) == (written[0].time_ns, written[-1].time_ns)

    @both_storages
    def test_metadata_that_disagree_with_the_files_about_qos(self, tmp_path: Path, storage: StoragePlugin) -> None:
        """rosbags then finds no message at all, without a word."""
        folder = write_folder(tmp_path / "bag", MESSAGES, storage)
        content = yaml.safe_load((folder / "metadata.yaml").read_text())
        for topic in content["rosbag2_bagfile_information"]["topics_with_message_count"]:
            topic["topic_metadata"]["offered_qos_profiles"] = ""
        (folder / "metadata.yaml").write_text(yaml.safe_dump(content))
        found = read(folder)
        assert found.messages == MESSAGES
        assert found.losses == []

    @pytest.mark.parametrize(
        "options", [{"use_chunking": False}, {"index_types": IndexType.NONE}], ids=["chunks", "index"]
    )
    def test_mcap_without_chunks_or_index_whose_messages_are_out_of_order(
        self, tmp_path: Path, options: dict[str, Any]
    ) -> None:
        """As with rosbag2's preset `fastwrite`, where two topics' messages crossed on their way to the disk."""
        written = [*MESSAGES[:20], MESSAGES[22], MESSAGES[20], MESSAGES[21], *MESSAGES[23:]]
        found = read(write_mcap(tmp_path / "x.mcap", written, **options))
        assert found.messages == written
        assert found.losses == []

    def test_mcap_whose_index_names_no_topics(self, tmp_path: Path) -> None:
        found = read(write_mcap(tmp_path / "x.mcap", MESSAGES, repeat_channels=False))
        assert found.messages == MESSAGES
        assert found.counts == {"/a": 30, "/b": 30}

    def test_a_clock_that_begins_at_zero(self, tmp_path: Path) -> None:
        early = [message._replace(time_ns=message.time_ns - T0) for message in MESSAGES]
        data = write_mcap(tmp_path / "x.mcap", early).read_bytes()
        with open_bag(tmp_path / "x.mcap") as bag:
            assert (bag.start_ns, bag.end_ns) == (0, 59 * STEP)
        (tmp_path / "cut.mcap").write_bytes(data[:-100])
        with open_bag(tmp_path / "cut.mcap") as bag:
            assert (bag.start_ns, bag.end_ns) == (0, 59 * STEP)
            assert list(bag.messages()) == early

    @both_storages
    def test_a_recording_without_messages(self, tmp_path: Path, storage: StoragePlugin) -> None:
        folder = write_folder(tmp_path / "bag", [], storage)
        for path in (folder, storage_of(folder)):
            with open_bag(path) as bag:
                assert list(bag.messages()) == []
                assert set(bag.topics) == {"/a", "/b"}
                assert (bag.start_ns, bag.end_ns, bag.losses) == (0, 0, [])

    @both_storages
    @pytest.mark.parametrize("name", ["run #3", "50%20", "what?", "drive.bag", "Fahrt über Öland"])
    def test_folders_with_any_name(self, tmp_path: Path, storage: StoragePlugin, name: str) -> None:
        folder = write_folder(tmp_path / "bag", MESSAGES, storage).rename(tmp_path / name)
        assert read(folder).messages == MESSAGES
        if storage == StoragePlugin.MCAP:
            write_mcap(storage_of(folder), MESSAGES)
        data = storage_of(folder).read_bytes()
        storage_of(folder).write_bytes(data[: len(data) // PAGE * PAGE - PAGE])
        found = read(folder)
        assert 0 < len(found.messages) < 60
        assert found.messages == MESSAGES[: len(found.messages)]

    def test_read_messages_gives_them_decoded(self, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "bag", MESSAGES)
        found = list(read_messages(folder, ["/a"]))
        assert [(topic, time_ns) for topic, time_ns, _ in found] == [(m.topic, m.time_ns) for m in MESSAGES[::2]]
        assert [message.data for _, _, message in found] == [m.data[8:-1].decode() for m in MESSAGES[::2]]


class TestWhatIsNoRecording:
    def test_what_is_missing(self, tmp_path: Path) -> None:
        for name in ("missing", "missing.mcap", "missing.bag"):
            with pytest.raises(SartmError, match=f"{tmp_path / name}: no such recording"):
                read(tmp_path / name)

    def test_a_bag_of_ros_1(self, tmp_path: Path) -> None:
        path = tmp_path / "old.bag"
        path.write_bytes(b"#ROSBAG V2.0\n" + bytes(100))
        with pytest.raises(SartmError, match=f"{path}: is a ROS 1 bag.*rosbags-convert --src {path} --dst old"):
            read(path)

    def test_folders_and_files_of_other_things(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "image.png").write_bytes(b"x")
        (tmp_path / "other" / "archive.tar.zstd").write_bytes(b"x")
        (tmp_path / "other" / "folder.mcap").mkdir()
        (tmp_path / "metadata.yaml").write_text("rosbag2_bagfile_information: {}\n")
        for name in ("empty", "other", "metadata.yaml", "other/image.png"):
            with pytest.raises(SartmError, match=f"{tmp_path / name}: is not a recording. Give a rosbag2 folder"):
                read(tmp_path / name)

    @pytest.mark.parametrize("suffix", [".mcap", ".db3", ".mcap.zstd"])
    @pytest.mark.parametrize(
        "content",
        [b"hello\n", b"Dear diary, " * 1000, b"\0" * 10_000, b"\x89MCAP0\r\n"],
        ids=["short", "text", "zeros", "magic"],
    )
    def test_a_file_of_something_else(self, tmp_path: Path, suffix: str, content: bytes) -> None:
        path = tmp_path / f"x{suffix}"
        path.write_bytes(content)
        with pytest.raises(SartmError, match="nothing in it can be read") as caught:
            read(path)
        assert str(path) in str(caught.value)


def latched(path: Path) -> list[str]:
    return [name for name, topic in sorted(read(path).topics.items()) if topic.latched]


class TestLatched:
    @both_storages
    @pytest.mark.parametrize("version", [8, 9])
    def test_topics_of_whole_recordings(self, tmp_path: Path, storage: StoragePlugin, version: int) -> None:
        folder = write_folder(tmp_path / "bag", MESSAGES, storage, version=version)
        for path in (folder, storage_of(folder)):
            assert latched(path) == ["/b"]

    @both_storages
    @pytest.mark.parametrize("version", [8, 9])
    def test_topics_of_recordings_that_were_cut_off(self, tmp_path: Path, storage: StoragePlugin, version: int) -> None:
        messages = some_messages(100, 2000)
        file = storage_of(write_folder(tmp_path / "bag", messages, storage, version=version))
        file.write_bytes(file.read_bytes()[: -5 if storage == StoragePlugin.MCAP else -10 * PAGE])
        for path in (tmp_path / "bag", file):
            assert read(path).losses
            assert latched(path) == ["/b"]

    def test_topics_that_the_writer_wrote(self, tmp_path: Path) -> None:
        for path in (tmp_path / "bag", tmp_path / "single.mcap"):
            with BagWriter(path) as writer:
                writer.add_topic("/a", STRING)
                writer.add_topic("/b", STRING, latched=True)
            assert latched(path) == ["/b"]


class TestWriter:
    @pytest.mark.parametrize("name", ["bag", "bag.mcap"])
    def test_what_is_written_is_read(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / "new" / name
        path.parent.mkdir()
        with BagWriter(path) as writer:
            writer.add_topic("/a", STRING)
            writer.add_topic("/b", STRING)
            for index, message in enumerate(MESSAGES):
                if index % 3 == 0:
                    writer.write_message(
                        message.topic, message.time_ns, bag_message(STRING, data=message.data[8:-1].decode())
                    )
                else:
                    writer.write(message.topic, message.time_ns, memoryview(message.data))
        found = read(path)
        assert found.messages == MESSAGES
        assert found.losses == []
        assert path.is_file() == (name == "bag.mcap")
        assert list(path.parent.iterdir()) == [path]

    @pytest.mark.parametrize("name", ["bag", "bag.mcap"])
    @pytest.mark.parametrize("finished", [True, False])
    @pytest.mark.parametrize("full", [True, False], ids=["full disk", "disk"])
    def test_nothing_is_left_behind_after_an_exception(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, finished: bool, full: bool
    ) -> None:
        def fail(*_: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def record() -> None:
            with BagWriter(tmp_path / name) as writer:
                writer.add_topic("/a", STRING)
                writer.write("/a", T0, MESSAGES[0].data)
                (writer.folder / "report.html").write_text("beside the recording")
                if finished:
                    writer.finish_file()
                if full:
                    monkeypatch.setattr(Writer, "close", fail)
                    monkeypatch.setattr(Writer, "abort", fail)
                raise KeyError("why it failed")

        with pytest.raises(KeyError, match="why it failed"):
            record()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["bag", "bag.mcap"])
    def test_what_exists_is_not_overwritten(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        with BagWriter(path) as writer:
            writer.add_topic("/a", STRING)
            writer.write("/a", T0, MESSAGES[0].data)
        with pytest.raises(SartmError, match=f"{path}: already exists and is not overwritten"):
            BagWriter(path)
        assert [message.data for message in read(path).messages] == [MESSAGES[0].data]
        with BagWriter(path, replace=True) as writer:
            writer.add_topic("/a", STRING)
            assert read(path).messages, "until the new one is complete"
        assert read(path).messages == []
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("name", ["bag", "bag.mcap"])
    def test_nor_by_two_at_once(self, tmp_path: Path, name: str) -> None:
        with BagWriter(tmp_path / name) as first:
            first.add_topic("/a", STRING)
            first.write("/a", T0, MESSAGES[0].data)
            with pytest.raises(SartmError, match=f"{name}: process {os.getpid()} is writing it"):
                BagWriter(tmp_path / name)
        assert [message.data for message in read(tmp_path / name).messages] == [MESSAGES[0].data]

    def test_files_of_others_in_the_folder_are_kept(self, tmp_path: Path) -> None:
        for _ in range(2):
            with BagWriter(tmp_path / "bag", replace=True, beside=("figures.json",)) as writer:
                writer.add_topic("/a", STRING)
                (writer.folder / "figures.json").touch()
        (tmp_path / "bag" / "bag_1.mcap").touch()  # a split, by another recorder
        with pytest.raises(SartmError, match=r"bag: already exists .* since it holds bag_1.mcap"):
            BagWriter(tmp_path / "bag", replace=True, beside=("figures.json",))

    @pytest.mark.parametrize("name", ["bag", "bag.mcap"])
    @pytest.mark.parametrize("replace", [True, False])
    def test_nor_what_is_no_bag_or_came_meanwhile(self, tmp_path: Path, name: str, replace: bool) -> None:
        path = tmp_path / name
        writer = BagWriter(path, replace)
        writer.add_topic("/a", STRING)
        path.mkdir()
        (path / "thesis.tex").write_text("precious")
        with pytest.raises(SartmError, match="already exists and is not overwritten"):
            writer.close()
        assert (path / "thesis.tex").read_text() == "precious"
        with pytest.raises(SartmError, match="already exists and is not overwritten"):
            BagWriter(path, replace)
        assert storage_of(writer.folder).suffix == ".mcap", "what was recorded is kept"


class TestWhatMetadataSay:
    """metadata.yaml is believed in nothing that the messages say themselves."""

    @pytest.mark.parametrize(("start_s", "seconds"), [(0, 5), (25, 5), (-400, 0), (0, 10**6)])
    def test_a_span_of_one_split_or_of_nothing(self, tmp_path: Path, start_s: int, seconds: int) -> None:
        """rosbag2#1413 (Humble: duration of one split), #841 (Galactic: start of the last one)."""
        parts = [some_messages(50, first=50 * index) for index in range(3)]
        write_splits(tmp_path / "bag", parts)
        change_metadata(
            tmp_path / "bag", starting_time={"nanoseconds_since_epoch": parts[0][0].time_ns + start_s * 10**9}
        )
        change_metadata(tmp_path / "bag", duration={"nanoseconds": seconds * 10**9})
        with open_bag(tmp_path / "bag") as bag:
            assert (bag.start_ns, bag.end_ns) == (parts[0][0].time_ns, parts[2][-1].time_ns)
            assert bag.losses == []

    def test_a_split_that_they_do_not_name_is_read(self, tmp_path: Path) -> None:
        """rosbag2#1619: the recorder had ended before it wrote the last names."""
        parts = [some_messages(4, first=4 * index) for index in range(3)]
        write_splits(tmp_path / "bag", parts)
        change_metadata(tmp_path / "bag", relative_file_paths=["x_0.mcap", "gone.mcap"])
        found = read(tmp_path / "bag")
        assert found.messages == [message for part in parts for message in part]
        assert found.losses == [
            "bag: metadata.yaml names gone.mcap, which is missing.",
            "bag: x_1.mcap is read, though metadata.yaml does not name it.",
            "bag: x_2.mcap is read, though metadata.yaml does not name it.",
        ]

    def test_two_recorders_of_one_drive_are_merged_by_time(self, tmp_path: Path) -> None:
        messages = some_messages(60)
        write_splits(tmp_path / "bag", [messages[::2], messages[1::2]])
        assert read(tmp_path / "bag").messages == messages

    def test_a_link_to_a_database_whose_log_lies_beside_its_target(self, tmp_path: Path) -> None:
        """rosbag2#485: messages that are still in SQLite's log."""
        folder = write_folder(tmp_path / "there", some_messages(4), StoragePlugin.SQLITE3)
        file = next(folder.glob("*.db3"))
        with contextlib.closing(sqlite3.connect(file)) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("INSERT INTO messages SELECT NULL, topic_id, timestamp + 1000000000, data FROM messages")
            database.commit()
            (tmp_path / "linked").mkdir()
            (tmp_path / "linked" / "x.db3").symlink_to(file)
            assert len(read(tmp_path / "linked").messages) == 8


def change_metadata(folder: Path, **fields: object) -> None:
    path = folder / "metadata.yaml"
    content = yaml.safe_load(path.read_text())
    content["rosbag2_bagfile_information"] |= fields
    path.write_text(yaml.safe_dump(content))
