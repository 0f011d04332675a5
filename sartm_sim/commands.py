"""`sartm sim` and `sartm demo`: the simulated rig."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sartm_core.commands.common import JsonOption, WholeSummaries, print_json, stderr, stdout, user_errors

sim_app = typer.Typer(
    cls=WholeSummaries, no_args_is_help=True, help="The simulated rig: recordings and data sets with exact truth."
)

ALL_SPLITS = ["train", "val", "test"]


@sim_app.command("dataset")
def sim_dataset(
    out: Annotated[Path, typer.Option(help="The recording's folder; must not exist.")],
    rig: Annotated[str, typer.Option(help="Rig file or name; simrig5 makes the benchmark proper.")] = "simrig5",
    split: Annotated[list[str] | None, typer.Option(help="train, val or test; by default all three.")] = None,
    limit: Annotated[int | None, typer.Option(help="Maximum number of frames per split.", min=1)] = None,
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = os.cpu_count() or 1,
) -> None:
    """Render the benchmark simrig-5: labelled frame sets with fixed seeds, tagged with condition and fault."""
    splits = split or ALL_SPLITS
    unknown = [name for name in splits if name not in ALL_SPLITS]
    if unknown:
        raise typer.BadParameter(f"expected train, val or test, got {unknown[0]}", param_hint="--split")
    columns = (TextColumn("rendering"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with user_errors(), Progress(*columns, console=stderr) as bar:
        from sartm_core.rig import load_rig
        from sartm_sim.dataset import write_benchmark

        task = bar.add_task("", total=None)
        count = write_benchmark(
            load_rig(rig),
            out,
            splits,
            limit,
            workers,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    stdout.print(f"{out}: {count} frame sets, {', '.join(splits)}", soft_wrap=True)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the recording and the report.")] = Path("out/demo"),
    scenario: Annotated[str, typer.Option(help="Scenario file, or the name of a shipped one.")] = "unplugged",
    rate: Annotated[float, typer.Option(help="Frames per second of every sensor.", min=0.5, max=60)] = 5.0,
    json_output: JsonOption = False,
) -> None:
    """Drive a simulated robot whose sensors die, segment live through ROS 2, and report."""
    with user_errors():
        from sartm_core.rig import load_rig
        from sartm_sim.demo.run import RIG, run_demo, summary_table

        summary = run_demo(out, scenario, rate, stderr)
        if json_output:
            print_json(summary)
            return
        stdout.print(summary_table(summary, load_rig(RIG)))
        for name, what in (
            ("report.html", "the report: open it in a browser"),
            ("contact_sheet.png", "what the robot saw"),
            ("summary.json", "the figures"),
            (f"{out.name}.mcap", "all inputs and outputs, a rosbag2 recording"),
        ):
            stdout.print(f"  {out / name}  {what}", highlight=False)


@sim_app.command("record")
def sim_record(
    out: Annotated[Path, typer.Option(help="The rosbag2 folder to write.")],
    scenario: Annotated[str, typer.Option(help="Scenario file, or the name of a shipped one.")] = "demo",
    rig: Annotated[str, typer.Option(help="Rig file or name, such as simrobot or simrig5.")] = "simrobot",
    rate: Annotated[float, typer.Option(help="Frames per second of every sensor.", min=0.5, max=60)] = 10.0,
    seed: Annotated[int, typer.Option(help="Seed of street and noise.", min=0)] = 7,
    float_depth: Annotated[bool, typer.Option("--float-depth", help="Depth as 32FC1 metres instead of 16UC1.")] = False,
    shared_clock: Annotated[
        bool,
        typer.Option("--shared-clock", help="One stamp for all sensors, and no delay, jitter or clocks of their own."),
    ] = False,
) -> None:
    """Record a scenario: every sensor, CameraInfo, transforms, the truth and the phases, as fast as it renders."""
    with user_errors():
        from sartm_core.rig import load_rig
        from sartm_sim.record import record
        from sartm_sim.simulation.scenario import load_scenario

        loaded = load_scenario(scenario)
        columns = (TextColumn("driving"), BarColumn(), TextColumn("{task.completed:.1f} s"), TimeRemainingColumn())
        with Progress(*columns, console=stderr) as bar:
            task = bar.add_task("", total=loaded.seconds)
            count = record(
                load_rig(rig),
                loaded,
                seed,
                rate,
                out,
                lambda driven: bar.update(task, completed=driven),
                float_depth,
                shared_clock,
            )
    stdout.print(f"{out}: {count} instants of scenario '{loaded.name}'", soft_wrap=True)
