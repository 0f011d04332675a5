"""The ONNX Runtime backend: CPU, CUDA or TensorRT providers; needs neither torch nor sam2."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.deploy.bundle import ENCODER_FILE, HEAD_FILE, Bundle
from sartm_core.deploy.host import HostSide, Planes
from sartm_core.errors import SartmError
from sartm_core.frames import Segmentation

FEATURES = ("ffp", "ifp", "sfm")
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


def available_devices() -> list[str]:
    """Those of `PROVIDERS` that this build of ONNX Runtime has, the fastest last."""
    import onnxruntime

    found = onnxruntime.get_available_providers()
    return [device for device, provider in PROVIDERS.items() if provider in found]


class OnnxSegmenter:
    """See `sartm_core.deploy.Segmenter`. Not for several threads at once.

    Args:
        bundle: content of `bundle.json`, with graphs.
        directory: where the graphs lie.
        device: `cpu`, `cuda`, or `tensorrt` (ONNX Runtime's TensorRT provider).
        threads: of the CPU; 0: one per core.

    Attributes:
        backend: the provider that really runs, which is not always the one that was asked for.

    Raises:
        SartmError: ONNX Runtime is not installed, cannot load a graph, or fell back to another provider.
    """

    def __init__(self, bundle: Bundle, directory: Path, device: str, threads: int = 0) -> None:
        self.bundle = bundle
        host = HostSide(bundle)
        self.prepare, self.finish = host.prepare, host.finish
        self._device = "cpu" if device == "cpu" else "cuda"
        self._encoder = _session(directory / ENCODER_FILE, device, threads)
        self._head = _session(directory / HEAD_FILE, device, threads)
        self.backend = f"onnx on {PROVIDERS[device].removesuffix('ExecutionProvider')}"

    def segment(self, planes: Planes, size: tuple[int, int] | None = None) -> Segmentation:
        return self.finish(planes, size, *self.run_network(*self.prepare(planes)))

    def run_network(self, batch: NDArray[Any], rows: list[int]) -> list[NDArray[Any]]:
        """[R, 3, h, w] and the modality of each row -> mask, confidence, routing. Features stay on the device."""
        modality = np.array(rows, np.int64)
        encoding = self._encoder.io_binding()
        encoding.bind_cpu_input("planes", batch)
        encoding.bind_cpu_input("modality", modality)
        for name in FEATURES:
            encoding.bind_output(name, self._device)
        self._encoder.run_with_iobinding(encoding)
        head = self._head.io_binding()
        for name, features in zip(FEATURES, encoding.get_outputs(), strict=True):
            head.bind_ortvalue_input(name, features)
        head.bind_cpu_input("modality", modality)
        for name in ("mask", "confidence", "routing"):
            head.bind_output(name, "cpu")
        self._head.run_with_iobinding(head)
        return list(head.copy_outputs_to_cpu())


def _session(path: Path, device: str, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise SartmError(
            "the bundle holds ONNX graphs, and onnxruntime is not installed: pip install onnxruntime (onnxruntime-gpu "
            "for CUDA)."
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # it reports constants that it does not fold
    provider = PROVIDERS[device]
    if provider not in onnxruntime.get_available_providers():
        raise SartmError(
            f"device '{device}': this ONNX Runtime has no {provider}; it has "
            f"{', '.join(onnxruntime.get_available_providers())}. Install onnxruntime-gpu, or use device cpu."
        )
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:  # the library's exceptions share no base
        raise SartmError(f"{path}: ONNX Runtime cannot load it: {error}. Export the bundle again.") from error
    if (found := session.get_providers()[0]) != provider:
        raise SartmError(
            f"device '{device}': ONNX Runtime fell back to {found}: the libraries of CUDA, cuDNN or TensorRT that this "
            "build needs are missing or of another version. Install them, or use device cpu."
        )
    return session
