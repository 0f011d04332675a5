"""Raw arrays of one instant to registered planes: every caller comes this way."""

import ast
from pathlib import Path

import numpy as np
import pytest

from sartm_core.errors import SartmError
from sartm_core.rig import Rig, load_rig
from sartm_core.sensing import encode, encode_frame
from sartm_core.sensing.registration import check_same_view
from sartm_sim.simulation import SimulatedFrame, SimulatedRig

ROOT = Path(__file__).resolve().parents[3]


def test_it_is_registration_and_then_encoding(sim_rig: Rig, day_frame: SimulatedFrame) -> None:
    simulated = SimulatedRig(sim_rig, seed=3)
    found = encode_frame(simulated.rig, day_frame.raw)
    assert found.faults == {}
    for name, image in simulated.registered(day_frame).items():
        assert np.array_equal(found.images[name], image)
        assert np.array_equal(found.planes[name], encode(sim_rig.modality(name), image, sim_rig.dtype))


def test_a_broken_array_costs_its_modality_only(sim_rig: Rig, day_frame: SimulatedFrame) -> None:
    found = encode_frame(sim_rig, {**day_frame.raw, "rgb": np.zeros(7), "depth": np.zeros((256, 320), np.uint8)})
    assert set(found.planes) == set(found.images) == {"thermal"}
    assert "expected an image [H, W]" in found.faults["rgb"]
    assert "16-bit counts or of float metres" in found.faults["depth"]


def test_lidar_points_are_projected_not_taken_for_an_image() -> None:
    """A point 10 m ahead, in the LiDAR's own axes, lies at the principal point."""
    rig = SimulatedRig(load_rig("simrig5"), seed=0).rig  # with the simulator's intrinsics
    lidar = rig.modality("lidar").model_copy(update={"extrinsics": None})
    rig = rig.model_copy(update={"modalities": tuple(lidar if m.name == "lidar" else m for m in rig.modalities)})
    points = np.array([[10.0, 0.0, 0.0, 42.0]], np.float32)
    camera = rig.modality(rig.reference)
    assert camera.intrinsics is not None
    found = encode_frame(rig, {"lidar": points})
    assert found.faults == {}
    row, column = int(camera.intrinsics.cy), int(camera.intrinsics.cx)
    assert found.planes["lidar"][:, row, column].tolist() == [10.0, 42.0, 0.0]
    assert (found.planes["lidar"][0] > 0).sum() == 1
    assert "are projected by" in encode_frame(rig, {"lidar": points}, registered=True).faults["lidar"]


def test_an_image_of_another_view_is_refused() -> None:
    """Of another aspect, without a calibration: stretching it would lay it beside what it shows."""
    rig, rgb = load_rig("rgbt"), np.zeros((480, 640, 3), np.uint8)
    with pytest.raises(SartmError, match="thermal: its image is 512x640 .* 480x640: with another aspect"):
        check_same_view(rig, {"rgb": rgb, "thermal": np.zeros((512, 640), np.uint16)})
    check_same_view(rig, {"rgb": rgb, "thermal": np.full((240, 320), 9, np.uint16)})


def test_nobody_else_encodes() -> None:
    """`encode` is called where a frame is encoded, nowhere else in the packages."""
    callers = []
    for package in ("sartm_core", "sartm_ros", "sartm_sim", "training"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "encode":
                    callers.append(str(path.relative_to(ROOT)))
    assert callers == ["sartm_core/sensing/encoding.py"]
