"""The TensorRT backend: an engine for each graph, one stream, fixed buffers, a CUDA graph for each number of rows."""

import ctypes
import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.deploy.bundle import HEAD_FILE, HEAD_OUTPUTS, Bundle, encoder_files
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
from sartm_core.deploy.host import Answer, HostSide, Planes, spans
from sartm_core.errors import SartmError
from sartm_core.segmentation import LEVELS, SCORE_STRIDE, Segmentation

log = logging.getLogger("sartm")


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
        assert bundle.graphs is not None
        trt = tensorrt()
        self._cuda = Cuda()
        cache = cache or EngineCache(cache_directory())
        self._engines = load_engines(bundle, directory, self._cuda, cache, workspace_mb, say)
        self._rows_of = list(encoder_files(bundle).values())
        count, (height, width) = len(bundle.rig.names), bundle.size
        self._batch = self._cuda.pinned((count, 3, height, width), bundle.rig.dtype)
        self._modality = self._cuda.pinned((count,), _numpy(trt, self._engines[-1], "modality"))
        cells = (height // SCORE_STRIDE, width // SCORE_STRIDE)
        shapes: dict[str, tuple[tuple[int, ...], Any]] = {
            "scores": ((len(bundle.rig.classes), *cells), np.float32),
            "mask": ((height, width), np.uint8),
            "confidence": (cells, np.float32),
            "routing": ((len(LEVELS), count), np.float32),
        }
        self._outputs = {name: self._cuda.pinned(*shapes[name]) for name in HEAD_OUTPUTS[bundle.argmax]}
        host = HostSide(bundle, self._rows_of, self._batch)
        self._host, self.prepare, self.finish = host, host.prepare, host.finish
        self._row_bytes = {"planes": self._batch[0].nbytes}
        for name, shape in bundle.graphs.features.items():
            self._row_bytes[name] = int(np.prod(shape)) * _numpy(trt, self._engines[-1], name).itemsize
        self._addresses = {name: self._cuda.device_memory(count * size) for name, size in self._row_bytes.items()}
        self._addresses |= {name: self._cuda.device_memory(array.nbytes) for name, array in self._outputs.items()}
        # TensorRT wants aligned addresses, so no engine reads its modalities out of the middle of another's.
        self._modalities = [self._cuda.device_memory(self._modality.nbytes) for _ in self._engines]
        self._captured: dict[tuple[int, int, int], tuple[ctypes.c_void_p, _Step]] = {}
        self.backend = f"tensorrt {trt.__version__} on {self._cuda.device_name}"

    def segment(self, planes: Planes, size: tuple[int, int] | None = None) -> Segmentation:
        return self._host.segment(planes, size, self.run_network)

    def run_network(self, batch: NDArray[Any], rows: list[int], fresh: Collection[int] | None = None) -> Answer:
        """See `host.RunNetwork`; `batch` is the pinned one, of which `prepare` has filled the first rows."""
        self._modality[: len(rows)] = rows
        parts = list(enumerate(spans(self._rows_of, rows, fresh)))
        for index, (first, count) in [*parts, (len(parts), (0, len(rows)))]:
            if count:
                self._launch(index, first, count)
        self._cuda.synchronize()
        return {name: array.copy() for name, array in self._outputs.items()}

    def _launch(self, index: int, first: int, count: int) -> None:
        """Runs an engine on some of the rows: one CUDA graph, captured when it is first asked for."""
        part = (index, first, count)
        if part not in self._captured:
            step = self._step(index, first, count)
            # The context has to live as long as what was captured of it.
            self._captured[part] = self._capture(step), step
        self._cuda.launch(self._captured[part][0])

    def _capture(self, step: "_Step") -> ctypes.c_void_p:
        self._enqueue(step)  # TensorRT sets things up in the first run, which must not be captured
        self._cuda.synchronize()
        self._cuda.begin_capture()
        try:
            self._enqueue(step)
        except Exception:
            self._cuda.end_capture()  # else the stream would go on writing down instead of working
            raise
        return self._cuda.end_capture()

    def _step(self, index: int, first: int, count: int) -> "_Step":
        """An engine that works on some of the rows."""
        engine = self._engines[index]
        context = engine.create_execution_context()
        if context is None:
            raise SartmError("TensorRT: no execution context: the GPU's memory is full. Close other programs.")
        for number in range(engine.num_io_tensors):
            name = engine.get_tensor_name(number)
            shape = tuple(engine.get_tensor_shape(name))
            if _is_input(engine, name) and shape[0] < 0:
                context.set_input_shape(name, (count, *shape[1:]))
            if name == "modality":
                context.set_tensor_address(name, self._modalities[index])
            else:
                context.set_tensor_address(name, self._addresses[name] + first * self._row_bytes.get(name, 0))
        return _Step(context, index, slice(first, first + count))

    def _enqueue(self, step: "_Step") -> None:
        """Uploads what the engine takes from the host, runs it; after the head, the last one, downloads the answer."""
        is_head = step.index == len(self._engines) - 1
        rows = step.rows
        if not is_head:
            self._cuda.upload(self._addresses["planes"] + rows.start * self._row_bytes["planes"], self._batch[rows])
        self._cuda.upload(self._modalities[step.index], self._modality[rows])
        if not step.context.execute_async_v3(self._cuda.stream.value or 0):
            raise SartmError("TensorRT: the engine does not run; its log says why.")
        if is_head:
            for name, array in self._outputs.items():
                self._cuda.download(array, self._addresses[name])


@dataclass(frozen=True, slots=True)
class _Step:
    """An execution context, of which engine, and which rows of the batch it works on."""

    context: Any
    index: int
    rows: slice


def load_engines(
    bundle: Bundle, directory: Path, cuda: Cuda, cache: EngineCache, workspace_mb: int, say: Say
) -> list[Any]:
    """The engines of the encoders and, last, of the head; cached or built."""
    return [
        load_or_build(directory / file, shapes, cuda, cache, workspace_mb, say)
        for file, shapes in graph_shapes(bundle).items()
    ]


def graph_shapes(bundle: Bundle) -> dict[str, Shapes]:
    """File -> input -> smallest and largest shape; rows run from 1 to the number of modalities that pass there."""
    assert bundle.graphs is not None

    def rows(count: int, *shape: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (1, *shape), (count, *shape)

    files: dict[str, Shapes] = {
        file: {"planes": rows(len(theirs), 3, *bundle.size), "modality": rows(len(theirs))}
        for file, theirs in encoder_files(bundle).items()
    }
    count = len(bundle.rig.names)
    features = {name: rows(count, *shape) for name, shape in bundle.graphs.features.items()}
    return files | {HEAD_FILE: {**features, "modality": rows(count)}}


def _is_input(engine: Any, name: str) -> bool:
    return engine.get_tensor_mode(name) == tensorrt().TensorIOMode.INPUT


def _numpy(trt: Any, engine: Any, name: str) -> Any:
    """The NumPy type of a tensor; TensorRT 8 makes int32 of int64."""
    return np.dtype(trt.nptype(engine.get_tensor_dtype(name)))
