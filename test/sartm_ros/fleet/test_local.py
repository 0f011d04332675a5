"""Processes of this machine: one that dies takes nothing with it but its own task."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from fleets import content_of, fleet_order, write_recording

from sartm_core.errors import SartmError
from sartm_ros.fleet.local import LocalWorkers
from sartm_ros.fleet.perform import perform
from sartm_ros.fleet.plan import Plan, Recording, find_recordings, make_plan
from sartm_ros.fleet.run import Progress, read_failures, run, write_run
from sartm_ros.fleet.tasks import Outcome, Task

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drives")
    for number in range(3):
        write_recording(folder / f"drive_{number}", sets=3 + 9 * (number == 1), seed=number)
    (folder / "broken.mcap").write_bytes(b"nothing")
    return folder


@pytest.fixture(scope="module")
def alone(drives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results, made one after the other in this process."""
    out = tmp_path_factory.mktemp("alone")
    for recording in find_recordings([f"{drives}/drive_*"]):
        assert perform(Task(recording), fleet_order(), out).failure is None
    return out


def plan_of(drives: Path, out: Path) -> Plan:
    return make_plan(find_recordings([str(drives)]), fleet_order(), out)


@contextmanager
def killing(workers: LocalWorkers, out: Path, name: str, times: int) -> Iterator[list[int]]:
    """Kills the process that writes a recording's result, as soon as it has begun to."""
    killed: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        while len(killed) < times and not ended.is_set():
            for worker, task in list(workers._busy.items()):
                pid = worker.process.pid
                begun = [*out.glob(f".{name}.*.part"), *out.glob(f".slices/{name}/.*.part")]
                mine = task.recording.name == name and begun and len(killed) < times
                if mine and pid is not None and pid not in killed:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
            time.sleep(0.002)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


def test_a_killed_worker_costs_no_recording(drives: Path, alone: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    def progress(now: Progress, outcome: Outcome) -> None:
        told.append((now.done, now.failed))
        assert now.per_hour() >= 0

    with (
        closing(LocalWorkers(fleet_order(), tmp_path, 2)) as workers,
        killing(workers, tmp_path, "drive_1", 1) as killed,
    ):
        failures = run(plan_of(drives, tmp_path), workers, 60_000, progress)
    assert len(killed) == 1
    assert [*failures] == ["broken"]
    assert "broken.mcap: nothing in it can be read" in failures["broken"]
    assert told[-1] == (3, 1)
    for number in range(3):
        assert content_of(tmp_path / f"drive_{number}") == content_of(alone / f"drive_{number}")
    assert plan_of(drives, tmp_path).todo == (find_recordings([f"{drives}/broken.mcap"])[0],)


def test_a_recording_that_kills_its_workers_is_named(drives: Path, alone: Path, tmp_path: Path) -> None:
    with (
        closing(LocalWorkers(fleet_order(), tmp_path, 1)) as workers,
        killing(workers, tmp_path, "drive_1", 3) as killed,
    ):
        failures = run(plan_of(drives, tmp_path), workers, None, lambda *_: None)
    assert len(killed) == 3
    assert "lost 3 times, last by signal 9 (SIGKILL)" in failures["drive_1"]
    assert not (tmp_path / "drive_1").exists()
    for name in ("drive_0", "drive_2"):
        assert content_of(tmp_path / name) == content_of(alone / name)


def test_an_interruption_leaves_what_is_done_and_no_drafts(drives: Path, tmp_path: Path) -> None:
    def interrupt(now: Progress, outcome: Outcome) -> None:
        if now.done:
            raise KeyboardInterrupt

    plan = plan_of(drives, tmp_path)
    with pytest.raises(KeyboardInterrupt), closing(LocalWorkers(fleet_order(), tmp_path, 1)) as workers:
        run(plan, workers, None, interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["drive_1"]
    assert {one.name for one in plan_of(drives, tmp_path).todo} == {"drive_0", "drive_2", "broken"}


def test_failures_stay_noted_until_they_are_mended(tmp_path: Path) -> None:
    one, two = Recording("one", "/one", 1), Recording("two", "/two", 1)
    write_run([one], {"one": "no"}, tmp_path)
    write_run([two], {"two": "why"}, tmp_path)
    assert read_failures(tmp_path) == {"one": "no", "two": "why"}
    write_run([one, two], {}, tmp_path)
    assert read_failures(tmp_path) == {}
    (tmp_path / "fleet.json").write_text("[")
    with pytest.raises(SartmError, match="is damaged"):
        read_failures(tmp_path)
