"""What a rig file leaves to ROS: intrinsics out of CameraInfo, poses out of /tf_static."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sartm_core.calibration import Extrinsics, Intrinsics
from sartm_core.errors import SartmError
from sartm_core.rig import Rig, load_rig
from sartm_ros.bag.types import bag_message
from sartm_ros.decoding.calibration import Calibrator
from sartm_ros.decoding.images import header
from sartm_sim.messages import camera_info, frame_id, static_transforms


@pytest.fixture
def rig() -> Rig:
    return load_rig("simrobot")


@pytest.fixture
def calibrator(rig: Rig) -> Calibrator:
    """Of the same robot, with everything left to ROS."""
    fields = {"calibration": "ros", "intrinsics": None, "extrinsics": None}
    blank = tuple(modality.model_copy(update=fields) for modality in rig.modalities)
    return Calibrator(rig.model_copy(update={"modalities": blank}))


def stamped(parent: str, child: str, pose: Extrinsics) -> SimpleNamespace:
    move = dict(zip("xyz", pose.translation_m, strict=True))
    turn = dict(zip("xyzw", pose.rotation_xyzw, strict=True))
    transform = SimpleNamespace(translation=SimpleNamespace(**move), rotation=SimpleNamespace(**turn))
    return SimpleNamespace(header=SimpleNamespace(frame_id=parent), child_frame_id=child, transform=transform)


def test_what_the_simulated_robot_publishes_gives_its_rig_file_back(rig: Rig, calibrator: Calibrator) -> None:
    assert calibrator.wants_transforms
    for modality in rig.modalities:
        calibrator.frame(modality.name, frame_id(rig, modality.name))
        if modality.intrinsics is not None:
            stamp = header(bag_message, 1, frame_id(rig, modality.name))
            calibrator.camera_info(modality.name, camera_info(bag_message, modality.intrinsics, modality.size, stamp))
    calibrator.transforms(static_transforms(bag_message, rig, 1.5, 1))
    for wanted, got in zip(rig.modalities, calibrator.rig.modalities, strict=True):
        assert got.intrinsics == wanted.intrinsics
        if wanted.extrinsics is not None:
            np.testing.assert_allclose(got.extrinsics.matrix, wanted.extrinsics.matrix, atol=1e-6)


def test_frames_are_connected_over_the_robots_body(calibrator: Calibrator) -> None:
    """Camera and LiDAR both hang on base_link, given in several messages; the product is compared with matrices."""
    camera = Extrinsics(translation_m=(0.2, 0.1, 1.0), rotation_xyzw=(-0.5, 0.5, -0.5, 0.5))
    mast = Extrinsics(translation_m=(-0.3, 0, 0.8), rotation_xyzw=(0, 0, np.sin(0.1), np.cos(0.1)))
    lidar = Extrinsics(translation_m=(0, 0, 0.4))
    calibrator.frame("rgb", "camera_optical")
    calibrator.frame("lidar", "/velodyne")
    calibrator.transforms(SimpleNamespace(transforms=[stamped("base_link", "camera_optical", camera)]))
    calibrator.transforms(SimpleNamespace(transforms=[stamped("mast", "velodyne", lidar)]))
    assert calibrator.rig.modality("lidar").extrinsics is None
    calibrator.transforms(SimpleNamespace(transforms=[stamped("base_link", "mast", mast)]))
    wanted = np.linalg.inv(camera.matrix) @ mast.matrix @ lidar.matrix
    np.testing.assert_allclose(calibrator.rig.modality("lidar").extrinsics.matrix, wanted, atol=1e-12)


def test_what_the_rig_file_says_stays(rig: Rig) -> None:
    calibrator = Calibrator(rig)
    assert not calibrator.wants_transforms
    stamp = header(bag_message, 1, "somewhere")
    other = camera_info(bag_message, rig.modality("thermal").intrinsics, rig.modality("rgb").size, stamp)
    calibrator.camera_info("rgb", other)
    assert calibrator.rig == rig


def test_intrinsics_follow_the_size_of_the_images(rig: Rig, calibrator: Calibrator) -> None:
    """CameraInfo of the full sensor, images at half its size."""
    full = rig.modality("rgb").intrinsics.scaled((256, 320), (512, 640))
    calibrator.camera_info("rgb", camera_info(bag_message, full, (512, 640), header(bag_message, 1, "f")))
    assert calibrator.rig.modality("rgb").intrinsics == rig.modality("rgb").intrinsics


@pytest.mark.parametrize("binning", [1, 2])
@pytest.mark.parametrize(("left", "top"), [(0, 0), (400, 300)])
def test_a_part_of_the_sensor_that_is_binned(calibrator: Calibrator, left: int, top: int, binning: int) -> None:
    """As sensor_msgs/CameraInfo defines it: P is of the full resolution; `roi` is cut from it, then it is binned.

    Where a point falls is computed with the full sensor's P, by pixels: whose part, and whose block of it, is it?
    """
    fx, fy, cx, cy = 900.0, 910.0, 640.5, 480.5
    message = camera_info(bag_message, Intrinsics(fx=fx, fy=fy, cx=cx, cy=cy), (960, 1280), header(bag_message, 1, "f"))
    message.p[:] = [fx, 0, cx - 0.5, 0, 0, fy, cy - 0.5, 0, 0, 0, 1, 0]
    if left:
        message.roi.x_offset, message.roi.y_offset, message.roi.width, message.roi.height = left, top, 640, 512
    message.binning_x = message.binning_y = binning
    size = (512 // binning, 640 // binning) if left else (960 // binning, 1280 // binning)
    calibrator.rig = calibrator.rig.model_copy(
        update={
            "modalities": tuple(
                m.model_copy(update={"size": size}) if m.name == "rgb" else m for m in calibrator.rig.modalities
            )
        }
    )
    calibrator.camera_info("rgb", message)
    x, y, z = 0.371, 0.21, 2.0
    column, row = round(fx * x / z + cx - 0.5), round(fy * y / z + cy - 0.5)  # of the full sensor
    wanted = (row - top) // binning, (column - left) // binning
    got = calibrator.rig.modality("rgb").intrinsics.matrix @ [x, y, z]
    assert (int(got[1] / got[2]), int(got[0] / got[2])) == wanted


@pytest.mark.parametrize("which", ["thermal", "rgb"])
def test_a_stereo_pair_that_shares_a_frame(calibrator: Calibrator, rig: Rig, which: str) -> None:
    """P's fourth column is -fx * baseline: the right camera is that far to the right in the left one's frame."""
    for name in ("rgb", "thermal"):
        intrinsics = rig.modality(name).intrinsics
        message = camera_info(bag_message, intrinsics, rig.modality(name).size, header(bag_message, 1, "left_optical"))
        if name == which:
            message.p[3] = -intrinsics.fx * 0.12
        calibrator.camera_info(name, message)
        calibrator.frame(name, "left_optical")
    wanted = 0.12 if which == "thermal" else -0.12
    extrinsics = calibrator.rig.modality("thermal").extrinsics
    np.testing.assert_allclose(extrinsics.translation_m, (wanted, 0, 0), atol=1e-9)
    np.testing.assert_allclose(extrinsics.rotation_xyzw, (0, 0, 0, 1), atol=1e-9)


OPTICAL = Extrinsics(rotation_xyzw=(-0.5, 0.5, -0.5, 0.5))


def test_the_frame_of_the_images_counts(calibrator: Calibrator, rig: Rig) -> None:
    """AirSim#3532: CameraInfo in the body's frame, images in the optical one: extrinsics flipped between them."""
    tree = [
        stamped("base", "body", Extrinsics()),
        stamped("body", "optical", OPTICAL),
        stamped("base", "lidar", Extrinsics()),
    ]
    calibrator.transforms(SimpleNamespace(transforms=tree))
    calibrator.frame("lidar", "lidar")
    message = camera_info(bag_message, rig.modality("rgb").intrinsics, (256, 320), header(bag_message, 1, "body"))
    calibrator.camera_info("rgb", message)
    for _ in range(2):
        calibrator.frame("rgb", "optical")
        np.testing.assert_allclose(
            calibrator.rig.modality("lidar").extrinsics.matrix, np.linalg.inv(OPTICAL.matrix), atol=1e-9
        )
        remark = calibrator.camera_info("rgb", message)
        assert remark == "its CameraInfo is in frame 'body', its images are in 'optical': that of the images counts."
        np.testing.assert_allclose(
            calibrator.rig.modality("lidar").extrinsics.matrix, np.linalg.inv(OPTICAL.matrix), atol=1e-9
        )


