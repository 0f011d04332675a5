"""What `sartm export` starts from: a checkpoint, or a bundle that holds weights."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartm_core.deploy.bundle import NetworkShape, read_bundle
from sartm_core.deploy.torch_segmenter import network_of
from sartm_core.learning.checkpoints import load_network
from sartm_core.model.contract import Network
from sartm_core.resources import resolve_bundle
from sartm_core.rig import Rig, Size
from sartm_core.sensing.fit import FitMode


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model.

    Attributes:
        network: in its inference form, on the CPU.
        rig: what it was trained for.
        name: of the recipe, and of the rig where it is not part of that.
        shape: what the network is built from.
        size: height, width of its input.
        fit: how images of another aspect come to that size.
        stride: of windows, where it was trained with them.
        recipe: the training run, as a bundle describes it.
        figures: mean IoU on validation.
    """

    network: Network
    rig: Rig
    name: str
    shape: NetworkShape
    size: Size
    fit: FitMode
    stride: Size | None
    recipe: dict[str, Any]
    figures: dict[str, Any]


def open_trained(source: Path | str) -> Trained:
    """Reads a model.

    Args:
        source: a checkpoint of `sartm train`, with `figures.json` beside it; a bundle's folder; or the name of a
            shipped bundle.

    Raises:
        SartmError: not a checkpoint of sartm, no such bundle, or one without weights.
    """
    path = Path(source)
    return _of_checkpoint(path) if path.is_file() or path.suffix == ".ckpt" else _of_bundle(resolve_bundle(str(source)))


def _of_checkpoint(path: Path) -> Trained:
    network, rig, recipe = load_network(path)
    network.merge_experts()
    figures = path.with_name("figures.json")
    return Trained(
        network=network.eval(),
        rig=rig,
        name=recipe.name if rig.name in recipe.name else f"{recipe.name}_{rig.name}",
        shape=NetworkShape(
            preset=recipe.preset, backbone=recipe.backbone, lora_rank=recipe.lora_rank, changes=recipe.network
        ),
        size=recipe.stages[-1].size,
        fit=recipe.fit,
        stride=recipe.stride,
        recipe=recipe.model_dump(mode="json"),
        figures=json.loads(figures.read_text(encoding="utf-8")) if figures.is_file() else {},
    )


def _of_bundle(directory: Path) -> Trained:
    bundle = read_bundle(directory)
    return Trained(
        network=network_of(bundle, directory).eval(),
        rig=bundle.rig,
        name=bundle.name,
        shape=bundle.network,
        size=bundle.size,
        fit=bundle.fit,
        stride=bundle.stride,
        recipe=bundle.recipe,
        figures=bundle.figures,
    )
