"""A checkpoint into a bundle: experts merged and stacked, everything described."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import sartm_core
from sartm_core.deploy.bundle import DESCRIPTION_FILE, WEIGHTS_FILE, Bundle, NetworkShape
from sartm_core.errors import SartmError
from sartm_core.files import atomic_path, sha256, write_text
from sartm_core.learning.recipe import Recipe
from sartm_core.model.network import MultiModalNetwork
from sartm_core.model.presets import preset_for_rig
from sartm_core.rig import Rig, Size, rig_from_dict


def export(checkpoint: Path, out: Path, size: Size | None = None) -> Bundle:
    """Writes a bundle for the torch backend.

    Args:
        checkpoint: written by `sartm train`; `figures.json` beside it goes into the bundle.
        out: folder, made where needed; `bundle.json` is written last, so an interrupted export is no bundle.
        size: height, width of the network's input; by default the last training size.

    Raises:
        SartmError: no checkpoint of ours; names the file.
    """
    content = _load(checkpoint)
    rig: Rig = rig_from_dict(content["hyper_parameters"]["rig"], str(checkpoint))
    recipe = Recipe.model_validate(content["hyper_parameters"]["recipe"])
    config = preset_for_rig(recipe.preset, recipe.backbone, rig, recipe.lora_rank)
    network = MultiModalNetwork(config)
    state = {key.removeprefix("network."): value for key, value in content["state_dict"].items()}
    network.load_state_dict(state)
    network.merge_experts()

    with atomic_path(out / WEIGHTS_FILE) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, temporary)
    figures = checkpoint.with_name("figures.json")
    bundle = Bundle(
        format=1,
        name=recipe.name,
        rig=rig,
        network=NetworkShape(preset=recipe.preset, backbone=recipe.backbone, lora_rank=recipe.lora_rank),
        size=size or recipe.stages[-1].size,
        fit="stretch",
        weights_sha256=sha256(out / WEIGHTS_FILE),
        recipe=recipe.model_dump(mode="json"),
        figures=json.loads(figures.read_text(encoding="utf-8")) if figures.is_file() else {},
        versions={"sartm": sartm_core.__version__, "torch": torch.__version__},
    )
    write_text(out / DESCRIPTION_FILE, bundle.model_dump_json(indent=2) + "\n")
    return bundle


def _load(checkpoint: Path) -> dict[str, Any]:
    remedy = "Give a .ckpt file written by `sartm train`."
    try:
        content: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise SartmError(f"{checkpoint}: no such file. {remedy}") from None
    except IsADirectoryError:
        raise SartmError(f"{checkpoint}: is a folder. {remedy}") from None
    except Exception as error:  # the unpickler raises whatever the bytes lead it to
        raise SartmError(f"{checkpoint}: is no checkpoint ({type(error).__name__}). {remedy}") from error
    if not isinstance(content, dict) or not {"hyper_parameters", "state_dict"} <= set(content):
        raise SartmError(f"{checkpoint}: holds no training state of ours. {remedy}")
    return content
