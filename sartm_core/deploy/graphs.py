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

import numpy as np
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
    # TensorRT makes uint8 of floats alone (NvInfer.h, DataType::kUINT8); fp16 holds ids up to 2048 exactly.
    mask = scores.argmax(dim=1)[0].float().to(torch.uint8)
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
    _save(program.model_proto, path, count)


def _save(model: Any, path: Path, count: int) -> None:
    """Writes a model for `count` modalities.

    Leaves out the exporter's notes on each node: lines of source, with this machine's paths.
    """
    import onnx

    _store_once(model.graph, count)
    model.graph.ClearField("value_info")  # whoever needs the shapes of what lies between infers them
    for part in (model, model.graph, *model.graph.node, *model.graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.save(model, path)


def _store_once(graph: Any, count: int) -> None:
    """Stores rows of weights [M, N, K] that are the same for all modalities once: k, which experts do not adapt.

    ONNX Runtime and TensorRT put them together when they load the graph.
    """
    from onnx import helper, numpy_helper

    nodes: list[Any] = []
    for weight in list(graph.initializer):
        array, name = numpy_helper.to_array(weight), weight.name
        if count < 2 or array.ndim != 3 or len(array) != count:
            continue
        same = np.flatnonzero((array == array[:1]).all(axis=(0, 2)))
        if len(same) < array.shape[1] // 4 or same[-1] - same[0] + 1 != len(same):
            continue
        parts = np.split(array, [same[0], same[-1] + 1], axis=1)
        parts[1] = parts[1][:1]
        graph.initializer.remove(weight)
        names = [f"{name}_before", f"{name}_of_all", f"{name}_after"]
        graph.initializer.extend(numpy_helper.from_array(*pair) for pair in zip(parts, names, strict=True))
        shape = numpy_helper.from_array(np.array([count, 1, 1]), f"{name}_shape")
        graph.initializer.append(shape)
        names[1] = f"{name}_repeated"
        nodes.append(helper.make_node("Expand", [f"{name}_of_all", shape.name], [names[1]], name=f"{name}_expand"))
        nodes.append(helper.make_node("Concat", names, [name], name=f"{name}_concat", axis=1))
    nodes.extend(graph.node)
    graph.ClearField("node")
    graph.node.extend(nodes)
