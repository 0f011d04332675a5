import hashlib
import subprocess
import sys

import numpy as np
import pytest

from sartm_core.errors import SartmError
from sartm_core.rig import Rig, load_rig
from sartm_core.simulation import CONDITIONS, SimulatedFrame, SimulatedRig
from sartm_core.simulation.raycast import Camera, cast, normals
from sartm_core.simulation.scenario import load_scenario
from sartm_core.simulation.scene import BOX, CAR, CLASS_NAMES, ELLIPSOID, PERSON, SKY, Primitives, generate_scene
from sartm_core.simulation.view import look

DIGEST = """
import hashlib
from sartm_core.rig import load_rig
from sartm_core.simulation import CONDITIONS, SimulatedRig
frame = SimulatedRig(load_rig("sim"), seed=11, size=(64, 96)).capture(1.5, CONDITIONS["fog"])
print(hashlib.sha256(b"".join(a.tobytes() for a in (*frame.raw.values(), frame.truth))).hexdigest())
"""


def digest(frame: SimulatedFrame) -> str:
    return hashlib.sha256(b"".join(a.tobytes() for a in (*frame.raw.values(), frame.truth))).hexdigest()


def test_the_same_seed_gives_the_same_bytes_in_another_process(sim_rig: Rig) -> None:
    here = digest(SimulatedRig(sim_rig, seed=11, size=(64, 96)).capture(1.5, CONDITIONS["fog"]))
    there = subprocess.run([sys.executable, "-c", DIGEST], check=True, capture_output=True, text=True).stdout.strip()
    assert there == here
    assert digest(SimulatedRig(sim_rig, seed=12, size=(64, 96)).capture(1.5, CONDITIONS["fog"])) != here


def test_what_a_driver_would_deliver(day_frame: SimulatedFrame) -> None:
    described = {name: (array.dtype.name, array.shape) for name, array in day_frame.raw.items()}
    assert described == {
        "rgb": ("uint8", (256, 320, 3)),
        "thermal": ("uint16", (256, 320)),
        "depth": ("uint16", (256, 320)),
    }
    assert day_frame.truth.dtype == np.uint8
    assert day_frame.truth.max() < len(CLASS_NAMES)


def test_every_class_occurs(sim_rig: Rig) -> None:
    seen: set[int] = set()
    for seed in range(6):
        seen |= set(np.unique(SimulatedRig(sim_rig, seed).capture(5.0, CONDITIONS["day"]).truth).tolist())
    assert seen == set(range(len(CLASS_NAMES)))


def test_modalities_obey_physics(sim_rig: Rig) -> None:
    """Persons glow at night and in fog, fog hides from RGB what is far, the sky has no depth."""
    glow_k: dict[str, list[float]] = {"night": [], "fog": []}
    rgb_left_in_fog, sky_depth = [], []
    for seed in range(8):
        rig = SimulatedRig(sim_rig, seed)
        frames = {name: rig.capture(4.0, condition) for name, condition in CONDITIONS.items()}
        truth, depth_m = frames["day"].truth, look(generate_scene(seed), 4.0, rig.size).depth_m
        for name, contrasts in glow_k.items():
            thermal = frames[name].raw["thermal"].astype(float) / 100
            if (truth == PERSON).sum() > 100:
                contrasts.append(np.median(thermal[truth == PERSON]) - np.median(thermal[truth < 2]))
        far = (depth_m > 30) & np.isfinite(depth_m)
        spread = {name: frames[name].raw["rgb"][far].astype(float).std() for name in ("day", "fog")}
        rgb_left_in_fog.append(spread["fog"] / spread["day"])
        sky_depth.append(frames["day"].raw["depth"][truth == SKY].max(initial=0))
    assert np.median(glow_k["night"]) > 3.0
    assert np.median(glow_k["fog"]) > 2.0
    assert np.median(rgb_left_in_fog) < 0.3
    assert max(sky_depth) == 0


