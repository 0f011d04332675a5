"""One training run, from a recipe to a checkpoint with its figures."""

import json
import logging
from pathlib import Path
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader

from sartm_core.datasets.simulated import SimulatedDataset, plane_statistics
from sartm_core.errors import SartmError
from sartm_core.evaluation.metrics import SegmentationScore
from sartm_core.files import atomic_path, write_text
from sartm_core.learning.module import SegmentationModule
from sartm_core.learning.recipe import Recipe
from sartm_core.model.network import MultiModalNetwork
from sartm_core.rig import Rig, load_rig
from sartm_core.simulation import CONDITIONS

log = logging.getLogger(__name__)
# Lightning prints by a handler of its own; passed on, every line would come twice.
logging.getLogger("lightning.pytorch").propagate = False

STATISTICS_SAMPLES = 64


def train(recipe: Recipe, out: Path) -> dict[str, Any]:
    """Trains, validates and writes `last.ckpt` and `figures.json` to `out`; earlier ones are replaced.

    Returns:
        The figures: mean IoU on validation streets per condition and subset of the modalities.

    Raises:
        SartmError: the loss is no longer finite.
    """
    out.mkdir(parents=True, exist_ok=True)  # a folder that cannot be made is better known now than after hours
    lightning.seed_everything(recipe.seed, workers=True)
    rig = load_rig(recipe.rig)
    module = SegmentationModule(rig.model_dump(mode="json"), recipe.model_dump(mode="json"))
    reference = SimulatedDataset(rig, STATISTICS_SAMPLES, "train", recipe.stages[-1].size)
    module.network.set_statistics(*plane_statistics(reference, STATISTICS_SAMPLES))

    pretrained = sum(p.numel() for p in module.network.pretrained_parameters().values())
    total = sum(p.numel() for p in module.network.parameters())
    frozen = sum(p.numel() for p in module.network.parameters() if not p.requires_grad)
    log.info("parameters: %d in all, %d of SAM2's encoder and transformer, %d frozen", total, pretrained, frozen)

    seen = 0
    for stage in recipe.stages:
        module.stage = stage
        dataset = SimulatedDataset(rig, stage.samples, "train", stage.size, start=seen)
        loader = DataLoader(dataset, batch_size=stage.batch, shuffle=True, num_workers=1, drop_last=True)
        log.info("stage: %d samples at %dx%d", stage.samples, *stage.size)
        trainer = lightning.Trainer(
            max_epochs=1,
            accelerator="auto",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            gradient_clip_val=1.0,
            log_every_n_steps=10,
            enable_model_summary=False,
        )
        trainer.fit(module, loader)
        if not torch.isfinite(trainer.callback_metrics["loss"]):
            raise SartmError(f"recipe '{recipe.name}': the loss is not finite. Lower learning_rate of the stage.")
        seen += stage.samples
        with atomic_path(out / "last.ckpt") as temporary:
            trainer.save_checkpoint(temporary, weights_only=True)

    figures = validate(module.network, rig, recipe)
    write_text(out / "figures.json", json.dumps(figures, indent=2) + "\n")
    return figures


@torch.inference_mode()
def validate(network: MultiModalNetwork, rig: Rig, recipe: Recipe) -> dict[str, Any]:
    """Mean IoU per condition for all modalities together and for each alone (the others absent: DROP protocol)."""
    network.eval()
    subsets = {"all": rig.names} | {f"only {name}": (name,) for name in rig.names}
    figures: dict[str, Any] = {}
    for condition in CONDITIONS:
        dataset = SimulatedDataset(rig, recipe.validation_samples, "val", recipe.stages[-1].size, condition)
        scores = {subset: SegmentationScore(len(rig.classes)) for subset in subsets}
        for batch in DataLoader(dataset, batch_size=4):
            planes = batch["planes"].float()
            for subset, names in subsets.items():
                available = torch.tensor([name in names for name in rig.names]).expand(len(planes), -1)
                logits = network(planes, available).logits
                logits = torch.nn.functional.interpolate(logits, scale_factor=4, mode="bilinear")
                scores[subset].update(logits.argmax(dim=1), batch["truth"])
        figures[condition] = {subset: round(score.mean_iou(), 4) for subset, score in scores.items()}
        log.info("%s: %s", condition, figures[condition])
    return figures
