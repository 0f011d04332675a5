"""ONNX Runtime's own TensorRT provider: its options, by the names of its documentation."""

import json
from pathlib import Path
from typing import Any

from sartm_core.deploy import cuda
from sartm_core.deploy.bundle import Shapes
from sartm_core.deploy.engine import EngineCache, EngineKey, cache_directory
from sartm_core.deploy.onnx_runtime import onnx_runtime
from sartm_core.files import sha256


def provider_options(graph: Path, shapes: Shapes, half: bool) -> dict[str, Any]:
    """What `InferenceSession` takes for a graph, so that it builds one engine, once, for every number of rows.

    Args:
        graph: ONNX file; its stem names the folder of its engine.
        shapes: of its inputs.
        half: whether it computes in fp16.

    Raises:
        SartmError: the cache cannot be written.
    """
    folder = _folder(graph, shapes)
    EngineCache(folder).check_writable()
    options = {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": str(folder),  # else the working directory
        "trt_fp16_enable": half,
    }
    if any(smallest != largest for smallest, largest in shapes.values()):
        smallest = {name: shape for name, (shape, _) in shapes.items()}
        largest = {name: shape for name, (_, shape) in shapes.items()}
        for which, of_inputs in (("min", smallest), ("opt", largest), ("max", largest)):
            options[f"trt_profile_{which}_shapes"] = _profile(of_inputs)
    return options


def _folder(graph: Path, shapes: Shapes) -> Path:
    """Of one graph, ONNX Runtime and GPU alone.

    The provider tells graphs apart by the names of the file and of its tensors (TRTGenerateId in its sources), not by
    their weights, and GPUs by their compute capability: two trainings of one network would share an engine.
    """
    key = EngineKey(
        graph=sha256(graph),
        tensorrt=f"of ONNX Runtime {onnx_runtime().__version__}",
        gpu="none" if cuda.why_unusable() else cuda.Cuda().description,
        shapes=json.dumps(shapes, sort_keys=True),
    )
    return cache_directory() / f"{graph.stem}-{key.digest}"


def _profile(shapes: dict[str, tuple[int, ...]]) -> str:
    """Such as `planes:1x3x448x640,modality:1`."""
    return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items())
