"""The Python front door: raw arrays in, mask, weights and states out."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import sartm_core as sartm
from sartm_core.cli import app
from sartm_core.sensing import encode_frame
from sartm_sim.simulation import SimulatedFrame, SimulatedRig

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model() -> sartm.Model:
    return sartm.load("any_sensor_simrig5", rig="sim")


def test_it_is_the_segmenters_answer(model: sartm.Model, day_frame: SimulatedFrame) -> None:
    result = model(day_frame.raw)
    planes = encode_frame(SimulatedRig(model.rig, 3).rig, day_frame.raw, dtype=model.segmenter.bundle.rig.dtype).planes
    wanted = model.segmenter.segment(planes)
    assert np.array_equal(result.mask, wanted.mask)
    assert np.array_equal(result.routing, wanted.routing)
    assert sum(result.weights.values()) == pytest.approx(1, abs=1e-5)
    assert result.weights["lidar"] == 0
    assert {name for name, state in result.states.items() if state == "present"} == {"rgb", "thermal", "depth"}
    assert result.states["event"] == "absent"


def test_a_list_is_a_batch(model: sartm.Model, day_frame: SimulatedFrame) -> None:
    alone = {"thermal": day_frame.raw["thermal"]}
    both = model([day_frame.raw, alone])
    assert np.array_equal(both[1].mask, model(alone).mask)
    assert both[1].weights["thermal"] == pytest.approx(1)


def test_without_the_reference_the_mask_has_the_rigs_size(day_frame: SimulatedFrame) -> None:
    """That of the robot's camera, not of the one that the model was trained with."""
    rig = sartm.load_rig("sim")
    rgb = rig.modality("rgb").model_copy(update={"size": (480, 600)})
    mine = rig.model_copy(update={"modalities": tuple(rgb if m.name == "rgb" else m for m in rig.modalities)})
    model = sartm.load("any_sensor_simrig5", rig=mine)
    assert model({"thermal": day_frame.raw["thermal"]}).mask.shape == (480, 600)


def test_paths_are_read(model: sartm.Model, day_frame: SimulatedFrame, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "rgb.png"), day_frame.raw["rgb"][..., ::-1])
    np.save(tmp_path / "thermal.npy", day_frame.raw["thermal"])
    frame = {name: day_frame.raw[name] for name in ("rgb", "thermal")}
    from_files = model({"rgb": tmp_path / "rgb.png", "thermal": str(tmp_path / "thermal.npy")})
    assert np.array_equal(from_files.mask, model(frame).mask)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({}, "expected at least one of rgb, thermal, depth"),
        ({"radar": np.zeros((4, 4))}, "has no modality 'radar'"),
        ({"rgb": np.zeros((3, 256, 320), np.uint8)}, "expected 1 to 4 channels, got 320"),
        ({"rgb": [[1, 2]]}, "expected a NumPy array or the path of a file, got list"),
        ({"rgb": "nowhere.png"}, "nowhere.png: is missing"),
        ({"rgb": np.zeros((480, 640, 3), np.uint8), "thermal": np.ones((512, 640), np.uint16)}, "another aspect"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(model: sartm.Model, frame: dict, message: str) -> None:
    with pytest.raises(sartm.SartmError, match=message):
        model(frame)


def test_a_broken_modality_can_be_skipped(model: sartm.Model, day_frame: SimulatedFrame) -> None:
    result = model({**day_frame.raw, "depth": np.zeros((256, 320), np.uint8)}, skip_broken=True)
    assert result.states["depth"] == "broken"
    assert "float metres" in result.faults["depth"]
    assert result.weights["depth"] == 0


def test_lidar_points_are_projected(day_frame: SimulatedFrame) -> None:
    """Not an image of N x 4 pixels: weights show that it is used, alone it gives a mask of the reference's size."""
    model = sartm.load("any_sensor_simrig5")
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(5, 40, 4000), rng.uniform(-10, 10, (4000, 2)), rng.uniform(0, 1, 4000)])
    result = model({"lidar": points.astype(np.float32)})
    assert result.mask.shape == model.rig.modality("rgb").size
    assert result.weights["lidar"] == pytest.approx(1)


def test_it_draws_and_saves(model: sartm.Model, day_frame: SimulatedFrame, tmp_path: Path) -> None:
    result = model(day_frame.raw)
    assert result.draw().shape == (*result.mask.shape, 3)
    assert np.array_equal(result.draw(opacity=1.0), result.rig.palette[result.mask])
    result.save(tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as image:
        assert np.array_equal(np.asarray(image), result.mask)  # the values are class ids
        assert np.array_equal(np.asarray(image.convert("RGB")), result.rig.palette[result.mask])


def test_the_command_does_the_same(model: sartm.Model, day_frame: SimulatedFrame, tmp_path: Path) -> None:
    for name in ("rgb", "thermal"):
        (tmp_path / "frames" / name).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "frames" / "rgb" / "a.png"), day_frame.raw["rgb"][..., ::-1])
    cv2.imwrite(str(tmp_path / "frames" / "thermal" / "a.png"), day_frame.raw["thermal"])
    arguments = ["segment", str(tmp_path / "frames"), "--rig", "sim", "--out", str(tmp_path / "masks"), "--overlay"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "1 masks; mean weights: rgb 0." in done.output
    with Image.open(tmp_path / "masks" / "a.png") as image:
        wanted = model({name: day_frame.raw[name] for name in ("rgb", "thermal")})
        assert np.array_equal(np.asarray(image), wanted.mask)
    assert (tmp_path / "masks" / "a_overlay.png").is_file()
    empty = CliRunner().invoke(app, ["segment", str(tmp_path / "masks" / "nosuch"), "--out", str(tmp_path / "x")])
    assert empty.exit_code == 1


def test_the_example_of_the_docs_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "python.md").read_text()
    blocks = [block.split("```")[0] for block in page.split("```python\n")[1:]]
    assert len(blocks) >= 3
    run = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "mask.png").is_file()
