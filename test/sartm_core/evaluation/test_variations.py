"""What each protocol presents: subsets, MLE-SAM's noise, and the public robustness benchmark."""

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from untrained import untrained_bundle

from sartm_core.deploy import load_segmenter
from sartm_core.deploy.bundle import Bundle, Graphs, read_bundle
from sartm_core.deploy.torch_segmenter import TorchSegmenter
from sartm_core.errors import SartmError
from sartm_core.evaluation import robustness_benchmark as benchmark
from sartm_core.evaluation.outcome import LabelledSet
from sartm_core.evaluation.protocols import expand, variations_of
from sartm_core.evaluation.scoring import Scoring
from sartm_core.evaluation.sensor_loss import expectation
from sartm_core.files import sha256
from sartm_core.kinds import Modality
from sartm_core.learning.export import describe
from sartm_core.rig import Rig, load_rig
from sartm_core.segmentation import Segmentation
from sartm_core.sensing import Fit

Shown = dict[tuple[str, str], dict[str, NDArray]]


def presented(modalities: tuple[Modality, ...], planes: dict[str, NDArray], *protocols: str) -> Shown:
    rng = np.random.default_rng(0)
    return {(way.group, way.name): way.change(planes, rng) for way in variations_of(protocols, modalities)}


@pytest.fixture(scope="module")
def deliver() -> Rig:
    return load_rig("deliver")


@pytest.fixture(scope="module")
def pictures(deliver: Rig) -> dict[str, NDArray]:
    rng = np.random.default_rng(5)
    return {name: rng.integers(0, 256, (3, 48, 64)).astype(np.uint8) for name in deliver.names}


def test_every_subset_once_under_both_protocols(deliver: Rig, pictures: dict[str, NDArray]) -> None:
    shown = presented(deliver.modalities, pictures, "subsets")
    assert len(shown) == 1 + 2 * 14
    assert set(shown["drop", "rgb+depth"]) == {"rgb", "depth"}
    zero = shown["zero", "rgb+depth"]
    assert set(zero) == set(deliver.names)
    assert not zero["lidar"].any()
    assert np.array_equal(zero["rgb"], pictures["rgb"])


def test_all_leaves_out_what_needs_float_planes() -> None:
    assert expand(["all"]) == ("clean", "subsets", "noise", "conditions", "faults")
    assert expand(["clean", "all", "emm"])[-1] == "emm"
    with pytest.raises(SartmError, match=r"protocol 'emn' is unknown\. Known: clean, .*rmm, nm, all"):
        expand(["emn"])


class TestNoise:
    def test_is_as_strong_as_the_paper_says(self, deliver: Rig) -> None:
        grey = {name: np.full((3, 64, 64), 120, np.uint8) for name in deliver.names}
        shown = presented(deliver.modalities, grey, "noise")
        gaussian = shown["noise", "lidar gaussian"]["lidar"].astype(float) - 120
        uniform = shown["noise", "lidar uniform"]["lidar"].astype(float) - 120
        assert gaussian.std() == pytest.approx(50, rel=0.05)
        assert abs(uniform).max() <= 100
        assert uniform.std() == pytest.approx(100 / np.sqrt(3), rel=0.05)
        assert np.array_equal(shown["noise", "lidar gaussian"]["rgb"], grey["rgb"])

    @pytest.mark.parametrize(
        ("rig", "name", "expected"),
        [
            ("simrig5", "depth", (80, 80, 80)),  # max_range_m
            ("simrig5", "lidar", (60, 255, 10)),  # full_scale
            ("simrig5", "event", (5, 5, 5)),
            ("mcubes", "polarization", (2, 2, 1)),  # sine, cosine, degree
            ("simrig5", "thermal", (255, 255, 255)),
        ],
    )
    def test_has_the_scale_that_the_rig_states(self, rig: str, name: str, expected: tuple[float, ...]) -> None:
        """An image that is empty, or filled below 1 %, has the same noise as any other: once it had none."""
        modality = load_rig(rig).modality(name)
        level = 120 if modality.eight_bit else 0
        planes = {name: np.full((3, 64, 64), level, np.uint8 if modality.eight_bit else np.float32)}
        changed = presented((modality,), planes, "noise")["noise", f"{name} gaussian"][name].astype(np.float64) - level
        assert changed.std(axis=(1, 2)) == pytest.approx(np.array(expected) * 50 / 255, rel=0.06)

    def test_of_kelvin_is_a_share_of_the_window(self) -> None:
        thermal = load_rig("simrig5").modality("thermal").model_copy(update={"encoding": "kelvin"})
        scene = {"thermal": np.full((3, 64, 64), 290, np.float32)}
        changed = presented((thermal,), scene, "noise")["noise", "thermal gaussian"]["thermal"] - 290
        assert changed.std() == pytest.approx((323.15 - 253.15) * 50 / 255, rel=0.05)

    def test_without_a_scale_is_refused(self) -> None:
        lidar = load_rig("simrig5").modality("lidar").model_copy(update={"full_scale": None})
        with pytest.raises(SartmError, match=r"lidar: its planes have no stated scale.*full_scale"):
            variations_of(["noise"], [lidar])


