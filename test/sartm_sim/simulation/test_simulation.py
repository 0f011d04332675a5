import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from sartm_core.calibration import Extrinsics, Intrinsics
from sartm_core.errors import SartmError
from sartm_core.rig import Rig, load_rig
from sartm_core.sensing import encode
from sartm_sim.simulation import CONDITIONS, SimulatedFrame, SimulatedRig
from sartm_sim.simulation.geometry import LIDAR_AZIMUTHS_RAD, Camera
from sartm_sim.simulation.raycast import cast
from sartm_sim.simulation.scene import (
    BOX,
    CAR,
    CLASS_NAMES,
    CYLINDER,
    ELLIPSOID,
    PERSON,
    SCENE_LENGTH_M,
    SKY,
    TAPER,
    Primitives,
)
from sartm_sim.simulation.sensors import event, light
from sartm_sim.simulation.street import generate_scene
from sartm_sim.simulation.view import look

DIGEST = """
import hashlib
from sartm_core.rig import load_rig
from sartm_sim.simulation import CONDITIONS, SimulatedRig
frame = SimulatedRig(load_rig("simrig5"), seed=11, size=(64, 96)).capture(1.5, CONDITIONS["rain"])
print(hashlib.sha256(b"".join(a.tobytes() for a in (*frame.raw.values(), frame.truth))).hexdigest())
"""


@pytest.fixture(scope="module")
def simrig5() -> Rig:
    return load_rig("simrig5")


def digest(frame: SimulatedFrame) -> str:
    return hashlib.sha256(b"".join(a.tobytes() for a in (*frame.raw.values(), frame.truth))).hexdigest()


def test_the_same_seed_gives_the_same_bytes_in_another_process(simrig5: Rig) -> None:
    here = digest(SimulatedRig(simrig5, seed=11, size=(64, 96)).capture(1.5, CONDITIONS["rain"]))
    there = subprocess.run([sys.executable, "-c", DIGEST], check=True, capture_output=True, text=True).stdout.strip()
    assert there == here
    assert digest(SimulatedRig(simrig5, seed=12, size=(64, 96)).capture(1.5, CONDITIONS["rain"])) != here


def test_what_a_driver_would_deliver(simrig5: Rig) -> None:
    frame = SimulatedRig(simrig5, seed=3).capture(2.0, CONDITIONS["day"])
    images = {name: (array.dtype.name, array.shape) for name, array in frame.raw.items() if array.ndim > 1}
    points = images.pop("lidar")
    assert images == {
        "rgb": ("uint8", (256, 320, 3)),
        "thermal": ("uint16", (256, 320)),
        "depth": ("uint16", (256, 320)),
    }
    assert points[0] == "float32"
    assert points[1][0] > 5000
    assert points[1][1] == 5
    events = frame.raw["event"]
    assert 500 < len(events) < 50_000
    assert (np.diff(events["t"]) >= 0).all()
    assert events["t"].min() >= 1_970_000
    assert events["t"].max() < 2_000_000
    assert frame.truth.dtype == np.uint8
    assert frame.truth.max() < len(CLASS_NAMES)


def test_eight_bit_thermal_and_float_depth(simrig5: Rig) -> None:
    """The other forms that drivers deliver show the same."""
    grey = simrig5.modality("thermal").model_copy(update={"encoding": "image"})
    others = tuple(
        grey if m.name == "thermal" else m for m in simrig5.modalities if m.name in ("rgb", "thermal", "depth")
    )
    rig = simrig5.model_copy(update={"modalities": others})
    plain = SimulatedRig(simrig5.only(["rgb", "thermal", "depth"]), seed=3).capture(2.0, CONDITIONS["day"])
    other = SimulatedRig(rig, seed=3, float_depth=True).capture(2.0, CONDITIONS["day"])
    assert other.raw["thermal"].dtype == np.uint8
    assert np.corrcoef(other.raw["thermal"].ravel(), plain.raw["thermal"].ravel())[0, 1] > 0.97
    metres, millimetres = other.raw["depth"], plain.raw["depth"]
    assert metres.dtype == np.float32
    held = millimetres > 0
    np.testing.assert_allclose(metres[held] * 1000, millimetres[held], atol=1)
    assert (np.isnan(metres) | (metres > 65.5))[~held].all()
    planes = [encode(simrig5.modality("depth"), raw)[0][held] for raw in (metres, millimetres)]
    np.testing.assert_allclose(planes[0], planes[1], atol=0.001)


