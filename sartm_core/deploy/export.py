"""A checkpoint into a bundle: experts merged and stacked, everything described."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

import sartm_core
from sartm_core.deploy.bundle import DESCRIPTION_FILE, WEIGHTS_FILE, Bundle, NetworkShape
from sartm_core.errors import SartmError
from sartm_core.files import atomic_path, sha256, write_text
from sartm_core.learning.checkpoints import load_network
from sartm_core.rig import Size


def export(checkpoint: Path, out: Path, size: Size | None = None) -> Bundle:
    """Writes a bundle for the torch backend.

    Args:
        checkpoint: written by `sartm train`; `figures.json` beside it goes into the bundle.
        out: folder, made where needed; `bundle.json` is written last, so an interrupted export is no bundle.
        size: height, width of the network's input; by default the last training size.

    Raises:
        SartmError: no checkpoint of ours, or a folder that holds something else; names it.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / DESCRIPTION_FILE).is_file():
        raise SartmError(f"{out}: holds other things and is no bundle. Choose another folder.")
    network, rig, recipe = load_network(checkpoint)
    network.merge_experts()

    with atomic_path(out / WEIGHTS_FILE) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, temporary)
    figures = checkpoint.with_name("figures.json")
    bundle = Bundle(
        format=1,
        name=recipe.name,
        rig=rig,
        network=NetworkShape(
            preset=recipe.preset, backbone=recipe.backbone, lora_rank=recipe.lora_rank, changes=recipe.network
        ),
        size=size or recipe.stages[-1].size,
        fit="stretch",
        weights_sha256=sha256(out / WEIGHTS_FILE),
        recipe=recipe.model_dump(mode="json"),
        figures=json.loads(figures.read_text(encoding="utf-8")) if figures.is_file() else {},
        versions={"sartm": sartm_core.__version__, "torch": torch.__version__},
    )
    write_text(out / DESCRIPTION_FILE, bundle.model_dump_json(indent=2) + "\n")
    return bundle
