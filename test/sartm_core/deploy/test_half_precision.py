"""Half precision to the letter: graphs in fp16 whose results are rounded, and torch in fp16 and bf16, on a CPU."""

import copy
import functools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from untrained import untrained_bundle

from sartm_core.deploy import load_segmenter
from sartm_core.deploy.bundle import HEAD_FILE, read_bundle
from sartm_core.deploy.host import HostSide
from sartm_core.deploy.precision import halve
from sartm_core.deploy.strict import round_every_result
from sartm_core.deploy.torch_segmenter import TorchSegmenter
from sartm_core.errors import SartmError
from sartm_core.evaluation.parity import Parity, check, compare, frames_of
from sartm_core.evaluation.variations import subsets
from sartm_core.files import sha256
from sartm_core.learning.export import describe, export, write_strict
from sartm_core.model.presets import build_network, preset_for_rig
from sartm_core.resources import resolve_bundle
from sartm_core.rig import Rig, load_rig
from sartm_core.segmentation import Segmentation

FEATURES = ("ffp", "ifp", "sfm")
LARGEST = float(np.finfo(np.float16).max)
SIZE = (64, 96)


@functools.cache
def session(path: Path) -> Any:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run(path: Path, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [one.name for one in session(path).get_outputs()]
    return dict(zip(names, session(path).run(names, feed), strict=True))


def halved(source: Path, folder: Path) -> Path:
    """A bundle's graphs in fp16, as `sartm export --precision fp16` writes them."""
    shutil.copytree(source, folder)
    halve(folder / HEAD_FILE, set(), {"scores", "confidence", "routing"})
    halve(folder / "encoder.onnx", {"planes"}, set())
    bundle = read_bundle(source)
    assert bundle.graphs is not None
    graphs = bundle.graphs.model_copy(update={"precision": "fp16"})
    files = {name: sha256(folder / name) for name in bundle.files}
    describe(folder, bundle.model_copy(update={"graphs": graphs, "files": files}))
    return folder


class TestRounding:
    @pytest.fixture
    def graph(self, tmp_path: Path) -> Path:
        """Squares, a sum over them in float32, a product with a constant matrix."""
        helper, kinds = onnx.helper, onnx.TensorProto
        matrix = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float16)
        nodes = [
            helper.make_node("Mul", ["x", "x"], ["squares"], name="mul"),
            helper.make_node("Sqrt", ["squares"], ["root"], name="sqrt"),
            helper.make_node("MatMul", ["root", "matrix"], ["product"], name="matmul"),
            helper.make_node("Cast", ["squares"], ["single"], name="cast", to=kinds.FLOAT),
            helper.make_node("ReduceSum", ["single"], ["total"], name="sum"),
        ]
        values = [
            helper.make_tensor_value_info("x", kinds.FLOAT16, [3, 8]),
            helper.make_tensor_value_info("product", kinds.FLOAT16, [3, 4]),
            helper.make_tensor_value_info("total", kinds.FLOAT, [1, 1]),
        ]
        graph = helper.make_graph(nodes, "g", values[:1], values[1:], [onnx.numpy_helper.from_array(matrix, "matrix")])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        onnx.save(model, tmp_path / "graph.onnx")
        return tmp_path / "graph.onnx"

    @pytest.mark.parametrize("scale", [1.0, 30.0, 300.0])
    def test_a_cpu_computes_what_the_graph_says(self, graph: Path, tmp_path: Path, scale: float) -> None:
        round_every_result(graph, tmp_path / "strict.onnx")
        x = (np.random.default_rng(1).uniform(0.9, 1.1, size=(3, 8)) * scale).astype(np.float16)
        got, plain = run(tmp_path / "strict.onnx", {"x": x}), run(graph, {"x": x})
        with np.errstate(over="ignore", invalid="ignore"):
            product, total = ReferenceEvaluator(str(graph)).run(None, {"x": x})
        assert (got["product"].dtype, got["total"].dtype) == (np.float16, np.float32)
        np.testing.assert_allclose(got["product"], product, rtol=2e-3, atol=2e-3 * scale)  # order of a sum of eight
        np.testing.assert_allclose(got["total"], total, rtol=1e-6)
        if scale == 300:  # 90,000 is none of fp16's numbers; ONNX Runtime's own answer does not show it
            assert not np.isfinite(got["product"]).any()
            assert np.isfinite(plain["product"]).all()


