"""What SECURITY.md promises: files that strangers made are data, never code, and stay in their folders."""

import ast
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from rich.table import Table

from sartm_core.checked_yaml import read_yaml
from sartm_core.commands.common import SafeConsole
from sartm_core.errors import SartmError
from sartm_core.learning.checkpoints import load_network, read_checkpoint
from sartm_core.model.network import MultiModalNetwork
from sartm_core.model.presets import any_sensor
from sartm_core.model.sam2_weights import load_sam2
from sartm_core.rig import Rig
from sartm_ros.bag.reader import open_bag
from sartm_ros.bag.types import bag_message
from sartm_ros.bag.writer import BagWriter

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("sartm_core", "sartm_ros", "sartm_sim", "training", "launch")
SOURCES = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]


class Evil:
    """Unpickled, it leaves a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.mark,)


def official(path: Path) -> None:
    load_sam2(MultiModalNetwork(any_sensor("nano", ("rgb",), 2, 1)), path)


@pytest.mark.parametrize("read", [read_checkpoint, load_network, official], ids=lambda read: read.__name__)
def test_a_checkpoint_runs_no_code(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path, mark = tmp_path / "evil.ckpt", tmp_path / "mark"
    torch.save({"state_dict": {}, "model": Evil(mark)}, path)
    torch.load(path, weights_only=False)
    assert mark.exists()  # it would, if it were let
    mark.unlink()
    with pytest.raises(SartmError, match=r"evil\.ckpt"):
        read(path)
    assert not mark.exists()


@pytest.mark.slow
def test_onnx_runtime_tells_nobody_and_keeps_nothing(tmp_path: Path) -> None:
    """By itself it resolves a host of Microsoft's, and leaves a device id under HOME and a session in TMPDIR."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler (cc, gcc) to listen to what is resolved: apt install gcc")
    home, scratch, asked = tmp_path / "home", tmp_path / "tmp", tmp_path / "asked"
    home.mkdir()
    scratch.mkdir()
    (tmp_path / "listen.c").write_text(
        "#include <netdb.h>\n#include <stdio.h>\n#include <stdlib.h>\n"
        "int getaddrinfo(const char *name, const char *service, const struct addrinfo *how, struct addrinfo **found) {"
        ' FILE *file = fopen(getenv("ASKED"), "a"); fputs(name ? name : "-", file); fclose(file); return EAI_FAIL; }'
    )
    subprocess.run([compiler, "-shared", "-fPIC", "-o", "listen.so", "listen.c"], cwd=tmp_path, check=True)
    environment = {
        name: value for name, value in os.environ.items() if name not in ("XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY")
    }
    environment |= {
        "HOME": str(home),
        "TMPDIR": str(scratch),
        "ASKED": str(asked),
        "LD_PRELOAD": str(tmp_path / "listen.so"),
    }
    program = 'from sartm_core.deploy import load_segmenter; load_segmenter("any_sensor_simrig5", "onnx", "cpu")'
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=60)
    assert [*home.rglob("*"), *scratch.rglob("*")] == []
    assert not asked.exists()


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    path, mark = tmp_path / "rig.yaml", tmp_path / "mark"
    path.write_text(f"name: !!python/object/apply:pathlib.Path.touch [{mark}]\n")
    with pytest.raises(SartmError, match=r"rig\.yaml"):
        read_yaml(path, Rig)
    assert not mark.exists()


def test_a_recording_names_no_files_outside_of_its_folder(tmp_path: Path) -> None:
    for name in ("secret", "mine"):
        with BagWriter(tmp_path / name) as writer:
            writer.add_topic("/said", "std_msgs/msg/String")
            writer.write_message("/said", 1_000_000_000, bag_message("std_msgs/msg/String", data=name))
    shutil.move(tmp_path / "secret" / "secret.mcap", tmp_path / "secret.mcap")
    metadata = tmp_path / "mine" / "metadata.yaml"
    content = yaml.safe_load(metadata.read_text())
    content["rosbag2_bagfile_information"]["relative_file_paths"] = ["../secret.mcap"]
    metadata.write_text(yaml.safe_dump(content))
    with open_bag(tmp_path / "mine") as bag:
        assert [bag.deserialize(message).data for message in bag.messages()] == ["mine"]


def calls() -> Iterator[tuple[Path, ast.Call]]:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield path, node


def test_no_shell_and_no_unpickling_in_the_sources() -> None:
    seen = 0
    for path, call in calls():
        name, options = ast.unparse(call.func), {option.arg: ast.unparse(option.value) for option in call.keywords}
        where = f"{path}:{call.lineno}"
        assert "shell" not in options, where
        assert name not in ("os.system", "os.popen", "eval", "exec", "pickle.load", "pickle.loads"), where
        assert options.get("allow_pickle", "False") == "False", where
        if name.endswith(".from_pretrained") and not name.startswith("CLIP"):  # a class of transformers itself
            assert options.get("trust_remote_code") == "False", where
        if name == "torch.load":
            assert options.get("weights_only") == "True", where
            seen += 1
    assert seen >= 3


def test_a_terminal_shows_control_characters_and_does_not_obey_them() -> None:
    """Names in a recording or of a file come from strangers."""
    out = io.StringIO()
    console = SafeConsole(file=out, force_terminal=True, width=200, markup=False, emoji=False)
    table = Table("topic")
    table.add_row("/camera\x1b]0;owned\x1b\\")
    console.print(table)
    console.print("error: \x1b[2Jgone.mcap\r\nmore", style="red", highlight=False)
    assert r"/camera\x1b]0;owned\x1b" in out.getvalue()
    assert "error: \\x1b[2Jgone.mcap" in out.getvalue()
    assert "\nmore" in re.sub(r"\x1b\[[\d;]*m", "", out.getvalue())  # our own colours and lines stay
    assert set(re.findall(r"\x1b.", out.getvalue())) == {"\x1b["}
    assert "\x1b[2J" not in out.getvalue()
