"""The torch backend: the network itself with merged experts, on a CPU or with CUDA."""

import functools
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
from sartm_core.deploy.host import Answer, HostSide, Planes
from sartm_core.errors import SartmError
from sartm_core.model.contract import Network
from sartm_core.model.presets import build_network, preset_for_rig
from sartm_core.segmentation import Segmentation

_CORES = torch.get_num_threads()
"""As torch was set at the start, by itself or by OMP_NUM_THREADS."""

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class TorchSegmenter:
    """See `sartm_core.deploy.Segmenter`. Not for several threads at once.

    With CUDA the work for each number of present modalities is captured once as a CUDA graph: kernels are launched
    without Python, into buffers that never move.

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
        self._graphs: dict[tuple[int, ...], _CudaGraph] = {}
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
        host = HostSide(bundle, groups.values(), self._batch.numpy(), precision)
        self._host, self.prepare, self.finish = host, host.prepare, host.finish

    def segment(self, planes: Planes, size: tuple[int, int] | None = None) -> Segmentation:
        return self._host.segment(planes, size, self.run_network)

    @torch.inference_mode()
    def run_network(self, planes: NDArray[Any], rows: list[int]) -> Answer:
        """See `host.RunNetwork`."""
        # The pinned tensor whose first rows `planes` are: torch does not see that a NumPy view of it is pinned.
        batch, modality = self._batch[: len(rows)], torch.tensor(rows)
        counts = tuple(sum(row in group for row in rows) for group in self._groups)
        if self.device.type == "cpu":
            answer = self._network_answer(batch, modality, counts)
        else:
            if counts not in self._graphs:
                run = functools.partial(self._network_answer, counts=counts)
                self._graphs[counts] = _CudaGraph(run, batch, modality)
            answer = self._graphs[counts](batch, modality)
        names = HEAD_OUTPUTS[self.bundle.argmax]
        return {name: tensor.cpu().numpy() for name, tensor in zip(names, answer, strict=True)}

    def _network_answer(self, batch: Tensor, modality: Tensor, counts: tuple[int, ...]) -> tuple[Tensor, ...]:
        """`counts` rows pass each encoder; they lie together, in this order."""
        levels, first = [], 0
        for encoder, count in zip(self._encoders, counts, strict=True):
            if count:
                levels.append(encoder(batch[first : first + count], modality[first : first + count]))
                first += count
        features = levels[0] if len(levels) == 1 else [torch.cat(level) for level in zip(*levels, strict=True)]
        return self._head(*features, modality)


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
        batch, modality: of the shapes that are captured.
    """

    def __init__(self, run: Any, batch: Tensor, modality: Tensor) -> None:
        self._batch, self._modality = batch.cuda(), modality.cuda()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # lazy initialisation must not be captured
            for _ in range(3):
                run(self._batch, self._modality)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._answer = run(self._batch, self._modality)

    def __call__(self, batch: Tensor, modality: Tensor) -> tuple[Tensor, ...]:
        self._batch.copy_(batch, non_blocking=True)
        self._modality.copy_(modality, non_blocking=True)
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
