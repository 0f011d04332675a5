"""Frame sets rendered per second by the simulated rig on one core. `make bench`."""

import time

import cv2
from rich.console import Console
from rich.table import Table

from sartm_core.rig import Rig, load_rig
from sartm_sim.simulation import CONDITIONS, SimulatedRig

FRAMES = 24


def sets_per_second(rig: Rig) -> float:
    """Frame sets per second over streets and all conditions, after a warm-up."""
    SimulatedRig(rig, seed=0).capture(1.0, CONDITIONS["day"])
    conditions = list(CONDITIONS.values())
    started = time.perf_counter()
    for index in range(FRAMES):
        SimulatedRig(rig, seed=index).capture(2.0 + index, conditions[index % len(conditions)])
    return FRAMES / (time.perf_counter() - started)


def main() -> None:
    """Prints the table."""
    cv2.setNumThreads(1)
    five, robot = load_rig("simrig5"), load_rig("simrobot")
    pair = five.model_copy(update={"modalities": five.modalities[:2]})
    table = Table(title=f"frame sets per second on one core, {FRAMES} streets, all conditions")
    table.add_column("rig")
    table.add_column("sets/s", justify="right")
    for label, rig in (
        ("simrig5: RGB, thermal; 256x320", pair),
        ("simrig5: five modalities, aligned; 256x320", five),
        ("simrobot: five modalities, each with its own view", robot),
    ):
        table.add_row(label, f"{sets_per_second(rig):.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