@pytest.mark.slow
@pytest.mark.parametrize("novel", [False, True])
def test_every_class_occurs(simrig5: Rig, novel: bool) -> None:
    seen: set[int] = set()
    for seed in range(12):
        frame = SimulatedRig(simrig5, seed, novel=novel).capture(5.0, CONDITIONS["day"])
        seen |= set(np.unique(frame.truth).tolist())
    assert seen == set(range(len(CLASS_NAMES)))


def test_a_rig_with_fewer_classes_gets_the_broader_ones(sim_rig: Rig, simrig5: Rig) -> None:
    fine = SimulatedRig(simrig5, seed=10).capture(5.0, CONDITIONS["day"]).truth
    new = {"marking", "sign", "cyclist", "animal", "cone"}
    sim_rig = sim_rig.model_copy(update={"classes": tuple(c for c in sim_rig.classes if c.name not in new)})
    coarse = SimulatedRig(sim_rig, seed=10, size=(256, 320)).capture(5.0, CONDITIONS["day"]).truth
    ids = {name: index for index, name in enumerate(CLASS_NAMES)}
    # The two rigs' cameras differ by a hair; so the shares are compared, not the pixels.
    road = np.isin(fine, [ids["road"], ids["marking"]]).mean()
    assert (coarse == sim_rig.class_names.index("road")).mean() == pytest.approx(road, abs=0.01)
    unlisted = np.isin(fine, [ids["animal"], ids["cone"]]).mean()
    assert unlisted > 0.001
    assert (coarse == 255).mean() == pytest.approx(unlisted, rel=0.2)


@pytest.mark.slow
def test_cameras_obey_physics(simrig5: Rig) -> None:
    """Persons glow at night and in fog, fog hides from RGB what is far, the sky has no depth, dark events are noisy."""
    glow_k: dict[str, list[float]] = {"night": [], "fog": [], "rain": []}
    rgb_left_in_fog, sky_depth, night_light = [], [], []
    for seed in range(8):
        rig = SimulatedRig(simrig5, seed)
        frames = {name: rig.capture(4.0, condition) for name, condition in CONDITIONS.items()}
        truth = frames["day"].truth
        camera = rig.rays(rig.rig.modality("rgb"))
        depth_m = look(generate_scene(seed), camera, 4.0).ahead_m
        for name, contrasts in glow_k.items():
            thermal = frames[name].raw["thermal"].astype(float) / 100
            if (truth == PERSON).sum() > 100:
                contrasts.append(np.median(thermal[truth == PERSON]) - np.median(thermal[truth < 3]))
        far = (depth_m > 30) & np.isfinite(depth_m)
        spread = {name: frames[name].raw["rgb"][far].astype(float).std() for name in ("day", "fog")}
        rgb_left_in_fog.append(spread["fog"] / spread["day"])
        night_light.append(frames["night"].raw["rgb"].mean() / frames["day"].raw["rgb"].mean())
        sky_depth.append(frames["day"].raw["depth"][truth == SKY].max(initial=0))
    assert all(np.median(contrasts) > 2.0 for contrasts in glow_k.values()), glow_k
    assert np.median(rgb_left_in_fog) < 0.3
    assert np.median(night_light) < 0.4
    assert max(sky_depth) == 0


