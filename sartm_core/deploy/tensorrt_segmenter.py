"""The TensorRT backend: an engine for each graph, one stream, fixed buffers, a CUDA graph for all that may come."""

import ctypes
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.deploy.bundle import HEAD_OUTPUTS, Bundle, encoder_files, graph_shapes
from sartm_core.deploy.cuda import Cuda
from sartm_core.deploy.engine import (
    DEFAULT_WORKSPACE_MB,
    EngineCache,
    Say,
    cache_directory,
    load_or_build,
    tensorrt,
)
from sartm_core.deploy.host import Answer, HostSide, Part, Planes, possible_parts, spans
from sartm_core.errors import SartmError
from sartm_core.segmentation import LEVELS, SCORE_STRIDE, Segmentation

log = logging.getLogger("sartm")


class TensorRtSegmenter:
    """See `sartm_core.deploy.Segmenter`. Not for several threads at once.

    All execution contexts and CUDA graphs are made here, with one scratch memory: a sensor that dies allocates nothing.

    Args:
        bundle: content of `bundle.json`, with graphs.
        directory: where the graphs lie.
        cache: of the engines.
        workspace_mb: limit of TensorRT's scratch memory while it builds.
        say: gets a line for each step that takes time.

    Raises:
        SartmError: no GPU, no TensorRT, a graph that it cannot run, or too little memory.
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
        assert bundle.graphs is not None
        trt = tensorrt()
        self._cuda = Cuda()
        cache = cache or EngineCache(cache_directory())
        self._engines = load_engines(bundle, directory, self._cuda, cache, workspace_mb, say)
        self._rows_of = list(encoder_files(bundle).values())
        count = len(bundle.rig.names)
        self._batch = self._cuda.pinned((count, 3, *bundle.size), bundle.rig.dtype)
        self._modality = self._cuda.pinned((count,), _numpy(trt, self._engines[-1], "modality"))
        self._outputs = {name: self._cuda.pinned(*shape) for name, shape in _outputs(bundle).items()}
        host = HostSide(bundle, self._rows_of, self._batch)
        self._host, self.prepare, self.finish = host, host.prepare, host.finish
        self._row_bytes = {"planes": self._batch[0].nbytes}
        for name, shape in bundle.graphs.features.items():
            self._row_bytes[name] = int(np.prod(shape)) * _numpy(trt, self._engines[-1], name).itemsize
        self._addresses = {name: self._cuda.device_memory(count * size) for name, size in self._row_bytes.items()}
        self._addresses |= {name: self._cuda.device_memory(array.nbytes) for name, array in self._outputs.items()}
        # TensorRT wants aligned addresses, so no engine reads its modalities out of the middle of another's.
        self._modalities = [self._cuda.device_memory(self._modality.nbytes) for _ in self._engines]
        # Engines run one after the other, so the largest one's scratch memory does for all contexts.
        self._scratch_size = max(1, *map(_scratch_size, self._engines))
        self._scratch = self._cuda.device_memory(self._scratch_size)
        self._captured = {part: self._capture(part, rows) for part, rows in possible_parts(self._rows_of).items()}
        self.backend = f"tensorrt {trt.__version__} on {self._cuda.device_name}"

    def segment(self, planes: Planes, size: tuple[int, int] | None = None) -> Segmentation:
        return self._host.segment(planes, size, self.run_network)

    def run_network(self, batch: NDArray[Any], rows: list[int], fresh: Collection[int] | None = None) -> Answer:
        """See `host.RunNetwork`; `batch` is the pinned one, of which `prepare` has filled the first rows."""
        self._modality[: len(rows)] = rows
        encoders = [Part(index, *span) for index, span in enumerate(spans(self._rows_of, rows, fresh)) if span[1]]
        for part in [*encoders, Part(len(self._rows_of), 0, len(rows))]:
            self._cuda.launch(self._captured[part][0])
        self._cuda.synchronize()
        return {name: array.copy() for name, array in self._outputs.items()}

    def _capture(self, part: Part, rows: list[int]) -> tuple[ctypes.c_void_p, Any]:
        """A CUDA graph, and the context that it was captured of, which has to live as long."""
        self._modality[part.first : part.first + part.count] = rows
        context = self._context(part)
        self._enqueue(part, context)  # TensorRT sets things up in the first run, which must not be captured
        self._cuda.synchronize()
        self._cuda.begin_capture()
        try:
            self._enqueue(part, context)
        except Exception:
            self._cuda.end_capture()  # else the stream would go on writing down instead of working
            raise
        return self._cuda.end_capture(), context

    def _context(self, part: Part) -> Any:
        """An engine's execution context for some of the rows, in the shared scratch memory."""
        engine = self._engines[part.index]
        context = _without_scratch(engine)
        if context is None:
            raise SartmError("TensorRT: no execution context: the GPU's memory is full. Close other programs.")
        if _says_sizes(engine):
            context.set_device_memory(self._scratch, self._scratch_size)
        else:
            context.device_memory = self._scratch
        for number in range(engine.num_io_tensors):
            name = engine.get_tensor_name(number)
            shape = tuple(engine.get_tensor_shape(name))
            if _is_input(engine, name) and shape[0] < 0:
                context.set_input_shape(name, (part.count, *shape[1:]))
            if name == "modality":
                context.set_tensor_address(name, self._modalities[part.index])
            else:
                context.set_tensor_address(name, self._addresses[name] + part.first * self._row_bytes.get(name, 0))
        return context

    def _enqueue(self, part: Part, context: Any) -> None:
        """Uploads what the engine takes from the host, runs it; after the head, the last one, downloads the answer."""
        is_head = part.index == len(self._engines) - 1
        rows = slice(part.first, part.first + part.count)
        if not is_head:
            self._cuda.upload(self._addresses["planes"] + part.first * self._row_bytes["planes"], self._batch[rows])
        self._cuda.upload(self._modalities[part.index], self._modality[rows])
        if not context.execute_async_v3(self._cuda.stream.value or 0):
            raise SartmError("TensorRT: the engine does not run; its log says why.")
        if is_head:
            for name, array in self._outputs.items():
                self._cuda.download(array, self._addresses[name])


