"""A trained model into a bundle: experts merged and stacked, graphs traced, everything described."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from sartm_core.deploy.bundle import (
    DESCRIPTION_FILE,
    FORMAT,
    HEAD_FILE,
    WEIGHTS_FILE,
    Argmax,
    Bundle,
    Graphs,
    encoder_files,
    read_bundle,
)
from sartm_core.deploy.graphs import write_graphs
from sartm_core.deploy.precision import halve, quantize
from sartm_core.deploy.strict import round_every_result
from sartm_core.errors import SartmError
from sartm_core.files import sha256, write_text
from sartm_core.learning.trained import open_trained
from sartm_core.model.contract import SIDE_MULTIPLE, Network
from sartm_core.model.weights_file import write_weights
from sartm_core.outputs import Draft, check_replaceable
from sartm_core.rig import Size
from sartm_core.sensing.fit import FitMode
from sartm_core.version import __version__

Form = Literal["torch", "onnx", "both"]
Precision = Literal["fp32", "fp16", "int8"]

ANYWHERE, NATIVE_ATTENTION = 20, 23
"""Opsets: 20 runs from TensorRT 10.3 (JetPack 6) on; 23 has an Attention operator, which ONNX Runtime on a CPU runs a
fifth faster and TensorRT knows from 10.14 on."""


def export(
    source: Path | str,
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
        source: see `open_trained`: a checkpoint, or a bundle with weights.
        out: folder; an existing bundle is replaced, in one step.
        size: height, width of the network's input, multiples of 32; by default the last training size, or the bundle's.
        fit: how images of another aspect come to that size, see `sartm_core.sensing.fit.Fit`; by default the recipe's,
            or the bundle's.
        argmax: where the best class is chosen, see `Bundle`; `network` spares a robot's CPU the interpolation.
        form: `torch`: the weights; `onnx`: graphs, for ONNX Runtime and TensorRT; or `both`.
        precision: of the graphs; int8 (the encoder's linear layers) is for CPUs.
        opset: of the graphs; by default 20 in fp16, for any TensorRT, else 23, for CPUs.

    Raises:
        SartmError: neither a checkpoint of sartm nor a bundle with weights, a folder that holds something else, or an
            impossible size or opset.
    """
    out = free_folder(out)
    if form == "torch" and (precision, opset) != ("fp32", None):
        raise SartmError("export: precision and opset belong to graphs: add --to onnx (torch chooses when it loads).")
    if opset not in (None, ANYWHERE, NATIVE_ATTENTION):
        raise SartmError(f"opset: expected {ANYWHERE} or {NATIVE_ATTENTION}, got {opset}.")
    trained = open_trained(source)
    size, fit = size or trained.size, fit or trained.fit
    if fit == "window" and (trained.stride is None or argmax != "frame"):
        raise SartmError("fit window: is for recipes with a stride, and needs argmax frame: scores are blended.")
    if fit == "window" and trained.stride is not None and any(s > w for s, w in zip(trained.stride, size, strict=True)):
        raise SartmError(
            f"size: windows of {size[0]}x{size[1]} leave gaps at the recipe's stride {list(trained.stride)}. "
            "Choose a size of at least the stride."
        )
    if any(side % SIDE_MULTIPLE for side in size):
        raise SartmError(f"size: expected multiples of {SIDE_MULTIPLE}, got {size[0]}x{size[1]}.")
    default_opset = ANYWHERE if precision == "fp16" else NATIVE_ATTENTION

    draft = Draft(out)
    part = draft.content
    part.mkdir()
    try:
        network, graphs = trained.network, None
        if form != "onnx":
            write_weights(part / WEIGHTS_FILE, network.state_dict())
        if form != "torch":
            graphs = write_onnx(network, size, trained.rig.dtype, opset or default_opset, precision, part, argmax)
        bundle = Bundle(
            format=FORMAT,
            name=trained.name,
            rig=trained.rig,
            network=trained.shape,
            size=size,
            fit=fit,
            stride=trained.stride if fit == "window" else None,
            argmax=argmax,
            graphs=graphs,
            files={path.name: sha256(path) for path in sorted(part.iterdir())},
            recipe=trained.recipe,
            figures=trained.figures,
            versions={"sartm": __version__, "torch": torch.__version__},
        )
        describe(part, bundle)
        draft.publish(files_of(out))
    finally:
        draft.discard()
    return bundle


def free_folder(out: Path) -> Path:
    """The absolute path of a folder that is empty, a bundle and nothing else, or not there yet.

    Raises:
        SartmError: it holds something else, or is a file.
    """
    out = out.resolve()
    if out.is_dir() and any(out.iterdir()) and not (out / DESCRIPTION_FILE).is_file():
        raise SartmError(f"{out}: holds other things and is not a bundle. Choose another folder.")
    if out.exists() and not out.is_dir():
        raise SartmError(f"{out}: is a file. Choose a folder for the bundle.")
    check_replaceable(out, files_of(out))
    return out


def files_of(out: Path) -> set[str]:
    """The names of the files that a bundle of any format in a folder consists of; of a damaged one its description."""
    try:
        described = json.loads((out / DESCRIPTION_FILE).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        described = {}
    return {DESCRIPTION_FILE, *(name for name in described if isinstance(name, str))}


def describe(directory: Path, bundle: Bundle) -> None:
    """Writes `bundle.json`."""
    write_text(directory / DESCRIPTION_FILE, bundle.model_dump_json(indent=2) + "\n")


def write_strict(directory: Path, out: Path) -> None:
    """Writes a bundle of fp16 graphs once more, for `--verify`: so that a CPU computes in fp16, see `deploy.strict`.

    Args:
        directory: of the bundle.
        out: folder to make.
    """
    bundle = read_bundle(directory)
    out.mkdir()
    for file in (HEAD_FILE, *encoder_files(bundle)):
        round_every_result(directory / file, out / file)
    describe(out, bundle.model_copy(update={"files": {path.name: sha256(path) for path in out.iterdir()}}))


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
