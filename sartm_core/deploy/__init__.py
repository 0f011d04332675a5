"""From a checkpoint to a running segmenter: the bundle, its export, the backends."""

import gc
import importlib.util
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sartm_core.deploy.bundle import Bundle, has_weights, read_bundle
from sartm_core.errors import SartmError
from sartm_core.resources import resolve_bundle
from sartm_core.segmentation import Segmentation

__all__ = ["BACKENDS", "Segmenter", "StagedSegmenter", "choose_backend", "free_gpu_memory", "load_segmenter", "warm_up"]

log = logging.getLogger("sartm")

NATIVE_ATTENTION_FROM = (10, 14)
"""The first TensorRT that reads opset 23's Attention."""

BACKENDS = ("auto", "torch", "onnx", "tensorrt")


class Segmenter(Protocol):
    """A loaded bundle, whatever the backend.

    Attributes:
        bundle: content of its `bundle.json`.
        backend: what really runs, for the log: `onnx on CPU`.
    """

    bundle: Bundle
    backend: str

    def segment(
        self, planes: dict[str, NDArray[np.uint8] | NDArray[np.float32]], size: tuple[int, int] | None = None
    ) -> Segmentation:
        """Segments one frame set.

        Args:
            planes: modality name -> [3, H, W] at the sensor's or the network's size; an absent modality is not a key.
            size: height, width of the mask; by default the reference's planes decide, or the rig when it is absent.

        Raises:
            SartmError: no planes, an unknown modality, or an array that is not [3, H, W].
        """


@runtime_checkable
class StagedSegmenter(Segmenter, Protocol):
    """A segmenter whose stages can be timed one by one: all of sartm's backends, by `host.HostSide`."""

    def prepare(self, planes: dict[str, Any]) -> tuple[NDArray[Any], list[int]]:
        """Planes -> what the network takes: [R, 3, h, w] and the modality of each row."""

    def run_network(self, batch: NDArray[Any], rows: list[int]) -> dict[str, NDArray[Any]]:
        """That -> the network's answer, by name."""

    def finish(
        self, planes: dict[str, Any], size: tuple[int, int] | None, answer: dict[str, NDArray[Any]]
    ) -> Segmentation:
        """The answer -> mask and confidence at the frame's size."""


def load_segmenter(
    bundle: str | Path,
    backend: str = "auto",
    device: str = "auto",
    threads: int = 0,
    say: Callable[[str], None] = log.info,
    float_planes: bool = False,
) -> Segmenter:
    """Loads a bundle.

    Args:
        bundle: a folder written by `sartm export`, or the name of a shipped one.
        backend: `torch` for a bundle with weights; `onnx` or `tensorrt` for one with graphs; or `auto`, see
            `choose_backend`.
        device: `cpu`, `cuda`, or `auto`; for `onnx` also `tensorrt`, ONNX Runtime's own TensorRT provider.
        threads: of the CPU that the network may use; 0: all cores. For torch it holds for the whole process.
        say: gets a line for what was chosen and why, and for each step that takes minutes.
        float_planes: whether float32 planes must be taken, whatever the rig: by torch alone, where the rig is of 8 bit.

    Raises:
        SartmError: missing or damaged files, a backend that the bundle is not for, a device that is not there.
    """
    if backend not in BACKENDS:
        raise SartmError(f"backend '{backend}' is unknown. Known: {', '.join(BACKENDS)}.")
    directory = resolve_bundle(str(bundle))
    described = read_bundle(directory)
    if backend == "auto":
        backend, why = choose_backend(described, device, float_planes)
        say(f"backend {backend}: {why}")
    if not (has_weights(described) if backend == "torch" else described.graphs):
        held, remedy = (
            ("ONNX graphs", "export the checkpoint again with --to torch")
            if backend == "torch"
            else ("weights", f"run `sartm export {bundle} --to onnx`")
        )
        raise SartmError(
            f"{directory}: holds {held}, which backend '{backend}' does not run. Use backend auto, or {remedy}."
        )
    if backend == "torch":
        from sartm_core.deploy.torch_segmenter import TorchSegmenter

        return TorchSegmenter(described, directory, device, threads=threads, float_planes=float_planes)
    if float_planes and described.rig.dtype == np.uint8:
        raise SartmError(
            f"{directory}: its ONNX graphs take planes of 8 bit, and the protocols emm, rmm and nm present values that "
            "8 bit cannot hold. Give the checkpoint, or a bundle exported with --to torch."
        )
    if backend == "tensorrt":
        if device not in ("auto", "cuda"):
            raise SartmError(f"backend 'tensorrt' runs on a GPU, not on device '{device}'. Use backend onnx.")
        from sartm_core.deploy.tensorrt_segmenter import TensorRtSegmenter

        return TensorRtSegmenter(described, directory, say=say)
    return _onnx(described, directory, device, threads, say)