def test_motion_is_continuous(sim_rig: Rig) -> None:
    rig = SimulatedRig(sim_rig, seed=5)
    truths = [rig.capture(t, CONDITIONS["day"]).truth for t in (2.0, 2.05, 8.0)]
    near, far = (truths[0] == truths[1]).mean(), (truths[0] == truths[2]).mean()
    assert near > 0.97
    assert near > far


class TestRaycast:
    """Against closed forms."""

    @staticmethod
    def one(shape: int, centre: tuple[float, float, float], half: tuple[float, float, float]) -> Primitives:
        row = np.zeros((1, 3))
        return Primitives(
            shape=np.array([shape], np.int8),
            centre=np.array([centre]),
            half=np.array([half]),
            velocity=row,
            class_id=np.array([CAR], np.uint8),
            albedo=row,
            own_heat_k=np.zeros(1),
            windows=np.zeros(1),
        )

    camera = Camera(100, 200, 100.0, np.array([0.0, -1.5, 0.0]))

    def test_a_box_ahead(self) -> None:
        hits = cast(self.camera, self.one(BOX, (0, -1.5, 10), (2, 1, 1)))
        seen = hits.primitive == 0
        assert hits.depth[50, 100] == pytest.approx(9.0)
        # front face at 9 m: 2 x 2 m and 2 x 1 m, focal length 100 px
        assert seen.any(axis=0).sum() == pytest.approx(4 / 9 * 100, abs=1.01)
        assert seen.any(axis=1).sum() == pytest.approx(2 / 9 * 100, abs=1.01)
        np.testing.assert_array_equal(
            normals(self.camera, self.one(BOX, (0, -1.5, 10), (2, 1, 1)), hits)[50, 100], [0, 0, -1]
        )

    def test_a_sphere_ahead(self) -> None:
        hits = cast(self.camera, self.one(ELLIPSOID, (0, -1.5, 10), (2, 2, 2)))
        assert hits.depth[50, 100] == pytest.approx(8.0, abs=0.01)
        silhouette = 2 * 100 * 2 / np.sqrt(10**2 - 2**2)
        assert (hits.primitive == 0).any(axis=0).sum() == pytest.approx(silhouette, abs=1.5)

    def test_ground_and_sky(self) -> None:
        hits = cast(self.camera, self.one(BOX, (0, 0, -50), (1, 1, 1)))
        row = 75
        assert hits.depth[row, 0] == pytest.approx(1.5 / ((row + 0.5 - 50) / 100))
        assert np.isinf(hits.depth[:50]).all()

    def test_the_nearer_one_is_seen(self) -> None:
        near, far = self.one(BOX, (0, -1.5, 5), (1, 1, 1)), self.one(BOX, (0, -1.5, 20), (9, 9, 1))
        both = Primitives(*(np.concatenate([getattr(far, f), getattr(near, f)]) for f in near.__dataclass_fields__))
        hits = cast(self.camera, both)
        assert hits.primitive[50, 100] == 1
        assert hits.primitive[50, 140] == 0


def test_rigs_that_cannot_be_simulated_are_refused() -> None:
    with pytest.raises(SartmError, match="no model for 'event'"):
        SimulatedRig(load_rig("deliver"), seed=1)
    with pytest.raises(SartmError, match="draws the classes road, sidewalk"):
        SimulatedRig(load_rig("mfnet"), seed=1)


def test_unknown_names_in_a_scenario_are_refused(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nphases:\n  - {name: a, seconds: 2, condition: snow}\n")
    with pytest.raises(SartmError, match=r"phases\.0\.condition: expected one of day, night, fog, got 'snow'"):
        load_scenario(str(path))


def test_scenario_time_line() -> None:
    scenario = load_scenario("demo")
    assert scenario.seconds == 20
    assert [scenario.index_at(t) for t in (0, 3.99, 4.0, 19.9, 20.0)] == [0, 0, 1, 4, None]
    unplugged = {name for phase in scenario.phases for name in phase.unplugged}
    assert unplugged == {"rgb", "thermal"}
