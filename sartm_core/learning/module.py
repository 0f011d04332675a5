"""The training module: one step, the optimiser, and what a checkpoint holds."""

from typing import Any

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor

from sartm_core.learning.corruption import degrade
from sartm_core.learning.losses import ohem_cross_entropy
from sartm_core.learning.recipe import Recipe, Stage
from sartm_core.model.network import MultiModalNetwork
from sartm_core.model.presets import preset_for_rig
from sartm_core.rig import Rig, rig_from_dict


class SegmentationModule(lightning.LightningModule):
    """Trains the network of one preset.

    Args:
        rig: `Rig.model_dump(mode="json")`; plain values, so that a checkpoint loads with weights_only.
        recipe: `Recipe.model_dump(mode="json")`.
    """

    def __init__(self, rig: dict[str, Any], recipe: dict[str, Any]) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.rig: Rig = rig_from_dict(rig, "checkpoint")
        self.recipe = Recipe.model_validate(recipe)
        shape = preset_for_rig(self.recipe.preset, self.recipe.backbone, self.rig, self.recipe.lora_rank)
        self.network = MultiModalNetwork(shape)
        self.network.freeze_pretrained(not self.recipe.train_backbone)
        self.stage: Stage = self.recipe.stages[0]
        self.generator = torch.Generator().manual_seed(self.recipe.seed)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        planes, truth = batch["planes"].float(), batch["truth"]
        if torch.rand(1, generator=self.generator) < 0.5:
            planes, truth = planes.flip(-1), truth.flip(-1)
        degraded = degrade(planes, self.network.std, self.generator)
        output = self.network(degraded.planes, degraded.availability)
        losses = {"mask": ohem_cross_entropy(output.mask_logits, truth)}
        loss = losses["mask"]
        if output.auxiliary_logits is not None:
            losses["auxiliary"] = ohem_cross_entropy(output.auxiliary_logits, truth)
            loss = loss + self.recipe.auxiliary_weight * losses["auxiliary"]
        if output.reliability is not None:
            sound = degraded.sound[degraded.availability].float()
            losses["reliability"] = F.binary_cross_entropy_with_logits(output.reliability, sound)
            loss = loss + self.recipe.reliability_weight * losses["reliability"]
        self.log_dict({"loss": loss, **losses}, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        trainable = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        groups = [
            {"params": [p for p in trainable if p.ndim > 1], "weight_decay": self.recipe.weight_decay},
            {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.stage.learning_rate)
        steps = self.stage.samples // self.stage.batch
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self._warm_up_poly(step, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _warm_up_poly(self, step: int, steps: int) -> float:
        """Linear warm-up, then polynomial decay with power 0.9."""
        warm_up = max(1, round(steps * self.recipe.warm_up_share))
        if step < warm_up:
            return (step + 1) / warm_up
        return float(max(0.0, 1 - (step - warm_up) / max(1, steps - warm_up)) ** 0.9)
