"""When simulated sensors stamp what they measure, and when it arrives: each has a clock, jitter and a way of its own.

All measure at the same instant, by one trigger; drivers stamp by their own clocks and send over their own buses.
"""

from typing import NamedTuple

import numpy as np

from sartm_core.rig import Rig


class Clock(NamedTuple):
    """Of a sensor and its driver.

    Attributes:
        offset_s: its stamps minus the instant of the measurement.
        jitter_s: standard deviation of both.
        delay_s: from the measurement to the arrival of its message.
    """

    offset_s: float
    jitter_s: float
    delay_s: float


CLOCKS = {
    "rgb": Clock(0.003, 0.0005, 0.015),
    "thermal": Clock(0.011, 0.001, 0.040),
    "depth": Clock(0.005, 0.0005, 0.025),
    "lidar": Clock(-0.015, 0.001, 0.045),
    "event": Clock(0.0, 0.0, 0.004),
}
"""By kind. Events are stamped one by one, so their packets have no jitter."""


def stamp_and_arrival(rig: Rig, name: str, instant_ns: int, seed: int, shared: bool) -> tuple[int, int]:
    """The stamp of a measurement and when its message arrives, nanoseconds; equal arguments, equal answer.

    Args:
        rig: the simulated one; its reference stamps the instant itself, as the truth does.
        name: of the modality.
        instant_ns: of the measurement.
        seed: of the drive.
        shared: one clock for all sensors, and no delay.
    """
    if shared:
        return instant_ns, instant_ns
    clock = CLOCKS[rig.modality(name).kind]
    rng = np.random.default_rng((seed, instant_ns % 2**63, rig.names.index(name)))
    stamped, sent = np.clip(rng.standard_normal(2), -3, 3) * clock.jitter_s
    offset_s = 0.0 if name == rig.reference else clock.offset_s + stamped
    return instant_ns + round(offset_s * 1e9), instant_ns + round((clock.delay_s + sent) * 1e9)
