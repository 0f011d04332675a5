import pytest

from sartm_core.errors import SartmError
from sartm_core.rig import load_rig
from sartm_sim.simulation.faults import FAULTS
from sartm_sim.simulation.scenario import load_scenario


def written(tmp_path, phase: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: mine\nphases:\n  - {{name: a, seconds: 2, condition: day}}\n  - {phase}\n")
    return str(path)


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        (
            "{name: b, seconds: 2, condition: snow}",
            r"phases\.1\.condition: expected one of day, dusk, night, fog, rain, low_sun, got 'snow'",
        ),
        (
            "{name: b, seconds: 2, condition: fog, faults: {rgb: blurry}}",
            r"phases\.1\.faults: rgb: 'blurry' is unknown, expected one of motion_blur, over_exposure, .*shutter",
        ),
        ("{name: b, seconds: 2, condition: fog, wind: 3}", r"phases\.1\.wind"),
        ("{name: b, seconds: 0, condition: fog}", r"phases\.1\.seconds"),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(tmp_path, phase: str, message: str) -> None:
    with pytest.raises(SartmError, match=message):
        load_scenario(written(tmp_path, phase))


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        (
            "{name: b, seconds: 2, condition: fog, unplugged: [lidar]}",
            r"phases\.1: rig 'sim' has no modality 'lidar'. It has: rgb, thermal, depth",
        ),
        (
            "{name: b, seconds: 2, condition: fog, faults: {depth: shutter}}",
            r"phases\.1\.faults\.depth: 'shutter' does not apply to a modality of kind depth; those that do are dead",
        ),
    ],
)
def test_what_does_not_fit_the_rig_is_refused(tmp_path, phase: str, message: str) -> None:
    scenario = load_scenario(written(tmp_path, phase))
    with pytest.raises(SartmError, match=message):
        scenario.check_fits(load_rig("sim"))


def test_time_line() -> None:
    scenario = load_scenario("demo")
    assert scenario.seconds == 20
    assert [scenario.index_at(t) for t in (0, 3.99, 4.0, 19.9, 20.0)] == [0, 0, 1, 4, None]
    assert {name for phase in scenario.phases for name in phase.unplugged} == {"rgb", "thermal"}


def test_a_fault_that_goes_on_began_with_its_first_phase(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    frozen = "faults: {rgb: frozen}"
    path.write_text(
        "name: mine\nphases:\n  - {name: a, seconds: 2, condition: day}\n"
        f"  - {{name: b, seconds: 3, condition: day, {frozen}}}\n"
        f"  - {{name: c, seconds: 3, condition: fog, {frozen}}}\n"
    )
    scenario = load_scenario(str(path))
    assert scenario.broken_at(1.0) == {}
    assert [scenario.broken_at(t)["rgb"].since_s for t in (2.5, 7.0)] == [2.0, 2.0]


def test_the_shipped_scenario_shows_every_fault() -> None:
    scenario = load_scenario("faults")
    scenario.check_fits(load_rig("simrobot"))
    assert {name for phase in scenario.phases for name in phase.faults.values()} == set(FAULTS)
