"""What ONNX Runtime's TensorRT provider is told. None of it has run: the sessions here are stand-ins."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import onnxruntime
import pytest

from sartm_core.deploy import cuda
from sartm_core.deploy.bundle import HEAD_FILE, HEAD_OUTPUTS, Bundle, graph_shapes, read_bundle
from sartm_core.deploy.onnx_segmenter import PROVIDERS, OnnxSegmenter
from sartm_core.deploy.onnx_tensorrt import provider_options
from sartm_core.errors import SartmError
from sartm_core.resources import resolve_bundle

FOLDER = resolve_bundle("any_sensor_simrig5")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return read_bundle(FOLDER)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty one, on a machine whose GPU is named by GPU."""
    monkeypatch.setenv("SARTM_CACHE", str(tmp_path / "cache"))
    of_gpu(monkeypatch, "Orin, 8.7, 16 SMs, 61 GiB")
    return tmp_path / "cache" / "engines"


def of_gpu(monkeypatch: pytest.MonkeyPatch, description: str) -> None:
    monkeypatch.setattr(cuda, "why_unusable", lambda: None)
    monkeypatch.setattr(cuda, "Cuda", lambda: SimpleNamespace(description=description))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> dict[str, Any]:
    """File -> `providers`, as they reach `InferenceSession`."""
    found: dict[str, Any] = {}

    class Session:
        def __init__(self, path: str, options: Any, providers: Any) -> None:
            self.names = [entry[0] for entry in providers]
            found[Path(path).name] = providers

        def get_providers(self) -> list[str]:
            return self.names

        def get_outputs(self) -> list[Any]:
            return [SimpleNamespace(name=name) for name in HEAD_OUTPUTS[bundle.argmax]]

        def get_inputs(self) -> list[Any]:
            return [SimpleNamespace(name=name, type="tensor(float)") for name in ("ffp", "ifp", "sfm", "modality")]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(PROVIDERS.values()))
    monkeypatch.setattr(onnxruntime.OrtValue, "ortvalue_from_shape_and_type", lambda *of: None)
    return found


def options_of(asked: dict[str, Any], file: str) -> dict[str, Any]:
    ((provider, options),) = asked[file]
    assert provider == "TensorrtExecutionProvider"
    return options


def parsed(profile: str) -> dict[str, list[int]]:
    """As `ParseProfileShapes` in ONNX Runtime's tensorrt_execution_provider_utils.h reads it."""
    pairs = (entry.split(":") for entry in profile.split(","))
    return {name: [int(side) for side in shape.split("x")] for name, shape in pairs}


def test_profiles_cover_every_input_whose_rows_vary(asked: dict[str, Any], bundle: Bundle) -> None:
    """With one input left out the provider refuses the graph; with another range it builds while the robot drives."""
    OnnxSegmenter(bundle, FOLDER, "tensorrt")
    assert set(asked) == {"encoder.onnx", HEAD_FILE}
    for file in asked:
        options = options_of(asked, file)
        graph = onnx.load(FOLDER / file, load_external_data=False).graph
        inputs = {one.name: one.type.tensor_type.shape.dim for one in graph.input}
        for which, rows in (("min", 1), ("opt", 5), ("max", 5)):
            wanted = {name: [side.dim_value or rows for side in shape] for name, shape in inputs.items()}
            assert parsed(options[f"trt_profile_{which}_shapes"]) == wanted


def test_engines_and_timings_are_kept_beside_ours(asked: dict[str, Any], bundle: Bundle, cache: Path) -> None:
    OnnxSegmenter(bundle, FOLDER, "tensorrt")
    folders = set()
    for file in asked:
        options = options_of(asked, file)
        assert options["trt_engine_cache_enable"] is options["trt_timing_cache_enable"] is True
        assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"]
        folder = Path(options["trt_engine_cache_path"])
        assert folder.parent == cache
        assert folder.is_dir()  # the provider makes the last folder of a path alone
        folders.add(folder)
    assert len(folders) == 2


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_half_precision_only_where_the_graphs_have_it(asked: dict[str, Any], bundle: Bundle, precision: str) -> None:
    assert bundle.graphs is not None
    graphs = bundle.graphs.model_copy(update={"precision": precision})
    OnnxSegmenter(bundle.model_copy(update={"graphs": graphs}), FOLDER, "tensorrt")
    assert {options_of(asked, file)["trt_fp16_enable"] for file in asked} == {precision == "fp16"}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_other_providers_are_told_nothing(asked: dict[str, Any], bundle: Bundle, cache: Path, device: str) -> None:
    OnnxSegmenter(bundle, FOLDER, device)
    assert list(asked.values()) == [[(PROVIDERS[device], {})]] * 2
    assert not cache.exists()


def test_graphs_of_other_weights_versions_or_gpus_have_engines_of_their_own(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The provider's own names for engines hold none of these but the version: it would load another training's."""
    shapes = graph_shapes(bundle)[HEAD_FILE]

    def folder(graph: Path = FOLDER / HEAD_FILE) -> str:
        return str(provider_options(graph, shapes, False)["trt_engine_cache_path"])

    first = folder()
    assert folder() == first
    changed = Path(shutil.copy(FOLDER / HEAD_FILE, tmp_path))
    changed.write_bytes(changed.read_bytes() + b"\0")
    found = {first, folder(changed)}
    with monkeypatch.context() as patched:
        patched.setattr(onnxruntime, "__version__", "1.99.0")
        found.add(folder())
    of_gpu(monkeypatch, "Orin, 8.7, 8 SMs, 15 GiB")
    found.add(folder())
    assert len(found) == 4


def test_a_fixed_number_of_rows_needs_no_profile(bundle: Bundle) -> None:
    """The provider would compare it with what it has stored, which is of varying shapes alone, and build each time."""
    alone = {"planes": ((1, 3, 64, 96), (1, 3, 64, 96)), "modality": ((1,), (1,))}
    assert not any("profile" in name for name in provider_options(FOLDER / HEAD_FILE, alone, False))


def test_an_engine_that_does_not_load_is_said_with_its_folder(
    asked: dict[str, Any], bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider writes engines in place: a power cut leaves half of one."""

    def refuse(*of: Any, **named: Any) -> None:
        raise RuntimeError("TensorRT EP could not deserialize engine from cache: a.engine")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    with pytest.raises(
        SartmError, match=rf"deserialize engine .*or remove {cache}/encoder-\w+, where an engine may be"
    ):
        OnnxSegmenter(bundle, FOLDER, "tensorrt")


def test_a_cache_that_cannot_be_written_is_an_error_before_minutes_of_building(
    asked: dict[str, Any], bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SARTM_CACHE", str(tmp_path / "file"))
    with pytest.raises(SartmError, match="engines cannot be stored there .*set SARTM_CACHE to another folder"):
        OnnxSegmenter(bundle, FOLDER, "tensorrt")
    assert asked == {}
