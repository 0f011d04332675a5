"""Recordings that were cut off by a power cut, or damaged: what can be read is read, and what is lost is said."""

import shutil
import sqlite3
import struct
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import yaml
import zstandard
from bag_files import (
    MESSAGES,
    PAGE,
    STEP,
    SUFFIX,
    T0,
    both_storages,
    counts_of,
    layout_of,
    read,
    read_or_nothing,
    recorded,
    some_messages,
    storage_of,
    string,
    whole_mcap,
    write_folder,
    write_mcap,
    write_splits,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.writer import CompressionType
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from sartm_core.errors import SartmError
from sartm_ros.bag.reader import Recorded, open_bag


def check_cut_mcap(path: Path, expected: list[Recorded]) -> None:
    if not expected:
        # Not even a topic, except where the chunk with the topics has no message.
        with pytest.raises(SartmError, match="nothing in it can be read") as caught:
            read(path)
        assert str(path) in str(caught.value)
        return
    found = read(path)
    assert found.messages == expected
    assert found.counts == counts_of(expected)
    assert f"{path}: was not closed properly" in found.lost
    seconds = (expected[-1].time_ns - expected[0].time_ns) / 1e9
    assert f"{path.name}: " in found.losses[-1]
    assert found.losses[-1].endswith(f"Read: {len(expected)} messages, {seconds:.2f} s.")


class TestCutOffMcap:
    @pytest.mark.parametrize("percent", [0, 1, 3, 7, 14, 21, 30, 42, 50, 61, 69, 77, 85, 90, 95, 99])
    @pytest.mark.parametrize("rest", ["missing", "zeros"])
    def test_a_power_cut(self, tmp_path: Path, percent: int, rest: str) -> None:
        cut = len(whole_mcap()) * percent // 100
        path = tmp_path / "cut.mcap"
        path.write_bytes(whole_mcap()[:cut] + bytes(len(whole_mcap()) - cut if rest == "zeros" else 0))
        check_cut_mcap(path, layout_of(whole_mcap()).whole(cut))

    @pytest.mark.parametrize("behind", [-1, 0, 1, 8, 9, 40])
    def test_cuts_at_the_edge_of_a_chunk(self, tmp_path: Path, behind: int) -> None:
        cut = layout_of(whole_mcap()).chunks[2][1] + behind
        path = tmp_path / "cut.mcap"
        path.write_bytes(whole_mcap()[:cut])
        check_cut_mcap(path, layout_of(whole_mcap()).whole(cut))

    @pytest.mark.parametrize("place", ["magic", "header", "end of data", "summary", "footer", "last byte"])
    def test_cuts_outside_of_the_messages(self, tmp_path: Path, place: str) -> None:
        layout = layout_of(whole_mcap())
        cut = {
            "magic": 5,
            "header": 14,
            "end of data": layout.data_end + 3,
            "summary": layout.data_end + 60,
            "footer": len(whole_mcap()) - 20,
            "last byte": len(whole_mcap()) - 1,
        }[place]
        path = tmp_path / "cut.mcap"
        path.write_bytes(whole_mcap()[:cut])
        check_cut_mcap(path, [] if cut < 20 else MESSAGES)

    def test_the_last_byte_is_another(self, tmp_path: Path) -> None:
        """Everything can be read, but the recorder did not write this end."""
        path = tmp_path / "cut.mcap"
        path.write_bytes(whole_mcap()[:-1] + b"\0")
        check_cut_mcap(path, MESSAGES)

    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    def test_any_byte(self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
        cut = data.draw(st.integers(0, len(whole_mcap()) - 1))
        path = tmp_path_factory.mktemp("cut") / "cut.mcap"
        path.write_bytes(whole_mcap()[:cut] + bytes(data.draw(st.sampled_from([0, 1, 7, 5000]))))
        check_cut_mcap(path, layout_of(whole_mcap()).whole(cut))

    def test_zeros_among_the_topics_that_are_named_again_at_the_end(self, tmp_path: Path) -> None:
        begin = whole_mcap().rindex(b"\x04", 0, whole_mcap().rindex(b"/b"))
        for cut in range(begin, begin + 30):
            (tmp_path / "cut.mcap").write_bytes(whole_mcap()[:cut] + bytes(5000))
            check_cut_mcap(tmp_path / "cut.mcap", MESSAGES)

    def test_without_chunks_each_message_counts(self, tmp_path: Path) -> None:
        data = write_mcap(tmp_path / "x.mcap", MESSAGES, use_chunking=False).read_bytes()
        begin = data.index(MESSAGES[40].data)
        for cut in (begin, begin + 100):
            (tmp_path / "cut.mcap").write_bytes(data[:cut])
            check_cut_mcap(tmp_path / "cut.mcap", MESSAGES[:40])

    def test_a_long_tail_of_zeros_costs_no_time(self, tmp_path: Path) -> None:
        path = tmp_path / "x.mcap"
        path.write_bytes(whole_mcap()[:9000] + bytes(30_000_000))
        begin = time.monotonic()
        check_cut_mcap(path, layout_of(whole_mcap()).whole(9000))
        assert time.monotonic() - begin < 4

    def test_a_length_that_is_garbage(self, tmp_path: Path) -> None:
        layout = layout_of(whole_mcap())
        begin = layout.chunks[3][0]
        garbage = whole_mcap()[: begin + 1] + struct.pack("<Q", 1 << 61) + whole_mcap()[begin + 9 :]
        (tmp_path / "x.mcap").write_bytes(garbage[: layout.data_end])
        check_cut_mcap(tmp_path / "x.mcap", layout.whole(begin))
        assert f"is truncated: no complete record follows byte {begin} of" in read(tmp_path / "x.mcap").lost


def check_cut_sqlite(path: Path, written: list[Recorded], at_least: int) -> None:
    found = read_or_nothing(path)
    if found is None:
        assert at_least == 0
        return
    assert found.messages == written[: len(found.messages)]
    assert len(found.messages) >= at_least
    assert found.counts == {**dict.fromkeys(found.topics, 0), **counts_of(found.messages)}
    assert f"{path.name}: is truncated or damaged" in found.lost
    assert not found.messages or f"Read: {len(found.messages)} messages" in found.lost


WRITTEN = {60: some_messages(300, 60), 1500: some_messages(60, 1500), 9000: some_messages(40, 9000)}
"""Many to a page; few to a page; over several pages."""


def whole_db3(size: int) -> bytes:
    return recorded("x", tuple(WRITTEN[size]), StoragePlugin.SQLITE3, CompressionMode.NONE, 9)["x.db3"]


class TestCutOffSqlite:
    def at_least(self, size: int, share: float) -> int:
        """Some pages are of other tables and of the index."""
        return int(len(WRITTEN[size]) * (share - 0.45)) if share > 0.5 else 0

    @pytest.mark.parametrize("size", list(WRITTEN))
    @pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.45, 0.6, 0.75, 0.9])
    @pytest.mark.parametrize("rest", ["missing", "zeros"])
    def test_a_power_cut_between_pages(self, tmp_path: Path, size: int, share: float, rest: str) -> None:
        data = whole_db3(size)
        cut = int(len(data) * share) // PAGE * PAGE
        path = tmp_path / "cut.db3"
        path.write_bytes(data[:cut] + bytes(len(data) - cut if rest == "zeros" else 0))
        check_cut_sqlite(path, WRITTEN[size], self.at_least(size, share))

    @pytest.mark.parametrize("size", list(WRITTEN))
    @pytest.mark.parametrize("within", [1, 100, 1000, 2500, 3900, 4095])
    def test_a_cut_within_a_page(self, tmp_path: Path, size: int, within: int) -> None:
        """SQLite takes what is missing of the page for zeros: messages would come altered."""
        data = whole_db3(size)
        for page in (len(data) // PAGE * 7 // 10, len(data) // PAGE - 1):
            path = tmp_path / "cut.db3"
            path.write_bytes(data[: page * PAGE + within])
            check_cut_sqlite(path, WRITTEN[size], self.at_least(size, page * PAGE / len(data)))

    @settings(max_examples=60, deadline=None)
    @given(size=st.sampled_from(list(WRITTEN)), share=st.floats(0, 1, exclude_max=True))
    def test_any_byte(self, tmp_path_factory: pytest.TempPathFactory, size: int, share: float) -> None:
        path = tmp_path_factory.mktemp("cut") / "cut.db3"
        path.write_bytes(whole_db3(size)[: int(len(whole_db3(size)) * share)])
        check_cut_sqlite(path, WRITTEN[size], self.at_least(size, share))

    def test_zeros_for_the_last_pages_of_a_message(self, tmp_path: Path) -> None:
        """Beside metadata, whose presence says that all is well."""
        folder = write_folder(tmp_path / "bag", WRITTEN[9000], StoragePlugin.SQLITE3)
        data = storage_of(folder).read_bytes()
        for pages in range(2, 12):
            storage_of(folder).write_bytes(data[: -pages * PAGE] + bytes(pages * PAGE))
            found = read(folder)
            assert found.messages == WRITTEN[9000][: len(found.messages)]
            assert 25 < len(found.messages) < 40
            assert "bag.db3: is truncated or damaged" in found.lost

    def test_a_cut_among_the_topics(self, tmp_path: Path) -> None:
        path = tmp_path / "cut.db3"
        found = set()
        for cut in range(3 * PAGE + 3400, 4 * PAGE, 7):
            path.write_bytes(whole_db3(60)[:cut])
            check_cut_sqlite(path, WRITTEN[60], 0)
            read_so_far = read_or_nothing(path)
            found.add(tuple(read_so_far.topics) if read_so_far else ())
        assert found == {(), ("/a", "/b")}, "never with a name of zeros"

    def test_a_cut_of_the_last_page_is_seen_beside_metadata(self, tmp_path: Path) -> None:
        """rosbags opens such a file without a word."""
        written = WRITTEN[60]
        folder = write_folder(tmp_path / "bag", written, StoragePlugin.SQLITE3)
        data = storage_of(folder).read_bytes()
        for less in (1, 30, 200, 2000):
            storage_of(folder).write_bytes(data[:-less])
            check_cut_sqlite(folder / "bag.db3", written, 200)
            found = read(folder)
            assert found.messages == written[: len(found.messages)]
            assert "bag.db3: is truncated or damaged" in found.lost

    def test_an_image_that_ends_in_zeros_is_no_loss(self, tmp_path: Path) -> None:
        written = [message._replace(data=message.data[:500] + bytes(8500)) for message in WRITTEN[9000]]
        folder = write_folder(tmp_path / "bag", written, StoragePlugin.SQLITE3)
        if storage_of(folder).read_bytes()[-PAGE:].strip(b"\0"):
            pytest.skip("this SQLite does not end with the last message")
        found = read(folder)
        assert found.messages == written
        assert found.losses == []


class TestCutOffFolders:
    @pytest.mark.parametrize("suffix", [".mcap", ".db3"])
    def test_an_empty_file_alone(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"x{suffix}"
        path.touch()
        with pytest.raises(SartmError, match="nothing in it can be read") as caught:
            read(path)
        assert str(path) in str(caught.value)

    @both_storages
    @pytest.mark.parametrize("metadata", [True, False])
    @pytest.mark.parametrize("left", [0.0, 0.7])
    def test_the_last_split_was_being_written(
        self, tmp_path: Path, storage: StoragePlugin, metadata: bool, left: float
    ) -> None:
        folder = tmp_path / "bag"
        parts = [some_messages(100, 2000, first=100 * index) for index in range(3)]
        last = write_splits(folder, parts, storage)[-1]
        if storage == StoragePlugin.MCAP:
            write_mcap(last, parts[2])
        last.write_bytes(last.read_bytes()[: int(last.stat().st_size * left)])
        if not metadata:
            (folder / "metadata.yaml").unlink()
        found = read(folder)
        written = [message for part in parts for message in part]
        assert found.messages == written[: len(found.messages)]
        assert len(found.messages) >= 200 + 30 * (left > 0)
        assert found.counts == counts_of(found.messages)
        assert any(line.startswith(f"{last.name}: is truncated") for line in found.losses)

    @both_storages
    def test_a_split_that_is_gone(self, tmp_path: Path, storage: StoragePlugin) -> None:
        parts = [some_messages(4, first=4 * index) for index in range(3)]
        write_splits(tmp_path / "bag", parts, storage)[1].unlink()
        found = read(tmp_path / "bag")
        assert found.messages == [*parts[0], *parts[2]]
        assert f"x_1{SUFFIX[storage]}" in found.lost

    @pytest.mark.parametrize(
        "content",
        [b"", b"\0" * 4096, b"rosbag2_bagfile_information:\n  version: 9\n", b"\xff{"],
        ids=["empty", "zeros", "half", "binary"],
    )
    def test_metadata_that_are_cut_off(self, tmp_path: Path, content: bytes) -> None:
        parts = [some_messages(4), some_messages(4, first=4)]
        write_splits(tmp_path / "bag", parts)
        (tmp_path / "bag" / "metadata.yaml").write_bytes(content)
        found = read(tmp_path / "bag")
        assert found.messages == [*parts[0], *parts[1]]
        assert f"{tmp_path / 'bag'}: was not closed properly" in found.lost

    @both_storages
    def test_compressed_splits_and_one_that_was_just_being_compressed(
        self, tmp_path: Path, storage: StoragePlugin
    ) -> None:
        """rosbag2 compresses a file when it is full, then removes it, and writes metadata.yaml at the end."""
        folder = tmp_path / "bag"
        parts = [some_messages(100, 2000, first=100 * index) for index in range(3)]
        first, second, third = write_splits(folder, parts, storage, CompressionMode.FILE)
        (folder / "metadata.yaml").unlink()
        original = storage_of(write_folder(tmp_path / "original", parts[1], storage)).rename(folder / second.stem)
        written = [message for part in parts for message in part]
        for left in (second.stat().st_size, 100_000, 1000, 0):
            second.write_bytes(second.read_bytes()[:left])
            with open_bag(folder) as bag:
                assert bag.files == [first, original, third]
                assert list(bag.messages()) == written
                assert bag.losses == [f"{folder}: was not closed properly (it has no metadata.yaml)."]

    @both_storages
    @pytest.mark.parametrize("damage", ["cut", "bytes"])
    def test_compressed_splits_that_are_damaged(self, tmp_path: Path, storage: StoragePlugin, damage: str) -> None:
        folder = tmp_path / "bag"
        parts = [some_messages(100, 2000, first=100 * index) for index in range(3)]
        files = write_splits(folder, parts, storage, CompressionMode.FILE)
        (folder / "metadata.yaml").unlink()
        data = bytearray(files[1].read_bytes())
        half = len(data) // 2
        data[half:] = b"" if damage == "cut" else b"\xff" * (len(data) - half)
        files[1].write_bytes(data)
        found = read(folder)
        written = [*parts[0], *parts[1][: len(found.messages) - 200], *parts[2]]
        assert found.messages == written
        assert any(line.startswith(f"{files[1].stem}: is truncated") for line in found.losses)

    def test_a_compressed_split_that_is_cut_beside_metadata(self, tmp_path: Path) -> None:
        parts = [some_messages(100, 2000), some_messages(100, 2000, first=100)]
        files = write_splits(tmp_path / "bag", parts, StoragePlugin.SQLITE3, CompressionMode.FILE)
        files[1].write_bytes(files[1].read_bytes()[:-50_000])
        found = read(tmp_path / "bag")
        written = [*parts[0], *parts[1]]
        assert found.messages == written[: len(found.messages)]
        assert 130 < len(found.messages) < 200
        assert "x_1.db3: is truncated or damaged" in found.lost


class TestDamage:
    @pytest.mark.parametrize("compression", list(CompressionType))
    @pytest.mark.parametrize("number", [0, 3, -1], ids=["first", "middle", "last"])
    def test_a_damaged_chunk(self, tmp_path: Path, compression: CompressionType, number: int) -> None:
        data = bytearray(write_mcap(tmp_path / "x.mcap", MESSAGES, compression).read_bytes())
        begin, end, gone = layout_of(bytes(data)).chunks[number]
        for at in range(end - 700, end - 600):
            data[at] ^= 0x55
        (tmp_path / "x.mcap").write_bytes(data)
        expected = [message for message in MESSAGES if message not in gone]
        with open_bag(tmp_path / "x.mcap") as bag:
            assert list(bag.messages()) == expected
            lost = "\n".join(bag.losses)
            assert f"x.mcap: the chunk at byte {begin} is damaged and skipped" in lost
            assert f"x.mcap: {len(gone)} of 60 messages cannot be read" in lost
            losses = list(bag.losses)
            assert list(bag.messages()) == expected
            assert bag.losses == losses, "a loss is stated once"
            assert list(bag.messages(["/b"])) == [message for message in expected if message.topic == "/b"]

    def test_messages_at_one_time_on_both_sides_of_the_damage(self, tmp_path: Path) -> None:
        written = [message._replace(time_ns=T0 + index // 7 * STEP) for index, message in enumerate(MESSAGES)]
        data = bytearray(write_mcap(tmp_path / "x.mcap", written).read_bytes())
        layout = layout_of(bytes(data))
        for begin, end, gone in layout.chunks[1:]:
            broken = bytearray(data)
            broken[(begin + end) // 2] ^= 0x55
            (tmp_path / "x.mcap").write_bytes(broken)
            assert read(tmp_path / "x.mcap").messages == [message for message in written if message not in gone]

    def test_chunks_that_are_not_in_the_order_of_time(self, tmp_path: Path) -> None:
        early, middle, late = MESSAGES[:18], MESSAGES[18:36], MESSAGES[36:54]
        data = bytearray(write_mcap(tmp_path / "x.mcap", [*late, *early, *middle]).read_bytes())
        assert read(tmp_path / "x.mcap").messages == MESSAGES[:54]
        layout = layout_of(bytes(data))
        begin, end, gone = next(chunk for chunk in layout.chunks if middle[0] in chunk[2] and middle[5] in chunk[2])
        data[(begin + end) // 2] ^= 0x55
        (tmp_path / "x.mcap").write_bytes(data)
        found = read(tmp_path / "x.mcap").messages
        assert sorted(found) == sorted(message for message in MESSAGES[:54] if message not in gone)

    @pytest.mark.parametrize("mode", [CompressionMode.NONE, CompressionMode.FILE])
    @pytest.mark.parametrize("metadata", [True, False])
    @pytest.mark.parametrize("split", [0, 1, 2])
    def test_a_damaged_chunk_in_one_of_the_splits(
        self, tmp_path: Path, split: int, metadata: bool, mode: CompressionMode
    ) -> None:
        folder = tmp_path / "bag"
        # The first messages of a split came while the last ones before it were still being written.
        parts = [some_messages(30, first=18 * index) for index in range(3)]
        parts = [[message._replace(data=string(f"{n} {message.data!r}")) for message in p] for n, p in enumerate(parts)]
        files = write_splits(folder, parts)
        write_mcap(files[split], parts[split])
        data = bytearray(files[split].read_bytes())
        begin, end, gone = layout_of(bytes(data)).chunks[1]
        data[(begin + end) // 2] ^= 0x55
        files[split].write_bytes(data)
        if mode == CompressionMode.FILE:
            compress(folder, files)
        if not metadata:
            (folder / "metadata.yaml").unlink()
        found = read(folder)
        left = [message for part in parts for message in part if message not in gone]
        assert found.messages == sorted(left, key=lambda message: message.time_ns)
        assert f"x_{split}.mcap: the chunk at byte {begin} is damaged and skipped" in found.lost
        assert f"{len(gone)} of 30 messages cannot be read" in found.lost

    def test_the_first_chunk_says_which_topics_there_are(self, tmp_path: Path) -> None:
        layout = layout_of(whole_mcap())
        data = bytearray(whole_mcap())
        data[layout.chunks[0][1] - 50] ^= 0x55
        rest = [message for message in MESSAGES if message not in layout.chunks[0][2]]
        (tmp_path / "whole.mcap").write_bytes(data)
        assert read(tmp_path / "whole.mcap").messages == rest
        (tmp_path / "cut.mcap").write_bytes(data[: layout.data_end])
        with pytest.raises(SartmError, match=f"{len(rest)} of its messages cannot be assigned to a topic"):
            read(tmp_path / "cut.mcap")

    @settings(max_examples=60, deadline=None)
    @given(data=st.data())
    def test_any_byte(self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, layout_of(whole_mcap()).data_end - 1))
        broken = bytearray(whole_mcap())
        broken[at] ^= data.draw(st.integers(1, 255))
        path = tmp_path_factory.mktemp("damaged") / "x.mcap"
        path.write_bytes(broken)
        found = read_or_nothing(path)
        if found is None:
            assert at < 8, "only without its first bytes it is nobody's file"
            return
        kept = [message for message in MESSAGES if message in found.messages]
        assert found.messages == kept, "in order, none twice, none altered"
        assert len(kept) == 60 or "x.mcap" in found.lost

    @pytest.mark.parametrize(
        "damage",
        [
            lambda data: b"",
            lambda data: data[:3],
            lambda data: data[:6],
            lambda data: data[:-50],
            lambda data: data[:4] + b"\xff\xff\xff\x7f" + data[8:],
            lambda data: b"\x28\xb5\x2f\xfd" + data[4:],
        ],
        ids=["nothing", "no header", "no length", "cut", "length", "no zstd"],
    )
    @both_storages
    def test_a_message_whose_bytes_are_damaged(
        self, tmp_path: Path, storage: StoragePlugin, damage: Callable[[bytes], bytes]
    ) -> None:
        written = list(MESSAGES[:5])
        written[2] = written[2]._replace(data=damage(written[2].data))
        decoded = []
        with open_bag(write_folder(tmp_path / "bag", written, storage)) as bag:
            for index, message in enumerate(bag.messages()):
                assert message == written[index]
                if index == 2:
                    with pytest.raises(SartmError, match="^/a: a message cannot be decoded as std_msgs/msg/String"):
                        bag.deserialize(message)
                else:
                    decoded.append(bag.deserialize(message).data)
        assert decoded == [written[index].data[8:-1].decode() for index in (0, 1, 3, 4)]


def compress(folder: Path, files: list[Path]) -> None:
    """As rosbag2 does with each file of a recording."""
    content = yaml.safe_load((folder / "metadata.yaml").read_text())
    whole = content["rosbag2_bagfile_information"]
    whole |= {"compression_mode": "FILE", "compression_format": "zstd"}
    whole["relative_file_paths"] = [f"{file.name}.zstd" for file in files]
    (folder / "metadata.yaml").write_text(yaml.safe_dump(content))
    for file in files:
        file.with_name(f"{file.name}.zstd").write_bytes(zstandard.compress(file.read_bytes()))
        file.unlink()


class TestSqliteLog:
    """A recorder that was killed leaves what it wrote last in SQLite's log."""

    @pytest.fixture
    def killed(self, tmp_path: Path) -> Path:
        source = write_folder(tmp_path / "source", MESSAGES[:20], StoragePlugin.SQLITE3)
        with closing(sqlite3.connect(source / "source.db3")) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.executemany(
                "INSERT INTO messages(topic_id, timestamp, data) VALUES(?, ?, ?)",
                [(1 if m.topic == "/a" else 2, m.time_ns, m.data) for m in MESSAGES[20:]],
            )
            database.commit()
            shutil.copytree(source, tmp_path / "killed")
        assert (tmp_path / "killed" / "source.db3-wal").stat().st_size > 0
        return tmp_path / "killed"

    @pytest.mark.parametrize("gone", [[], ["source.db3-shm"], ["metadata.yaml"], ["source.db3-shm", "metadata.yaml"]])
    @pytest.mark.parametrize("alone", [True, False])
    def test_its_messages_are_read(self, killed: Path, gone: list[str], alone: bool) -> None:
        for name in gone:
            (killed / name).unlink()
        path = killed / "source.db3" if alone else killed
        log = (killed / "source.db3-wal").read_bytes()
        for _ in range(2):
            found = read(path)
            assert found.messages == MESSAGES
            assert found.counts == {"/a": 30, "/b": 30}
            assert found.topics["/b"].latched
            assert str(path) in found.lost
            assert ("it has no" if "metadata.yaml" in gone and not alone else "source.db3-wal was not") in found.lost
        assert (killed / "source.db3-wal").read_bytes() == log, "reading changes nothing"

    def test_a_log_that_is_cut_off(self, killed: Path) -> None:
        log = killed / "source.db3-wal"
        log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
        found = read(killed)
        assert found.messages == MESSAGES[: len(found.messages)]
        assert len(found.messages) >= 20
        assert "source.db3-wal was not merged" in found.lost

    def test_an_empty_log_is_none(self, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "bag", MESSAGES, StoragePlugin.SQLITE3)
        (folder / "bag.db3-wal").touch()
        found = read(folder)
        assert found.messages == MESSAGES
        assert found.losses == []
