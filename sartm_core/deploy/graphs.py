"""The network as two ONNX graphs: the encoder, run on however many modalities are there, and the head.

    encoder.onnx  planes [R, 3, h, w], modality int64 [R] -> ffp, ifp, sfm
    encoder_half.onnx  the same, for the modalities that pass at half size; where there are any
    head.onnx     ffp, ifp, sfm [R, ...], modality int64 [R] -> mask uint8 [h, w], confidence float32 [h/4, w/4],
                  routing float32 [3, M]

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

from sartm_core.model.network import MultiModalNetwork
from sartm_core.rig import Size

FEATURES = ("ffp", "ifp", "sfm")
ENCODER_INPUTS, HEAD_INPUTS = ("planes", "modality"), (*FEATURES, "modality")
HEAD_OUTPUTS = ("mask", "confidence", "routing")


class EncoderGraph(nn.Module):
    """See the module. Args: network, in its inference form; half: for the modalities of half size."""

    def __init__(self, network: MultiModalNetwork, half: bool) -> None:
        super().__init__()
        self.network = network
        self.at_half_size = half

    def forward(self, planes: Tensor, modality: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network.encode_alike(planes, modality, self.at_half_size))


class HeadGraph(nn.Module):
    """See the module. Args: network, in its inference form; size: height, width of its input."""

    def __init__(self, network: MultiModalNetwork, size: Size) -> None:
        super().__init__()
        self.network = network
        self.size = size

    def forward(self, ffp: Tensor, ifp: Tensor, sfm: Tensor, modality: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        known = torch.arange(len(self.network.config.modalities), device=modality.device)
        availability = (modality[:, None] == known[None]).any(dim=0, keepdim=True)
        output = self.network.decode([ffp, ifp, sfm], modality * 0, modality, availability)
        return (*answer(output.logits, self.size), output.routing[0].float())


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


class _Constant(nn.Module):
    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)

    def forward(self, _: object) -> Tensor:
        return self.value


def bake_positions(network: MultiModalNetwork, size: Size) -> None:
    """Makes the position embeddings of encoder and decoder constants: they would be computed anew for each frame."""
    trunk, decoder = network.encoder.trunk, network.decoder
    embeddings = {
        (size[0] // stride, size[1] // stride): trunk._get_pos_embed((size[0] // stride, size[1] // stride))
        .detach()
        .clone()
        for stride in ((4, 8) if network.config.half_size else (4,))
    }
    trunk._get_pos_embed = lambda hw: embeddings[int(hw[0]), int(hw[1])]
    decoder.position = _Constant(decoder.position((size[0] // 16, size[1] // 16)).detach().clone())


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
    network: MultiModalNetwork, size: Size, dtype: torch.dtype, opset: int, paths: dict[str, Path]
) -> dict[str, tuple[int, int, int]]:
    """Traces the graphs in float32.

    Args:
        network: in its inference form, on the CPU; its position embedding is fixed afterwards.
        size: height, width of the input.
        dtype: of the planes.
        opset: of ONNX.
        paths: of `encoder`, `encoder_half` and `head`; an encoder that no modality needs is not written.

    Returns:
        Channels, height, width of each of `FEATURES`.
    """
    bake_positions(network, size)
    names = network.config.modalities
    shapes: list[Tensor] = []
    for key, half in (("encoder", False), ("encoder_half", True)):
        rows = [index for index, name in enumerate(names) if (name in network.config.half_size) == half]
        if rows:
            encoder, modality = EncoderGraph(network, half).eval(), torch.tensor(rows)
            planes = torch.zeros(len(rows), 3, *size, dtype=dtype)
            shapes = list(encoder(planes, modality))
            _write(encoder, (planes, modality), ENCODER_INPUTS, FEATURES, opset, paths[key])
    features = [level[:1].expand(len(names), -1, -1, -1).contiguous() for level in shapes]
    head = HeadGraph(network, size).eval()
    _write(head, (*features, torch.arange(len(names))), HEAD_INPUTS, HEAD_OUTPUTS, opset, paths["head"])
    return {
        name: (level.shape[1], level.shape[2], level.shape[3]) for name, level in zip(FEATURES, features, strict=True)
    }


def _write(
    module: nn.Module, arguments: tuple[Tensor, ...], inputs: tuple[str, ...], outputs: tuple[str, ...], opset: int,
    path: Path,
) -> None:  # fmt: skip
    # Of a single modality R is always 1; else the exporter proves the graph for 1 to M rows.
    count = len(arguments[0])
    rows = torch.export.Dim("rows", min=1, max=count) if count > 1 else None
    shapes: dict[str, Any] | None = None if rows is None else {name: {0: rows} for name in inputs}
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
    if count > 1 and isinstance(leading, int):  # the exporter falls back to fixed shapes without a word
        raise RuntimeError(f"the number of rows became the constant {leading}")
    program.save(path, external_data=False)
