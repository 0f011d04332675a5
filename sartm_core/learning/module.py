"""The training module: one step, the optimiser, and what a checkpoint holds."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sartm_core.errors import SartmError
from sartm_core.evaluation.metrics import SegmentationScore
from sartm_core.evaluation.processes import gathered
from sartm_core.learning import losses
from sartm_core.learning.corruption import Degraded, degrade
from sartm_core.learning.recipe import Recipe
from sartm_core.learning.schedule import stage_factors
from sartm_core.model.contract import Network, NetworkOutput
from sartm_core.model.language import TextTeacher
from sartm_core.model.presets import build_network, preset_for_rig
from sartm_core.rig import Rig, rig_from_dict
from sartm_core.sensing import Fit, Windows


class SegmentationModule(lightning.LightningModule):
    """Trains the network of one recipe.

    Args:
        rig: `Rig.model_dump(mode="json")`; plain values, so that a checkpoint loads with weights_only.
        recipe: `Recipe.model_dump(mode="json")`.
        steps: optimiser steps of each stage.
        texts: the text teacher, where the recipe has one.
        teacher: a frozen full-modality model of the same modalities and classes, where the recipe names one.
    """

    def __init__(
        self,
        rig: dict[str, Any],
        recipe: dict[str, Any],
        steps: list[int],
        texts: TextTeacher | None = None,
        teacher: Network | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["texts", "teacher"])
        self.rig: Rig = rig_from_dict(rig, "checkpoint")
        self.recipe = Recipe.model_validate(recipe)
        r = self.recipe
        config = preset_for_rig(r.preset, r.backbone, self.rig, r.lora_rank, r.network)
        self.network = build_network(config)
        answers_by = getattr(config, "inference", "mask") if getattr(config, "auxiliary", "none") != "none" else "mask"
        if answers_by != "mask" and not r.losses.auxiliary:
            raise SartmError(
                f"losses.auxiliary: 0 leaves the auxiliary head untrained, but network.inference is {answers_by}: its "
                "scores would be in the answer. Set network.inference to mask, and network.auxiliary to none."
            )
        if r.losses.per_modality and not self.network.classifies_rows:
            raise SartmError(
                f"losses.per_modality: {r.preset}'s modalities have no features of the classifier's width. Set it to 0."
            )
        self.network.freeze_pretrained(not r.train_backbone)
        if not r.train_experts:
            self.network.freeze_experts()
        for part in self.network.modules():
            if isinstance(part, nn.Dropout2d):
                part.p = r.dropout
        self.classifier = nn.Conv2d(self.network.width, len(self.rig.classes), kernel_size=1)
        """Shared by L_cr and the loss per modality; not needed for inference."""
        self.classifier.requires_grad_(bool(r.losses.consistency or r.losses.per_modality))
        self.texts = texts
        # Not a submodule: neither trained nor saved.
        self._teacher: list[Network] = [] if teacher is None else [teacher.eval().requires_grad_(False)]
        self._validation = SegmentationScore(len(self.rig.classes))
        self.clean_steps = 0 if r.robustness.passes == "clean" else round(r.robustness.clean_share * sum(steps))
        """How many steps the run begins with that see every sensor, sound."""

    def on_fit_start(self) -> None:
        for teacher in self._teacher:
            teacher.to(self.device)

    def on_train_batch_start(self, batch: Any, batch_index: int) -> None:
        # Dropout is a function of the position in the run: a resumed run goes on to the bit.
        torch.manual_seed(self.recipe.seed * 1_000_003 + int(batch["number"][0]))

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        planes, truth, availability = batch["planes"].float(), batch["truth"], batch["availability"]
        passes, parts = self._passes(), dict[str, Tensor]()
        teacher_logits = None
        if passes != "degraded":
            rows, clean = self._forward(planes, availability)
            parts |= self._supervised(clean, rows, truth, availability)
            teacher_logits = clean.logits.detach()
        if passes != "clean":
            degraded = self._degrade(batch, planes)
            rows, output = self._forward(degraded.planes, degraded.availability)
            second = self._supervised(output, rows, truth, degraded.availability)
            if output.reliability is not None:
                present = degraded.availability
                share = losses.shares(present.nonzero()[:, 0], len(present))
                second["reliability"] = losses.reliability(output.reliability, degraded.sound[present], share)
            if passes == "two" and teacher_logits is not None:
                for teacher in self._teacher:
                    with torch.no_grad():
                        teacher_logits = teacher(planes, availability).logits
                second["distillation"] = losses.distillation(output.logits, teacher_logits)
            parts = {name: parts.get(name, 0.0) + loss for name, loss in second.items()} | {
                name: loss for name, loss in parts.items() if name not in second
            }
        weights = self.recipe.losses
        loss = sum((getattr(weights, name) * part for name, part in parts.items()), torch.zeros((), device=self.device))
        if not torch.isfinite(loss):
            values = ", ".join(f"{name} {float(part.detach()):.4g}" for name, part in parts.items())
            raise SartmError(
                f"recipe '{self.recipe.name}', step {self.global_step}: the loss is not finite ({values}). Lower the "
                "stage's learning_rate, use precision 32-true, or look at the data with `sartm data check`."
            )
        self.log_dict({"loss": loss, **parts}, batch_size=len(truth), sync_dist=True)
        return loss

    def _passes(self) -> str:
        """Of the recipe's robustness; clean in the run's first part."""
        return "clean" if self.global_step < self.clean_steps else self.recipe.robustness.passes

    def _forward(self, planes: Tensor, availability: Tensor) -> tuple[Tensor, NetworkOutput]:
        """The rows' own semantic features, the last that they have, [R, D, h, w], and the network's answer."""
        sample, modality = availability.nonzero(as_tuple=True)
        with _attention(self.device):
            features = self.network.encode(planes[sample, modality], modality)
            return features[-1], self.network.decode(features, sample, modality, availability)

    def _supervised(
        self, output: NetworkOutput, rows: Tensor, truth: Tensor, availability: Tensor
    ) -> dict[str, Tensor]:
        weights = self.recipe.losses
        least = weights.ohem_least_pixels
        sample = availability.nonzero()[:, 0]
        share = losses.shares(sample, len(truth))
        if output.row_logits is None:
            parts = {"mask": losses.ohem_cross_entropy(output.mask_logits, truth, least)}
        else:
            parts = {"mask": losses.ohem_cross_entropy(output.row_logits, truth[sample], least, share)}
        if output.auxiliary_logits is not None and weights.auxiliary:
            parts["auxiliary"] = losses.ohem_cross_entropy(output.auxiliary_logits, truth, least)
        if weights.dice:
            parts["dice"] = losses.dice(output.mask_logits, truth)
            if output.auxiliary_logits is not None:
                parts["dice"] = parts["dice"] + weights.auxiliary * losses.dice(output.auxiliary_logits, truth)
        fused = output.fused[2]
        if weights.consistency:
            parts["consistency"] = losses.label_consistency(self.classifier(fused), truth)
        if weights.per_modality:
            parts["per_modality"] = losses.label_consistency(self.classifier(rows), truth[sample], share)
        if weights.language and self.texts is not None:
            parts["language"] = losses.language_similarity(fused, truth, self.texts.embeddings, self.texts.known)
        return parts

    def _degrade(self, batch: dict[str, Tensor], planes: Tensor) -> Degraded:
        settings = self.recipe.robustness
        seeds = (batch["number"] * 7_919 + self.recipe.seed).tolist()
        generators = [Generator().manual_seed(seed) for seed in seeds]
        return degrade(
            planes,
            batch["availability"],
            self.network.std,
            generators,
            settings.subset_share,
            settings.corrupted_share,
            settings.corruptions,
        )

    def on_validation_epoch_start(self) -> None:
        self._validation.reset()

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Each frame is scored at its truth's own size, by the way that inference takes."""
        size, fit = self.recipe.stages[-1].size, self.recipe.fit
        planes, availability = batch["planes"], batch["availability"]
        if fit == "window":
            masks = [self._slide(planes, availability, batch["truth"][0].shape)]
        else:
            scores = self.network(planes.float(), availability).logits.float().cpu().numpy()
            masks = [
                Fit(fit, tuple(truth.shape), size).segment(one)[0]
                for one, truth in zip(scores, batch["truth"], strict=True)
            ]
        for mask, truth in zip(masks, batch["truth"], strict=True):
            self._validation.update(mask, truth.cpu().numpy())

    def _slide(self, planes: Tensor, availability: Tensor, frame: torch.Size) -> NDArray[np.uint8]:
        size, stride = self.recipe.stages[-1].size, self.recipe.stride
        assert stride is not None  # the recipe was checked
        windows = Windows((frame[0], frame[1]), size, stride)
        window = np.zeros((*planes.shape[:3], *size), np.float32)
        for place in windows.places:
            windows.cut(planes.cpu().numpy(), place, window)
            scores = self.network(torch.from_numpy(window).to(planes.device), availability).logits
            windows.add(place, scores[0].float().cpu().numpy())
        return windows.segment()[0]

    def on_validation_epoch_end(self) -> None:
        total = SegmentationScore(len(self.rig.classes))
        for part in gathered(self._validation):
            total.add(part)
        self.log("val_miou", total.mean_iou())

    def configure_optimizers(self) -> Any:
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                own = name.removeprefix("network.")
                decay = self.recipe.weight_decay if self.network.has_weight_decay(own, parameter) else 0.0
                scale = self.network.learning_rate_scale(own, self.recipe.layer_decay)
                groups.setdefault((scale, decay), []).append(parameter)
        # The schedule gives the rates themselves; a group's own is a share of them.
        optimizer = torch.optim.AdamW(
            [{"params": members, "lr": scale, "weight_decay": decay} for (scale, decay), members in groups.items()]
        )
        rates = stage_factors(self.recipe, self.hparams["steps"])
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rates(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _attention(device: torch.device) -> AbstractContextManager[Any]:
    """On a CPU torch's fused attention takes twenty times as long backwards as forwards; the plain one does not."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
