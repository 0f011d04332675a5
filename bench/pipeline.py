"""Time spent per frame and per modality; ratios within this run. `make bench`."""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
from rich.console import Console
from rich.table import Table

from sartm_core.deploy import load_segmenter
from sartm_core.sensing import encode
from sartm_sim.simulation import CONDITIONS, SimulatedRig

REPETITIONS = 30


def median_ms(function: Callable[[], object]) -> float:
    """Median time of a call after three warm-up calls, milliseconds."""
    times = []
    for _ in range(REPETITIONS + 3):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return float(np.median(times[3:])) * 1e3


def main() -> None:
    """Prints the table."""
    segmenter = load_segmenter("any_sensor_simrig5")
    rig = segmenter.bundle.rig
    simulated = SimulatedRig(rig, seed=1)
    frame = simulated.capture(3.0, CONDITIONS["day"])
    raws = simulated.registered(frame)
    planes = {m.name: encode(m, raws[m.name], rig.dtype) for m in rig.modalities}

    steps = {
        "simulate all sensors": median_ms(lambda: simulated.capture(3.0, CONDITIONS["day"])),
        "register raw arrays to the reference": median_ms(lambda: simulated.registered(frame)),
        "encode planes": median_ms(lambda: [encode(m, raws[m.name], rig.dtype) for m in rig.modalities]),
    }
    subsets = [rig.names[:count] for count in range(1, len(rig.names) + 1)]
    for names in subsets:
        subset = {name: planes[name] for name in names}
        steps[f"segment {' + '.join(names)}"] = median_ms(partial(segmenter.segment, subset))
    alone = steps[f"segment {rig.names[0]}"]

    size = segmenter.bundle.size
    table = Table(title=f"{rig.name}, {size[0]}x{size[1]}, {segmenter.bundle.name}")
    table.add_column("step", overflow="fold")
    for column in ("ms", "per second", f"x {rig.names[0]} alone"):
        table.add_column(column, justify="right")
    for step, milliseconds in steps.items():
        table.add_row(step, f"{milliseconds:.1f}", f"{1e3 / milliseconds:.1f}", f"{milliseconds / alone:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