def test_a_frame_has_the_parent_that_was_published_last(calibrator: Calibrator) -> None:
    """geometry2#370: as tf2, which keeps one parent per frame."""
    calibrator.frame("rgb", "optical")
    calibrator.frame("lidar", "lidar")
    above = Extrinsics(translation_m=(0, 0, 1.3))
    calibrator.transforms(SimpleNamespace(transforms=[stamped("optical", "lidar", above)]))
    assert calibrator.rig.modality("lidar").extrinsics.translation_m == (0, 0, 1.3)
    links = [
        stamped("mast", "lidar", Extrinsics()),
        stamped("optical", "mast", Extrinsics(translation_m=(0.5, 0, 2.3))),
    ]
    calibrator.transforms(SimpleNamespace(transforms=links))
    np.testing.assert_allclose(calibrator.rig.modality("lidar").extrinsics.translation_m, (0.5, 0, 2.3))


def test_a_camera_that_was_never_calibrated_is_named(rig: Rig, calibrator: Calibrator) -> None:
    message = camera_info(bag_message, rig.modality("rgb").intrinsics, (256, 320), header(bag_message, 1, "f"))
    message.k[:] = 0
    message.p[:] = 0
    with pytest.raises(SartmError, match=r"rgb: its CameraInfo is not a calibration \(fx 0, fy 0\)"):
        calibrator.camera_info("rgb", message)


