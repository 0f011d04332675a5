"""The torch backend: the network itself with merged experts, on a CPU or with CUDA."""

import functools
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sartm_core.deploy.bundle import HEAD_OUTPUTS, WEIGHTS_FILE, Bundle, has_weights
from sartm_core.deploy.graphs import EncoderGraph, HeadGraph
from sartm_core.deploy.host import Answer, HostSide, Part, Planes, possible_parts, spans
from sartm_core.errors import SartmError
from sartm_core.model.contract import Network
from sartm_core.model.presets import build_network, preset_for_rig
from sartm_core.segmentation import Segmentation

_CORES = torch.get_num_threads()
"""As torch was set at the start, by itself or by OMP_NUM_THREADS."""

Captured = Callable[[], tuple[Tensor, ...]]
"""Work without arguments: it reads and writes memory that never moves."""

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class TorchSegmenter:
    """See `sartm_core.deploy.Segmenter`. Not for several threads at once.

    With CUDA, encoding some rows and decoding a number of them are captured here as CUDA graphs each: kernels are
    launched without Python, in buffers that never move, and a sensor that dies allocates nothing.

    Args:
        bundle: content of `bundle.json`, with weights.
        directory: where the weights lie.
        device: `cpu`, `cuda` or `auto`.
        precision: `fp32`, `fp16`, `bf16`, or `auto`: fp16 with CUDA, fp32 on a CPU.
        threads: of the CPU; 0: as torch is set.
        float_planes: takes float32 planes of 8-bit sensors too, which tests present: values that no image can hold.
    """

    def __init__(
        self,
        bundle: Bundle,
        directory: Path,
        device: str,
        precision: str = "auto",
        threads: int = 0,
        float_planes: bool = False,
    ) -> None:
        self.bundle = bundle
        torch.set_num_threads(threads or _CORES)
        self.device = _device(device)
        on_gpu = self.device.type == "cuda"
        precision = ("fp16" if on_gpu else "fp32") if precision == "auto" else precision
        if precision not in PRECISIONS:
            raise SartmError(f"precision '{precision}' is unknown. Known: auto, {', '.join(PRECISIONS)}.")
        self.network = network_of(bundle, directory)
        self.network.eval().to(self.device).set_precision(PRECISIONS[precision])
        self.backend = f"torch on {self.device.type}, {precision}"
        self._features: list[Tensor] = []
        groups = self.network.encoder_groups
        self._groups = [frozenset(rows) for rows in groups.values()]
        self._encoders = [EncoderGraph(self.network, group) for group in groups]
        self._head = HeadGraph(self.network, bundle.size, bundle.argmax)
        if on_gpu:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            self.network.fix_size(bundle.size)
        dtype = torch.uint8 if bundle.rig.dtype == np.uint8 and not float_planes else torch.float32
        batch = torch.zeros((len(bundle.rig.names), 3, *bundle.size), dtype=dtype)
        self._batch = batch.pin_memory() if on_gpu else batch
        self._planes = self._batch.to(self.device)  # on a CPU the batch itself
        self._modality = torch.zeros(len(bundle.rig.names), dtype=torch.int64, device=self.device)
        host = HostSide(bundle, groups.values(), self._batch.numpy(), precision)
        self._host, self.prepare, self.finish = host, host.prepare, host.finish
        self._captured: dict[Part, Captured] = {}
        if on_gpu:
            pool, stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
            self._captured = self._capture_all(lambda run: _CudaGraph(run, pool, stream))

    def segment(self, planes: Planes, size: tuple[int, int] | None = None) -> Segmentation:
        return self._host.segment(planes, size, self.run_network)

    @torch.inference_mode()
    def run_network(self, batch: NDArray[Any], rows: list[int], fresh: Collection[int] | None = None) -> Answer:
        """See `host.RunNetwork`."""
        self._modality[: len(rows)] = torch.tensor(rows)
        for index, (first, count) in enumerate(spans(self._groups, rows, fresh)):
            if count:
                if self._planes is not self._batch:
                    # Of the pinned tensor, not of `batch`: torch does not see that a NumPy view of it is pinned.
                    self._planes[first : first + count].copy_(self._batch[first : first + count], non_blocking=True)
                self._run(Part(index, first, count))
        answer = self._run(Part(len(self._groups), 0, len(rows)))
        names = HEAD_OUTPUTS[self.bundle.argmax]
        return {name: tensor.cpu().numpy() for name, tensor in zip(names, answer, strict=True)}

    def _run(self, part: Part) -> tuple[Tensor, ...]:
        return self._captured[part]() if self._captured else self._work(part)

    @torch.inference_mode()
    def _capture_all(self, capture: Callable[[Captured], Captured]) -> dict[Part, Captured]:
        """All that may have to be done, captured one after the other, with modalities that each may meet."""
        captured = {}
        for part, rows in possible_parts(self._groups).items():
            self._modality[part.first : part.first + part.count] = torch.tensor(rows)
            captured[part] = capture(functools.partial(self._work, part))
        return captured

    def _work(self, part: Part) -> tuple[Tensor, ...]:
        """A part of the network, from the planes to where the head finds the features, or from there to the answer."""
        rows = slice(part.first, part.first + part.count)
        modality = self._modality[rows]
        if part.index == len(self._encoders):
            answer: tuple[Tensor, ...] = self._head(*(kept[rows] for kept in self._features), modality)
            return answer
        levels = self._encoders[part.index](self._planes[rows], modality)
        if not self._features:
            count = len(self.bundle.rig.names)
            self._features = [level.new_zeros(count, *level.shape[1:]) for level in levels]
        for kept, level in zip(self._features, levels, strict=True):
            kept[rows] = level
        return ()


def network_of(bundle: Bundle, directory: Path) -> Network:
    """The network of a bundle with weights, in its inference form, on the CPU.

    Raises:
        SartmError: the bundle holds no weights, or weights of another network.
    """
    if not has_weights(bundle):
        raise SartmError(
            f"{directory}: holds ONNX graphs alone, and no {WEIGHTS_FILE}. Give the checkpoint or the bundle that they "
            "were exported from."
        )
    shape = bundle.network
    config = preset_for_rig(shape.preset, shape.backbone, bundle.rig, shape.lora_rank, shape.changes)
    network = build_network(config, form="inference")
    try:
        network.load_state_dict(load_file(directory / WEIGHTS_FILE))
    except (RuntimeError, SafetensorError) as error:
        raise SartmError(f"{directory / WEIGHTS_FILE}: does not fit bundle.json: {error}") from error
    return network


class _CudaGraph:
    """One captured pass: fixed addresses, no Python between the kernels.

    Args:
        run: what is captured.
        pool: of the memory that all graphs share; they run one after the other.
        stream: of the first runs, the same for all graphs: each stream keeps a work space of cuBLAS.
    """

    def __init__(self, run: Captured, pool: Any, stream: torch.cuda.Stream) -> None:
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # lazy initialisation must not be captured
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        # Another model may segment in another thread: its allocations must not end the capture.
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._answer = run()

    def __call__(self) -> tuple[Tensor, ...]:
        self._graph.replay()
        return self._answer


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise SartmError(f"device '{name}' is unknown. Known: auto, cpu, cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise SartmError(
            "device 'cuda': torch finds no CUDA device. Use device cpu or auto, or install a CUDA build of torch."
        )
    return torch.device(name)
