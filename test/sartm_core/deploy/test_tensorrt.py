"""The TensorRT backend beside ONNX Runtime, through stand-ins for NVIDIA's package and for CUDA's runtime.

No engine here is TensorRT's own. The stand-ins run the graphs of a real export on the addresses, in the stream and in
the captured graphs that the backend gives them; `test_tensorrt_bindings.py` compares the calls with NVIDIA's bindings.
"""

import ctypes
import dataclasses
import errno
import gc
import itertools
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_tensorrt as fake
import numpy as np
import pytest
from fake_cudart import compiled_cudart
from onnx import parser as onnx_parser
from typer.testing import CliRunner
from untrained import untrained_bundle

from sartm_core.cli import app
from sartm_core.deploy import choose_backend, cuda, load_segmenter
from sartm_core.deploy.bundle import HEAD_FILE, Bundle, Graphs, graph_shapes, read_bundle
from sartm_core.deploy.engine import EngineCache, EngineKey, key_of, load_or_build
from sartm_core.deploy.host import possible_parts
from sartm_core.deploy.onnx_segmenter import OnnxSegmenter
from sartm_core.deploy.precision import halve
from sartm_core.deploy.tensorrt_segmenter import TensorRtSegmenter
from sartm_core.errors import SartmError
from sartm_core.files import sha256
from sartm_core.learning.export import describe
from sartm_core.rig import load_rig

ENCODER_FILE = "encoder.onnx"
ONE_MODALITY = {
    ENCODER_FILE: """
        encoder (uint8[1, 3, 64, 96] planes, int64[1] modality)
        => (float[1, 3, 16, 24] ffp, float[1, 3, 8, 12] ifp, float[1, 3, 4, 6] sfm) {
            image = Cast<to = 1>(planes)
            ffp = AveragePool<kernel_shape = [4, 4], strides = [4, 4]>(image)
            ifp = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(ffp)
            sfm = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(ifp)
        }""",
    HEAD_FILE: """
        head (float[1, 3, 16, 24] ffp, float[1, 3, 8, 12] ifp, float[1, 3, 4, 6] sfm, int64[1] modality)
        => (uint8[64, 96] mask, float[16, 24] confidence, float[3, 1] routing) {
            channel = Constant<value_ints = [1]>()
            best = ReduceMax(ffp, channel)
            leading = Constant<value_ints = [0, 1]>()
            small = Squeeze(best, leading)
            confidence = Sigmoid(small)
            scales = Constant<value_floats = [1.0, 1.0, 4.0, 4.0]>()
            large = Resize<mode = "nearest">(best, , scales)
            scores = Squeeze(large, leading)
            mask = Cast<to = 2>(scores)
            which = Cast<to = 1>(modality)
            ones = Constant<value = float[3, 1] {1, 1, 1}>()
            routing = Add(ones, which)
        }""",
}
"""Graphs with the interface of an export for a rig of one camera."""
SIZE = (64, 96)
NEWEST, NEW, OLD = "11.4.0.106", "10.16.1.11", "8.6.1"

pytestmark = pytest.mark.slow  # the export of the graphs takes ten seconds


@pytest.fixture(scope="module")
def cudart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled_cudart(tmp_path_factory.mktemp("cuda") / "libcudart.so.12")


@pytest.fixture(scope="module")
def bundle_folder(shipped_graphs: Path) -> Path:
    return shipped_graphs


def describe_graphs(directory: Path, bundle: Bundle) -> None:
    files = {path.name: sha256(path) for path in directory.glob("*.onnx")}
    describe(directory, bundle.model_copy(update={"files": files}))


@pytest.fixture(scope="module")
def bundle(bundle_folder: Path) -> Bundle:
    return read_bundle(bundle_folder)


@pytest.fixture(scope="module")
def onnx(bundle: Bundle, bundle_folder: Path) -> OnnxSegmenter:
    return OnnxSegmenter(bundle, bundle_folder, "cpu", threads=1)


Install = Callable[..., Any]


@pytest.fixture
def gpu(cudart: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine with one GPU, and an empty cache."""
    monkeypatch.setattr(cuda, "LIBRARIES", (str(cudart),))
    monkeypatch.setenv("SARTM_CACHE", str(tmp_path / "cache"))
    cuda._library.cache_clear()
    yield
    cuda._library.cache_clear()


@pytest.fixture
def install(gpu: None, cudart: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a version of TensorRT, as if Python was started anew."""
    controls = []

    def put(version: str = NEW, **settings: Any) -> Any:
        module, control = fake.make(ctypes.CDLL(str(cudart)), version)
        for name, value in settings.items():
            setattr(control, name, value)
        monkeypatch.setitem(sys.modules, "tensorrt", module)
        controls.append(control)
        return control

    yield put
    faults = [fault for control in controls for fault in control.faults]
    assert not faults, faults


@pytest.fixture
def trt(install: Install) -> Any:
    return install()


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "cache" / "engines")


class Start:
    """Starts of the backend with one cache; `lines` are what the last one said."""

    def __init__(self, bundle: Bundle, folder: Path, cache: EngineCache) -> None:
        self.bundle, self.folder, self.cache = bundle, folder, cache
        self.lines: list[str] = []

    def __call__(self, workspace_mb: int = 256) -> TensorRtSegmenter:
        self.lines = []
        return TensorRtSegmenter(self.bundle, self.folder, self.cache, workspace_mb, self.lines.append)

    @property
    def built(self) -> list[str]:
        """Why, for each engine that was built."""
        return [line for line in self.lines if line.startswith("building the TensorRT engine")]


