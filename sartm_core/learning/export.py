"""A checkpoint into a bundle: experts merged and stacked, graphs traced, everything described."""

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save_file

from sartm_core.deploy.bundle import (
    DESCRIPTION_FILE,
    FORMAT,
    HEAD_FILE,
    WEIGHTS_FILE,
    Argmax,
    Bundle,
    Graphs,
    NetworkShape,
)
from sartm_core.deploy.graphs import write_graphs
from sartm_core.deploy.precision import halve, quantize
from sartm_core.errors import SartmError
from sartm_core.files import atomic_path, sha256, write_text
from sartm_core.learning.checkpoints import load_network
from sartm_core.model.contract import SIDE_MULTIPLE, Network
from sartm_core.rig import Size
from sartm_core.sensing.fit import FitMode
from sartm_core.version import __version__

Form = Literal["torch", "onnx"]
Precision = Literal["fp32", "fp16", "int8"]

ANYWHERE, NATIVE_ATTENTION = 20, 23
"""Opsets: 20 runs from TensorRT 10.3 (JetPack 6) on; 23 has an Attention operator, which ONNX Runtime on a CPU runs a
fifth faster and TensorRT knows from 10.14 on."""


def export(
    checkpoint: Path,
    out: Path,
    size: Size | None = None,
    fit: FitMode | None = None,
    argmax: Argmax = "frame",
    form: Form = "torch",
    precision: Precision = "fp32",
    opset: int | None = None,
) -> Bundle:
    """Writes a bundle; it appears under its name only when complete.

    Args:
        checkpoint: written by `sartm train`; `figures.json` beside it goes into the bundle.
        out: folder; an existing bundle is replaced.
        size: height, width of the network's input, multiples of 32; by default the last training size.
        fit: how images of another aspect come to that size, see `sartm_core.sensing.fit.Fit`; by default the recipe's.
        argmax: where the best class is chosen, see `Bundle`; `network` spares a robot's CPU the interpolation.
        form: `torch`: the weights; `onnx`: graphs, for ONNX Runtime and TensorRT.
        precision: of the graphs; int8 (the encoder's linear layers) is for CPUs.
        opset: of the graphs; by default 20 in fp16, for any TensorRT, else 23, for CPUs.

    Raises:
        SartmError: not a checkpoint of sartm, a folder that holds something else, or an impossible size or opset.
    """
    out = free_folder(out)
    if form == "torch" and (precision, opset) != ("fp32", None):
        raise SartmError("export: precision and opset belong to graphs: add --to onnx (torch chooses when it loads).")
    if opset not in (None, ANYWHERE, NATIVE_ATTENTION):
        raise SartmError(f"opset: expected {ANYWHERE} or {NATIVE_ATTENTION}, got {opset}.")
    network, rig, recipe = load_network(checkpoint)
    network.merge_experts()
    network.eval()
    size, fit = size or recipe.stages[-1].size, fit or recipe.fit
    if fit == "window" and (recipe.stride is None or argmax != "frame"):
        raise SartmError("fit window: is for recipes with a stride, and needs argmax frame: scores are blended.")
    if fit == "window" and recipe.stride is not None and any(s > w for s, w in zip(recipe.stride, size, strict=True)):
        raise SartmError(
            f"size: windows of {size[0]}x{size[1]} leave gaps at the recipe's stride {list(recipe.stride)}. "
            "Choose a size of at least the stride."
        )
    if any(side % SIDE_MULTIPLE for side in size):
        raise SartmError(f"size: expected multiples of {SIDE_MULTIPLE}, got {size[0]}x{size[1]}.")
    default_opset = ANYWHERE if precision == "fp16" else NATIVE_ATTENTION

    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        graphs = None
        if form == "onnx":
            graphs = write_onnx(network, size, rig.dtype, opset or default_opset, precision, part, argmax)
        else:
            tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
            with atomic_path(part / WEIGHTS_FILE) as temporary:  # for its mode: the robot's user is another
                save_file(tensors, temporary)
        figures = checkpoint.with_name("figures.json")
        bundle = Bundle(
            format=FORMAT,
            name=recipe.name,
            rig=rig,
            network=NetworkShape(
                preset=recipe.preset, backbone=recipe.backbone, lora_rank=recipe.lora_rank, changes=recipe.network
            ),
            size=size,
            fit=fit,
            stride=recipe.stride if fit == "window" else None,
            argmax=argmax,
            graphs=graphs,
            files={path.name: sha256(path) for path in sorted(part.iterdir())},
            recipe=recipe.model_dump(mode="json"),
            figures=json.loads(figures.read_text(encoding="utf-8")) if figures.is_file() else {},
            versions={"sartm": __version__, "torch": torch.__version__},
        )
        describe(part, bundle)
        shutil.rmtree(out, ignore_errors=True)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return bundle


def free_folder(out: Path) -> Path:
    """The absolute path of a folder that is empty, a bundle, or not there yet.

    Raises:
        SartmError: it holds something else, or is a file.
    """
    out = out.resolve()
    if out.is_dir() and any(out.iterdir()) and not (out / DESCRIPTION_FILE).is_file():
        raise SartmError(f"{out}: holds other things and is not a bundle. Choose another folder.")
    if out.exists() and not out.is_dir():
        raise SartmError(f"{out}: is a file. Choose a folder for the bundle.")
    return out


def describe(directory: Path, bundle: Bundle) -> None:
    """Writes `bundle.json`."""
    write_text(directory / DESCRIPTION_FILE, bundle.model_dump_json(indent=2) + "\n")


def write_onnx(
    network: Network,
    size: Size,
    dtype: np.dtype[Any],
    opset: int,
    precision: Precision,
    directory: Path,
    argmax: Argmax = "frame",
) -> Graphs:
    """Writes the encoders' graphs and `head.onnx`.

    Args:
        network: in its inference form; not to be used for other sizes afterwards.
        size: height, width of the input.
        dtype: of the planes.
        opset, precision, directory, argmax: see `export`.

    Raises:
        SartmError: torch's exporter fails.
    """
    encoders = {group: directory / f"{group}.onnx" for group in network.encoder_groups}
    head = directory / HEAD_FILE
    planes = torch.uint8 if dtype == np.uint8 else torch.float32
    try:
        features = write_graphs(network, size, planes, opset, encoders, head, argmax)
    except Exception as error:  # whatever the exporter raises
        raise SartmError(
            f"the network cannot be written as ONNX by torch {torch.__version__}: {error}. Tested with torch 2.13; or "
            "export --to torch."
        ) from error
    if precision == "fp16":
        halve(head, set(), {"scores", "confidence", "routing"})
    for encoder in encoders.values():
        if precision == "fp16":
            halve(encoder, {"planes"}, set())
        elif precision == "int8":
            quantize(encoder)
    names = network.config.modalities
    passing = {
        encoders[group].name: tuple(names[row] for row in rows) for group, rows in network.encoder_groups.items()
    }
    return Graphs(opset=opset, precision=precision, features=features, encoders=passing)
