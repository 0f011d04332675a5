"""Points, events and images in the reference camera's geometry."""

import cv2
import numpy as np
import pytest

from sartm_core.calibration import Extrinsics, Intrinsics
from sartm_core.errors import SartmError
from sartm_core.rig import Rig, load_rig, rig_from_dict
from sartm_core.sensing import encode, encode_frame
from sartm_core.sensing.events import EVENT
from sartm_core.sensing.lidar import project_points
from sartm_core.sensing.registration import register
from sartm_sim.simulation import CONDITIONS, SimulatedRig

K = np.array([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]])
AXES = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])


class TestProjectPoints:
    def test_range_intensity_height(self) -> None:
        points = np.array([[10.0, 1.0, 2.0, 77.0]])  # ahead, left, up
        image = project_points(points, K, AXES, (80, 100))
        assert image.shape == (3, 80, 100)
        assert image.dtype == np.float32
        v, u = np.argwhere(image[0] > 0)[0]
        assert (u, v) == (40, 20)  # 50 - 100 / 10, 40 - 200 / 10
        assert image[:, v, u].tolist() == pytest.approx([np.sqrt(105), 77.0, 2.0])
        assert (image[0] > 0).sum() == 1

    def test_the_nearest_wins_whatever_the_order(self) -> None:
        points = np.array([[20.0, 0, 0, 2], [5.0, 0, 0, 1], [10.0, 0, 0, 3]])
        for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
            assert project_points(points[order], K, AXES, (80, 100))[:, 40, 50].tolist() == [5.0, 1.0, 0.0]

    def test_what_lies_behind_or_outside_or_is_not_finite_is_left_out(self) -> None:
        points = np.array([[-10.0, 0, 0, 1], [10, 50, 0, 1], [np.nan, 0, 0, 1], [np.inf, 0, 0, 1], [10, 0, 0, np.nan]])
        assert not project_points(points, K, AXES, (80, 100)).any()
        assert not project_points(points[:0], K, AXES, (80, 100)).any()

    def test_floor_at_the_border(self) -> None:
        """u = -0.1 lies outside, not in column 0."""
        left = (50 + 0.1) / 100 * 10
        assert not project_points(np.array([[10.0, left, 0, 1]]), K, AXES, (80, 100)).any()
        assert project_points(np.array([[10.0, left - 0.02, 0, 1]]), K, AXES, (80, 100))[0, 40, 0] > 0


def test_a_quaternion_means_what_ros_means() -> None:
    """90 degrees about z takes x to y."""
    half = np.sqrt(0.5)
    pose = Extrinsics(translation_m=(1, 2, 3), rotation_xyzw=(0, 0, half, half)).matrix
    np.testing.assert_allclose(pose @ [1, 0, 0, 1], [1, 3, 3, 1], atol=1e-12)


def test_a_rotation_that_is_none_is_refused(tmp_path) -> None:
    text = (tmp_path / "rig.yaml").write_text  # the error names the field
    source = "name: r\nreference: rgb\nmodalities:\n  rgb: {kind: rgb, size: [8, 8], topic: /a}\n"
    text(source + "  lidar: {kind: lidar, size: [8, 8], topic: /b, extrinsics: {rotation_xyzw: [1, 1, 0, 0]}}\n"
         "classes: [{name: a, color: [0, 0, 0]}]\n")  # fmt: skip
    with pytest.raises(SartmError, match=r"rotation_xyzw: expected a unit quaternion.* got one of length 1\.4"):
        load_rig(tmp_path / "rig.yaml")


def test_scaled_intrinsics_see_the_same() -> None:
    camera = Intrinsics(fx=247.0, fy=247.0, cx=160.0, cy=128.0)
    half = camera.scaled((256, 320), (128, 160))
    point = np.array([1.0, -0.5, 7.0])
    full_px, half_px = (k.matrix @ point / point[2] for k in (camera, half))
    np.testing.assert_allclose(half_px[:2], full_px[:2] / 2)