class TestBenchmark:
    """Expected values: by the definitions in arXiv 2503.18445 and its evaluation code's rules, in plain torch."""

    def tensor(self, name: str, planes: NDArray) -> torch.Tensor:
        """DELIVER's lineage: RGB by ImageNet's statistics, the others divided by 255."""
        tensor = torch.from_numpy(planes.astype(np.float32)) / 255
        if name != "rgb":
            return tensor
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        return (tensor - mean[:, None, None]) / std[:, None, None]

    def test_emm_makes_the_normalised_image_zero(self, deliver: Rig, pictures: dict[str, NDArray]) -> None:
        shown = presented(deliver.modalities, pictures, "emm")
        assert len(shown) == 1 + 14
        for (group, name), planes in shown.items():
            if group == "clean":
                continue
            assert set(planes) == set(deliver.names)  # lost sensors are encoded
            for sensor in deliver.names:
                tensor = self.tensor(sensor, planes[sensor])
                if sensor in name.split("+"):
                    assert np.array_equal(planes[sensor], pictures[sensor])
                else:
                    assert tensor.abs().max() < 1e-6

    def test_emm_of_rgb_is_not_a_black_image(self, deliver: Rig, pictures: dict[str, NDArray]) -> None:
        lost = presented(deliver.modalities, pictures, "emm")["emm", "depth+event+lidar"]["rgb"]
        assert lost[:, 0, 0] == pytest.approx([123.675, 116.28, 103.53], abs=1e-4)

    @pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
    def test_rmm_zeroes_this_share_of_elements(self, deliver: Rig, pictures: dict[str, NDArray], ratio: float) -> None:
        planes = presented(deliver.modalities, pictures, "rmm")[f"rmm_{ratio:g}", "rgb+event"]
        for sensor in ("depth", "lidar"):
            before, after = self.tensor(sensor, pictures[sensor]), self.tensor(sensor, planes[sensor])
            gone = (after.abs() < 1e-6) & (before != 0)
            assert float(gone.float().mean()) == pytest.approx(ratio, abs=0.02)
            assert torch.allclose(after[~gone], before[~gone], atol=1e-6)
            assert gone[0].ne(gone[1]).any()  # elements, not pixels
        assert np.array_equal(planes["event"], pictures["event"])

    def test_rmm_of_the_same_seed(self) -> None:
        tensor = torch.randn(1, 3, 20, 30)
        torch.manual_seed(11)
        expected = tensor.clone()
        expected[torch.rand(tensor.shape) < 0.5] = 0
        found = benchmark.elements_zeroed(tensor, 0.5, torch.Generator().manual_seed(11))
        assert torch.equal(found, expected)

    def test_nm_of_the_same_seed(self) -> None:
        """First ceil(density x elements / 2) draws of the maximum, one index per axis in turn, then of the minimum."""
        tensor = torch.randn(1, 3, 20, 30)
        torch.manual_seed(3)
        expected, count = tensor.clone(), 90  # 0.1 x 1800 / 2
        axes = [torch.randint(0, side, (count,)) for side in (1, 3, 20, 30)]
        expected[axes[0], axes[1], axes[2], axes[3]] = tensor.max()
        axes = [torch.randint(0, side, (count,)) for side in (1, 3, 20, 30)]
        expected[axes[0], axes[1], axes[2], axes[3]] = tensor.min()
        expected = expected + torch.randn(1, 3, 20, 30) * 0.2
        generator = torch.Generator().manual_seed(3)
        found = benchmark.gaussian(benchmark.salt_and_pepper(tensor, 0.1, generator), 0.2, generator)
        assert torch.allclose(found, expected, atol=1e-6)

    @pytest.mark.parametrize(
        ("level", "density", "deviation"), [("low", 0.05, 0.1), ("mid", 0.1, 0.2), ("high", 0.2, 0.5)]
    )
    def test_nm_shakes_all_but_events(
        self, deliver: Rig, pictures: dict[str, NDArray], level: str, density: float, deviation: float
    ) -> None:
        planes = presented(deliver.modalities, pictures, "nm")["nm", level]
        for sensor in deliver.names:
            before, after = self.tensor(sensor, pictures[sensor]), self.tensor(sensor, planes[sensor])
            if sensor == "event":
                assert float((before != after).float().mean()) == pytest.approx(density, abs=0.02)
                continue
            middle = (after - before).abs() < 4 * deviation  # mostly what no salt or pepper hit
            assert float((after - before)[middle].std()) == pytest.approx(deviation, rel=0.3)
            assert after.max() > before.max() + deviation  # nothing is clipped

    def test_expectation_over_four_sensors(self) -> None:
        names = ("rgb", "depth", "event", "lidar")
        rng = np.random.default_rng(2)
        scores = {"+".join(kept): rng.random() for size in range(1, 5) for kept in combinations(names, size)}
        total = weight = 0.0
        for name, score in scores.items():
            lost = 3 - name.count("+")
            probability = 0.2**lost * 0.8 ** (4 - lost)
            total, weight = total + score * probability, weight + probability
        assert weight == pytest.approx(1 - 0.2**4)  # all four lost has no answer
        assert expectation(scores, names, 0.2) == pytest.approx(total / weight)


