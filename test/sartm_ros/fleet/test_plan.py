"""Which recordings a fleet has, and which of them are to be done."""

import json
from pathlib import Path

import pytest
from fleets import fleet_order

from sartm_core.errors import SartmError
from sartm_ros.fleet.order import Evaluating, Segmenting, key_of
from sartm_ros.fleet.plan import Recording, find_recordings, make_plan
from sartm_ros.fleet.remote import local_copy


def put(path: Path, size: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    return path


@pytest.fixture
def drives(tmp_path: Path) -> Path:
    """A recording in two parts, one that was cut off, two files by themselves, and what is none."""
    folder = tmp_path / "drives"
    put(folder / "a" / "a_0.mcap", 10)
    put(folder / "a" / "a_1.mcap", 20)
    put(folder / "a" / "metadata.yaml")
    put(folder / "cut" / "cut_0.db3")
    put(folder / "cut" / "cut_1.db3.zstd")
    put(folder / "loose" / "drive_10.mcap")
    put(folder / "loose" / "drive_9.mcap")
    put(folder / "notes.md")
    put(folder / ".hidden" / "x.mcap")
    return folder


def named(recordings: list[Recording]) -> dict[str, int]:
    return {one.name: one.size for one in recordings}


def test_a_folder_of_recordings(drives: Path) -> None:
    assert named(find_recordings([str(drives)])) == {"a": 30, "cut": 16, "drive_9": 8, "drive_10": 8}


def test_patterns_lists_and_single_ones_name_each_once(drives: Path, tmp_path: Path) -> None:
    listed = tmp_path / "week.txt"
    listed.write_text(f"# this week\n{drives}/a\n\n{drives}/loose/*_9.mcap\n")
    given = [str(listed), f"{drives}/a", f"{drives}/**/drive_1*.mcap"]
    assert [*named(find_recordings(given))] == ["a", "drive_9", "drive_10"]


def test_equal_names_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for day in ("mon", "tue"):
        put(tmp_path / day / "drive" / "drive_0.mcap")
        put(tmp_path / day / "drive" / "metadata.yaml")
    put(tmp_path / "other.mcap")
    assert [*named(find_recordings([str(tmp_path)]))] == ["mon_drive", "other", "tue_drive"]


def test_what_leads_nowhere_is_named(drives: Path, tmp_path: Path) -> None:
    for given in (f"{drives}/*.bag", str(drives / "notes.md"), str(tmp_path / "no.mcap")):
        with pytest.raises(SartmError, match="leads to no recording") as caught:
            find_recordings([str(drives / "a"), given])
        assert given in str(caught.value)
    with pytest.raises(SartmError, match="cannot be read as a list"):
        find_recordings([str(tmp_path / "no.txt")])


def test_urls_are_listed_and_copied(drives: Path) -> None:
    """fsspec's own file systems stand for s3 and gs."""
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.put(str(drives), "/bucket", recursive=True)
    try:
        found = find_recordings(["memory://bucket/*"])
        assert named(found) == {"a": 30, "cut": 16, "drive_9": 8, "drive_10": 8}
        assert find_recordings(["memory://bucket/loose/drive_9.mcap"]) == [found[2]]
        with local_copy(found[0].source) as copy:
            assert copy.name == "a"
            assert {path.name: path.stat().st_size for path in copy.iterdir()} == {
                "a_0.mcap": 10, "a_1.mcap": 20, "metadata.yaml": 8,
            }  # fmt: skip
        assert not copy.exists()
        memory.rm("/bucket/loose/drive_9.mcap")
        with pytest.raises(SartmError, match="memory:.*drive_9.*cannot be copied"), local_copy(found[2].source):
            pass
    finally:
        memory.rm("/bucket", recursive=True)
    with pytest.raises(SartmError, match="leads to no recording"):
        find_recordings(["memory://nowhere"])
    with pytest.raises(SartmError, match="nofs://x: cannot be opened"):
        find_recordings(["nofs://x"])


def finish(out: Path, recording: Recording, key: dict[str, object]) -> None:
    put(out / recording.name / "result.json")
    (out / recording.name / "result.json").write_text(json.dumps({"key": key}))


def test_only_results_of_the_same_key_are_skipped(drives: Path, tmp_path: Path) -> None:
    order, out = fleet_order(), tmp_path / "out"
    a, cut, nine, ten = find_recordings([str(drives)])
    for one in (a, cut, nine):
        finish(out, one, key_of(order, one.source, one.size))
    plan = make_plan([a, cut, nine, ten], order, out)
    assert (plan.todo, plan.done, plan.outdated) == ((ten,), (a, cut, nine), 0)

    grown = Recording(a.name, a.source, a.size + 1)
    others = [
        order.model_copy(update={"bundle_sha256": "0" * 64}),
        order.model_copy(update={"rig": order.rig.only(["rgb"])}),
        order.model_copy(update={"what": Segmenting(overlay=True)}),
        order.model_copy(update={"what": Evaluating(truth_topic="/truth")}),
        order.model_copy(update={"stamps": "recorded"}),
    ]
    for other in others:
        assert make_plan([a], other, out).outdated == 1
    assert make_plan([grown], order, out).todo == (grown,)
    assert make_plan([a], order.model_copy(update={"bundle": "/moved"}), out).done == (a,)


def test_the_largest_begin(drives: Path, tmp_path: Path) -> None:
    assert [one.size for one in make_plan(find_recordings([str(drives)]), fleet_order(), tmp_path).todo] == [
        30,
        16,
        8,
        8,
    ]


def test_what_is_not_ours_is_not_replaced(drives: Path, tmp_path: Path) -> None:
    order, out = fleet_order(), tmp_path / "out"
    (a, *_) = find_recordings([str(drives)])
    put(out / "a" / "thesis.tex")
    with pytest.raises(SartmError, match="is no result of `sartm fleet`"):
        make_plan([a], order, out)
    finish(out, a, key_of(order, "/another/a", a.size))
    with pytest.raises(SartmError, match="is the result of /another/a"):
        make_plan([a], order, out)
