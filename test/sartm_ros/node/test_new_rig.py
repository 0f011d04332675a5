"""The walk-through of docs/new_rig.md: every command of the page, from a recording to a mask on its topic."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sartm_core.rig import load_rig
from sartm_ros.decoding.images import raw_array

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "new_rig.md"
SHORTER = {"--scenario demo": "--scenario short.yaml", "stages.0.samples=3200": "stages.0.samples=80"}
"""What the page does in minutes, in seconds."""

SHORT = """
name: short
phases:
  - {name: day, seconds: 1.2, condition: day}
  - {name: night, seconds: 0.8, condition: night}
"""


def commands_of(page: str) -> list[str]:
    return [line for block in re.findall(r"```sh\n(.*?)```", page, re.S) for line in block.splitlines() if line]


def test_the_page_needs_ten_commands_and_shows_what_each_says() -> None:
    page = PAGE.read_text()
    commands = commands_of(page)
    assert len(commands) <= 10
    shown = re.findall(r"```sh\n([^`]*)```\n\n```\n", page)
    assert [one.strip() for one in shown] == [one for one in commands if not one.startswith("ros2 launch")]


@pytest.mark.slow
def test_from_a_recording_to_a_mask_on_its_topic(host: Any, start: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "training").symlink_to(ROOT / "training")
    (tmp_path / "short.yaml").write_text(SHORT)
    commands = commands_of(PAGE.read_text())
    launch = next(command for command in commands if command.startswith("ros2 launch"))
    for command in commands[: commands.index(launch)]:
        for whole, part in SHORTER.items():
            command = command.replace(whole, part)
        program, *arguments = shlex.split(command)
        assert program == "sartm"
        done = subprocess.run(
            [sys.executable, "-m", "sartm_ros.cli", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    rig = load_rig(tmp_path / "my_rig.yaml")
    assert {m.kind for m in rig.modalities} == {"rgb", "thermal", "depth", "lidar"}
    assert "# calibrated" in (tmp_path / "my_rig.yaml").read_text()
    assert (tmp_path / "my_rig_calibration.png").stat().st_size > 10_000
    figures = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    assert figures["clean"]["frames"] == 10
    assert figures["clean"]["miou"] > 0.05  # road, sky and buildings, after 10 steps
    assert (tmp_path / "eval" / "report.html").stat().st_size > 50_000
    assert (tmp_path / "my_bundle" / "encoder.onnx").is_file()

    assert "bundle:=my_bundle" in launch  # here without ROS's launch, as the page says
    node = start("sartm_ros.node", use_sim_time=True, bundle=tmp_path / "my_bundle")
    assert host.until(lambda: host.heard["/perception/labels"] != [], 40), node.log()
    play = shlex.split(commands[-1].replace(" drive ", f" {tmp_path / 'drive'} "))
    assert play[:3] == ["sartm", "bag", "play"]
    player = start("sartm_ros.cli", *play[1:])
    assert host.until(lambda: len(host.heard["/perception/mask"]) >= 5, 60), node.log() + player.log()
    mask = raw_array(host.heard["/perception/mask"][0])
    assert mask.shape == rig.modality("rgb").size
    assert mask.max() < len(rig.classes)
    assert host.until(lambda: host.heard["/perception/routing_weights"] != [], 10)
    weights = host.routing()
    assert sum(float(weights[name]) for name in rig.names) == pytest.approx(1, abs=1e-3)
