"""The ONNX Runtime backend: CPU, CUDA or TensorRT providers; needs neither torch nor sam2."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.deploy.bundle import HEAD_FILE, HEAD_OUTPUTS, Bundle, encoder_files, graph_shapes
from sartm_core.deploy.host import Answer, HostSide, Planes, spans
from sartm_core.deploy.onnx_runtime import onnx_runtime
from sartm_core.deploy.onnx_tensorrt import provider_options
from sartm_core.errors import SartmError
from sartm_core.segmentation import Segmentation

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


def available_devices() -> list[str]:
    """Those of `PROVIDERS` that this build of ONNX Runtime has, the fastest last."""
    found = onnx_runtime().get_available_providers()
    return [device for device, provider in PROVIDERS.items() if provider in found]


class OnnxSegmenter:
    """See `sartm_core.deploy.Segmenter`. Not for several threads at once.

    Args:
        bundle: content of `bundle.json`, with graphs.
        directory: where the graphs lie.
        device: `cpu`, `cuda`, or `tensorrt` (ONNX Runtime's TensorRT provider, which builds and keeps engines of its
            own).
        threads: of the CPU; 0: one per core.

    Attributes:
        backend: the provider that really runs, which is not always the one that was asked for.

    Raises:
        SartmError: ONNX Runtime is not installed, cannot load a graph, or fell back to another provider.
    """

    def __init__(self, bundle: Bundle, directory: Path, device: str, threads: int = 0) -> None:
        self.bundle = bundle
        assert bundle.graphs is not None
        host = HostSide(bundle, encoder_files(bundle).values())
        self._host, self.prepare, self.finish = host, host.prepare, host.finish
        self._device = "cpu" if device == "cpu" else "cuda"
        self._encoders = [
            (_session(bundle, directory / file, device, threads), frozenset(rows))
            for file, rows in encoder_files(bundle).items()
        ]
        self._head = _session(bundle, directory / HEAD_FILE, device, threads)
        if (found := tuple(one.name for one in self._head.get_outputs())) != (wanted := HEAD_OUTPUTS[bundle.argmax]):
            raise SartmError(
                f"{directory / HEAD_FILE}: answers {', '.join(found)}, bundle.json (argmax: {bundle.argmax}) expects "
                f"{', '.join(wanted)}. Export the bundle again."
            )
        halves = {one.name: one.type == "tensor(float16)" for one in self._head.get_inputs()}
        self._features = {
            name: _Features(len(bundle.rig.names), shape, halves[name], self._device)
            for name, shape in bundle.graphs.features.items()
        }
        self.backend = f"onnx on {PROVIDERS[device].removesuffix('ExecutionProvider')}"

    def segment(self, planes: Planes, size: tuple[int, int] | None = None) -> Segmentation:
        return self._host.segment(planes, size, self.run_network)

    def run_network(self, batch: NDArray[Any], rows: list[int], fresh: Collection[int] | None = None) -> Answer:
        """See `host.RunNetwork`. Features stay on the device."""
        modality = np.array(rows, np.int64)
        encoders = [encoder for encoder, _ in self._encoders]
        parts = spans([theirs for _, theirs in self._encoders], rows, fresh)
        for encoder, (first, count) in zip(encoders, parts, strict=True):
            if count:
                encoding = encoder.io_binding()
                encoding.bind_cpu_input("planes", batch[first : first + count])
                encoding.bind_cpu_input("modality", modality[first : first + count])
                for name, features in self._features.items():
                    encoding.bind_output(name, **features.rows(first, count))
                encoder.run_with_iobinding(encoding)
        head = self._head.io_binding()
        for name, features in self._features.items():
            head.bind_input(name, **features.rows(0, len(rows)))
        head.bind_cpu_input("modality", modality)
        names = HEAD_OUTPUTS[self.bundle.argmax]
        for name in names:
            head.bind_output(name, "cpu")
        self._head.run_with_iobinding(head)
        return dict(zip(names, head.copy_outputs_to_cpu(), strict=True))


class _Features:
    """Memory of one level for all rows, written by the encoders and read by the head where it is."""

    def __init__(self, count: int, shape: tuple[int, int, int], half: bool, device: str) -> None:
        self._dtype = np.dtype(np.float16 if half else np.float32)
        self._shape, self._device = shape, device
        self._value = onnx_runtime().OrtValue.ortvalue_from_shape_and_type([count, *shape], self._dtype, device, 0)

    def rows(self, first: int, count: int) -> dict[str, Any]:
        """Where some of the rows lie, as ONNX Runtime's bindings take it."""
        row_bytes = int(np.prod(self._shape)) * self._dtype.itemsize
        return {
            "device_type": self._device,
            "device_id": 0,
            "element_type": self._dtype,
            "shape": [count, *self._shape],
            "buffer_ptr": self._value.data_ptr() + first * row_bytes,
        }


def _session(bundle: Bundle, path: Path, device: str, threads: int) -> Any:
    onnxruntime = onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # it reports constants that it does not fold
    # Threads that spin while they wait take the cores from drivers and from this node's other threads.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if device not in PROVIDERS:
        raise SartmError(f"device '{device}' is unknown. Known: auto, {', '.join(PROVIDERS)}.")
    provider = PROVIDERS[device]
    if provider not in onnxruntime.get_available_providers():
        raise SartmError(
            f"device '{device}': this ONNX Runtime has no {provider}; it has "
            f"{', '.join(onnxruntime.get_available_providers())}. Install onnxruntime-gpu, or use device cpu."
        )
    assert bundle.graphs is not None
    half = bundle.graphs.precision == "fp16"
    settings = provider_options(path, graph_shapes(bundle)[path.name], half) if device == "tensorrt" else {}
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[(provider, settings)])
    except Exception as error:  # the library's exceptions share no base
        kept = settings.get("trt_engine_cache_path")
        raise SartmError(
            f"{path}: ONNX Runtime cannot load it: {error}. Export the bundle again"
            f"{f', or remove {kept}, where an engine may be damaged' if kept else ''}."
        ) from error
    if (found := session.get_providers()[0]) != provider:
        raise SartmError(
            f"device '{device}': ONNX Runtime fell back to {found}: the libraries of CUDA, cuDNN or TensorRT that this "
            "build needs are missing or of another version. Install them, or use device cpu."
        )
    return session
