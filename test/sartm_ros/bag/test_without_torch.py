"""A robot with ONNX Runtime alone: no torch, no torchmetrics, no sam2."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchmetrics", "sam2", "peft", "lightning", "transformers"):
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Absent())
from sartm_ros.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "bag segment DRIVE --out OUT/masks",
        "bag evaluate DRIVE --truth-topic /sim/truth --protocol faults --out OUT/scores",
        "evaluate any_sensor_simrig5 --data FRAMES --limit 1 --protocol noise --out OUT/scores",
        "segment FRAMES/test --out OUT/masks",
        "bench any_sensor_simrig5 --repetitions 3",
    ],
    ids=lambda command: " ".join(command.split()[:2]),
)
def test_what_a_robot_does_needs_no_torch(command: str, drive: Path, small_recording: Path, tmp_path: Path) -> None:
    if "any_sensor" not in command:
        command += " --bundle any_sensor_simrig5"
    for word, path in {"DRIVE": drive, "FRAMES": small_recording, "OUT": tmp_path}.items():
        command = command.replace(word, str(path))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command.split()], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
