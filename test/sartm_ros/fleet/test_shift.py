"""Sensors whose edges lie elsewhere than the reference's."""

import numpy as np
import pytest

from sartm_core.rig import load_rig
from sartm_core.sensing import encode_frame
from sartm_ros.fleet.shift import has_shifted
from sartm_sim.simulation import CONDITIONS, SimulatedRig


@pytest.mark.parametrize("seed", [1, 2])
def test_thermal_that_was_knocked_aside(seed: int) -> None:
    """Another spectrum than the reference's: warm things are not bright ones."""
    simulated = SimulatedRig(load_rig("simrig5"), seed=seed)
    planes = encode_frame(simulated.rig, simulated.capture(2.0, CONDITIONS["day"]).raw).planes
    assert has_shifted(planes["rgb"], planes["thermal"]) is False
    for shift in ((0, 16), (0, -16), (16, 0), (-16, 0)):
        assert has_shifted(planes["rgb"], np.roll(planes["thermal"], shift, axis=(1, 2))) is True
    assert has_shifted(planes["rgb"], np.roll(planes["thermal"], (0, 3), axis=(1, 2))) is False


def test_images_without_anything_in_common_tell_nothing(rng: np.random.Generator) -> None:
    noise = [rng.integers(0, 256, (3, 96, 128)).astype(np.uint8) for _ in range(2)]
    flat = np.full((3, 96, 128), 7, np.uint8)
    assert has_shifted(noise[0], flat) is None
    assert has_shifted(flat, noise[0]) is None
    assert has_shifted(noise[0], noise[1]) is None
    assert has_shifted(noise[0], noise[0]) is False