def test_lidar_points_land_on_their_class(simrig5: Rig) -> None:
    """Projected with the published calibration; the class of a point is that of the shot that made it."""
    agree = []
    for seed in range(6):
        rig, time_s = SimulatedRig(simrig5, seed), 3.0 + seed
        frame, modality = rig.capture(time_s, CONDITIONS["day"]), rig.rig.modality("lidar")
        points = frame.raw["lidar"]
        shot = np.arctan2(-points[:, 1], points[:, 0]) - LIDAR_AZIMUTHS_RAD[0]
        shot = np.round(shot / (LIDAR_AZIMUTHS_RAD[1] - LIDAR_AZIMUTHS_RAD[0])).astype(int)
        own = look(generate_scene(seed), rig.rays(modality), time_s).truth[points[:, 4].astype(int), shot]
        assert modality.extrinsics is not None
        camera = points[:, :3] @ modality.extrinsics.matrix[:3, :3].T + modality.extrinsics.matrix[:3, 3]
        u, v, w = (camera @ rig.intrinsics("rgb").matrix.T).T
        column, row = np.floor(u / w).astype(int), np.floor(v / w).astype(int)
        inside = (column >= 0) & (column < 320) & (row >= 0) & (row < 256)
        assert inside.mean() > 0.4
        agree.append((frame.truth[row[inside], column[inside]] == own[inside]).mean())
    assert np.mean(agree) > 0.97


