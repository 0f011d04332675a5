import json
import subprocess
import sys
from pathlib import Path

import pytest

import sartm_core
from sartm_core.rig import load_rig


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


def test_lists_of_commands_are_complete_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for group in ((), ("bag",), ("rig",), ("data",)):
        told = sartm(*group, "--help").stdout.replace("[ARGS]...", "")
        assert "..." not in told
        assert max(len(line) for line in told.splitlines()) <= 80
    assert "could be, tolerances." in " ".join(sartm("bag", "--help").stdout.split())


@pytest.mark.parametrize("rig", ["simrobot", "muses"])
def test_rig_show_folds_no_word_at_80_columns(monkeypatch: pytest.MonkeyPatch, rig: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told, shown = sartm("rig", "show", rig).stdout, load_rig(rig)
    assert max(len(line) for line in told.splitlines()) <= 80
    for word in (*shown.names, *shown.class_names, *(modality.topic for modality in shown.modalities)):
        assert word in told, word


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


def test_there_is_one_version() -> None:
    assert sartm("--version").stdout == f"sartm {sartm_core.__version__}\n"
    root = Path(__file__).parents[1]
    assert f"<version>{sartm_core.__version__}</version>" in (root / "package.xml").read_text()
    assert f'version="{sartm_core.__version__}"' in (root / "setup.py").read_text()
    assert f"version: {sartm_core.__version__}\n" in (root / "CITATION.cff").read_text()
