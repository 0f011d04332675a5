"""A real Ray cluster of two nodes on this machine."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fleets import BUNDLE, content_of, fleet_order, write_recording, write_rig
from typer.testing import CliRunner

from sartm_core.errors import SartmError
from sartm_ros.cli import app
from sartm_ros.fleet import cluster
from sartm_ros.fleet.perform import perform
from sartm_ros.fleet.plan import find_recordings
from sartm_ros.fleet.tasks import Task

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'sartm_ros[fleet]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # Ray's own


@contextmanager
def two_nodes(head_cpus: int = 1, node_cpus: int = 1) -> Iterator[tuple[Any, Any]]:
    """The cluster, and its second node."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": head_cpus, "include_dashboard": False, "object_store_memory": 100 << 20}
    made = Cluster(initialize_head=True, head_node_args=head)
    try:
        node = made.add_node(num_cpus=node_cpus, object_store_memory=100 << 20) if node_cpus else None
        yield made, node
    finally:
        ray.shutdown()
        made.shutdown()


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drives")
    for number in range(3):
        write_recording(folder / f"drive_{number}", sets=3 + 5 * (number == 1), seed=number)
    return folder


@pytest.fixture(scope="module")
def alone(drives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results, made one after the other in this process."""
    out = tmp_path_factory.mktemp("alone")
    for recording in find_recordings([str(drives)]):
        assert perform(Task(recording), fleet_order(), out).failure is None
    return out


def segment(drives: Path, out: Path, address: str, *more: str, status: int = 0) -> str:
    rig = write_rig(out.parent / "rig.yaml")
    arguments = [drives, "--bundle", BUNDLE, "--rig", rig, "--out", out, "--ray", address, "--device", "cpu", *more]
    result = CliRunner().invoke(app, ["fleet", "segment", *map(str, arguments)], env={"COLUMNS": "200"})
    assert result.exit_code == status, result.output
    return result.output


def check_all(out: Path, alone: Path) -> None:
    for number in range(3):
        assert content_of(out / f"drive_{number}") == content_of(alone / f"drive_{number}")


def wait_for(condition: Callable[[], Any], command: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert command.poll() is None, command.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_two_nodes_give_what_one_process_gives(drives: Path, alone: Path, tmp_path: Path) -> None:
    (drives / "broken.mcap").write_bytes(b"nothing")
    try:
        with two_nodes() as (made, _):
            told = segment(drives, tmp_path / "out", made.address, "--slice-gb", "0.00006", status=1)
    finally:
        (drives / "broken.mcap").unlink()
    check_all(tmp_path / "out", alone)
    assert "broken: " in told
    assert "3 recordings done, 0 were done before, 1 failed" in told
    assert not [*(tmp_path / "out").glob(".fleet-run")]


@pytest.mark.soak
def test_a_node_that_joins_late_and_one_that_is_lost(drives: Path, alone: Path, tmp_path: Path) -> None:
    """The head runs no task: nothing is done before the second node comes, nor after it is lost, before the third."""
    out = tmp_path / "out"
    with two_nodes(head_cpus=0, node_cpus=0) as (made, _):
        arguments = ["--bundle", BUNDLE, "--rig", write_rig(tmp_path / "rig.yaml"), "--out", out, "--device", "cpu"]
        command = subprocess.Popen(
            [sys.executable, "-m", "sartm_ros.cli", "fleet", "segment", drives, *arguments, "--ray", made.address],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            wait_for((out / ".fleet-run").exists, command)
            second = made.add_node(num_cpus=1)
            wait_for(lambda: [*out.glob("drive_?")] and [*out.glob(".drive_*.part")], command)
            made.remove_node(second, allow_graceful=False)
            assert len([*out.glob("drive_?")]) < 3
            made.add_node(num_cpus=1)
            told, _ = command.communicate(timeout=240)
        finally:
            command.kill()
            command.wait()
    assert "3 recordings done, 0 were done before, 0 failed" in told
    check_all(out, alone)


def test_no_cluster_and_another_folder_are_named(drives: Path, tmp_path: Path) -> None:
    with pytest.raises(SartmError, match=r"--ray 127.0.0.1:1: nothing answers there"):
        cluster.connect("127.0.0.1:1")
    (recording, *_) = find_recordings([str(drives)])
    outcome = cluster._perform(Task(recording), fleet_order(), None, str(tmp_path), "0123")
    assert outcome.failure is not None
    assert "does not see this folder. Mount it" in outcome.failure