def load_engines(
    bundle: Bundle, directory: Path, cuda: Cuda, cache: EngineCache, workspace_mb: int, say: Say
) -> list[Any]:
    """The engines of the encoders and, last, of the head; cached or built."""
    return [
        load_or_build(directory / file, shapes, cuda, cache, workspace_mb, say)
        for file, shapes in graph_shapes(bundle).items()
    ]


def _outputs(bundle: Bundle) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Name -> shape and type of what the head answers."""
    height, width = bundle.size
    cells = (height // SCORE_STRIDE, width // SCORE_STRIDE)
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "scores": ((len(bundle.rig.classes), *cells), np.float32),
        "mask": ((height, width), np.uint8),
        "confidence": (cells, np.float32),
        "routing": ((len(LEVELS), len(bundle.rig.names)), np.float32),
    }
    return {name: shapes[name] for name in HEAD_OUTPUTS[bundle.argmax]}


def _says_sizes(engine: Any) -> bool:
    """TensorRT from 10.1 on is told how large its scratch memory is; 8.6 and 10.0 have other names for all of it."""
    return hasattr(engine, "device_memory_size_v2")


def _scratch_size(engine: Any) -> int:
    """Bytes that the largest shapes of an engine need."""
    return int(engine.device_memory_size_v2 if _says_sizes(engine) else engine.device_memory_size)


def _without_scratch(engine: Any) -> Any:
    """An execution context that waits for its scratch memory; None where even its own does not fit."""
    if _says_sizes(engine):
        return engine.create_execution_context(tensorrt().ExecutionContextAllocationStrategy.USER_MANAGED)
    return engine.create_execution_context_without_device_memory()


def _is_input(engine: Any, name: str) -> bool:
    return engine.get_tensor_mode(name) == tensorrt().TensorIOMode.INPUT


def _numpy(trt: Any, engine: Any, name: str) -> Any:
    """The NumPy type of a tensor; TensorRT 8 makes int32 of int64."""
    return np.dtype(trt.nptype(engine.get_tensor_dtype(name)))
