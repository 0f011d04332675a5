"""What a rig file leaves to ROS: intrinsics out of CameraInfo, poses out of /tf_static."""

from types import SimpleNamespace

import numpy as np
import pytest

from sartm_core.calibration import Extrinsics
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


def test_a_camera_that_was_never_calibrated_is_named(rig: Rig, calibrator: Calibrator) -> None:
    message = camera_info(bag_message, rig.modality("rgb").intrinsics, (256, 320), header(bag_message, 1, "f"))
    message.k[:] = 0
    message.p[:] = 0
    with pytest.raises(SartmError, match=r"rgb: its CameraInfo is not a calibration \(fx 0, fy 0\)"):
        calibrator.camera_info("rgb", message)


def test_of_a_distorting_lens_the_rectified_images_are_used(rig: Rig, calibrator: Calibrator) -> None:
    message = camera_info(bag_message, rig.modality("rgb").intrinsics, (256, 320), header(bag_message, 1, "f"))
    message.d[0] = -0.3
    message.k[0] = 500.0  # K is of the raw image, P of the rectified one
    remark = calibrator.camera_info("rgb", message)
    assert "set the rectified topic" in remark
    assert calibrator.rig.modality("rgb").intrinsics.fx == rig.modality("rgb").intrinsics.fx
