"""The demo as a user starts it, a short drive."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from sartm_core.errors import SartmError
from sartm_ros.bag.reader import read_messages
from sartm_ros.bag.writer import BagWriter


@pytest.mark.slow
def test_the_demo_leaves_its_report_and_tells_the_truth(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    command = [sys.executable, "-m", "sartm_ros.cli", "demo", "--scenario", "short", "--rate", "4", "--out", str(out)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert run.returncode == 0, run.stdout + run.stderr
    assert {path.name for path in out.iterdir()} >= {
        "demo.mcap",
        "metadata.yaml",
        "contact_sheet.png",
        "report.html",
        "summary.json",
    }
    summary = json.loads((out / "summary.json").read_text())
    day, unplugged = summary["phases"]
    assert summary["frames_in"] == 20
    assert summary["masks_out"] >= 5  # a busy machine drops sets
    assert summary["lost_between_processes"] == 0
    assert day["miou"] > 0.5
    assert unplugged["routing"]["rgb"] == 0.0
    assert unplugged["miou"] > 0.7 * day["miou"]
    assert day["grid"]["right"] > 0.7
    assert unplugged["grid"]["right"] > 0.9 * day["grid"]["right"]
    assert "day, RGB unplugged" in run.stdout
    masks = [message for topic, _, message in read_messages(out, {"/perception/mask"})]
    assert len(masks) == summary["masks_out"]
    report = (out / "report.html").read_text()
    assert 'src="data:image/png;base64,' in report
    assert "http" not in report.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    ).replace("https://matplotlib.org", "")  # nothing is fetched
    assert not list(tmp_path.glob(".demo*"))


def test_a_recording_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    from sartm_sim.demo.run import run_demo

    with BagWriter(tmp_path / "drive") as writer:
        writer.add_topic("/a", "std_msgs/msg/String")
    with pytest.raises(SartmError, match="drive: already exists and is not overwritten"):
        run_demo(tmp_path / "drive", "short", 4.0, Console())
    (tmp_path / "drive" / "summary.json").touch()  # as the demo leaves it
    (tmp_path / "drive" / "notes.txt").touch()
    with pytest.raises(SartmError, match="since it holds notes.txt"):
        run_demo(tmp_path / "drive", "short", 4.0, Console())
