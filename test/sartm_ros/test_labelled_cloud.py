"""Labelled points against independent arithmetic: the pinhole model written out for each point."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sartm_core.errors import SartmError
from sartm_core.rig import Rig, load_rig, rig_from_dict
from sartm_core.segmentation import Segmentation
from sartm_core.sensing import encode_frame
from sartm_ros.bag.types import bag_message
from sartm_ros.decoding.calibration import Calibrator
from sartm_ros.decoding.images import header
from sartm_ros.decoding.point_clouds import cloud_points, point_cloud_message
from sartm_ros.frame_sets import FrameSet
from sartm_ros.labelled_cloud import POINT, check_points, labelled_cloud
from sartm_sim.simulation import CONDITIONS, SimulatedRig

SIZE = (4, 6)
LIDAR = {"kind": "lidar", "size": [4, 6], "topic": "/l"}
DEPTH = {"kind": "depth", "size": [4, 6], "topic": "/d"}
K = {"fx": 5.0, "fy": 4.0, "cx": 3.0, "cy": 2.0}


def rig_of(reference: dict[str, Any] | None = None, **modalities: Any) -> Rig:
    camera = {"kind": "rgb", "size": [4, 6], "topic": "/c"} | ({"intrinsics": K} if reference is None else reference)
    classes = [{"name": "road", "color": [1, 2, 3]}, {"name": "car", "color": [250, 100, 7]}]
    content = {"name": "r", "reference": "rgb", "modalities": {"rgb": camera, **modalities}, "classes": classes}
    return rig_from_dict(content, "a test")


def segmentation(rng: np.random.Generator, size: tuple[int, int] = SIZE) -> Segmentation:
    mask = rng.integers(0, 2, size).astype(np.uint8)
    return Segmentation(mask, rng.random(size, np.float32), np.ones((3, 1), np.float32))


def frames_of(rig: Rig, **raws: Any) -> FrameSet:
    """What the pipeline makes of raw arrays."""
    encoded = encode_frame(rig, raws)
    assert not encoded.faults
    states = dict.fromkeys(raws, "present")
    return FrameSet(0, "camera", raws, encoded.images, encoded.measured, {}, encoded.empty, {}, states)


def cloud_of(rig: Rig, of: Segmentation, **options: Any) -> Any:
    raws = {name: options.pop(name) for name in rig.names if name in options}
    return labelled_cloud(rig, frames_of(rig, **raws), of, rig.palette, **options)


def test_each_pixel_of_an_aligned_depth_camera_is_its_point(rng: np.random.Generator) -> None:
    rig, of = rig_of(depth=DEPTH), segmentation(rng)
    depth = rng.integers(500, 9000, SIZE).astype(np.uint16)
    depth[1, 2] = 0
    cloud = cloud_of(rig, of, depth=depth)
    assert (cloud.dtype, cloud.shape) == (POINT, SIZE)
    for row, column in np.ndindex(SIZE):
        point, z = cloud[row, column], depth[row, column] / 1000
        assert point["label"] == of.mask[row, column]
        assert point["confidence"] == of.confidence[row, column]
        blue, green, red, _ = np.frombuffer(point["rgb"].tobytes(), np.uint8)
        assert [red, green, blue] == rig.palette[of.mask[row, column]].tolist()
        if (row, column) == (1, 2):
            assert np.isnan([point["x"], point["y"], point["z"]]).all()
        else:  # CameraInfo has the first pixel's centre at 0, and cx half a pixel smaller
            wanted = ((column - 2.5) / 5 * z, (row - 1.5) / 4 * z, z)
            np.testing.assert_allclose([point["x"], point["y"], point["z"]], wanted, rtol=1e-6)


def test_points_of_a_lidar_have_the_class_of_their_pixel(rng: np.random.Generator) -> None:
    rig, of = rig_of(lidar=LIDAR), segmentation(rng)
    points = np.zeros((500, 4), np.float32)
    points[:, :3] = rng.uniform(-8, 8, (500, 3))  # ahead, left, up
    seen = {}
    for index, (ahead, left, up, _) in enumerate(points.astype(float)):
        if ahead > 0 and 0 <= (u := 3 - 5 * left / ahead) < 6 and 0 <= (v := 2 - 4 * up / ahead) < 4:
            seen[index] = of.mask[int(v), int(u)]
    assert 10 < len(seen) < 400
    cloud = cloud_of(rig, of, lidar=points)
    assert cloud["label"].tolist() == list(seen.values())
    np.testing.assert_allclose(cloud["z"], points[list(seen), 0], rtol=1e-6)
    np.testing.assert_allclose(cloud["x"], -points[list(seen), 1], rtol=1e-6)
    np.testing.assert_allclose(cloud["y"], -points[list(seen), 2], rtol=1e-6)
    every = cloud_of(rig, of, lidar=points, unseen="unlabelled")
    assert every["label"].tolist() == [seen.get(index, 255) for index in range(500)]
    assert (every["confidence"][every["label"] == 255] == 0).all()


def test_a_lidar_as_an_image_shows_the_nearest_point_of_a_pixel(rng: np.random.Generator) -> None:
    rig, of = rig_of(lidar=LIDAR), segmentation(rng)
    points = np.array([[4, 0.1, 0.1, 0], [2, 0.05, 0.05, 0], [3, -0.3, 0.1, 0]], np.float32)
    cloud = cloud_of(rig, of, lidar=points, organised=True)
    assert cloud.shape == SIZE
    assert np.isfinite(cloud["z"]).sum() == 2
    assert cloud["z"][1, 2] == 2
    assert cloud["z"][1, 3] == 3
    np.testing.assert_array_equal(cloud["label"], of.mask)


def test_the_lidar_takes_over_when_the_depth_camera_dies(rng: np.random.Generator) -> None:
    rig, of = rig_of(lidar=LIDAR, depth=DEPTH), segmentation(rng)
    depth, points = np.full(SIZE, 1500, np.uint16), np.array([[2, 0, 0, 0]], np.float32)
    assert cloud_of(rig, of, depth=depth, lidar=points).shape == SIZE
    assert cloud_of(rig, of, lidar=points).shape == (1,)
    assert cloud_of(rig, of, depth=np.zeros(SIZE, np.uint16), lidar=points).shape == (1,)  # it measures nothing
    assert cloud_of(rig, of, rgb=np.zeros((*SIZE, 3), np.uint8)) is None


def test_a_depth_camera_with_its_own_place_is_seen_from_the_reference() -> None:
    """Real parallax of the simulated robot: ranges of labelled points beside those that the street really has."""
    simulated = SimulatedRig(load_rig("simrobot"), seed=3)
    frame, rig = simulated.capture(2.0, CONDITIONS["day"]), simulated.rig
    of = Segmentation(frame.truth, np.ones(frame.truth.shape, np.float32), np.ones((3, 5), np.float32))
    cloud = labelled_cloud(rig, frames_of(rig, depth=frame.raw["depth"]), of, rig.palette)
    assert cloud is not None
    road = (cloud["label"] == rig.class_names.index("road")) & (cloud["z"] < 8)
    assert road.sum() > 1000
    height = cloud["y"][road]  # below the camera: the road is a plane
    assert np.percentile(np.abs(height - np.median(height)), 90) < 0.12


def test_a_mask_of_another_size_than_the_rig_says_keeps_the_view(rng: np.random.Generator) -> None:
    rig, of = rig_of(depth=DEPTH), segmentation(rng, (8, 12))
    cloud = cloud_of(rig, of, depth=np.full(SIZE, 2000, np.uint16))
    assert cloud.shape == (8, 12)
    np.testing.assert_allclose([cloud["x"][0, 0], cloud["y"][0, 0]], [(0.5 - 6) / 10 * 2, (0.5 - 4) / 8 * 2])


@pytest.mark.parametrize(
    ("rig", "expected"),
    [
        (rig_of(), "labelled points need a depth camera with encoding metres and no homography, or a LiDAR"),
        (rig_of(depth=DEPTH | {"encoding": "image"}), "it has rgb, depth. Add one to the rig file"),
        (rig_of({}, depth=DEPTH), "need the calibration of 'rgb', the reference. Add camera_info: <its topic>"),
        (rig_of(depth=DEPTH | {"size": [4, 4]}), "depth: its image is 4x4 (height x width), that of the reference"),
    ],
)
def test_a_rig_that_cannot_give_points_is_told_why(rig: Rig, expected: str) -> None:
    with pytest.raises(SartmError) as caught:
        check_points(rig)
    assert expected in str(caught.value)


def test_depth_of_another_aspect_than_the_rig_says_gives_no_points(rng: np.random.Generator) -> None:
    with pytest.raises(SartmError, match="depth: its image is 4x4 .* with another aspect it does not show the same"):
        cloud_of(rig_of(depth=DEPTH), segmentation(rng), depth=np.full((4, 4), 900, np.uint16))


def test_the_references_camera_info_is_enough() -> None:
    rig = rig_of({"camera_info": "/c/info"}, depth=DEPTH)
    check_points(rig)
    calibrator = Calibrator(rig)
    roi = SimpleNamespace(width=0, height=0, x_offset=0, y_offset=0)
    p = np.array([[5, 0, 2.5, 0], [0, 4, 1.5, 0], [0, 0, 1, 0]], float)
    info = SimpleNamespace(
        header=SimpleNamespace(frame_id="c"), p=p.ravel(), k=p[:, :3].ravel(), d=[], height=4, width=6, roi=roi
    )
    calibrator.camera_info("rgb", info)
    assert calibrator.rig.modality("rgb").intrinsics == rig_of(depth=DEPTH).modality("rgb").intrinsics


def test_a_cloud_reads_back_as_any_cloud(rng: np.random.Generator) -> None:
    cloud = cloud_of(rig_of(depth=DEPTH), segmentation(rng), depth=rng.integers(0, 9, SIZE).astype(np.uint16))
    message = point_cloud_message(bag_message, cloud, header(bag_message, 5, "camera"))
    measured = cloud[np.isfinite(cloud["z"])]
    assert (message.height, message.width, message.is_dense) == (4, 6, False)
    np.testing.assert_array_equal(cloud_points(message)[:, 2], measured["z"])
    assert [(f.name, f.offset, f.datatype) for f in message.fields] == [
        ("x", 0, 7), ("y", 4, 7), ("z", 8, 7), ("rgb", 12, 7), ("label", 16, 2), ("confidence", 20, 7),
    ]  # fmt: skip
