"""What the commands of `sartm fleet` share: from options to an order, and from it to results and tables."""

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.progress import BarColumn, Progress, TextColumn

from sartm_core.commands.common import print_json, stderr, stdout
from sartm_ros.commands.bags import warn
from sartm_ros.commands.replays import stamps_choice

if TYPE_CHECKING:
    from sartm_ros.fleet.order import Order, What
    from sartm_ros.fleet.plan import Plan
    from sartm_ros.fleet.run import Progress as RunProgress
    from sartm_ros.fleet.tasks import Outcome, Workers


@dataclass(frozen=True, slots=True)
class Spread:
    """How the work is spread, as it was asked for."""

    workers: int | None
    threads: int
    ray: str | None
    gpus: float = 1.0
    slice_gb: float | None = None
    plan: bool = False
    json: bool = False


def do(
    what: "What",
    given: list[str],
    out: Path,
    spread: Spread,
    *,
    rig: str | None,
    bundle: str | None = None,
    stamps: str,
    msgs: Path | None,
    device: str,
) -> None:
    """Plans, runs, and writes the tables; exit status 1 where a recording failed.

    Raises:
        SartmError: of the arguments; what is wrong with a recording is told at the end.
    """
    from sartm_core.outputs import check_writable, sole_writer
    from sartm_ros.fleet.plan import find_recordings, make_plan
    from sartm_ros.fleet.run import write_run

    order = _order(what, bundle, rig, stamps, msgs, device, spread)
    recordings = find_recordings(given)
    plan = make_plan(recordings, order, out)
    if spread.plan:
        _say_plan(plan, spread)
        return
    check_writable(out)
    with sole_writer(out / "fleet"):
        try:
            failures = _perform(plan, order, out.resolve(), spread)
            write_run(recordings, failures, out)
        finally:  # after Ctrl-C, too: what is done is done
            tables = write_tables(out) if any(out.glob("*/result.json")) or (out / "fleet.json").is_file() else []
    _say_end(plan, failures, tables, spread)
    if failures:
        raise typer.Exit(1)


def write_tables(out: Path) -> list[Path]:
    """Writes fleet.html, and fleet.parquet where pyarrow is installed; returns what was written."""
    from sartm_ros.fleet.report import write_report
    from sartm_ros.fleet.rows import read_rows, write_parquet

    rows = read_rows(out)
    write_report(rows, out / "fleet.html")
    if importlib.util.find_spec("pyarrow") is None:
        warn("fleet.parquet is not written: it needs pyarrow: pip install 'sartm_ros[fleet]'.")
        return [out / "fleet.html"]
    write_parquet(rows, out / "fleet.parquet")
    return [out / "fleet.html", out / "fleet.parquet"]


def absolute(name: str) -> str:
    """A folder's absolute path, since workers have other working directories; other names as they are."""
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def _order(
    what: "What", bundle: str | None, rig: str | None, stamps: str, msgs: Path | None, device: str, spread: Spread
) -> "Order":
    from sartm_core.deploy.bundle import check_serves, read_bundle
    from sartm_core.errors import SartmError
    from sartm_core.resources import resolve_bundle
    from sartm_core.rig import load_rig
    from sartm_ros.fleet.order import Order
    from sartm_ros.fleet.placement import bundle_hash, choose_device

    folder, described = None, None
    if bundle is not None:
        if bundle.endswith(".ckpt"):
            raise SartmError(f"{bundle}: a fleet runs bundles, not checkpoints: sartm export {bundle} --to both")
        folder = resolve_bundle(bundle).resolve()
        described = read_bundle(folder)
    chosen = described.rig if described is not None and rig is None else load_rig(str(rig))
    if described is not None:
        check_serves(described.rig, chosen)
    return Order(
        what=what,
        rig=chosen,
        bundle=None if folder is None else str(folder),
        bundle_sha256=None if folder is None else bundle_hash(folder),
        stamps=stamps_choice(stamps),
        definitions=None if msgs is None else str(msgs.resolve()),
        device=choose_device(device, described, spread.ray),
        threads=spread.threads,
    )


def _perform(plan: "Plan", order: "Order", out: Path, spread: Spread) -> dict[str, str]:
    from sartm_ros.fleet.run import run

    if not plan.todo:
        return {}
    slice_bytes = None if not spread.slice_gb else max(round(spread.slice_gb * 1e9), 1)
    with closing(_workers(order, out, spread)) as workers, _bar(plan) as on_progress:
        return run(plan, workers, slice_bytes, on_progress)


def _workers(order: "Order", out: Path, spread: Spread) -> "Workers":
    if spread.ray is not None:
        from sartm_ros.fleet.cluster import RayWorkers

        return RayWorkers(order, out, spread.ray, spread.gpus)
    from sartm_ros.fleet.local import LocalWorkers

    cores = len(os.sched_getaffinity(0))
    default = 1 if order.device == "cuda" else max(cores // order.threads, 1)
    return LocalWorkers(order, out, spread.workers or default)


@contextmanager
def _bar(plan: "Plan") -> "Iterator[Callable[[RunProgress, Outcome], None]]":
    columns = (
        TextColumn("{task.fields[ended]} of {task.fields[of]} recordings"),
        BarColumn(),
        TextColumn("{task.fields[rate]:.0f} an hour, {task.fields[left]}"),
    )
    with Progress(*columns, console=stderr) as bar:
        total = max(sum(recording.size for recording in plan.todo), 1)
        task = bar.add_task("", total=total, ended=0, of=len(plan.todo), rate=0.0, left="")

        def on_progress(progress: "RunProgress", outcome: "Outcome") -> None:
            if outcome.failure is not None:
                warn(f"{outcome.task.recording.name}: {outcome.failure}")
            left = progress.remaining_s()
            text = "" if left is None else f"{left // 3600:.0f}:{left // 60 % 60:02.0f}:{left % 60:02.0f} left"
            ended, rate = progress.done + progress.failed, progress.per_hour()
            bar.update(task, completed=progress.bytes_done, ended=ended, rate=rate, left=text)

        yield on_progress


def _say_plan(plan: "Plan", spread: Spread) -> None:
    size = sum(recording.size for recording in plan.todo)
    if spread.json:
        names = {"todo": [one.name for one in plan.todo], "done": [one.name for one in plan.done]}
        print_json({**names, "outdated": plan.outdated, "bytes": size})
        return
    outdated = (
        f", {plan.outdated} of them in place of results of another bundle, rig or option" if plan.outdated else ""
    )
    stdout.print(
        f"{len(plan.todo)} recordings to do, {size / 1e9:.1f} GB{outdated}; {len(plan.done)} done", soft_wrap=True
    )


def _say_end(plan: "Plan", failures: dict[str, str], tables: list[Path], spread: Spread) -> None:
    done = len(plan.todo) - len(failures)
    if spread.json:
        print_json(
            {"done": done, "skipped": len(plan.done), "failures": failures, "tables": [str(one) for one in tables]}
        )
        return
    stdout.print(f"{done} recordings done, {len(plan.done)} were done before, {len(failures)} failed", highlight=False)
    for path in tables:
        stdout.print(str(path), soft_wrap=True, highlight=False)
