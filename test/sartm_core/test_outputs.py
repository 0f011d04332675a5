"""Outputs while others write them, and where something is already; the second writer is a process of its own."""

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sartm_core import outputs
from sartm_core.datasets.frame_folder import FrameFolderWriter
from sartm_core.errors import SartmError
from sartm_core.files import write_text
from sartm_core.learning.export import free_folder
from sartm_core.outputs import Draft, check_replaceable, sole_writer
from sartm_core.rig import load_rig

HOLD = """
import sys
from pathlib import Path
from sartm_core.outputs import Draft
draft = Draft(Path(sys.argv[1]))
draft.content.mkdir()
(draft.content / "big").write_bytes(bytes(1000))
print("holds", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is writing `out`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        yield process
        process.kill()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_second_is_refused_and_told_of_the_first(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    out = tmp_path / "out"
    (tmp_path / "link").symlink_to(out)
    before = names(tmp_path)
    told = re.escape(f"{out}: process {other.pid} is writing it")
    for write in (Draft, lambda path: sole_writer(path).__enter__()):
        with pytest.raises(SartmError, match=told):
            write(out)
    with pytest.raises(SartmError, match=told):
        FrameFolderWriter(out, load_rig("rgbt"), "frames", {})
    with pytest.raises(SartmError, match=told):
        Draft(tmp_path / "link")  # another name of the same
    assert names(tmp_path) == before, "the first one's files are left alone"
    Draft(tmp_path / "out2").discard()


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    for name in (".out.b.abcdefgh.part", ".out.abcdefgh.part.d"):  # of other outputs
        (tmp_path / name).mkdir()
    other.kill()
    other.wait()
    assert len(names(tmp_path)) == 4
    draft = Draft(tmp_path / "out")
    draft.content.mkdir()
    draft.publish()
    assert names(tmp_path) == [".out.abcdefgh.part.d", ".out.b.abcdefgh.part", "out"]


def test_the_name_of_a_draft_cannot_be_foreseen(tmp_path: Path) -> None:
    seen = set()
    for _ in range(3):
        draft = Draft(tmp_path / "out")
        seen.add(draft.folder.name)
        draft.discard()
    assert len(seen) == 3
    assert names(tmp_path) == []


@pytest.mark.parametrize("exchanges", [True, False], ids=["exchange", "two renames"])
def test_an_output_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool) -> None:
    if not exchanges:
        monkeypatch.setattr(outputs, "_EXCHANGE", 1 << 20)  # a flag that no kernel knows: EINVAL
    out = tmp_path / "out"
    for number in range(2):
        draft = Draft(out)
        draft.content.mkdir()
        write_text(draft.content / "a", str(number))
        write_text(draft.content / f"b{number}", "")
        draft.publish(("a", "b0", "b1"))
    assert names(tmp_path) == ["out"]
    assert (out / "a").read_text() == "1"
    assert names(out) == ["a", "b1"]
    assert stat.S_IMODE(out.stat().st_mode) == 0o777 & ~_umask()


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def test_what_others_made_is_never_deleted(tmp_path: Path) -> None:
    out = tmp_path / "out"
    draft = Draft(out)
    draft.content.mkdir()
    out.mkdir()
    (out / "a").touch()
    (out / "notes.txt").write_text("precious")  # came while the draft was written
    with pytest.raises(SartmError, match=r"out: already exists and is not overwritten, since it holds notes.txt"):
        draft.publish(("a",))
    assert (out / "notes.txt").read_text() == "precious"
    assert draft.content.is_dir(), "what was written is kept"
    (out / "notes.txt").unlink()
    (out / "a").unlink()
    (out / "a").mkdir()  # a folder of that name is not ours either
    with pytest.raises(SartmError, match="since it holds a"):
        check_replaceable(out, ("a",))


def test_a_bundle_is_what_its_description_lists(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    out.mkdir()
    assert free_folder(out) == out
    (out / "bundle.json").write_text(json.dumps({"format": 2, "files": {"old.onnx": "", "../x": ""}}))
    (out / "old.onnx").touch()
    assert free_folder(out) == out, "of any format"
    (out / "calibration.yaml").touch()
    with pytest.raises(SartmError, match=r"bundle: already exists .* holds calibration.yaml. Move that"):
        free_folder(out)
    (out / "calibration.yaml").unlink()
    (out / "bundle.json").write_text("[" * 100_000)
    with pytest.raises(SartmError, match=r"holds old.onnx"):
        free_folder(out)


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    replace, fsync = os.replace, os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("sync"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda one, other: (done.append("rename"), replace(one, other)))
    write_text(tmp_path / "figures.json", "{}")
    assert done == ["sync", "rename"]