@pytest.fixture(scope="module")
def half(shipped_graphs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return halved(shipped_graphs, tmp_path_factory.mktemp("half") / "bundle")


@pytest.fixture(scope="module")
def strict(half: Path) -> Path:
    write_strict(half, half.with_name("strict"))
    return half.with_name("strict")


@pytest.fixture(scope="module")
def features(shipped_graphs: Path) -> dict[str, np.ndarray]:
    segmenter = load_segmenter(shipped_graphs, "onnx", "cpu")
    ((planes, _),) = frames_of("simulated", segmenter.bundle.rig, 1)
    batch, rows = segmenter.prepare(planes)  # type: ignore[attr-defined]
    return run(shipped_graphs / "encoder.onnx", {"planes": batch, "modality": np.array(rows)})


@pytest.mark.slow
class TestGraphs:
    """The shipped model."""

    def test_the_bundle_passes_the_gate_to_the_letter(self, shipped_graphs: Path, strict: Path) -> None:
        reference, candidate = (load_segmenter(folder, "onnx", "cpu") for folder in (shipped_graphs, strict))
        results = compare(reference, candidate, frames_of("simulated", reference.bundle.rig, 1))
        assert len(results) == 31
        check(results, "fp16")
        assert max(one.routing for one in results) < 0.002

    def test_the_head_answers_what_onnx_reference_does(
        self, half: Path, strict: Path, features: dict[str, np.ndarray]
    ) -> None:
        """`onnx.reference` computes in the types of the graph, node by node."""
        rows = [1, 4]
        feed = {name: level[rows].astype(np.float16) for name, level in features.items()} | {"modality": np.array(rows)}
        got = run(strict / HEAD_FILE, feed)
        wanted = ReferenceEvaluator(str(half / HEAD_FILE)).run(["scores", "routing"], feed)
        np.testing.assert_allclose(got["scores"], wanted[0], atol=0.2)  # scores up to 98: fp16 has steps of 0.06
        np.testing.assert_allclose(got["routing"], wanted[1], atol=1e-4)

    @pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
    def test_routing_holds_for_whatever_features_fp16_holds(
        self, shipped_graphs: Path, strict: Path, features: dict[str, np.ndarray], share: float
    ) -> None:
        """As weights that were scaled adversarially would make them; a variance of 1e9 times 1536 pixels and more."""
        large = {name: level / np.abs(level).max() * share * LARGEST for name, level in features.items()}
        for names in subsets(tuple("01234")):
            rows = [int(name) for name in names]
            feed = {name: level[rows].astype(np.float16) for name, level in large.items()}
            got = run(strict / HEAD_FILE, feed | {"modality": np.array(rows)})["routing"]
            single = {name: level.astype(np.float32) for name, level in feed.items()}
            wanted = run(shipped_graphs / HEAD_FILE, single | {"modality": np.array(rows)})["routing"]
            np.testing.assert_allclose(got, wanted, atol=1e-5)

    @pytest.mark.soak
    @pytest.mark.parametrize("size", [(256, 320), (448, 640)])
    def test_at_the_sizes_of_robots(self, size: tuple[int, int], tmp_path: Path) -> None:
        """Every frame of six conditions, every subset."""
        export("any_sensor_simrig5", tmp_path / "reference", size=size)
        export("any_sensor_simrig5", tmp_path / "half", size=size, form="onnx", precision="fp16")
        write_strict(tmp_path / "half", tmp_path / "strict")
        reference, candidate = load_segmenter(tmp_path / "reference"), load_segmenter(tmp_path / "strict")
        check(compare(reference, candidate, frames_of("simulated", reference.bundle.rig, 6)), "fp16")


def torch_segmenter(precision: str, size: tuple[int, int] = SIZE) -> TorchSegmenter:
    directory = resolve_bundle("any_sensor_simrig5")
    bundle = read_bundle(directory).model_copy(update={"size": size})
    segmenter = TorchSegmenter(bundle, directory, "cpu", precision)
    segmenter.network.fix_size(size)  # as it is done with CUDA
    return segmenter


class TestTorch:
    @pytest.mark.slow
    @pytest.mark.parametrize(("precision", "least"), [("fp16", 0.995), ("bf16", 0.96)])
    def test_the_shipped_model_answers_as_in_single_precision(self, precision: str, least: float) -> None:
        reference, candidate = torch_segmenter("fp32"), torch_segmenter(precision)
        assert candidate.backend == f"torch on cpu, {precision}"
        ((planes, _),) = frames_of("simulated", reference.bundle.rig, 1)
        for names in (("rgb",), ("lidar", "event"), reference.bundle.rig.names):
            chosen = {name: planes[name] for name in names}
            wanted, got = reference.segment(chosen), candidate.segment(chosen)
            assert (wanted.mask == got.mask).mean() >= least, names
            np.testing.assert_allclose(got.routing, wanted.routing, atol=0.02)
            assert (got.confidence.dtype, got.routing.dtype) == (np.float32, np.float32)

    def test_features_are_halves_but_what_compares_and_normalises_is_not(self) -> None:
        network = torch_segmenter("fp16").network
        features = network.encode(torch.zeros(1, 3, *SIZE), torch.zeros(1, dtype=torch.int64))
        assert {level.dtype for level in features} == {torch.float16}
        singles = {name for name, tensor in network.state_dict().items() if tensor.dtype == torch.float32}
        assert {"mean", "std", "decoder.position.value", "routing.reliability.0.weight"} <= singles
        assert not any(name.startswith(("encoder.", "decoder.transformer.")) for name in singles)

    @pytest.mark.slow
    @pytest.mark.parametrize("preset", ["sartm", "mle_sam", "early_fusion", "sartm_released", "mm_sam_adapter"])
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_every_network_runs(self, preset: str, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        config = preset_for_rig(preset, "nano", load_rig("sim").only(["rgb", "thermal"]), 4, {})
        network = build_network(config, form="inference").eval()
        size = (32, 64)
        planes, modality = torch.rand(2, 3, *size) * 200, torch.arange(2)
        available = torch.ones(1, 2, dtype=torch.bool)
        half = copy.deepcopy(network)
        half.set_precision(dtype)
        half.fix_size(size)
        with torch.inference_mode():
            wanted = network.decode(network.encode(planes, modality), modality * 0, modality, available).logits
            got = half.decode(half.encode(planes, modality), modality * 0, modality, available).logits
        assert got.dtype == dtype
        scale = float(wanted.abs().max())
        np.testing.assert_allclose(got.float(), wanted, atol=scale * (0.02 if dtype == torch.float16 else 0.1))


class TestNotFinite:
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    @pytest.mark.parametrize(
        ("argmax", "fit", "name"),
        [
            ("frame", "stretch", "scores"),
            ("frame", "stretch", "routing"),
            ("network", "stretch", "confidence"),
            ("frame", "window", "scores"),
        ],
    )
    def test_such_answers_are_an_error_that_names_the_precision(
        self, argmax: Any, fit: Any, name: str, value: float
    ) -> None:
        bundle = read_bundle(resolve_bundle("any_sensor_simrig5"))
        stride = (32, 48) if fit == "window" else None
        bundle = bundle.model_copy(update={"size": SIZE, "argmax": argmax, "fit": fit, "stride": stride})
        network_answer = {
            "scores": np.zeros((14, 16, 24), np.float32),
            "mask": np.zeros(SIZE, np.uint8),
            "confidence": np.zeros((16, 24), np.float32),
            "routing": np.full((3, 5), 0.2, np.float32),
        }
        for other in ("scores",) if argmax == "network" else ("mask", "confidence"):
            del network_answer[other]
        network_answer[name].flat[7] = value
        host = HostSide(bundle, [range(5)], precision="fp16")
        planes = {"rgb": np.zeros((3, 96, 144), np.float32)}
        with pytest.raises(SartmError, match=f"with rgb the network's {name} in fp16 .* not finite.*--precision fp32"):
            host.segment(planes, None, lambda batch, rows, fresh: network_answer)

    def test_an_overflow_in_torch_is_said(self, tmp_path: Path) -> None:
        rig = load_rig("sim").only(["rgb"])
        folder = untrained_bundle(tmp_path / "bundle", rig)
        segmenter = TorchSegmenter(read_bundle(folder), folder, "cpu", "fp16")
        with torch.no_grad():
            segmenter.network.decoder.hypernetworks[0].layers[-1].weight.fill_(60_000)  # type: ignore[union-attr]
        with pytest.raises(SartmError, match="with rgb the network's scores in fp16 holds"):
            segmenter.segment({"rgb": np.full((3, 64, 160), 90, rig.dtype)})

    def test_parity_does_not_call_it_zero(self, sim_rig: Rig) -> None:
        class Answering:
            bundle = read_bundle(resolve_bundle("any_sensor_simrig5"))
            backend = "a test"

            def __init__(self, number: float) -> None:
                self.number = number

            def segment(self, planes: Any, size: Any = None) -> Segmentation:
                weights = np.full((3, 5), self.number, np.float32)
                return Segmentation(np.zeros((4, 4), np.uint8), np.full((4, 4), 0.5, np.float32), weights)

        frames = [({"rgb": np.zeros((3, 4, 4), np.float32)}, None)] * 2
        (result,) = compare(Answering(0.2), Answering(np.nan), frames)
        assert np.isnan(result.routing)
        with pytest.raises(SartmError, match="with rgb answers in fp16 are not finite: the bundle is not written"):
            check([Parity("thermal", 1.0, 0.0, 0.0, None, None), result], "fp16")
