"""Any camera info and any transforms: what is taken over can be computed with, and nothing stops the pipeline."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fuzzing import Stub, changed, clouds, fuzz, image_message, read, run, small_rig, uint32
from hypothesis import assume, given
from hypothesis import strategies as st

from sartm_core.errors import SartmError
from sartm_core.rig import Rig
from sartm_ros.decoding.calibration import Calibrator
from sartm_ros.pipeline import Pipeline

pytestmark = pytest.mark.slow

FROM_ROS = {"calibration": "ros", "camera_info": "/info"}
UNCALIBRATED = small_rig({
    "rgb": {"kind": "rgb", **FROM_ROS},
    "thermal": {"kind": "thermal", "size": [12, 16], **FROM_ROS},
    "nir": {"kind": "nir", "encoding": "counts", "size": [12, 16], **FROM_ROS, "depth_from": "depth"},
    "depth": {"kind": "depth", "size": [12, 16], **FROM_ROS, "depth_from": "depth"},
    "lidar": {"kind": "lidar", "encoding": "projected", "calibration": "ros"},
})  # fmt: skip
FRAMES = {name: f"{name}_optical" for name in UNCALIBRATED.names}

numbers = st.sampled_from([0.0, 1.0, 25.0, -3.0, np.nan, np.inf, -np.inf, 1e300, 5e-324]) | st.floats(-100, 100)
sane = st.floats(20, 100)


def pinhole(fx: float, fy: float, cx: float, cy: float, size: tuple[int, int], **other: Any) -> SimpleNamespace:
    p = np.array([fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1, 0])
    fields = {
        "k": p.reshape(3, 4)[:, :3].ravel(),
        "p": p,
        "d": np.zeros(5),
        "r": np.eye(3).ravel(),
        "distortion_model": "plumb_bob",
        "height": size[0],
        "width": size[1],
    }
    fields["roi"] = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    return SimpleNamespace(**fields | other)


@st.composite
def any_camera_infos(draw: Any, frame_id: str) -> SimpleNamespace:
    header = SimpleNamespace(frame_id=draw(st.just(frame_id) | st.just(frame_id) | st.text(max_size=3)))
    # fx of a millionth of the reference's would let registration by depth draw squares of millions of pixels
    values = [draw(sane | sane | numbers.filter(lambda v: not 0 < v < 5)) for _ in range(4)]
    fields = {
        "p": st.lists(numbers.filter(lambda v: not 0 < v < 5), min_size=12, max_size=12).map(np.array),
        "k": st.lists(numbers.filter(lambda v: not 0 < v < 5), min_size=9, max_size=9).map(np.array),
        "r": st.lists(numbers, min_size=9, max_size=9).map(np.array),
        "distortion_model": st.sampled_from(["", "plumb_bob", "rational_polynomial", "equidistant", "fisheye"]),
        "d": st.lists(numbers, max_size=14).map(np.array), "height": uint32, "width": uint32,
        "roi": st.builds(SimpleNamespace, x_offset=uint32, y_offset=uint32, width=uint32, height=uint32),
    }  # fmt: skip
    return draw(changed(pinhole(*values, (24, 32), header=header), fields))


@st.composite
def transforms(draw: Any) -> SimpleNamespace:
    links = []
    frames = ["base", "mast", *FRAMES.values()]
    for child in draw(st.sets(st.sampled_from(frames))):
        turn = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 4)))
        length = np.linalg.norm(turn)
        turn = turn / length if length > 1e-3 else np.array([0, 0, 0, 1.0])
        if not draw(st.integers(0, 2)):
            nothing, infinite = np.full(4, np.nan), np.full(4, np.inf)
            turn = draw(st.sampled_from([turn * 1.008, turn * 0.992, turn * 3, nothing, infinite, turn * 0]))
        move = draw(st.tuples(*[st.floats(-9, 9) | numbers] * 3) | st.just((0.0, 0.0, 0.0)))
        slash = draw(st.sampled_from(["", "", "/"]))
        links.append(transform(slash + draw(st.sampled_from(frames)), child, move, turn))
    return SimpleNamespace(transforms=links)


def transform(parent: str, child: str, move: Any = (0, 0, 0), turn: Any = (0, 0, 0, 1)) -> SimpleNamespace:
    return SimpleNamespace(
        header=SimpleNamespace(frame_id=parent), child_frame_id=child,
        transform=SimpleNamespace(
            translation=SimpleNamespace(x=float(move[0]), y=float(move[1]), z=float(move[2])),
            rotation=SimpleNamespace(x=float(turn[0]), y=float(turn[1]), z=float(turn[2]), w=float(turn[3])),
        ),
    )  # fmt: skip


def check_calibration(rig: Rig) -> None:
    """Whatever was taken over can be computed with."""
    for modality in rig.modalities:
        if modality.intrinsics is not None:
            assert np.isfinite(modality.intrinsics.matrix).all(), modality.name
            assert np.isfinite(np.linalg.inv(modality.intrinsics.matrix)).all(), modality.name
        if modality.extrinsics is not None:
            pose = modality.extrinsics.matrix
            assert np.isfinite(pose).all(), modality.name
            np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-6)


@fuzz
@given(data=st.data())
def test_any_camera_info_is_taken_or_refused(data: Any) -> None:
    calibrator = Calibrator(UNCALIBRATED)
    for name in data.draw(st.lists(st.sampled_from(UNCALIBRATED.names), max_size=5)):
        message = data.draw(any_camera_infos(FRAMES[name]))
        read(lambda one, of=name: calibrator.camera_info(of, one), message)
        check_calibration(calibrator.rig)


@fuzz
@given(data=st.data())
def test_any_transforms_are_taken_or_passed_over(data: Any) -> None:
    calibrator = Calibrator(UNCALIBRATED)
    for name in UNCALIBRATED.names:
        calibrator.frame(name, FRAMES[name])
    for message in data.draw(st.lists(transforms(), min_size=1, max_size=3)):
        calibrator.transforms(message)
        check_calibration(calibrator.rig)


def test_rotations_that_are_a_little_off_add_up_without_an_exception() -> None:
    calibrator = Calibrator(UNCALIBRATED)
    chain = [FRAMES["rgb"], "mast", "base", FRAMES["lidar"]]
    for name in ("rgb", "lidar"):
        calibrator.frame(name, FRAMES[name])
    links = [transform(*pair, turn=(0, 0, 0, 1.005)) for pair in pairwise(chain)]
    calibrator.transforms(SimpleNamespace(transforms=links))
    assert calibrator.rig.modality("lidar").extrinsics is not None


@pytest.mark.parametrize(
    ("move", "turn"),
    [
        ((0, 0, 0), (np.nan,) * 4),
        ((0, 0, 0), (0, 0, 0, np.nan)),
        ((np.nan, 0, 0), (0, 0, 0, 1)),
        ((0, np.inf, 0), (0, 0, 0, 1)),
    ],
)
def test_transforms_that_are_no_numbers_are_ignored(turn: Any, move: Any) -> None:
    calibrator = Calibrator(UNCALIBRATED)
    for name in ("rgb", "lidar"):
        calibrator.frame(name, FRAMES[name])
    calibrator.transforms(SimpleNamespace(transforms=[transform(FRAMES["rgb"], FRAMES["lidar"], move, turn)]))
    assert calibrator.rig.modality("lidar").extrinsics is None


@pytest.mark.parametrize(
    "values", [(np.inf, np.inf, 1, 1), (25, np.inf, 1, 1), (25, 25, np.nan, 1), (25, 25, 1, np.inf)]
)
def test_a_camera_info_that_is_no_numbers_is_refused(values: tuple[float, ...]) -> None:
    message = pinhole(*values, (12, 16), header=SimpleNamespace(frame_id="f"))
    with pytest.raises(SartmError, match="is not a calibration"):
        Calibrator(UNCALIBRATED).camera_info("thermal", message)


@pytest.mark.slow
@fuzz
@given(data=st.data())
def test_no_calibration_stops_the_pipeline(data: Any) -> None:
    calibrator = Calibrator(UNCALIBRATED)
    for name in UNCALIBRATED.names:
        calibrator.frame(name, FRAMES[name])
        read(lambda one, of=name: calibrator.camera_info(of, one), data.draw(any_camera_infos(FRAMES[name])))
    try:
        for child in FRAMES.values():
            move = data.draw(st.tuples(*[numbers] * 3) | st.just((0.0, 0.0, 0.0)))
            calibrator.transforms(SimpleNamespace(transforms=[transform(FRAMES["rgb"], child, move)]))
        calibrator.transforms(data.draw(transforms()))
    except Exception:
        assume(False)  # another test owns that
    focal = [m.intrinsics.fx for m in calibrator.rig.modalities if m.intrinsics is not None]
    assume(max(focal, default=1) / min(focal, default=1) < 20)  # the next test owns that
    pipeline = Pipeline(calibrator.rig, Stub(UNCALIBRATED))
    grey = image_message(np.arange(192, dtype=np.uint16).reshape(12, 16), "mono16")
    messages = {"thermal": grey, "nir": grey, "depth": image_message(np.full((12, 16), 2000, np.uint16), "16UC1")}
    messages["rgb"] = image_message(np.ones((24, 32, 3), np.uint8), "rgb8")
    messages["lidar"] = data.draw(clouds())[0]
    run(pipeline, messages)


def test_an_identity_for_a_camera_matrix_does_not_stop_the_node() -> None:
    """Drivers of cameras that were never calibrated send zeros or an identity."""
    calibrator = Calibrator(UNCALIBRATED)
    header = SimpleNamespace(frame_id="f")
    calibrator.camera_info("rgb", pinhole(500, 500, 16, 12, (24, 32), header=header))
    read(lambda one: calibrator.camera_info("depth", one), pinhole(1, 1, 0, 0, (12, 16), header=header))
    calibrator.frame("depth", "f")
    calibrator.transforms(SimpleNamespace(transforms=[transform("f", "g")]))
    depth = image_message(np.full((12, 16), 2000, np.uint16), "16UC1")
    result = run(Pipeline(calibrator.rig, Stub(UNCALIBRATED)), {"depth": depth})
    assert "focal length of 1 pixels does not go with" in result.frames.broken["depth"]