def warm_up(segmenter: Segmenter, names: Sequence[str]) -> None:
    """Segments with every number of these modalities, so that memory and shapes are there when a sensor dies.

    Args:
        segmenter: of any backend.
        names: those that the robot has.
    """
    rig = segmenter.bundle.rig
    for count in (len(names), *range(len(names), 0, -1)):  # all of them twice: the first one sets things up
        present = [rig.modality(name) for name in names[:count]]
        segmenter.segment({m.name: np.full((3, *m.size), count, rig.dtype) for m in present})


def _onnx(described: Bundle, directory: Path, device: str, threads: int, say: Callable[[str], None]) -> Segmenter:
    from sartm_core.deploy.onnx_segmenter import OnnxSegmenter, available_devices

    if device != "auto":
        return OnnxSegmenter(described, directory, device, threads)
    if "cuda" in available_devices():  # so it was built; whether there is a GPU shows when it loads
        try:
            return OnnxSegmenter(described, directory, "cuda", threads)
        except SartmError as error:
            say(f"{error} Device cpu is used.")
    return OnnxSegmenter(described, directory, "cpu", threads)


def free_gpu_memory() -> None:
    """Gives back what torch keeps of the GPU for segmenters that are gone."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def _tensorrt_version() -> tuple[int, int]:
    """Major and minor of the installed package; (0, 0) where it cannot be imported."""
    try:
        import tensorrt
    except Exception:  # the segmenter will say why
        return (0, 0)
    major, minor, *_ = str(tensorrt.__version__).split(".")
    return int(major), int(minor)


def choose_backend(bundle: Bundle, device: str, float_planes: bool = False) -> tuple[str, str]:
    """What `auto` stands for on this machine: never torch where there are graphs, unless it alone takes the planes.

    Args:
        bundle: what is to run.
        device, float_planes: see `load_segmenter`.

    Returns:
        The backend, and why.
    """
    if bundle.graphs is None:
        return "torch", "the bundle holds weights, which torch runs"
    if float_planes and bundle.rig.dtype == np.uint8 and has_weights(bundle):
        return "torch", "the planes hold values that the graphs' 8 bit cannot"
    backend, why = _for_graphs(bundle, device)
    if backend == "onnx" and has_weights(bundle) and importlib.util.find_spec("onnxruntime") is None:
        return "torch", "ONNX Runtime is not installed"
    return backend, why


def _for_graphs(bundle: Bundle, device: str) -> tuple[str, str]:
    assert bundle.graphs is not None
    if device not in ("auto", "cuda"):
        return "onnx", f"device '{device}' was asked for"
    if importlib.util.find_spec("tensorrt") is None:
        return "onnx", "TensorRT's Python package is not installed"
    from sartm_core.deploy import cuda

    reason = cuda.why_unusable()
    if reason is not None:
        return "onnx", f"TensorRT is installed, but {reason}"
    if bundle.graphs.precision == "int8":
        return "onnx", "the bundle is in int8, which is for CPUs"
    version = _tensorrt_version()
    if bundle.graphs.opset > 20 and version < NATIVE_ATTENTION_FROM:
        return "onnx", (
            f"TensorRT {version[0]}.{version[1]} does not read opset {bundle.graphs.opset}; export with --opset 20"
        )
    return "tensorrt", "TensorRT and an NVIDIA GPU are here"
