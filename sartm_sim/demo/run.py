"""The demo from start to finish: drive, record, analyse, report."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sartm_core.deploy.bundle import read_bundle
from sartm_core.files import write_text
from sartm_core.resources import resolve_bundle
from sartm_core.rig import Rig, load_rig
from sartm_ros.bag.writer import BagWriter
from sartm_sim.demo.analysis import read_drive, read_samples, summarise
from sartm_sim.demo.birds_eye import compare_grids
from sartm_sim.demo.live import LOGS, SEED, record_drive
from sartm_sim.demo.pictures import contact_sheet
from sartm_sim.demo.report import write_report
from sartm_sim.simulation.scenario import load_scenario

BUNDLE, RIG = "any_sensor_simrig5", "simdemo"
SUMMARY, PICTURES, REPORT = "summary.json", "contact_sheet.png", "report.html"


def run_demo(out: Path, scenario_name: str, rate_hz: float, console: Console) -> dict[str, Any]:
    """Leaves demo.mcap, contact_sheet.png, report.html and summary.json in `out`; replaces an earlier demo there.

    Args:
        out: the folder.
        scenario_name: name or path of a scenario.
        rate_hz: of every sensor.
        console: for progress.

    Returns:
        The content of summary.json.

    Raises:
        SartmError: a process died, or `out` is something else.
    """
    rig, scenario = load_rig(RIG), load_scenario(scenario_name)
    bundle = read_bundle(resolve_bundle(BUNDLE))
    is_demo = (out / SUMMARY).is_file()
    with BagWriter(out, replace=is_demo, beside=(SUMMARY, PICTURES, REPORT, *LOGS)) as writer:
        with _progress(console) as bar:
            task = bar.add_task("driving", total=scenario.seconds, masks=0)

            def progress(seconds: float, masks: int) -> None:
                bar.update(task, completed=seconds, masks=masks)

            record_drive(rig, scenario, scenario_name, rate_hz, writer, console.print, progress)
        writer.finish_file()
        console.print("Comparing masks with the truth, drawing the report.")
        drive = read_drive(writer.folder, rig)
        compared = compare_grids(drive, rig, SEED, rate_hz)
        summary = summarise(drive, rig, rate_hz, compared)
        write_text(writer.folder / SUMMARY, json.dumps(summary, indent=2) + "\n")
        pictures = writer.folder / PICTURES
        contact_sheet(drive, read_samples(writer.folder, rig, drive), summary, rig, pictures)
        write_report(drive, summary, compared, rig, bundle.name, pictures, writer.folder / REPORT)
    return summary


def summary_table(summary: dict[str, Any], rig: Rig) -> Table:
    """The figures of summary.json for a terminal."""
    table = Table(title=f"{summary['masks_out']} masks for {summary['frames_in']} frames, latency {_latency(summary)}")
    table.caption = "grid: share of the bird's-eye cells with the true class; then the weight of each sensor"
    replaced = summary["frames_without_mask"]
    if replaced > 0:
        table.caption += f"\n{replaced} frames were replaced by newer ones while the network was busy"
    table.add_column("phase")
    for column in ("masks", "mIoU", "grid", *rig.names):  # with more, a terminal of 80 columns cuts them off
        table.add_column(column, justify="right")
    for phase in summary["phases"]:
        miou = "" if phase["miou"] is None else f"{phase['miou']:.3f}"
        weights = ["-" if weight is None else f"{weight:.3f}" for weight in phase["routing"].values()]
        right = "" if phase["grid"]["right"] is None else f"{phase['grid']['right']:.3f}"
        table.add_row(phase["name"], str(phase["masks"]), miou, right, *weights)
    return table


def _latency(summary: dict[str, Any]) -> str:
    return f"p50 {summary['latency_ms']['p50']} ms, p95 {summary['latency_ms']['p95']} ms"


def _progress(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[masks]} masks"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, transient=True)