@dataclass
class Watched:
    """A segmenter whose masks are kept."""

    bundle: Bundle
    segmenter: TorchSegmenter
    masks: list[NDArray[np.uint8]]
    backend: str = "watched"

    def segment(self, planes: dict[str, NDArray], size: tuple[int, int] | None = None) -> Segmentation:
        result = self.segmenter.segment(planes, size)
        self.masks.append(result.mask)
        return result


@pytest.mark.slow
class TestOnTheNetwork:
    """What the protocols damage is what the network reads."""

    @torch.inference_mode()
    def test_normalised_zeros_reach_it(self, deliver: Rig, tmp_path: Path) -> None:
        """8-bit sensors, at another size than the network's: compared with the network on a tensor set to zero."""
        segmenter = load_segmenter(untrained_bundle(tmp_path / "bundle", deliver, size=(64, 64)), float_planes=True)
        assert isinstance(segmenter, TorchSegmenter)
        rng = np.random.default_rng(0)
        planes = {name: rng.integers(0, 256, (3, 100, 80)).astype(np.uint8) for name in deliver.names}
        masks: list[NDArray[np.uint8]] = []
        watched = Watched(segmenter.bundle, segmenter, masks)
        truth = rng.integers(0, 25, (100, 80)).astype(np.uint8)
        Scoring(watched, deliver, ["emm"]).add(LabelledSet("one", {}, planes, truth))
        case = [way.name for way in variations_of(["emm"], deliver.modalities)].index("depth")
        rows = torch.zeros(1, 4, 3, 64, 64)
        rows[0, 0] = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
        for plane in range(3):
            small = cv2.resize(planes["depth"][plane], (64, 64), interpolation=cv2.INTER_NEAREST_EXACT)
            rows[0, deliver.names.index("depth"), plane] = torch.from_numpy(small)
        scores = segmenter.network(rows, torch.ones(1, 4, dtype=torch.bool)).logits[0].numpy()
        expected, _ = Fit("stretch", (100, 80), (64, 64)).segment(scores)
        assert (masks[case] == expected).mean() > 0.999
        assert (masks[0] == expected).mean() < 0.99

    def test_graphs_of_8_bit_are_refused(self, deliver: Rig, tmp_path: Path) -> None:
        folder = untrained_bundle(tmp_path / "bundle", deliver, size=(64, 64))
        empty = onnx.helper.make_model(onnx.helper.make_graph([], "never run", [], []))
        for name in ("encoder.onnx", "head.onnx"):
            onnx.save(empty, folder / name)
        graphs = Graphs(opset=20, precision="fp32", features={}, encoders={"encoder.onnx": deliver.names})
        files = {name: sha256(folder / name) for name in ("encoder.onnx", "head.onnx")}
        describe(folder, read_bundle(folder).model_copy(update={"graphs": graphs, "files": files}))
        with pytest.raises(SartmError, match=r"take planes of 8 bit, and the protocols emm.*checkpoint"):
            load_segmenter(folder, device="cpu", float_planes=True)
