"""The true bird's-eye grids of a recorded drive, from the simulator that drove it."""

import numpy as np

from sartm_core.rig import Rig
from sartm_sim.demo.analysis import Drive
from sartm_sim.demo.grid import GridPair, true_grid
from sartm_sim.simulation import SimulatedRig

MOST_PER_PHASE = 8
"""Instants that are compared; each is rendered again."""
MOST_LOST = 3
"""Truths that may be missing from the recording before an instant cannot be found any more."""


def compare_grids(drive: Drive, rig: Rig, seed: int, rate_hz: float) -> dict[int, GridPair]:
    """Beside some of each phase's grids, the true ones.

    The same seed and time give the same street to the bit: an instant is only compared where the truth that is rendered
    again equals the recorded one.

    Args:
        drive: the recording.
        rig, seed, rate_hz: of the simulator.

    Returns:
        Instant -> both grids.
    """
    simulated = SimulatedRig(rig, seed)
    intrinsics = simulated.intrinsics(rig.reference)
    instants = sorted(drive.truths)
    pairs = {}
    for phase in drive.phases:
        of_phase = [stamp for stamp in sorted(drive.grids) if stamp in drive.truths and drive.phase_of(stamp) is phase]
        chosen = np.linspace(0, len(of_phase) - 1, min(MOST_PER_PHASE, len(of_phase))).round().astype(int)
        for stamp in (of_phase[index] for index in chosen):
            for lost in range(MOST_LOST + 1):
                truth, depth_m = simulated.exact((instants.index(stamp) + lost) / rate_hz)
                if np.array_equal(truth, drive.truths[stamp]):
                    pairs[stamp] = GridPair(drive.grids[stamp], true_grid(depth_m, truth, intrinsics))
                    break
    return pairs
