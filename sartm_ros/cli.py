"""The `sartm` command: the core's commands plus rosbags, the simulator and the demo."""

import os
import signal

from sartm_core.cli import app
from sartm_ros.commands import replays, rigs  # noqa: F401 (imported to register their commands)
from sartm_ros.commands.bags import bag_app
from sartm_ros.commands.fleet import fleet_app
from sartm_sim.commands import demo, sim_app

app.add_typer(bag_app, name="bag")
app.add_typer(fleet_app, name="fleet")
app.add_typer(sim_app, name="sim")
app.command()(demo)


def main() -> None:
    """Entry point. SIGTERM ends a command like Ctrl-C: child processes and half-written files are cleaned up."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Spin-waiting torch threads starve the loader processes, and each other on a busy machine. The OpenMP library
    # reads this when torch is first imported, which happens later.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app()


if __name__ == "__main__":
    main()