def test_points_need_the_references_intrinsics() -> None:
    rig = load_rig("simrig5")
    without = rig.modality("rgb").model_copy(update={"intrinsics": None})
    rig = rig.model_copy(update={"modalities": (without, *rig.modalities[1:])})
    with pytest.raises(SartmError, match=r"'rgb' is the reference and has no intrinsics.*Add intrinsics: \{fx"):
        register(rig, "lidar", {"lidar": np.zeros((1, 5), np.float32)})


def test_events_become_two_counts_and_then_planes() -> None:
    rig = load_rig("simrig5")
    events = np.zeros(3, EVENT)
    events["x"], events["y"], events["p"] = 5, 6, [1, 1, 0]
    planes = encode(rig.modality("event"), register(rig, "event", {"event": events}), rig.dtype)
    assert planes.shape == (3, 256, 320)
    assert planes[:, 6, 5].tolist() == [2.0, 1.0, 0.0]


@pytest.mark.parametrize("name", ["thermal", "depth"])
def test_a_robots_cameras_are_warped_onto_the_reference(name: str) -> None:
    """Far away the warped image agrees with what an aligned camera sees; unwarped it does not."""
    robot = load_rig("simrobot")

    def contrast_where(rig: Rig, warped: bool) -> np.ndarray:
        simulated = SimulatedRig(rig, seed=12)
        frame = simulated.capture(4.0, CONDITIONS["night"])
        image = register(simulated.rig, name, frame.raw) if warped else frame.raw[name]
        return image.astype(float)

    aligned = robot.modality(name).model_copy(update={"intrinsics": None, "extrinsics": None, "size": (256, 320)})
    others = tuple(aligned if m.name == name else m for m in robot.modalities if m.name in ("rgb", name))
    wanted = contrast_where(robot.model_copy(update={"modalities": others}), warped=False)
    got = contrast_where(robot, warped=True)
    assert got.shape == wanted.shape == (256, 320)
    inner = np.s_[40:-60, 40:-40]
    both = (wanted[inner] > 0) & (got[inner] > 0)
    correlation = np.corrcoef(wanted[inner][both], got[inner][both])[0, 1]
    assert correlation > 0.85


WALL_M, BOX_M = 8.0, 2.0
CAMERAS = {"rgb": (96, 128, 100.0), "depth": (48, 64, 50.0), "thermal": (72, 96, 80.0)}
"""Height, width, focal length in pixels."""
ASIDE_M = {"rgb": 0.0, "depth": -0.1, "thermal": 0.3}


def wall_and_box(name: str) -> tuple[np.ndarray, np.ndarray]:
    """What a camera that stands aside sees of a striped box before a wall: range along its axis (m), brightness."""
    height, width, focal = CAMERAS[name]
    v, u = np.mgrid[0:height, 0:width] + 0.5
    right, down = (u - width / 2) / focal, (v - height / 2) / focal
    at_box = right * BOX_M + ASIDE_M[name], down * BOX_M
    box = (abs(at_box[0]) < 0.4) & (abs(at_box[1]) < 0.4)
    stripes = 150 + 100 * np.sin(at_box[0] * 12)
    return np.where(box, BOX_M, WALL_M).astype(np.float32), np.where(box, stripes, 20.0).astype(np.float32)


def wall_and_box_rig(**thermal: object) -> Rig:
    modalities = {}
    for name, (height, width, focal) in CAMERAS.items():
        modalities[name] = {
            "kind": name,
            "size": [height, width],
            "topic": f"/{name}",
            "intrinsics": {"fx": focal, "fy": focal, "cx": width / 2, "cy": height / 2},
            "extrinsics": {"translation_m": [ASIDE_M[name], 0, 0]},
        }
    modalities["depth"]["depth_from"] = "depth"
    modalities["thermal"] |= {"encoding": "kelvin", "plane_m": WALL_M, **thermal}
    content = {
        "name": "r",
        "reference": "rgb",
        "modalities": modalities,
        "classes": [{"name": "a", "color": [0, 0, 0]}],
    }
    return rig_from_dict(content, "rig.yaml")