@pytest.fixture
def start(bundle: Bundle, bundle_folder: Path, cache: EngineCache) -> Start:
    return Start(bundle, bundle_folder, cache)


@pytest.fixture
def encoder(bundle: Bundle, bundle_folder: Path) -> tuple[Path, Any]:
    return bundle_folder / ENCODER_FILE, graph_shapes(bundle)[ENCODER_FILE]


class OneEngine:
    """The encoder's engine alone; `say` collects lines."""

    def __init__(self, encoder: tuple[Path, Any], cache: EngineCache) -> None:
        self.graph, self.shapes = encoder
        self.cache = cache
        self.lines: list[str] = []

    def __call__(self, workspace_mb: int = 256) -> Any:
        self.lines = []
        return load_or_build(self.graph, self.shapes, cuda.Cuda(), self.cache, workspace_mb, self.lines.append)

    def key(self) -> EngineKey:
        return key_of(self.graph, self.shapes, cuda.Cuda())

    @property
    def plan(self) -> Path:
        return self.cache.path("encoder", self.key())

    @property
    def side(self) -> Path:
        return self.plan.with_suffix(".json")


@pytest.fixture
def one(encoder: tuple[Path, Any], cache: EngineCache) -> OneEngine:
    return OneEngine(encoder, cache)


def random_planes(bundle: Bundle, names: tuple[str, ...], seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(0, 255, (3, *SIZE)).astype(np.float32) for name in names}


def subsets(bundle: Bundle) -> list[tuple[str, ...]]:
    names = bundle.rig.names
    return [choice for count in range(1, len(names) + 1) for choice in itertools.combinations(names, count)]


def assert_same(got: Any, expected: Any, atol: float = 0.0) -> None:
    np.testing.assert_array_equal(got.mask, expected.mask)
    np.testing.assert_allclose(got.confidence, expected.confidence, rtol=0, atol=atol)
    np.testing.assert_allclose(got.routing, expected.routing, rtol=0, atol=atol)


