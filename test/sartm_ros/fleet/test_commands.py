"""`sartm fleet` from the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
from fleets import BUNDLE, write_recording, write_rig
from typer.testing import CliRunner

from sartm_ros.cli import app


def run(*arguments: Any, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["fleet", *map(str, arguments)], env={"COLUMNS": "200"})
    assert result.exit_code == status, result.output
    return result.output


@pytest.mark.slow
def test_a_week_of_drives(tmp_path: Path) -> None:
    (tmp_path / "drives").mkdir()
    for number in range(2):
        write_recording(tmp_path / "drives" / f"drive_{number}", seed=number)
    (tmp_path / "drives" / "broken.mcap").write_bytes(b"nothing")
    out = tmp_path / "out"
    rest = ("--bundle", BUNDLE, "--rig", write_rig(tmp_path / "rig.yaml"), "--out", out, "--device", "cpu")
    drives = tmp_path / "drives"

    planned = run("segment", drives, *rest, "--plan", "--json")
    assert sorted(json.loads(planned)["todo"]) == ["broken", "drive_0", "drive_1"]
    assert not out.exists()

    told = run("segment", drives, *rest, "--workers", 1, status=1)
    assert "2 recordings done, 0 were done before, 1 failed" in told
    assert "broken: " in told
    assert (out / "fleet.html").is_file()

    (drives / "broken.mcap").unlink()
    again = run("segment", drives, *rest)
    assert "0 recordings done, 2 were done before, 0 failed" in again


def test_wrong_use_is_named_before_anything_begins(tmp_path: Path) -> None:
    drive = write_recording(tmp_path / "drive", sets=1)
    rig = write_rig(tmp_path / "rig.yaml")
    rest = ("--bundle", BUNDLE, "--rig", rig, "--out", tmp_path / "out")
    assert "leads to no recording" in run("segment", tmp_path / "no", *rest, status=1)
    assert "expected auto, cpu or cuda" in run("segment", drive, *rest, "--device", "tpu", status=1)
    assert "not checkpoints: sartm export" in run("segment", drive, "--bundle", "x.ckpt", "--out", "o", status=1)
    told = run("evaluate", drive, *rest, "--truth-topic", "/truth", "--protocol", "conditions", status=1)
    assert "needs --tags-topic" in told
    other = ("--bundle", BUNDLE, "--rig", "mcubes", "--out", tmp_path / "out")
    assert "the bundle was trained for the classes" in run("segment", drive, *other, status=1)
    assert not (tmp_path / "out").exists()
