import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from sartm_core.deploy import load_segmenter
from sartm_core.deploy.bundle import FORMAT, WEIGHTS_FILE
from sartm_core.deploy.torch_segmenter import TorchSegmenter
from sartm_core.errors import SartmError
from sartm_core.evaluation.metrics import SegmentationScore
from sartm_core.resources import resolve_bundle
from sartm_core.rig import Rig
from sartm_core.sensing import encode
from sartm_sim.simulation import CONDITIONS, SimulatedFrame, SimulatedRig


@pytest.fixture(scope="module")
def segmenter() -> TorchSegmenter:
    return load_segmenter("any_sensor_simrig5", "torch", "cpu")  # type: ignore[return-value]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(resolve_bundle("any_sensor_simrig5"), tmp_path / "bundle"))


def planes_of(rig: Rig, frame: SimulatedFrame) -> dict[str, np.ndarray]:
    images = SimulatedRig(rig, seed=3).registered(frame)  # projection does not depend on the street
    return {m.name: encode(m, images[m.name], rig.dtype) for m in rig.modalities}


def mean_iou(segmenter: TorchSegmenter, condition: str, names: tuple[str, ...]) -> float:
    """On streets that neither training nor validation has seen."""
    rig = segmenter.bundle.rig
    score = SegmentationScore(len(rig.classes))
    for seed in range(2_000_000_000, 2_000_000_008):
        frame = SimulatedRig(rig, seed).capture(6.0, CONDITIONS[condition])
        planes = planes_of(rig, frame)
        mask = segmenter.segment({name: planes[name] for name in names}).mask
        score.update(mask, frame.truth)
    return score.mean_iou()


@pytest.mark.slow
def test_the_shipped_model_segments(segmenter: TorchSegmenter) -> None:
    names = segmenter.bundle.rig.names
    assert mean_iou(segmenter, "day", names) > 0.5
    assert mean_iou(segmenter, "night", names) > 0.45
    assert mean_iou(segmenter, "night", ("thermal", "depth")) > 0.45
    assert mean_iou(segmenter, "day", ("rgb", "depth")) > 0.45


@pytest.mark.slow
def test_the_shipped_model_trusts_thermal_more_at_night(segmenter: TorchSegmenter) -> None:
    rig = segmenter.bundle.rig
    weights = {}
    for name in ("day", "night"):
        frames = [SimulatedRig(rig, seed).capture(3.0, CONDITIONS[name]) for seed in range(4)]
        routing = np.mean([segmenter.segment(planes_of(rig, frame)).routing.mean(axis=0) for frame in frames], axis=0)
        weights[name] = dict(zip(rig.names, routing, strict=True))
    assert weights["night"]["thermal"] > weights["day"]["thermal"]
    assert weights["night"]["thermal"] > weights["night"]["rgb"]


def test_shipped_weights_are_small() -> None:
    folder = resolve_bundle("any_sensor_simrig5")
    assert {"weights.safetensors", "encoder.onnx", "head.onnx"} <= {file.name for file in folder.iterdir()}
    assert max(file.stat().st_size for file in folder.iterdir()) < 10e6


class TestSegment:
    def test_values_shapes_and_types(self, segmenter: TorchSegmenter, sim_rig: Rig, day_frame: SimulatedFrame) -> None:
        answer = segmenter.segment(planes_of(sim_rig, day_frame))
        assert (answer.mask.dtype, answer.mask.shape) == (np.uint8, (256, 320))
        assert answer.mask.max() < len(sim_rig.classes)
        assert (answer.confidence.dtype, answer.confidence.shape) == (np.float32, (256, 320))
        assert answer.confidence.min() > 1 / len(sim_rig.classes) - 1e-6
        assert answer.confidence.max() <= 1
        assert (answer.routing.dtype, answer.routing.shape) == (np.float32, (3, 5))
        np.testing.assert_allclose(answer.routing.sum(axis=1), 1, rtol=1e-5)

    def test_an_absent_modality_has_weight_zero(
        self, segmenter: TorchSegmenter, sim_rig: Rig, day_frame: SimulatedFrame
    ) -> None:
        planes = planes_of(sim_rig, day_frame)
        del planes["thermal"]
        routing = segmenter.segment(planes).routing
        assert (routing[:, 1] == 0).all()
        np.testing.assert_allclose(routing.sum(axis=1), 1, rtol=1e-5)

    def test_the_mask_has_the_reference_cameras_size(self, segmenter: TorchSegmenter) -> None:
        rgb, thermal = np.zeros((3, 480, 640), np.uint8), np.zeros((3, 120, 160), np.uint8)
        assert segmenter.segment({"rgb": rgb, "thermal": thermal}).mask.shape == (480, 640)
        assert segmenter.segment({"thermal": thermal}).mask.shape == (256, 320)  # the rig's, without the camera
        assert segmenter.segment({"thermal": thermal}, size=(90, 70)).confidence.shape == (90, 70)

    def test_what_a_crop_cuts_off_is_unlabelled(self, copied: Path) -> None:
        """`sartm export --fit crop` says so in the bundle."""
        description = json.loads((copied / "bundle.json").read_text())
        (copied / "bundle.json").write_text(json.dumps({**description, "fit": "crop"}))
        answer = load_segmenter(copied).segment({"rgb": np.full((3, 256, 640), 90, np.uint8)})
        seen = answer.mask != 255
        assert seen[:, 160:480].all()
        assert not seen[:, :160].any()
        assert not seen[:, 480:].any()
        assert (answer.confidence[:, :160] == 0).all()

    def test_a_file_rewritten_in_place_changes_nothing_of_what_runs(
        self, copied: Path, sim_rig: Rig, day_frame: SimulatedFrame
    ) -> None:
        """As scp writes it: a page of a mapped file that has gone would end the process with SIGBUS."""
        running, planes = load_segmenter(copied), planes_of(sim_rig, day_frame)
        before = running.segment(planes)
        assert str(copied) not in Path("/proc/self/maps").read_text()
        (copied / WEIGHTS_FILE).write_bytes(b"")
        after = running.segment(planes)
        np.testing.assert_array_equal(before.confidence, after.confidence)

    def test_answers_do_not_depend_on_the_order_of_keys(
        self, segmenter: TorchSegmenter, sim_rig: Rig, day_frame: SimulatedFrame
    ) -> None:
        planes = planes_of(sim_rig, day_frame)
        backwards = dict(reversed(planes.items()))
        np.testing.assert_array_equal(segmenter.segment(planes).mask, segmenter.segment(backwards).mask)

    @pytest.mark.parametrize(
        ("planes", "expected"),
        [
            ({}, "at least one of rgb, thermal, depth, lidar, event"),
            ({"radar": np.zeros((3, 64, 64), np.uint8)}, "'radar' is not in the bundle; it has rgb"),
            ({"rgb": np.zeros((64, 64, 3), np.uint8)}, r"expected planes \[3, H, W\]"),
            ({"rgb": np.zeros((3, 64, 64), np.int32)}, "of uint8 or float32 .* of int32"),
            ({"rgb": np.full((3, 64, 64), 0.5, np.float64)}, "of uint8 or float32 .* of float64"),
            ({"rgb": np.zeros((3, 0, 64), np.uint8)}, r"got \(3, 0, 64\)"),
            ({"depth": np.full((3, 64, 64), np.nan, np.float32)}, "depth: the planes hold values that are not finite"),
        ],
    )
    def test_wrong_planes(self, segmenter: TorchSegmenter, planes: dict[str, np.ndarray], expected: str) -> None:
        with pytest.raises(SartmError, match=expected):
            segmenter.segment(planes)