def inside_of_the_box() -> np.ndarray:
    """The pixels of the reference that see the box, without its edges."""
    return cv2.erode((wall_and_box("rgb")[0] == BOX_M).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0


def test_depth_registers_itself_and_closes_the_gaps_of_a_coarser_sensor() -> None:
    got = register(wall_and_box_rig(), "depth", {"depth": wall_and_box("depth")[0]})
    assert got.shape == (96, 128)
    np.testing.assert_allclose(got[inside_of_the_box()], BOX_M, rtol=1e-5)
    seen = got[:, 10:-10]
    assert (seen > 0).mean() > 0.97


def test_depth_takes_parallax_out_of_a_camera_that_stands_aside() -> None:
    raws = {"depth": wall_and_box("depth")[0], "thermal": wall_and_box("thermal")[1]}
    wanted, box = wall_and_box("rgb")[1], inside_of_the_box()
    by_depth = register(wall_and_box_rig(depth_from="depth"), "thermal", raws)
    by_plane = register(wall_and_box_rig(), "thermal", raws)
    assert by_depth.shape == wanted.shape
    assert abs(by_depth - wanted)[box].mean() < 3
    assert abs(by_plane - wanted)[box].mean() > 30
    assert abs(by_plane - wanted)[6:14, 40:100].max() < 1  # the wall is where plane_m says


def test_without_its_depth_it_falls_back_to_the_plane() -> None:
    raws = {"thermal": wall_and_box("thermal")[1]}
    rig = wall_and_box_rig(depth_from="depth")
    assert np.array_equal(register(rig, "thermal", raws), register(wall_and_box_rig(), "thermal", raws))
    blind = raws | {"depth": np.zeros((48, 64), np.float32)}
    difference = abs(register(rig, "thermal", blind) - register(wall_and_box_rig(), "thermal", raws))
    assert np.median(difference) < 0.1


def test_a_homography_takes_the_sensors_pixels_to_the_references() -> None:
    """As `cv2.findHomography(sensor_points, reference_points)` gives it."""
    rig = wall_and_box_rig(homography=[[1, 0, 20], [0, 1, 5], [0, 0, 1]])
    raw = np.zeros((72, 96), np.float32)
    raw[10, 30] = 7.0
    image = register(rig, "thermal", {"thermal": raw})
    assert image.shape == (96, 128)
    assert image[15, 50] == 7.0


@pytest.mark.parametrize("shift", [20.0, 20.5])
def test_at_the_border_nothing_lies_between_the_image_and_what_was_not_measured(shift: float) -> None:
    """Half of a count is no temperature; percentiles would be spoilt by them."""
    rig = wall_and_box_rig(homography=[[1, 0, shift], [0, 1, 5.5], [0, 0, 1]])
    image = register(rig, "thermal", {"thermal": np.full((72, 96), 29_000, np.uint16)})
    assert set(np.unique(image)) == {0, 29_000}
    assert (image > 0).sum() == pytest.approx(72 * 96, rel=0.03)


def test_a_calibration_for_another_size_is_refused() -> None:
    with pytest.raises(SartmError, match="thermal: its calibration is for images of 72x96 .* got 96x128"):
        register(wall_and_box_rig(), "thermal", {"thermal": np.zeros((96, 128), np.float32)})


def test_a_calibration_that_ros_has_not_given_yet_is_named() -> None:
    rig = wall_and_box_rig(calibration="ros", camera_info="/thermal/camera_info", extrinsics=None)
    raws = {"thermal": wall_and_box("thermal")[1]}
    with pytest.raises(SartmError, match="/tf_static does not connect its frame with that of 'rgb'"):
        register(rig, "thermal", raws)
    known = rig.calibrated("thermal", extrinsics=Extrinsics(translation_m=(0.3, 0, 0)))
    assert np.array_equal(register(known, "thermal", raws), register(wall_and_box_rig(), "thermal", raws))
    with pytest.raises(SartmError, match="no CameraInfo arrived on /thermal/camera_info"):
        register(wall_and_box_rig(calibration="ros", camera_info="/thermal/camera_info", intrinsics=None),
                 "thermal", raws)  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"depth_from": "rgb"}, r"modalities.thermal.depth_from: 'rgb' is not a depth modality with encoding metres"),
        ({"depth_from": "depth", "intrinsics": None}, r"modalities.thermal.intrinsics: needed, since"),
        ({"calibration": "ros", "intrinsics": None}, r"modalities.thermal.camera_info: expected a topic"),
        ({"homography": [[1, 0, 0], [2, 0, 0], [0, 0, 1]]}, r"homography: expected an invertible matrix"),
    ],
)
def test_a_registration_that_cannot_work_is_refused_with_the_rig_file(fields: dict, expected: str) -> None:
    with pytest.raises(SartmError, match=expected):
        wall_and_box_rig(**fields)