def test_events_agree_with_the_change_of_brightness(simrig5: Rig) -> None:
    agree = []
    for seed in range(4):
        rig, end_s = SimulatedRig(simrig5, seed), 3.0 + seed
        rays = rig.rays(rig.rig.modality("event"))
        times = end_s - 0.03 + np.arange(4) * 0.01
        scene = generate_scene(seed)
        levels = [event.log_brightness(light.radiance(look(scene, rays, t), CONDITIONS["day"])) for t in times]
        change = np.diff(np.stack(levels), axis=0)
        events = rig.capture(end_s, CONDITIONS["day"]).raw["event"]
        step = np.clip((events["t"] * 1e-6 - times[0]) // 0.01, 0, 2).astype(int)
        agree.append(((change[step, events["y"], events["x"]] > 0) == (events["p"] == 1)).mean())
    assert np.mean(agree) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rgb", "thermal", "depth", "lidar", "event"])
def test_no_modality_gives_the_answer_away(simrig5: Rig, name: str) -> None:
    """A logistic classifier of single pixels stays under 0.35 mIoU, even on the frames that it was fitted to."""
    values, truths = [], []
    for seed in range(10):
        rig = SimulatedRig(simrig5, seed, size=(96, 128))
        frame = rig.capture(2.0 + seed, CONDITIONS["day"])
        modality = rig.rig.modality(name)
        values.append(encode(modality, rig.registered(frame)[name], np.dtype(np.float32)).reshape(3, -1).T)
        truths.append(frame.truth.ravel())
    x, y = torch.from_numpy(np.concatenate(values)), torch.from_numpy(np.concatenate(truths)).long()
    x = (x - x.mean(dim=0)) / (x.std(dim=0) + 1e-6)
    torch.manual_seed(0)
    classifier = torch.nn.Linear(3, len(CLASS_NAMES))
    optimizer = torch.optim.LBFGS(classifier.parameters(), max_iter=60)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(classifier(x), y)
        value.backward()
        return value

    optimizer.step(loss)
    chosen = classifier(x).argmax(dim=1)
    ious = [((chosen == c) & (y == c)).sum() / ((chosen == c) | (y == c)).sum() for c in range(len(CLASS_NAMES))]
    assert torch.stack(ious).nanmean() < 0.35


def test_motion_is_continuous(sim_rig: Rig) -> None:
    rig = SimulatedRig(sim_rig, seed=5)
    truths = [rig.capture(t, CONDITIONS["day"]).truth for t in (2.0, 2.05, 8.0)]
    near, far = (truths[0] == truths[1]).mean(), (truths[0] == truths[2]).mean()
    assert near > 0.95
    assert near > far + 0.1


def test_the_street_has_no_seam(simrig5: Rig) -> None:
    """Around the length after which the street repeats itself nothing jumps."""
    rig = SimulatedRig(simrig5, seed=5, size=(128, 160))
    seam_s = SCENE_LENGTH_M / generate_scene(5).ego_speed_mps
    before, after = (rig.capture(seam_s + shift, CONDITIONS["day"]).truth for shift in (-0.02, 0.02))
    assert (before == after).mean() > 0.95


def test_sensors_of_a_robot_have_parallax() -> None:
    """Half a metre to the right a pixel at depth z moves by f * 0.5 / z: near things more than far ones."""
    street = generate_scene(15)
    optics = Intrinsics(fx=247.0, fy=247.0, cx=160.0, cy=128.0)
    rig = load_rig("simrobot")
    thermal = rig.modality("thermal").model_copy(
        update={"intrinsics": optics, "extrinsics": Extrinsics(translation_m=(0.5, 0.0, 0.0)), "size": (256, 320)}
    )
    simulated = SimulatedRig(rig.model_copy(update={"modalities": (rig.modality("rgb"), thermal)}), seed=15)
    left, right = (look(street, simulated.rays(m), 5.0) for m in simulated.rig.modalities)
    row, column = np.nonzero((left.truth == CAR) & (left.ahead_m < 25))
    moved = np.floor(column + 0.5 - 247.0 * 0.5 / left.ahead_m[row, column]).astype(int)
    inside = moved >= 0
    row, column, moved = row[inside], column[inside], moved[inside]
    assert len(row) > 300
    np.testing.assert_allclose(np.median(np.abs(right.ahead_m[row, moved] - left.ahead_m[row, column])), 0, atol=0.05)
    assert (right.truth[row, moved] == CAR).mean() > 0.9
    assert (right.truth[row, column] == CAR).mean() < 0.9


class TestRaycast:
    """Against closed forms."""

    @staticmethod
    def one(
        shape: int, centre: tuple[float, float, float], half: tuple[float, float, float], yaw: float = 0.0
    ) -> Primitives:
        row = np.zeros((1, 3))
        return Primitives(
            shape=np.array([shape], np.int8),
            centre=np.array([centre]),
            half=np.array([half]),
            yaw=np.array([yaw]),
            velocity=row,
            class_id=np.array([CAR], np.uint8),
            albedo=row,
            reflectivity=np.zeros(1),
            own_heat_k=np.zeros(1),
            emissivity=np.ones(1),
            lamp=row,
            material=np.zeros(1, np.int8),
            windows=np.zeros(1),
        )

    @staticmethod
    def camera(rotation: np.ndarray | None = None) -> Camera:
        pose = np.eye(4)
        pose[1, 3] = -1.5
        if rotation is not None:
            pose[:3, :3] = rotation
        return Camera((100, 200), Intrinsics(fx=100.0, fy=100.0, cx=100.0, cy=50.0), pose)

    def test_a_box_ahead(self) -> None:
        hits = cast(self.camera(), self.one(BOX, (0, -1.5, 10), (2, 1, 1)))
        seen = hits.primitive == 0
        assert hits.depth[50, 100] == pytest.approx(9.0)
        # front face at 9 m: 2 x 2 m and 2 x 1 m, focal length 100 px
        assert seen.any(axis=0).sum() == pytest.approx(4 / 9 * 100, abs=1.01)
        assert seen.any(axis=1).sum() == pytest.approx(2 / 9 * 100, abs=1.01)

    def test_a_box_turned_by_a_quarter(self) -> None:
        straight = cast(self.camera(), self.one(BOX, (1, -1.5, 10), (2, 1, 0.5)))
        turned = cast(self.camera(), self.one(BOX, (1, -1.5, 10), (0.5, 1, 2), yaw=np.pi / 2))
        np.testing.assert_allclose(straight.depth, turned.depth, rtol=1e-4)

    def test_a_box_turned_by_an_eighth_shows_its_edge(self) -> None:
        hits = cast(self.camera(), self.one(BOX, (0, -1.5, 10), (1, 1, 1), yaw=np.pi / 4))
        assert hits.depth[50, 100] == pytest.approx(10 - np.sqrt(2), abs=0.05)

    def test_a_sphere_ahead(self) -> None:
        hits = cast(self.camera(), self.one(ELLIPSOID, (0, -1.5, 10), (2, 2, 2)))
        assert hits.depth[50, 100] == pytest.approx(8.0, abs=0.01)
        silhouette = 2 * 100 * 2 / np.sqrt(10**2 - 2**2)
        assert (hits.primitive == 0).any(axis=0).sum() == pytest.approx(silhouette, abs=1.5)

    def test_a_cylinder_and_a_cone(self) -> None:
        cylinder = cast(self.camera(), self.one(CYLINDER, (0, -1.5, 10), (2, 1, 2)))
        assert cylinder.depth[50, 100] == pytest.approx(8.0, abs=0.01)
        # Its lid lies 1 m above the camera: on the axis the near rim, 8 m away, is the last that is seen.
        assert (cylinder.primitive == 0).any(axis=1).argmax() == pytest.approx(50 - 1 / 8 * 100, abs=1.01)
        cone = cast(self.camera(), self.one(TAPER, (0, -1.5, 10), (2, 1, 2)))
        # Half way up the radius is half.
        assert cone.depth[50, 100] == pytest.approx(9.0, abs=0.05)
        widths = (cone.primitive == 0).sum(axis=1)
        assert widths[50] == pytest.approx(2 * 100 * 1 / np.sqrt(10**2 - 1), abs=2.5)
        assert widths[41] < widths[50] < widths[59]

    def test_a_camera_that_is_turned(self) -> None:
        """Yawed by 0.2 rad to the right it sees a box ahead 100 tan(0.2) pixels to the left, at another depth."""
        cos, sin = np.cos(0.2), np.sin(0.2)
        yaw = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
        camera = self.camera(yaw)
        hits = cast(camera, self.one(BOX, (0, -1.5, 10), (0.5, 0.5, 0.01)))
        columns = np.flatnonzero((hits.primitive == 0).any(axis=0))
        assert columns.mean() + 0.5 == pytest.approx(100 - 100 * np.tan(0.2), abs=1.0)
        middle = round(columns.mean())
        assert (hits.depth / camera.axial)[50, middle] == pytest.approx(10 * cos, rel=0.01)

    def test_ground_and_sky(self) -> None:
        hits = cast(self.camera(), self.one(BOX, (0, 0, -50), (1, 1, 1)))
        row = 75
        assert hits.depth[row, 0] == pytest.approx(1.5 / ((row + 0.5 - 50) / 100))
        assert np.isinf(hits.depth[:50]).all()

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_the_nearer_one_is_seen(self, order: tuple[int, int]) -> None:
        pair = (self.one(BOX, (0, -1.5, 5), (1, 1, 1)), self.one(BOX, (0, -1.5, 20), (9, 9, 1)))
        first, second = (pair[index] for index in order)
        both = Primitives(
            *(np.concatenate([getattr(first, f), getattr(second, f)]) for f in first.__dataclass_fields__)
        )
        hits = cast(self.camera(), both)
        assert order[hits.primitive[50, 100]] == 0
        assert order[hits.primitive[50, 140]] == 1


def test_rigs_that_cannot_be_simulated_are_refused(simrig5: Rig) -> None:
    with pytest.raises(SartmError, match="'lidar' needs encoding 'projected', not 'image'|'depth' needs encoding"):
        SimulatedRig(load_rig("deliver"), seed=1)
    with pytest.raises(SartmError, match="does not draw a class 'unlabeled'.*It draws road, marking"):
        SimulatedRig(load_rig("mfnet"), seed=1)
    with pytest.raises(SartmError, match="no model for 'polarization' of kind polarization"):
        SimulatedRig(load_rig("mcubes"), seed=1)


def test_novel_streets_differ_in_shape_texture_and_layout() -> None:
    plain, novel = generate_scene(3), generate_scene(3, novel=True)
    assert set(plain.things.shape[plain.things.class_id == CAR]) == {BOX}
    assert CYLINDER in novel.things.shape[novel.things.class_id == CAR]
    assert len(plain.crossings_s) == 0
    assert len(novel.crossings_s) > 0
    s = np.arange(0, SCENE_LENGTH_M)
    bends = {new: [np.abs(generate_scene(seed, new).bend.heading(s)).max() for seed in range(20)] for new in (0, 1)}
    assert np.mean(bends[0]) < 0.7 * np.mean(bends[1])
    camera = SimulatedRig(load_rig("sim"), 3, size=(64, 80)).rays(load_rig("sim").modality("rgb"))
    grain = [look(replace(plain, novel=new), camera, 2.0).texture for new in (False, True)]
    assert np.abs(grain[0] - grain[1]).mean() > 0.05