class TestBrokenBundles:
    def test_unknown_name(self) -> None:
        with pytest.raises(SartmError, match="'nosuch' was not found.*any_sensor_simrig5"):
            load_segmenter("nosuch")

    def test_no_bundle(self, tmp_path: Path) -> None:
        with pytest.raises(SartmError, match="is not a bundle: it has no bundle.json"):
            load_segmenter(tmp_path)

    def test_missing_weights(self, copied: Path) -> None:
        (copied / "weights.safetensors").unlink()
        with pytest.raises(SartmError, match="weights.safetensors is missing. Copy the whole folder"):
            load_segmenter(copied)

    def test_damaged_weights(self, copied: Path) -> None:
        path = copied / "weights.safetensors"
        content = bytearray(path.read_bytes())
        content[-100] ^= 1
        path.write_bytes(content)
        with pytest.raises(SartmError, match="expected SHA-256 .* the file is damaged"):
            load_segmenter(copied)

    def test_half_written_description(self, copied: Path) -> None:
        path = copied / "bundle.json"
        path.write_text(path.read_text()[:200])
        with pytest.raises(SartmError, match="bundle.json: is no JSON file"):
            load_segmenter(copied)

    def test_another_format(self, copied: Path) -> None:
        path = copied / "bundle.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
        with pytest.raises(SartmError, match=f"expected format {FORMAT}, got 99"):
            load_segmenter(copied)

    def test_unknown_backend_and_device(self) -> None:
        with pytest.raises(SartmError, match="backend 'tensorflow' is unknown"):
            load_segmenter("any_sensor_simrig5", backend="tensorflow")
        with pytest.raises(SartmError, match="device 'tpu' is unknown"):
            load_segmenter("any_sensor_simrig5", device="tpu")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_what_did_not_change_is_not_encoded_again_and_nothing_else_is_kept(backend: str) -> None:
    """A 9 Hz camera in the sets of a 30 Hz one: the very answer of a segmenter that has seen nothing before."""
    slow_camera, fresh = (load_segmenter("any_sensor_simrig5", backend, "cpu") for _ in range(2))
    rig = slow_camera.bundle.rig
    simulated = SimulatedRig(rig, seed=3)
    first, second = (planes_of(rig, simulated.capture(at_s, CONDITIONS["day"])) for at_s in (1.0, 1.1))
    changes = [(), ("rgb",), ("event",), ("rgb", "lidar"), ("thermal", "depth", "event"), rig.names]
    for changed in changes:
        slow_camera.segment(first)
        got = slow_camera.segment({name: (second if name in changed else first)[name] for name in rig.names})
        fresh.segment({"depth": first["depth"]})  # forgets
        wanted = fresh.segment({name: (second if name in changed else first)[name] for name in rig.names})
        assert (got.reused, wanted.reused) == (len(rig.names) - len(changed), 0)
        for one, other in ((got.mask, wanted.mask), (got.confidence, wanted.confidence), (got.routing, wanted.routing)):
            assert np.array_equal(one, other), changed
    slow_camera.segment({name: first[name] for name in ("rgb", "depth")})
    assert slow_camera.segment({name: first[name] for name in ("rgb", "event")}).reused == 0
