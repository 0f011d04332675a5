"""One run over a fleet: hands out the tasks, joins slices, tells the progress, notes what failed."""

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sartm_core.errors import SartmError
from sartm_core.files import write_text
from sartm_ros.fleet.order import FORMAT
from sartm_ros.fleet.plan import Plan, Recording
from sartm_ros.fleet.tasks import Outcome, Task, Workers, tasks_of

RUN_FILE = "fleet.json"


@dataclass(slots=True)
class Progress:
    """How far a run is.

    Attributes:
        total, total_bytes: recordings to do, and their sizes.
        done, failed: recordings that ended.
        bytes_done: of recordings, and of slices.
        started_s: on the monotonic clock.
    """

    total: int
    total_bytes: int
    done: int = 0
    failed: int = 0
    bytes_done: float = 0.0
    started_s: float = field(default_factory=time.monotonic)

    def per_hour(self) -> float:
        """Recordings."""
        return 3600 * (self.done + self.failed) / max(time.monotonic() - self.started_s, 1e-3)

    def remaining_s(self) -> float | None:
        """By the bytes done so far; None before the first."""
        if not self.bytes_done:
            return None
        left = max(self.total_bytes - self.bytes_done, 0)
        return (time.monotonic() - self.started_s) * left / self.bytes_done


def run(
    plan: Plan, workers: Workers, slice_bytes: int | None, on_progress: Callable[[Progress, Outcome], None]
) -> dict[str, str]:
    """Does all recordings of a plan.

    Args:
        plan: what to do.
        workers: who does it.
        slice_bytes: recordings larger than this are cut into slices of about this size; None: none is.
        on_progress: called after every task.

    Returns:
        Name of each recording that failed -> why.
    """
    failures: dict[str, str] = {}
    slices: Counter[str] = Counter()
    progress = Progress(len(plan.todo), sum(recording.size for recording in plan.todo))
    under_way = 0
    for recording in plan.todo:
        for task in tasks_of(recording, slice_bytes):
            workers.submit(task)
            slices[recording.name] += task.step == "slice"
            under_way += 1
    while under_way:
        outcome = workers.next()
        under_way -= 1
        recording, step = outcome.task.recording, outcome.task.step
        if outcome.failure is not None:
            progress.failed += recording.name not in failures
            failures.setdefault(recording.name, outcome.failure)
        slices[recording.name] -= step == "slice"
        if step == "slice" and not slices[recording.name] and recording.name not in failures:
            workers.submit(Task(recording, "join", count=outcome.task.count))
            under_way += 1
        progress.done += step != "slice" and outcome.failure is None
        progress.bytes_done += 0 if step == "join" else recording.size / outcome.task.count
        on_progress(progress, outcome)
    return failures


def write_run(recordings: Sequence[Recording], failures: dict[str, str], out: Path) -> None:
    """Notes what `sartm fleet report` cannot see: which recordings failed, and why; those of other runs stay noted."""
    now = {one.name for one in recordings}
    before = {name: reason for name, reason in read_failures(out).items() if name not in now}
    write_text(out / RUN_FILE, json.dumps({"format": FORMAT, "failures": before | failures}, indent=1) + "\n")


def read_failures(out: Path) -> dict[str, str]:
    """Name of each recording that failed -> why; empty where no run has ended.

    Raises:
        SartmError: the note is damaged.
    """
    path = out / RUN_FILE
    if not path.is_file():
        return {}
    try:
        return {str(name): str(reason) for name, reason in json.loads(path.read_text())["failures"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SartmError(f"{path}: is damaged ({error}). Remove it; the next run writes it anew.") from error