def distorted(rig: Rig, model: str, coefficients: list[float]) -> Any:
    message = camera_info(bag_message, rig.modality("rgb").intrinsics, (256, 320), header(bag_message, 1, "f"))
    message.distortion_model, message.d = model, np.array(coefficients)
    message.k[0] = 500.0  # K is of the raw image, P of the rectified one
    return message


def test_a_lens_that_distorts_is_corrected_unless_the_rig_file_forbids_it(rig: Rig, calibrator: Calibrator) -> None:
    message = distorted(rig, "plumb_bob", [-0.3, 0, 0, 0, 0])
    assert "rectified by it" in calibrator.camera_info("rgb", message)
    rgb = calibrator.rig.modality("rgb")
    assert rgb.intrinsics.fx == rig.modality("rgb").intrinsics.fx
    assert rgb.lens.camera.fx == 500.0
    assert rgb.lens.camera.cx == rig.modality("rgb").intrinsics.cx
    assert calibrator.camera_info("rgb", message) is None  # said once
    never = tuple(m.model_copy(update={"rectify": "never", "lens": None}) for m in calibrator.rig.modalities)
    blank = tuple(m.model_copy(update={"intrinsics": None, "calibration": "ros"}) for m in never)
    other = Calibrator(rig.model_copy(update={"modalities": blank}))
    assert other.camera_info("rgb", message) is None
    assert other.rig.modality("rgb").lens is None


def test_a_model_of_distortion_that_is_not_known_is_told(rig: Rig, calibrator: Calibrator) -> None:
    remark = calibrator.camera_info("rgb", distorted(rig, "thin_prism", [-0.3] * 12))
    assert "'thin_prism' with 12 coefficients, which is not corrected" in remark
    assert calibrator.rig.modality("rgb").lens is None