def test_a_depth_camera_without_its_calibration_warps_nobody() -> None:
    raws = {"depth": wall_and_box("depth")[0], "thermal": wall_and_box("thermal")[1]}
    rig = wall_and_box_rig(depth_from="depth")
    unknown = {"calibration": "ros", "camera_info": "/depth/camera_info", "intrinsics": None}
    modalities = tuple(m.model_copy(update=unknown) if m.name == "depth" else m for m in rig.modalities)
    waiting = rig.model_copy(update={"modalities": modalities})
    assert np.array_equal(register(waiting, "thermal", raws), register(wall_and_box_rig(), "thermal", raws))


def test_a_homography_needs_no_calibration_of_the_reference() -> None:
    rig = wall_and_box_rig(homography=[[1, 0, 20], [0, 1, 5], [0, 0, 1]])
    unknown = {"calibration": "ros", "camera_info": "/rgb/camera_info", "intrinsics": None}
    modalities = tuple(m.model_copy(update=unknown) if m.name == "rgb" else m for m in rig.modalities)
    waiting = rig.model_copy(update={"modalities": modalities})
    raws = {"rgb": np.zeros((96, 128, 3), np.uint8), "thermal": wall_and_box("thermal")[1]}
    for name in raws:
        assert np.array_equal(register(waiting, name, raws), register(rig, name, raws))


@pytest.mark.parametrize(("dtype", "scale"), [(np.float32, {}), (np.uint16, {"kelvin_per_count": 0.1})])
@pytest.mark.parametrize("encoding", ["kelvin", "window", "percentile"])
def test_outside_of_a_warped_thermal_image_there_is_no_temperature(dtype: type, scale: dict, encoding: str) -> None:
    """Degrees Celsius, also 0: outside, nothing was measured, and it is not 273.15 K."""
    zero_k = 273.15 if dtype is np.float32 else 173.15
    fields = {
        "kind": "thermal",
        "size": [40, 40],
        "topic": "/t",
        "encoding": encoding,
        "kelvin_at_zero": zero_k,
        **scale,
    }
    shifted = {**fields, "homography": [[1, 0, 10], [0, 1, 0], [0, 0, 1]]}
    modalities = {"rgb": {"kind": "rgb", "size": [40, 40], "topic": "/rgb"}, "thermal": shifted}
    classes = [{"name": "road", "color": [1, 2, 3]}]
    rig = rig_from_dict({"name": "t", "reference": "rgb", "modalities": modalities, "classes": classes}, "test")
    celsius = np.linspace(-10, 10, 1600).reshape(40, 40)
    celsius[5, 5] = 0.0
    raw = celsius.astype(np.float32) if dtype is np.float32 else np.round((celsius + 100) * 10).astype(np.uint16)
    frame = encode_frame(rig, {"thermal": raw})
    assert frame.faults == frame.empty == {}
    planes = frame.planes["thermal"]
    assert not planes[:, :, :10].any()
    inside, kelvin = planes[0, :, 10:].astype(float), celsius[:, :30] + 273.15
    if encoding == "kelvin":
        np.testing.assert_allclose(inside, kelvin, atol=0.06)
    elif encoding == "window":
        np.testing.assert_allclose(inside, np.clip((kelvin - 253.15) / 70 * 255, 0, 255), atol=2)
    else:
        assert np.corrcoef(inside.ravel(), kelvin.ravel())[0, 1] > 0.999
        assert inside.max() == 255  # nothing outside was taken for the coldest or the hottest
