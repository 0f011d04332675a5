"""Each fault does to the data what it says, and to no other sensor's."""

import numpy as np
import pytest

from sartm_core.rig import Rig, load_rig
from sartm_sim.simulation import CONDITIONS, SimulatedFrame, SimulatedRig
from sartm_sim.simulation.faults import FAULTS, Fault

TIME_S, SINCE_S = 6.0, 4.0


@pytest.fixture(scope="module")
def simrig5() -> Rig:
    return load_rig("simrig5")


@pytest.fixture(scope="module")
def sound(simrig5: Rig) -> SimulatedFrame:
    return SimulatedRig(simrig5, seed=21).capture(TIME_S, CONDITIONS["day"])


def broken(rig: Rig, modality: str, fault: str) -> SimulatedFrame:
    return SimulatedRig(rig, seed=21).capture(TIME_S, CONDITIONS["day"], {modality: Fault(fault, SINCE_S)})


PAIRS = [(kind, fault) for fault, kinds in FAULTS.items() for kind in sorted(kinds)]


@pytest.mark.parametrize(("modality", "fault"), PAIRS)
def test_a_fault_changes_its_sensor_and_no_other(
    simrig5: Rig, sound: SimulatedFrame, modality: str, fault: str
) -> None:
    frame = broken(simrig5, modality, fault)
    assert np.array_equal(frame.truth, sound.truth)
    for name in simrig5.names:
        assert np.array_equal(frame.raw[name], sound.raw[name]) == (name != modality)
        assert frame.raw[name].dtype == sound.raw[name].dtype


def detail(image: np.ndarray) -> float:
    """Mean change from pixel to pixel."""
    return float(np.abs(np.diff(image.astype(float), axis=1)).mean())


def test_light_faults(simrig5: Rig, sound: SimulatedFrame) -> None:
    mean = sound.raw["rgb"].mean()
    assert broken(simrig5, "rgb", "over_exposure").raw["rgb"].mean() > 1.3 * mean
    assert broken(simrig5, "rgb", "under_exposure").raw["rgb"].mean() < 0.5 * mean
    assert detail(broken(simrig5, "rgb", "motion_blur").raw["rgb"]) < 0.6 * detail(sound.raw["rgb"])
    assert detail(broken(simrig5, "rgb", "dirty_lens").raw["rgb"]) < 0.95 * detail(sound.raw["rgb"])
    assert detail(broken(simrig5, "rgb", "noisy").raw["rgb"]) > 3 * detail(sound.raw["rgb"])


@pytest.mark.slow
def test_blank_and_frozen_data(simrig5: Rig) -> None:
    for name in simrig5.names:
        blank = broken(simrig5, name, "dead").raw[name]
        assert not blank.size or not blank.any()
        before = SimulatedRig(simrig5, seed=21).capture(SINCE_S, CONDITIONS["day"]).raw[name]
        frozen = broken(simrig5, name, "frozen").raw[name]
        if name == "event":  # the same events, stamped as if they were new
            assert np.array_equal(frozen["t"] - before["t"], np.full(len(before), (TIME_S - SINCE_S) * 1e6))
            frozen, before = frozen[["x", "y", "p"]], before[["x", "y", "p"]]
        assert np.array_equal(frozen, before)


def test_the_shutter_shows_nothing_of_the_street(simrig5: Rig, sound: SimulatedFrame) -> None:
    shutter = broken(simrig5, "thermal", "shutter").raw["thermal"].astype(float)
    assert shutter.std() < 0.1 * sound.raw["thermal"].astype(float).std()


def test_points_and_events(simrig5: Rig, sound: SimulatedFrame) -> None:
    moved = np.linalg.norm(broken(simrig5, "lidar", "lidar_jitter").raw["lidar"] - sound.raw["lidar"], axis=1)
    assert 0.1 < np.median(moved) < 3.0
    coarse = broken(simrig5, "event", "event_low_resolution").raw["event"]
    assert len(coarse) < 0.5 * len(sound.raw["event"])
    assert not (coarse["x"] % 4).any()
    assert not (coarse["y"] % 4).any()
    assert len(broken(simrig5, "event", "noisy").raw["event"]) > 3 * len(sound.raw["event"])


def test_a_knocked_camera_sees_the_street_elsewhere(simrig5: Rig, sound: SimulatedFrame) -> None:
    """The misaligned depth image is another one, of the same street."""
    knocked = broken(simrig5, "depth", "misaligned").raw["depth"].astype(float)
    straight = sound.raw["depth"].astype(float)
    both = (knocked > 0) & (straight > 0)
    assert np.median(np.abs(knocked - straight)[both]) > 150  # millimetres; the noise is far below
    assert np.median(knocked[both]) == pytest.approx(np.median(straight[both]), rel=0.4)


def test_faults_are_refused_that_do_not_apply(simrig5: Rig) -> None:
    with pytest.raises(
        ValueError, match="'shutter' does not apply to a modality of kind rgb; those that do are motion"
    ):
        broken(simrig5, "rgb", "shutter")
