"""The network as ONNX graphs: the encoder, run on however many modalities are there, and the head.

    encoder.onnx  planes [R, 3, h, w], modality int64 [R] -> features such as ffp, ifp, sfm
    head.onnx     features [R, ...], modality int64 [R] -> routing float32 [3, M], and scores float32 [C, h/4, w/4]
                  (argmax: frame) or mask uint8 [h, w] and confidence float32 [h/4, w/4] (argmax: network)

Modalities that cannot pass in one batch (half size, weights of their own) have encoders of their own.

R runs from 1 to M. Normalisation, routing, argmax and softmax are inside; the position embedding is a constant.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartm_core.deploy.bundle import HEAD_OUTPUTS, Argmax
from sartm_core.model.contract import Network
from sartm_core.rig import Size

ENCODER_INPUTS = ("planes", "modality")


class EncoderGraph(nn.Module):
    """See the module. Args: network, in its inference form; group: of its `encoder_groups`."""

    def __init__(self, network: Network, group: str) -> None:
        super().__init__()
        self.network = network
        self.group = group

    def forward(self, planes: Tensor, modality: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network.encode_group(planes, modality, self.group))


class HeadGraph(nn.Module):
    """See the module. Args: network, in its inference form; size: height, width of its input; argmax: see `Bundle`."""

    def __init__(self, network: Network, size: Size, argmax: Argmax) -> None:
        super().__init__()
        self.argmax = argmax
        self.network = network
        self.size = size

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The features, and last the modality of each row."""
        *features, modality = inputs
        known = torch.arange(len(self.network.config.modalities), device=modality.device)
        availability = (modality[:, None] == known[None]).any(dim=0, keepdim=True)
        output = self.network.decode(features, modality * 0, modality, availability)
        routing = output.routing[0].float()
        if self.argmax == "frame":
            return output.logits[0].float(), routing
        return (*answer(output.logits, self.size), routing)


def answer(logits: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """What a robot needs of the scores.

    Args:
        logits: [1, C, h/4, w/4].
        size: (h, w).

    Returns:
        mask uint8 [h, w] and confidence float32 [h/4, w/4]: the softmax of the best class, before the scores are
        enlarged.
    """
    scores = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
    mask = scores.argmax(dim=1)[0].to(torch.uint8)
    return mask, logits.float().softmax(dim=1).amax(dim=1)[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns about itself, about torchvision that is not here, about constants that it does not fold."""
    talkative = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in talkative]
    for logger in talkative:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(talkative, levels, strict=True):
            logger.setLevel(level)


@torch.no_grad()
def write_graphs(
    network: Network,
    size: Size,
    dtype: torch.dtype,
    opset: int,
    encoders: dict[str, Path],
    head: Path,
    argmax: Argmax = "frame",
) -> dict[str, tuple[int, int, int]]:
    """Traces the graphs in float32.

    Args:
        network: in its inference form, on the CPU; its position embedding is fixed afterwards.
        size: height, width of the input.
        argmax: see `Bundle`.
        dtype: of the planes.
        opset: of ONNX.
        encoders: the file of each of the network's `encoder_groups`.
        head: the head's file.

    Returns:
        Channels, height, width of each of the network's features.
    """
    network.fix_size(size)
    names, count = network.feature_names, len(network.config.modalities)
    shapes: list[Tensor] = []
    for group, rows in network.encoder_groups.items():
        encoder, modality = EncoderGraph(network, group).eval(), torch.tensor(rows)
        planes = torch.zeros(len(rows), 3, *size, dtype=dtype)
        shapes = list(encoder(planes, modality))
        _write(encoder, (planes, modality), ENCODER_INPUTS, names, opset, encoders[group])
    features = [level[:1].expand(count, -1, -1, -1).contiguous() for level in shapes]
    arguments = (*features, torch.arange(count))
    _write(HeadGraph(network, size, argmax).eval(), arguments, (*names, "modality"), HEAD_OUTPUTS[argmax], opset, head)
    return {name: (level.shape[1], level.shape[2], level.shape[3]) for name, level in zip(names, features, strict=True)}


def _write(
    module: nn.Module, arguments: tuple[Tensor, ...], inputs: tuple[str, ...], outputs: tuple[str, ...], opset: int,
    path: Path,
) -> None:  # fmt: skip
    # Of a single modality R is always 1; else the exporter proves the graph for 1 to M rows.
    count = len(arguments[0])
    rows = torch.export.Dim("rows", min=1, max=count) if count > 1 else None
    shapes: Any = None
    if rows is not None:
        shapes = tuple({0: rows} for _ in arguments)
        shapes = (shapes,) if isinstance(module, HeadGraph) else shapes  # one argument *inputs
    with _quiet():
        program = torch.onnx.export(
            module,
            arguments,
            dynamo=True,
            opset_version=opset,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=shapes,
            verbose=False,
        )
    assert program is not None
    leading = program.model.graph.inputs[0].shape[0]  # type: ignore[index]
    if count > 1 and isinstance(leading, int):  # the exporter silently falls back to fixed shapes
        raise RuntimeError(f"the number of rows became the constant {leading}")
    program.save(path, external_data=False)
