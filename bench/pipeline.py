"""Where the time of one frame goes, and what each modality adds; ratios within this run. `make bench`."""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
from rich.console import Console
from rich.table import Table

from sartm_core.deploy import load_segmenter
from sartm_core.sensing import encode
from sartm_core.simulation import CONDITIONS, SimulatedRig

REPETITIONS = 30


def median_ms(function: Callable[[], object]) -> float:
    """Median time of a call after three to warm up, milliseconds."""
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
    planes = {m.name: encode(m, frame.raw[m.name], rig.dtype) for m in rig.modalities}
    alone = median_ms(lambda: segmenter.segment({rig.reference: planes[rig.reference]}))

    table = Table(title=f"{rig.name}, {segmenter.bundle.size[0]}x{segmenter.bundle.size[1]}, {segmenter.bundle.name}")
    table.add_column("step")
    for column in ("ms", "per second", "x RGB alone"):
        table.add_column(column, justify="right")

    def row(step: str, milliseconds: float) -> None:
        table.add_row(step, f"{milliseconds:.1f}", f"{1e3 / milliseconds:.1f}", f"{milliseconds / alone:.2f}")

    row("simulate all sensors", median_ms(lambda: simulated.capture(3.0, CONDITIONS["day"])))
    row("raw arrays to planes", median_ms(lambda: [encode(m, frame.raw[m.name], rig.dtype) for m in rig.modalities]))
    for count in range(1, len(rig.names) + 1):
        subset = {name: planes[name] for name in rig.names[:count]}
        row(f"segment {' + '.join(subset)}", median_ms(partial(segmenter.segment, subset)))
    Console().print(table)


if __name__ == "__main__":
    main()
