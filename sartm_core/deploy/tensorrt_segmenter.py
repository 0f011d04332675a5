"""The TensorRT backend: two engines, one stream, buffers that never move, one CUDA graph per number of modalities."""

import ctypes
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.deploy.bundle import ENCODER_FILE, HEAD_FILE, Bundle
from sartm_core.deploy.cuda import Cuda
from sartm_core.deploy.engine import (
    DEFAULT_WORKSPACE_MB,
    EngineCache,
    Say,
    Shapes,
    cache_directory,
    load_or_build,
    tensorrt,
)
from sartm_core.deploy.host import CONFIDENCE_STRIDE, HostSide, Planes
from sartm_core.errors import SartmError
from sartm_core.frames import LEVELS, Segmentation

log = logging.getLogger("sartm")

ROW_INPUTS = ("planes", "modality", "ffp", "ifp", "sfm")
"""Inputs whose first side is the number of rows."""


class TensorRtSegmenter:
    """See `sartm_core.deploy.Segmenter`. Not for several threads at once.

    Args:
        bundle: content of `bundle.json`, with graphs.
        directory: where the graphs lie.
        cache: of the engines.
        workspace_mb: limit of TensorRT's scratch memory while it builds.
        say: gets a line for each step that takes time.

    Raises:
        SartmError: no GPU, no TensorRT, or a graph that it cannot run.
    """

    def __init__(
        self,
        bundle: Bundle,
        directory: Path,
        cache: EngineCache | None = None,
        workspace_mb: int = DEFAULT_WORKSPACE_MB,
        say: Say = log.info,
    ) -> None:
        self.bundle = bundle
        trt = tensorrt()
        self._cuda = Cuda()
        self._engines = load_engines(bundle, directory, self._cuda, cache or EngineCache(cache_directory()),
                                     workspace_mb, say)  # fmt: skip
        count, (height, width) = len(bundle.rig.names), bundle.size
        self._batch = self._cuda.pinned((count, 3, height, width), bundle.rig.dtype)
        self._modality = self._cuda.pinned((count,), _numpy(trt, self._engines[0], "modality"))
        self._mask = self._cuda.pinned((height, width), np.uint8)
        small = (height // CONFIDENCE_STRIDE, width // CONFIDENCE_STRIDE)
        self._confidence = self._cuda.pinned(small, np.float32)
        self._routing = self._cuda.pinned((len(LEVELS), count), np.float32)
        host = HostSide(bundle, self._batch)
        self.prepare, self.finish = host.prepare, host.finish
        self._outputs = {"mask": self._mask, "confidence": self._confidence, "routing": self._routing}
        self._addresses = self._allocate(trt)
        self._captured: dict[int, tuple[ctypes.c_void_p, Any]] = {}
        self.backend = f"tensorrt {trt.__version__} on {self._cuda.device_name}"

    def segment(self, planes: Planes, size: tuple[int, int] | None = None) -> Segmentation:
        return self.finish(planes, size, *self.run_network(*self.prepare(planes)))

    def run_network(self, batch: NDArray[Any], rows: list[int]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Upload, encoder, head, download; `batch` is the pinned one, of which `prepare` has filled the first rows."""
        self._modality[: len(rows)] = rows
        if len(rows) not in self._captured:
            self._captured[len(rows)] = self._capture(len(rows))
        self._cuda.launch(self._captured[len(rows)][0])
        self._cuda.synchronize()
        return self._mask.copy(), self._confidence.copy(), self._routing.copy()

    def _allocate(self, trt: Any) -> dict[str, int]:
        """Device memory of every tensor, for all rows; the encoder's outputs are the head's inputs."""
        addresses: dict[str, int] = {}
        for engine in self._engines:
            for index in range(engine.num_io_tensors):
                name = engine.get_tensor_name(index)
                if name not in addresses:
                    shape = [len(self.bundle.rig.names) if side < 0 else side for side in engine.get_tensor_shape(name)]
                    size = int(np.prod(shape)) * np.dtype(_numpy(trt, engine, name)).itemsize
                    addresses[name] = self._cuda.device_memory(size)
        return addresses

    def _capture(self, rows: int) -> tuple[ctypes.c_void_p, Any]:
        """The work for so many rows as one CUDA graph; the contexts have to live as long as it does."""
        contexts = [self._context(engine, rows) for engine in self._engines]
        self._enqueue(rows, contexts)  # TensorRT sets things up in the first run, which must not be captured
        self._cuda.synchronize()
        self._cuda.begin_capture()
        self._enqueue(rows, contexts)
        return self._cuda.end_capture(), contexts

    def _context(self, engine: Any, rows: int) -> Any:
        context = engine.create_execution_context()
        if context is None:
            raise SartmError("TensorRT: no execution context: the GPU's memory is full. Close other programs.")
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            shape = tuple(engine.get_tensor_shape(name))
            if name in ROW_INPUTS and shape[0] < 0 and _is_input(engine, name):
                context.set_input_shape(name, (rows, *shape[1:]))
            context.set_tensor_address(name, self._addresses[name])
        return context

    def _enqueue(self, rows: int, contexts: list[Any]) -> None:
        self._cuda.upload(self._addresses["planes"], self._batch[:rows])
        self._cuda.upload(self._addresses["modality"], self._modality[:rows])
        for context in contexts:
            if not context.execute_async_v3(self._cuda.stream.value or 0):
                raise SartmError("TensorRT: the engine does not run; its log says why.")
        for name, array in self._outputs.items():
            self._cuda.download(array, self._addresses[name])


def load_engines(
    bundle: Bundle, directory: Path, cuda: Cuda, cache: EngineCache, workspace_mb: int, say: Say
) -> list[Any]:
    """The engines of encoder and head, cached or built."""
    return [
        load_or_build(directory / file, shapes, cuda, cache, workspace_mb, say)
        for file, shapes in graph_shapes(bundle).items()
    ]


def graph_shapes(bundle: Bundle) -> dict[str, Shapes]:
    """File -> input -> smallest and largest shape; rows run from 1 to the number of modalities."""
    assert bundle.graphs is not None
    count, (height, width) = len(bundle.rig.names), bundle.size

    def rows(*shape: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (1, *shape), (count, *shape)

    features = {name: rows(*shape) for name, shape in bundle.graphs.features.items()}
    return {
        ENCODER_FILE: {"planes": rows(3, height, width), "modality": rows()},
        HEAD_FILE: {**features, "modality": rows()},
    }


def _is_input(engine: Any, name: str) -> bool:
    return engine.get_tensor_mode(name) == tensorrt().TensorIOMode.INPUT


def _numpy(trt: Any, engine: Any, name: str) -> Any:
    """The NumPy type of a tensor; TensorRT 8 makes int32 of int64."""
    return np.dtype(trt.nptype(engine.get_tensor_dtype(name)))
