import json
import subprocess
import sys

import pytest


def sartm(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "sartm_ros.cli", *arguments], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("demo",),
        ("train",),
        ("export",),
        ("rig",),
        ("rig", "check"),
        ("rig", "show"),
        ("bag", "make"),
        ("bag", "play"),
    ],
    ids=" ".join,
)
def test_every_command_has_help(command: tuple[str, ...]) -> None:
    run = sartm(*command, "--help")
    assert run.returncode == 0
    assert "Usage:" in run.stdout


def test_rig_show_speaks_json() -> None:
    run = sartm("rig", "show", "sim", "--json")
    assert [modality["name"] for modality in json.loads(run.stdout)["modalities"]] == ["rgb", "thermal", "depth"]


def test_what_failed_ends_with_1_and_a_message_without_traceback() -> None:
    run = sartm("rig", "check", "nosuch")
    assert run.returncode == 1
    assert run.stdout == ""
    assert "error: no rig is called 'nosuch'. Known: deliver" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    "arguments", [("nosuch",), ("bag", "make", "--out", "x"), ("demo", "--rate", "0")], ids=" ".join
)
def test_wrong_use_ends_with_2(arguments: tuple[str, ...]) -> None:
    run = sartm(*arguments)
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