class TestSegmenter:
    @pytest.mark.parametrize("version", [OLD, NEW, NEWEST])
    def test_every_subset_gives_what_onnx_runtime_gives_in_any_order(
        self, install: Install, start: Start, onnx: OnnxSegmenter, bundle: Bundle, version: str
    ) -> None:
        install(version)
        segmenter = start()
        order = [*subsets(bundle), *reversed(subsets(bundle))][:: 1 if version == NEW else 3]
        for seed, names in enumerate(order):
            planes = random_planes(bundle, names, seed)
            assert_same(segmenter.segment(planes), onnx.segment(planes))

    def test_modalities_of_half_size(self, trt: Any, half_size_graphs: Path, cache: EngineCache) -> None:
        """Three engines; the encoders write beside one another what the head reads."""
        described = read_bundle(half_size_graphs)
        assert described.graphs is not None
        assert described.graphs.encoders == {
            "encoder.onnx": ("rgb", "lidar"), "encoder_half.onnx": ("thermal", "depth"),
        }  # fmt: skip
        segmenter = TensorRtSegmenter(described, half_size_graphs, cache, say=lambda line: None)
        assert len(list(cache.directory.glob("*.engine"))) == 3
        reference = OnnxSegmenter(described, half_size_graphs, "cpu", threads=1)
        for names in [*subsets(described), *reversed(subsets(described))]:
            planes = random_planes(described, names, 1)
            assert_same(segmenter.segment(planes), reference.segment(planes))

    def test_what_it_took_it_gives_back(self, trt: Any, start: Start, bundle: Bundle) -> None:
        """A node that is cleaned up frees the GPU; an answer that somebody keeps stays what it was."""
        blocks = ctypes.CDLL(cuda.LIBRARIES[0]).fake_blocks
        before = blocks()
        segmenter = start()
        planes = random_planes(bundle, bundle.rig.names, 1)
        answer = segmenter.segment(planes, size=bundle.size)
        kept = answer.mask.copy()
        assert blocks() > before
        del segmenter
        gc.collect()
        assert blocks() == before
        assert np.array_equal(answer.mask, kept)

    def test_half_precision(self, trt: Any, bundle_folder: Path, tmp_path: Path, cache: EngineCache) -> None:
        folder = Path(shutil.copytree(bundle_folder, tmp_path / "half"))
        halve(folder / ENCODER_FILE, {"planes"}, set())
        halve(folder / HEAD_FILE, set(), {"scores", "routing"})
        describe_graphs(folder, read_bundle(bundle_folder))
        described = read_bundle(folder)
        segmenter = TensorRtSegmenter(described, folder, cache, say=lambda line: None)
        reference = OnnxSegmenter(described, folder, "cpu", threads=1)
        for names in subsets(described):
            planes = random_planes(described, names, 1)
            if "event" in planes:
                planes["event"][2] = 0  # as every event image has it: its deviation is 0.001, and fp16 ends at 65,504
            assert_same(segmenter.segment(planes), reference.segment(planes))

    def test_one_modality_and_eight_bits(self, trt: Any, bundle: Bundle, tmp_path: Path, cache: EngineCache) -> None:
        """The number of rows is then fixed."""
        for file, text in ONE_MODALITY.items():
            model = onnx_parser.parse_model(f'<ir_version: 9, opset_import: ["": 20]> {text}')
            (tmp_path / file).write_bytes(model.SerializeToString())
        features = {"ffp": (3, 16, 24), "ifp": (3, 8, 12), "sfm": (3, 4, 6)}
        changes = {
            "rig": bundle.rig.only(("rgb",)),
            "argmax": "network",  # the head below answers a mask
            "graphs": Graphs(opset=20, precision="fp32", features=features, encoders={ENCODER_FILE: ("rgb",)}),
        }
        describe_graphs(tmp_path, bundle.model_copy(update=changes))
        described = read_bundle(tmp_path)
        segmenter = TensorRtSegmenter(described, tmp_path, cache, say=lambda line: None)
        reference = OnnxSegmenter(described, tmp_path, "cpu", threads=1)
        for seed in range(3):
            planes = {"rgb": np.random.default_rng(seed).integers(0, 256, (3, *SIZE), dtype=np.uint8)}
            answer = segmenter.segment(planes)
            assert_same(answer, reference.segment(planes))
            assert len(np.unique(answer.mask)) > 10

    def test_each_call_sees_its_own_planes(self, trt: Any, start: Start, onnx: OnnxSegmenter, bundle: Bundle) -> None:
        segmenter = start()
        answers = []
        for seed in range(4):
            planes = random_planes(bundle, bundle.rig.names, seed)
            answers.append(segmenter.segment(planes))
            assert_same(answers[-1], onnx.segment(planes))
        assert all((answers[0].confidence != other.confidence).any() for other in answers[1:])

    def test_another_modality_of_the_same_number_is_distinguished(
        self, trt: Any, start: Start, onnx: OnnxSegmenter, bundle: Bundle
    ) -> None:
        segmenter = start()
        array = random_planes(bundle, ("rgb",), 0)["rgb"]
        for name in bundle.rig.names:  # one captured graph for all three
            assert_same(segmenter.segment({name: array}), onnx.segment({name: array}))

    def test_answers_are_not_overwritten_by_the_next_call(self, trt: Any, start: Start, bundle: Bundle) -> None:
        segmenter = start()
        first = segmenter.run_network(*segmenter.prepare(random_planes(bundle, bundle.rig.names, 0)))
        kept = {name: array.copy() for name, array in first.items()}
        second = segmenter.run_network(*segmenter.prepare(random_planes(bundle, bundle.rig.names, 1)))
        assert (first["scores"] != second["scores"]).any()
        for name, array in first.items():
            np.testing.assert_array_equal(array, kept[name])

    def test_two_segmenters_share_nothing(self, trt: Any, start: Start, onnx: OnnxSegmenter, bundle: Bundle) -> None:
        segmenters = [start(), start()]
        for seed in range(4):
            planes = random_planes(bundle, bundle.rig.names[: 1 + seed % 3], seed)
            assert_same(segmenters[seed % 2].segment(planes), onnx.segment(planes))

    def test_the_work_is_launched_from_captured_graphs_and_nothing_is_encoded_twice(
        self, trt: Any, start: Start, bundle: Bundle
    ) -> None:
        segmenter = start()
        parts = len(possible_parts([range(5)]))
        enqueued, done = len(trt.kernels), trt.executions
        assert (enqueued, done) == (2 * parts, parts)  # each a first run, and once captured
        segmenter.segment(random_planes(bundle, bundle.rig.names, 0))
        assert (len(trt.kernels), trt.executions) == (enqueued, done + 2)
        answer = segmenter.segment(random_planes(bundle, bundle.rig.names, 0))
        assert (len(trt.kernels), trt.executions) == (enqueued, done + 3)  # the head alone
        assert answer.reused == len(bundle.rig.names)

    def test_a_sensor_that_dies_or_comes_back_allocates_nothing(
        self, trt: Any, half_size_graphs: Path, cache: EngineCache
    ) -> None:
        """Every subset after many others, with one new image or several: no context, no capture, no memory."""
        runtime, described = trt.runtime, read_bundle(half_size_graphs)

        def count() -> np.ndarray:
            return np.array([trt.contexts, len(trt.kernels), runtime.fake_captures(), runtime.fake_allocations()])

        before = count()
        segmenter = TensorRtSegmenter(described, half_size_graphs, cache, say=lambda line: None)
        made = count()
        parts = 3 + 7 + 4  # of rgb and lidar; of thermal and depth, which come after none, one or two; of the head
        on_host, on_device = 2 + 2, 1 + 3 + 2 + 3  # inputs, outputs; planes, features, outputs, modalities
        assert (made - before).tolist() == [parts, 2 * parts, parts, on_host + on_device + 1]  # the scratch memory
        rng = np.random.default_rng(0)
        planes = random_planes(described, described.rig.names, 0)
        for names in rng.permutation(np.array(subsets(described) * 2, dtype=object)):
            planes[rng.choice(names)] = random_planes(described, ("new",), rng.integers(1 << 30))["new"]
            segmenter.segment({name: planes[name] for name in names})
            assert count().tolist() == made.tolist()

    @pytest.mark.parametrize("version", [OLD, NEW])
    def test_all_contexts_share_the_scratch_memory_of_the_largest_engine(
        self, install: Install, start: Start, version: str
    ) -> None:
        install(version)
        segmenter = start()
        memories = {context._memory for _, context in segmenter._captured.values()}
        assert len({address for address, _ in memories}) == 1
        largest = max(engine._scratch for engine in segmenter._engines)
        assert min(engine._scratch for engine in segmenter._engines) < largest
        (room,) = {segmenter._cuda._library.fake_device_room(ctypes.c_void_p(address)) for address, _ in memories}
        assert room == largest

    def test_the_backend_names_version_and_gpu(self, trt: Any, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FAKE_CUDA_NAME", "Orin")
        assert start().backend == f"tensorrt {NEW} on Orin"

    def test_wrong_planes_are_refused_as_by_the_other_backends(self, trt: Any, start: Start) -> None:
        with pytest.raises(SartmError, match="'radar' is not in the bundle"):
            start().segment({"radar": np.zeros((3, *SIZE), np.float32)})

    def test_load_segmenter_takes_it_where_it_can_run(
        self, trt: Any, bundle_folder: Path, onnx: OnnxSegmenter, bundle: Bundle
    ) -> None:
        segmenter = load_segmenter(bundle_folder)
        assert isinstance(segmenter, TensorRtSegmenter)
        planes = random_planes(bundle, bundle.rig.names, 0)
        assert_same(segmenter.segment(planes), onnx.segment(planes))


class TestFailures:
    def test_no_memory_for_an_execution_context(self, install: Install, start: Start, bundle: Bundle) -> None:
        install(context_fails=True)
        with pytest.raises(SartmError, match="no execution context: the GPU's memory is full. Close other programs"):
            start()

    def test_an_engine_that_does_not_run(self, install: Install, start: Start, bundle: Bundle) -> None:
        install(execution_fails=True)
        with pytest.raises(SartmError, match="the engine does not run; its log says why"):
            start()

    @pytest.mark.parametrize("function", ["cudaMalloc", "cudaHostAlloc"])
    def test_cudas_own_words(self, trt: Any, start: Start, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
        monkeypatch.setenv("FAKE_CUDA_FAILS", function)
        with pytest.raises(SartmError, match=re.escape(f"CUDA: {function} failed: out of memory (2).")):
            start()

    def test_a_failure_while_capturing_is_one_of_the_start_and_gives_everything_back(
        self, trt: Any, start: Start
    ) -> None:
        before = trt.runtime.fake_blocks()
        trt.capture_fails = True
        with pytest.raises(SartmError, match="does not run"):
            start()
        gc.collect()
        assert trt.runtime.fake_blocks() == before

    def test_a_segmenter_works_again_after_a_failure(
        self, trt: Any, start: Start, onnx: OnnxSegmenter, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        segmenter = start()
        planes = random_planes(bundle, bundle.rig.names, 0)
        with monkeypatch.context() as patched:
            patched.setenv("FAKE_CUDA_FAILS", "cudaGraphLaunch")
            with pytest.raises(SartmError, match="cudaGraphLaunch failed: out of memory"):
                segmenter.segment(planes)
        assert_same(segmenter.segment(planes), onnx.segment(planes))

    def test_no_gpu(self, trt: Any, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FAKE_CUDA_DEVICES", "0")
        with pytest.raises(SartmError, match="backend 'tensorrt': no NVIDIA GPU responds. Use backend onnx"):
            start()

    def test_no_package(self, gpu: None, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tensorrt", None)
        with pytest.raises(SartmError, match="cannot be imported .*--system-site-packages.*Or use backend onnx"):
            start()


class TestCache:
    def test_only_the_first_start_builds(self, trt: Any, start: Start, cache: EngineCache) -> None:
        start()
        assert [line.split(":")[0] for line in start.built] == [
            "building the TensorRT engine of 'encoder' (minutes)",
            "building the TensorRT engine of 'head' (minutes)",
        ]
        assert all("no engine of" in line for line in start.built)
        assert sum(bool(re.search(r"built in \d+ s: .*\.engine$", line)) for line in start.lines) == 2
        files = {path.name for path in cache.directory.iterdir()}
        start()
        assert start.lines == []
        assert len(trt.builds) == 2
        assert {path.name for path in cache.directory.iterdir()} == files  # no probes, no parts

    def test_an_engine_of_another_version_is_not_loaded(self, install: Install, one: OneEngine) -> None:
        install("10.3.0.26")
        one()
        control = install(NEW)
        one()
        assert f"tensorrt was 10.3.0.26, is {NEW}" in one.lines[0]
        assert len(control.plans_read) == 1  # the new one

    def test_an_engine_of_another_gpu_is_not_loaded(
        self, install: Install, one: OneEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        install(NEWEST)
        monkeypatch.setenv("FAKE_CUDA_NAME", "Orin")
        one()
        monkeypatch.setenv("FAKE_CUDA_NAME", "Thor")
        monkeypatch.setenv("FAKE_CUDA_CAPABILITY", "11.0")
        control = install(NEWEST)
        one()
        assert "gpu was Orin, 8.7, 16 SMs, 15 GiB, is Thor, 11.0, 16 SMs, 15 GiB" in one.lines[0]
        assert len(control.plans_read) == 1

    def test_an_engine_of_a_larger_gpu_of_the_same_name_is_not_loaded(
        self, install: Install, one: OneEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An AGX Orin and an Orin NX: whoever copies the cache from one to the other gets a slow or failing engine."""
        install()
        monkeypatch.setenv("FAKE_CUDA_NAME", "Orin")
        one()
        monkeypatch.setenv("FAKE_CUDA_SMS", "8")
        one()
        assert "gpu was Orin, 8.7, 16 SMs, 15 GiB, is Orin, 8.7, 8 SMs, 15 GiB" in one.lines[0]
        monkeypatch.setenv("FAKE_CUDA_GIB", "7.4")
        one()
        assert "gpu was Orin, 8.7, 8 SMs, 15 GiB, is Orin, 8.7, 8 SMs, 7 GiB" in one.lines[0]
        monkeypatch.setenv("FAKE_CUDA_GIB", "7.3")  # another kernel keeps a little more for itself
        one()
        assert one.lines == []
        assert len(list(one.cache.directory.glob("timing-*.cache"))) == 3  # nor are timings another's

    def test_an_engine_of_another_graph_is_not_loaded(self, trt: Any, one: OneEngine, tmp_path: Path) -> None:
        one()
        before = sha256(one.graph)
        changed = tmp_path / "encoder.onnx"
        changed.write_bytes(one.graph.read_bytes().replace(b"pytorch", b"pytorcH", 1))
        one.graph = changed
        one()
        assert f"graph was {before[:12]}..., is {sha256(changed)[:12]}..." in one.lines[0]

    def test_an_engine_of_other_shapes_is_not_loaded(self, trt: Any, one: OneEngine) -> None:
        one()
        one.shapes = {**one.shapes, "modality": ((1,), (2,))}
        one()
        assert "shapes was " in one.lines[0]
        assert len(trt.builds) == 2

    def test_what_was_cached_before_is_still_there(self, install: Install, one: OneEngine) -> None:
        for version in ("10.3.0.26", NEW, "10.3.0.26"):
            install(version)
            one()
        assert one.lines == []

    def test_a_gone_file_is_said(self, trt: Any, one: OneEngine) -> None:
        one()
        one.plan.unlink()
        assert one.cache.why_rebuild("encoder", one.key()) == "its file is gone"

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ("{", "is damaged"),
            ("[]", "is damaged"),
            ("null", "is damaged"),
            ("{}", "is damaged"),
            ('{"engine_sha256": "0"}', "describes another engine"),
            ('{"engine_sha256": "0", "key": {"graph": "of another"}}', "describes another engine"),
            (b"\xff\xfe", "is damaged"),
        ],
    )
    def test_a_wrong_side_file_means_building_anew(
        self, trt: Any, one: OneEngine, content: str | bytes, expected: str
    ) -> None:
        one()
        one.side.write_bytes(content if isinstance(content, bytes) else content.encode())
        one()
        assert re.search(f"{one.side.name} {expected}", one.lines[0])
        assert len(trt.builds) == 2
        one()
        assert one.lines == []

    def test_without_its_side_file_a_plan_is_not_loaded(self, trt: Any, one: OneEngine) -> None:
        one()
        one.side.unlink()
        one()
        assert len(trt.builds) == 2

    @pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
    def test_a_damaged_plan_never_reaches_tensorrt(self, trt: Any, one: OneEngine, damage: str) -> None:
        one()
        content = bytearray(one.plan.read_bytes())
        content[-1] ^= 1
        broken = {"cut": bytes(content[:-100]), "flipped": bytes(content), "empty": b""}[damage]
        one.plan.write_bytes(broken)
        one()
        assert "is damaged: its SHA-256 differs from the recorded one" in one.lines[0]
        assert broken not in trt.plans_read
        one()
        assert one.lines == []

    def test_a_plan_that_tensorrt_does_not_load_is_built_anew(self, trt: Any, one: OneEngine) -> None:
        one()
        trt.refuse_plans = 1
        assert one() is not None
        assert f"TensorRT {NEW} cannot load the cached one" in one.lines[0]
        assert len(trt.builds) == 2

    def test_a_new_plan_that_does_not_load_is_an_error(self, trt: Any, one: OneEngine) -> None:
        trt.refuse_plans = 1
        with pytest.raises(SartmError, match="cannot load the engine it has just built"):
            one()

    def test_other_files_in_the_folder_do_no_harm(self, trt: Any, one: OneEngine) -> None:
        one.cache.directory.mkdir(parents=True)
        for name, content in (("encoder-x.json", "{"), ("encoder-y.json", '{"key": 3}'), ("encoder-z.json", "[]")):
            (one.cache.directory / name).write_text(content)
        one()
        assert f"no engine of 'encoder' is cached in {one.cache.directory}" in one.lines[0]

    @pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(EngineKey)])
    def test_every_difference_is_named(self, cache: EngineCache, field: str) -> None:
        key = EngineKey(graph="a" * 64, tensorrt=NEW, gpu="Orin, 8.7", shapes="{}")
        cache.store("encoder", key, b"plan", 60.0, 4096)
        assert cache.why_rebuild("encoder", key) is None
        other = dataclasses.replace(key, **{field: "another"})
        reason = cache.why_rebuild("encoder", other)
        assert reason is not None
        assert reason.startswith("the newest cached engine of 'encoder' differs: ")
        assert re.findall(r"(\w+) was ", reason) == [field]

    @pytest.mark.parametrize(
        ("field", "values"),
        [
            ("shapes", [json.dumps({"modality": [[1], [rows]], "planes": [[1, 3, 448, 640]]}) for rows in (3, 4)]),
            ("gpu", [f"NVIDIA RTX PRO 6000 Blackwell {kind} Edition, 12.0" for kind in ("Server", "Workstation")]),
        ],
    )
    def test_a_difference_is_shown_not_only_named(self, cache: EngineCache, field: str, values: list[str]) -> None:
        key = EngineKey(graph="a" * 64, tensorrt=NEW, gpu="Orin, 8.7", shapes="{}")
        cache.store("encoder", dataclasses.replace(key, **{field: values[0]}), b"plan", 60.0, 4096)
        reason = cache.why_rebuild("encoder", dataclasses.replace(key, **{field: values[1]}))
        found = re.search(f"{field} was (.*), is (.*)", reason or "")
        assert found is not None
        assert found[1] != found[2]

    def test_nothing_is_built_where_nothing_can_be_stored(
        self, trt: Any, one: OneEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("")  # a folder in a file cannot be made, whoever asks
        one.cache = EngineCache(tmp_path / "file" / "engines")
        with pytest.raises(SartmError, match="engines cannot be stored there .*set SARTM_CACHE to another folder"):
            one()
        assert trt.builds == []

    @pytest.mark.parametrize(
        "mode",
        [
            0o555,
            0o000,
        ],
        ids=["read only", "closed"],
    )
    def test_a_cache_of_another_user_is_an_error_with_a_remedy(self, trt: Any, one: OneEngine, mode: int) -> None:
        root = os.geteuid() == 0
        with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
            Path(folder).chmod(0o755)
            one.graph = Path(shutil.copy(one.graph, folder))
            one.cache = EngineCache(Path(folder) / "cache" / "engines")
            one.cache.directory.mkdir(parents=True)
            closed = one.cache.directory if mode else one.cache.directory.parent
            closed.chmod(mode)
            if root:  # to whom everything is open
                os.seteuid(65534)
            try:
                with pytest.raises(SartmError, match="SARTM_CACHE"):
                    one()
            finally:
                if root:
                    os.seteuid(0)
                closed.chmod(0o755)
        assert trt.builds == []

    @pytest.mark.parametrize("file", ["plan", "side file"])
    def test_a_full_disk_costs_the_cache_not_the_engine(
        self, trt: Any, one: OneEngine, monkeypatch: pytest.MonkeyPatch, file: str
    ) -> None:
        suffix = ".engine" if file == "plan" else ".json"

        def replace(source: Any, target: Any) -> None:
            if str(target).endswith(suffix):
                raise OSError(errno.ENOSPC, "No space left on device")
            os.rename(source, target)

        with monkeypatch.context() as patched:
            patched.setattr("sartm_core.files.os.replace", replace)
            assert one() is not None
        assert any("built, but not stored (No space left on device)" in line for line in one.lines)
        left = {path.suffix for path in one.cache.directory.iterdir()}
        assert left <= {".cache", ".engine"} - ({".engine"} if file == "plan" else set())
        assert one.cache.why_rebuild("encoder", one.key()) is not None
        assert one() is not None
        assert one.cache.why_rebuild("encoder", one.key()) is None

    def test_a_disk_that_fills_while_writing_leaves_no_part(
        self, trt: Any, one: OneEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = Path.write_bytes

        def write_some(path: Path, content: bytes) -> int:
            if content:
                write(path, content[: len(content) // 2])
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(path, content)

        monkeypatch.setattr(Path, "write_bytes", write_some)
        assert one() is not None
        assert any("No space left on device" in line for line in one.lines)
        assert list(one.cache.directory.iterdir()) == []

    def test_two_programs_may_start_at_once(self, trt: Any, one: OneEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        """The other one removes the probe between our writing and our removing."""
        replace = os.replace

        def replace_and_lose(source: Any, target: Any) -> None:
            replace(source, target)
            if Path(target).name == ".writable":
                Path(target).unlink()

        monkeypatch.setattr("sartm_core.files.os.replace", replace_and_lose)
        assert one() is not None


class TestBuilding:
    def test_profiles_run_from_one_row_to_all(self, trt: Any, one: OneEngine, bundle: Bundle) -> None:
        one()
        (config,) = trt.builds
        (profile,) = config._profiles
        all_rows = len(bundle.rig.names)
        assert profile._shapes == {
            "planes": [[1, 3, *SIZE], [all_rows, 3, *SIZE], [all_rows, 3, *SIZE]],
            "modality": [[1], [all_rows], [all_rows]],
        }
        assert list(config._pools.values()) == [256 << 20]

    @pytest.mark.parametrize(("version", "strongly_typed"), [(NEW, 1), (NEWEST, 0)])
    def test_the_graph_decides_the_precision(
        self, install: Install, one: OneEngine, version: str, strongly_typed: int
    ) -> None:
        control = install(version)
        one()
        assert control.network_flags == [1 << strongly_typed]
        assert control.builds[0]._flags == []

    def test_version_8_needs_the_precision_flag(self, install: Install, one: OneEngine) -> None:
        control = install(OLD)
        one()
        assert control.network_flags == [1 << 0]  # EXPLICIT_BATCH
        assert [flag.name for flag in control.builds[0]._flags] == ["FP16"]

    def test_what_the_parser_says_is_said(self, install: Install, one: OneEngine) -> None:
        control = install(parse_errors=["No importer registered for op: Attention", "In node 7"])
        with pytest.raises(SartmError) as caught:
            one()
        words = str(caught.value)
        assert f"TensorRT {NEW} cannot parse it: No importer registered for op: Attention; In node 7" in words
        assert "Opset 23 needs TensorRT 10.14 or newer: export with --opset 20" in words
        assert control.builds == []

    def test_no_engine(self, install: Install, one: OneEngine) -> None:
        install(build_fails=True)
        with pytest.raises(SartmError, match="built no engine; its log says why. Out of memory.*--workspace-mb"):
            one()
        assert list(one.cache.directory.glob("encoder*")) == []

    def test_tenths_of_the_outermost_phase_are_said(self, trt: Any, one: OneEngine) -> None:
        one()
        progress = [line.strip() for line in one.lines if "%" in line]
        assert progress[1:] == [f"Building: {tenth}0 %" for tenth in range(1, 10)]
        assert progress[0] == "Building: 0 %"

    def test_timings_are_kept_for_the_next_build(self, trt: Any, start: Start, cache: EngineCache) -> None:
        start()
        assert trt.timing_known[0] == b""
        assert trt.timing_known[1] == b"8.7 timings:+"  # the head's build knows the encoder's
        (kept,) = cache.directory.glob("timing-*.cache")
        assert kept.read_bytes() == b"8.7 timings:++"

    def test_timings_that_cannot_be_stored_cost_nothing(
        self, trt: Any, one: OneEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        replace = os.replace

        def refuse_timings(source: Any, target: Any) -> None:
            if Path(target).suffix == ".cache":
                raise OSError(errno.ENOSPC, "No space left on device")
            replace(source, target)

        monkeypatch.setattr("sartm_core.files.os.replace", refuse_timings)
        assert one() is not None
        assert "the timing cache was not stored" in caplog.text
        assert one.cache.why_rebuild("encoder", one.key()) is None

    def test_timings_of_another_gpu_are_ignored(
        self, install: Install, one: OneEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A home folder shared by two robots, or a new card. Another GPU's timings are refused by set_timing_cache,
        and get_timing_cache is then None: both by the bindings' own words."""
        install(gpu="8.7")
        one()
        monkeypatch.setenv("FAKE_CUDA_CAPABILITY", "11.0")
        install(gpu="11.0")
        assert one() is not None


class TestCommand:
    def run(self, *arguments: str) -> str:
        result = CliRunner().invoke(app, ["engine", "build", *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    def test_check_says_why_and_builds_nothing(self, trt: Any, bundle_folder: Path, cache: EngineCache) -> None:
        output = self.run(str(bundle_folder), "--check")
        assert "encoder: would be built: no engine of 'encoder' is cached in" in output
        assert "head: would be built:" in output
        assert trt.builds == []
        assert not cache.directory.exists()

    def test_build_then_check(self, install: Install, bundle_folder: Path) -> None:
        install()
        assert "ready: tensorrt" in self.run(str(bundle_folder))
        assert self.run(str(bundle_folder), "--check").split("\n")[:2] == ["encoder: up to date", "head: up to date"]
        install(NEWEST)
        assert f"encoder: would be built: the newest cached engine of 'encoder' differs: tensorrt was {NEW}, " in (
            self.run(str(bundle_folder), "--check")
        )

    def test_brackets_in_a_folders_name_are_printed(
        self, trt: Any, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("SARTM_CACHE", str(tmp_path / "lab[red]"))
        assert "lab[red]" in self.run(str(bundle_folder), "--check")

    def test_a_robot_uses_what_was_built_with_another_workspace(self, trt: Any, bundle_folder: Path) -> None:
        """The message of a failed build advises lowering it, which is not possible when the node starts."""
        self.run(str(bundle_folder), "--workspace-mb", "1024")
        load_segmenter(bundle_folder, "tensorrt")
        assert len(trt.builds) == 2

    def test_verify_compares_with_onnx_runtime(self, trt: Any, bundle_folder: Path) -> None:
        assert "1.00000" in self.run(str(bundle_folder), "--verify", "simulated", "--verify-frames", "2")

    def test_no_gpu_is_an_error_of_one_line(
        self, trt: Any, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FAKE_CUDA_DEVICES", "0")
        result = CliRunner().invoke(app, ["engine", "build", str(bundle_folder), "--check"])
        assert result.exit_code == 1
        assert "no NVIDIA GPU responds" in result.output

    def test_a_bundle_without_graphs_is_refused(self, trt: Any, tmp_path: Path) -> None:
        weights = untrained_bundle(tmp_path / "weights", load_rig("sim").only(["rgb"]))
        result = CliRunner().invoke(app, ["engine", "build", str(weights)])
        assert result.exit_code == 1
        assert "holds weights, not graphs. Run `sartm export" in result.output


class TestChoice:
    def test_without_the_package(self, gpu: None, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tensorrt", None)
        assert choose_backend(bundle, "auto") == ("onnx", "TensorRT's Python package is not installed")

    def test_without_a_gpu(self, trt: Any, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FAKE_CUDA_DEVICES", "0")
        assert choose_backend(bundle, "auto") == ("onnx", "TensorRT is installed, but no NVIDIA GPU responds")

    @pytest.mark.parametrize("device", ["auto", "cuda"])
    def test_with_both(self, trt: Any, bundle: Bundle, device: str) -> None:
        assert choose_backend(bundle, device) == ("tensorrt", "TensorRT and an NVIDIA GPU are here")

    @pytest.mark.parametrize("device", ["cpu", "tensorrt"])
    def test_another_requested_device(self, trt: Any, bundle: Bundle, device: str) -> None:
        assert choose_backend(bundle, device) == ("onnx", f"device '{device}' was asked for")

    def test_weights_are_for_torch(self, trt: Any, bundle: Bundle) -> None:
        assert choose_backend(bundle.model_copy(update={"graphs": None}), "auto")[0] == "torch"


class TestStandIns:
    """The stand-ins notice what the tests above rely on."""

    def test_unknown_names_are_refused(self, trt: Any) -> None:
        module = sys.modules["tensorrt"]
        builder = module.Builder(module.Logger())
        for target, name in ((module, "init_libnvinfer_plugins"), (builder, "max_batch_size")):
            with pytest.raises(AttributeError):
                getattr(target, name)
        with pytest.raises(AttributeError):
            builder.create_builder_config().max_workspace_size = 1

    def test_captured_copies_are_not_done_before_the_launch(self, trt: Any) -> None:
        gpu = cuda.Cuda()
        array, back = gpu.pinned((4,), np.float32), gpu.pinned((4,), np.float32)
        address = gpu.device_memory(array.nbytes)
        array[:] = 1
        gpu.begin_capture()
        gpu.upload(address, array)
        gpu.download(back, address)
        graph = gpu.end_capture()
        gpu.synchronize()
        assert (back == 0).all()
        array[:] = 2
        gpu.launch(graph)
        assert (back == 0).all()
        gpu.synchronize()
        assert (back == 2).all()

    def test_copies_beyond_the_memory_are_refused(self, trt: Any) -> None:
        gpu = cuda.Cuda()
        with pytest.raises(SartmError, match="cudaMemcpyAsync failed: invalid argument"):
            gpu.upload(gpu.device_memory(15), gpu.pinned((4,), np.float32))
        with pytest.raises(SartmError, match="cudaMemcpyAsync failed: invalid argument"):
            gpu.upload(gpu.device_memory(16), np.zeros(4, np.float32))  # not page-locked

    def test_a_segmenter_that_forgets_to_launch_or_to_wait_is_noticed(
        self, trt: Any, start: Start, onnx: OnnxSegmenter, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("launch", "synchronize"):
            segmenter = start()
            planes = random_planes(bundle, bundle.rig.names, 1)
            with monkeypatch.context() as patched:
                patched.setattr(segmenter._cuda, name, lambda *arguments: None)
                with pytest.raises(AssertionError):
                    assert_same(segmenter.segment(planes), onnx.segment(planes))

    def test_a_context_that_is_gone_is_noticed(self, trt: Any, start: Start, bundle: Bundle) -> None:
        segmenter = start()
        segmenter._captured = {part: (graph, None) for part, (graph, _) in segmenter._captured.items()}
        segmenter.segment(random_planes(bundle, bundle.rig.names, 0))
        assert "an execution context is gone" in trt.faults[0]
        trt.faults.clear()

    @pytest.mark.parametrize("version", [OLD, NEW])
    def test_scratch_memory_that_is_missing_or_too_small_is_noticed(
        self, install: Install, one: OneEngine, version: str
    ) -> None:
        control = install(version)
        engine, gpu = one(), cuda.Cuda()
        size, strategy = engine._scratch, getattr(sys.modules["tensorrt"], "ExecutionContextAllocationStrategy", None)
        room = {name: gpu.device_memory(1 << 20) for name in engine._tensors}
        gpu.upload(room["modality"], gpu.pinned((1,), np.int64))

        def run(give: Callable[[Any], None]) -> bool:
            bare = engine.create_execution_context_without_device_memory
            context = engine.create_execution_context(strategy.USER_MANAGED) if strategy else bare()
            give(context)
            context.set_input_shape("planes", (1, 3, *SIZE))
            context.set_input_shape("modality", (1,))
            for name in engine._tensors:
                context.set_tensor_address(name, room[name])
            return context.execute_async_v3(gpu.stream.value) and gpu.synchronize() is None

        def give(address: int, claimed: int) -> Callable[[Any], None]:
            if strategy:
                return lambda context: context.set_device_memory(address, claimed)
            return lambda context: setattr(context, "device_memory", address)

        assert not run(lambda context: None)
        assert not (strategy and run(give(gpu.device_memory(size), size - 1)))
        assert run(give(gpu.device_memory(size), size))
        assert control.faults == []
        run(give(gpu.device_memory(size - 1), size))
        assert f"{size} bytes do not fit" in control.faults.pop()

    def test_side_files_hold_what_a_reader_wants(self, trt: Any, one: OneEngine) -> None:
        one()
        described = json.loads(one.side.read_text())
        assert described["key"]["gpu"] == "Fake GPU, 8.7, 16 SMs, 15 GiB"
        assert described["engine_sha256"] == sha256(one.plan)
