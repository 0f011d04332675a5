"""The `sartm` command: the core's commands, the demo and bags."""

import os
import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from sartm_core.cli import app
from sartm_core.commands.common import JsonOption, print_json, stderr, stdout, user_errors
from sartm_core.commands.simulation import sim_app
from sartm_ros.commands import replays, rigs  # noqa: F401 (they add their commands)
from sartm_ros.commands.bags import bag_app

app.add_typer(bag_app, name="bag")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the recording and the report.")] = Path("out/demo"),
    scenario: Annotated[str, typer.Option(help="Scenario file, or the name of a shipped one.")] = "demo",
    rate: Annotated[float, typer.Option(help="Frames per second of every sensor.", min=0.5, max=60)] = 8.0,
    json_output: JsonOption = False,
) -> None:
    """Drive a simulated robot whose sensors die, segment live through ROS 2, and report."""
    with user_errors():
        from sartm_core.rig import load_rig
        from sartm_ros.demo.run import run_demo, summary_table

        summary = run_demo(out, scenario, rate, stderr)
        if json_output:
            print_json(summary)
            return
        stdout.print(summary_table(summary, load_rig("sim")))
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
    seed: Annotated[int, typer.Option(help="Of street and noise.", min=0)] = 7,
    float_depth: Annotated[bool, typer.Option("--float-depth", help="Depth as 32FC1 metres, not 16UC1.")] = False,
) -> None:
    """Record a scenario: every sensor, CameraInfo, transforms, the truth and the phases, as fast as it renders."""
    with user_errors():
        from sartm_core.rig import load_rig
        from sartm_core.simulation.scenario import load_scenario
        from sartm_ros.sim_record import record

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
            )
    stdout.print(f"{out}: {count} instants of scenario '{loaded.name}'", soft_wrap=True)


def main() -> None:
    """Entry point. SIGTERM ends a command as Ctrl-C does: children and half-written files go."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Threads of torch that wait by spinning starve the loader's processes, and each other on a busy machine. The OpenMP
    # library reads this when torch is first imported, which is later.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app()


if __name__ == "__main__":
    main()
