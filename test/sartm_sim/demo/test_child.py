"""The demo's children, when the demo is killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

PARENT = """
import os, subprocess, sys
command = [sys.executable, "-m", "sartm_sim.demo.child", str(os.getpid()), "child_of_the_test", "-p", "a:=b"]
subprocess.Popen(command).wait()
"""
CHILD = """
import os, pathlib, signal, sys, time
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: pathlib.Path("ended").touch() or sys.exit())
    pathlib.Path("said.part").write_text(f"{os.getpid()} {sys.argv[1:]}")
    pathlib.Path("said.part").rename("said")
    time.sleep(60)
"""


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path.name}"
        time.sleep(0.02)


def test_a_killed_demo_leaves_no_node(tmp_path: Path) -> None:
    (tmp_path / "child_of_the_test.py").write_text(CHILD)
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": f"{root}:{tmp_path}"}
    with subprocess.Popen([sys.executable, "-c", PARENT], cwd=tmp_path, env=environment) as parent:
        wait_for(tmp_path / "said")
        number, _, arguments = (tmp_path / "said").read_text().partition(" ")
        assert arguments == "['-p', 'a:=b']"
        assert int(number) != parent.pid
        parent.kill()
    wait_for(tmp_path / "ended")


def test_a_child_whose_parent_is_gone_does_not_begin() -> None:
    command = [sys.executable, "-m", "sartm_sim.demo.child", "1", "sartm_core.version"]
    assert subprocess.run(command, cwd=Path(__file__).resolve().parents[3], check=False).returncode == 1
