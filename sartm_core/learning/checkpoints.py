"""Writes checkpoints atomically and loads them into networks."""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from safetensors import SafetensorError, safe_open
from torch import nn

from sartm_core.checked_yaml import check
from sartm_core.errors import SartmError
from sartm_core.files import sync
from sartm_core.learning.recipe import Recipe
from sartm_core.model.contract import Network
from sartm_core.model.download import CHECKPOINTS, local_path
from sartm_core.model.mm_sam_adapter import MMSamAdapter
from sartm_core.model.network import MultiModalNetwork
from sartm_core.model.presets import build_network, preset_for_rig
from sartm_core.model.sam1_weights import load_sam, read_tensors
from sartm_core.model.sam2_weights import load_sam2
from sartm_core.model.weights_file import save, write_weights
from sartm_core.resources import shipped_weights
from sartm_core.rig import Rig, rig_from_dict

log = logging.getLogger(__name__)

LAST, BEST = "last.ckpt", "best.ckpt"


class InPlace(TorchCheckpointIO):
    """Writes a checkpoint where it is told to; Lightning's own writes to $TMPDIR first, which may be small."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Raises OSError if the disk is full."""
        save(checkpoint, Path(path))


class KeepLastAndBest(Callback):
    """Writes `last.ckpt` at every validation and `best.ckpt` when validation improves.

    All of a validation are complete on disk before the first gets its name; `last.ckpt`, from which a run goes on, gets
    it last. What is interrupted in between is done again by the resumed run.

    Args:
        out: the run's folder.
        keep_every: optimiser steps; a validation at a multiple also writes `step_N.ckpt`.
        best_from: optimiser step; validations up to it do not count.

    Attributes:
        best: mean IoU of `best.ckpt`; -1 if there is none.
    """

    def __init__(self, out: Path, keep_every: int | None = None, best_from: int = 0) -> None:
        self.out, self._keep_every, self._best_from = out, keep_every, best_from
        self.best = -1.0
        self.validated_step, self.saved_step = -1, 0

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self.saved_step = trainer.global_step  # of the resumed checkpoint

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING:  # the final validation after the run, in `train`
            return
        self.validated_step = trainer.global_step
        miou = float(trainer.callback_metrics.get("val_miou", torch.tensor(0.0)))
        better = miou > self.best and trainer.global_step > self._best_from  # false for NaN
        self.best = miou if better else self.best
        names = [BEST] if better else []
        if self._keep_every and trainer.global_step % self._keep_every == 0:
            names.append(f"step_{trainer.global_step}.ckpt")
        self._save(trainer, names)

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self.save_last(trainer)

    def save_last(self, trainer: lightning.Trainer) -> None:
        """Writes `last.ckpt` alone; every process calls it.

        Raises:
            SartmError: the disk is full.
        """
        self._save(trainer, [])

    def _save(self, trainer: lightning.Trainer, others: list[str]) -> None:
        """Writes `last.ckpt`, and its copies under other names."""
        parts = {name: self.out / f".{name}.part" for name in (*others, LAST)}
        path = self.out / LAST
        try:
            trainer.save_checkpoint(parts[LAST])  # collective: every process calls it
            if trainer.is_global_zero:
                for name in others:
                    path = self.out / name
                    shutil.copyfile(parts[LAST], parts[name])
                for name, part in parts.items():
                    path = self.out / name
                    sync(part)
                    part.replace(path)
        except OSError as error:
            raise SartmError(
                f"{path}: cannot be written ({error}). Free some space and continue with --resume; the last complete "
                "checkpoint is intact."
            ) from error
        finally:
            if trainer.is_global_zero:
                for part in parts.values():
                    part.unlink(missing_ok=True)
        self.saved_step = trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        best = self.out / BEST
        if best.is_file():  # may be newer than `last.ckpt`
            content = torch.load(best, map_location="cpu", weights_only=True, mmap=True)
            self.best = content["callbacks"][self.state_key]["best"]
        elif state["best"] >= 0:
            log.warning("%s: is missing; the best of the validations to come takes its place", best)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint written by `sartm train`, on the CPU.

    Raises:
        SartmError: not such a checkpoint; names the file.
    """
    remedy = "Give a .ckpt file written by `sartm train`."
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise SartmError(f"{path}: no such file. {remedy}") from None
    except IsADirectoryError:
        raise SartmError(f"{path}: is a folder. {remedy}") from None
    except Exception as error:  # the unpickler may raise anything
        raise SartmError(f"{path}: is not a checkpoint ({type(error).__name__}). {remedy}") from error
    if not isinstance(content, dict) or not {"hyper_parameters", "state_dict"} <= set(content):
        raise SartmError(f"{path}: has no training state of sartm. {remedy}")
    return content


def recipe_of(content: dict[str, Any], path: Path) -> Recipe:
    """The recipe of a checkpoint.

    Raises:
        SartmError: it was written by another version of sartm, whose recipes have other fields.
    """
    try:
        return check(content["hyper_parameters"]["recipe"], Recipe, str(path))
    except SartmError as error:
        raise SartmError(f"{error}\nThe checkpoint was written by another version of sartm: use that one.") from error


def load_network(path: Path) -> tuple[Network, Rig, Recipe]:
    """The network of a checkpoint in training form, its rig and its recipe; raises as `read_checkpoint` does."""
    content = read_checkpoint(path)
    rig = rig_from_dict(content["hyper_parameters"]["rig"], str(path))
    recipe = recipe_of(content, path)
    network = build_network(preset_for_rig(recipe.preset, recipe.backbone, rig, recipe.lora_rank, recipe.network))
    prefix = "network."
    state = {key.removeprefix(prefix): value for key, value in content["state_dict"].items() if key.startswith(prefix)}
    if difference := _difference(state, network.state_dict()):
        raise SartmError(f"{path}: {recipe.preset} has changed since it was trained: {difference}. Train it again.")
    network.load_state_dict(state)
    return network, rig, recipe


def load_all_weights(module: nn.Module, path: Path) -> None:
    """Loads all trained weights of a checkpoint into a module of the same network and rig.

    Raises:
        SartmError: not a checkpoint of `sartm train`, or of another network; names the first difference.
    """
    trained, own = read_checkpoint(path)["state_dict"], module.state_dict()
    if difference := _difference(trained, own):
        raise SartmError(
            f"start_from '{path}': has another network, or other modalities or classes: {difference}. Set preset, "
            "network, backbone, lora_rank and data as in that run; to take only the pre-trained part of another "
            "network, use initial_weights."
        )
    module.load_state_dict(trained)


def _difference(stored: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> str | None:
    """Describes the first tensor whose shapes differ."""

    def shape(state: Mapping[str, torch.Tensor], name: str) -> str:
        return str(list(state[name].shape)) if name in state else "missing"

    for name in sorted(stored.keys() | expected.keys()):
        if shape(stored, name) != shape(expected, name):
            return f"{name} is {shape(stored, name)} in the file, {shape(expected, name)} in the network"
    return None


def load_initial_weights(network: Network, source: str) -> int:
    """Loads pre-trained weights into a new network.

    Args:
        source: `sam2.1_tiny` and the like (`sartm weights list`); a SAM2 `.pt`; `nano`, ours; a `.safetensors`
            written by `sartm weights extract`; or a `.ckpt` of `sartm train`, whose encoder and transformer are used.
            For mm_sam_adapter: SAM's `.pth`, a file or folder of `facebook/sam-vit-large`, or a `.ckpt`.

    Returns:
        Number of tensors loaded.

    Raises:
        SartmError: no such weights, or they do not fit.
    """
    if isinstance(network, MMSamAdapter) and Path(source).suffix != ".ckpt" and not _is_ours(source):
        return len(load_sam(network, Path(source)).matched)
    if isinstance(network, MultiModalNetwork) and (source in CHECKPOINTS or source.endswith(".pt")):
        return len(load_sam2(network, local_path(source) if source in CHECKPOINTS else Path(source)).matched)
    path = Path(source)
    if path.suffix == ".ckpt":
        trained: Mapping[str, torch.Tensor] = load_network(path)[0].pretrained_parameters()
    else:
        file = path if path.suffix == ".safetensors" else shipped_weights(f"{source}.safetensors")
        if not file.is_file():
            raise SartmError(
                f"initial_weights '{source}': no such weights. Expected nano, one of {', '.join(CHECKPOINTS)}, or the "
                "path of a .pt, .ckpt or .safetensors file."
            )
        trained = read_tensors(file, "Write it again with `sartm weights extract`.")
    own, trained = _without_base_layer(network.pretrained_parameters()), _without_base_layer(trained)
    wrong = [name for name, tensor in trained.items() if name not in own or own[name].shape != tensor.shape]
    if wrong or set(own) - set(trained):
        name = wrong[0] if wrong else min(set(own) - set(trained))
        raise SartmError(f"initial_weights '{source}': do not fit the backbone; the first difference is {name}.")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(trained[name])
    return len(own)


def _without_base_layer(parameters: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Names that do not depend on experts: LoRA keeps an adapted layer under `base_layer`."""
    return {name.replace(".base_layer", ""): tensor for name, tensor in parameters.items()}


def _is_ours(source: str) -> bool:
    """Whether `sartm weights extract` wrote the file: its names start with ours."""
    if not source.endswith(".safetensors"):
        return False
    try:
        with safe_open(source, framework="pt") as content:
            return any(name.startswith("vit.") for name in content.keys())  # noqa: SIM118 (not a dictionary)
    except (OSError, SafetensorError):
        return False


def extract_pretrained(checkpoint: Path, out: Path) -> int:
    """Writes encoder and transformer of a checkpoint in half precision, for `initial_weights`; returns their number."""
    network, _, recipe = load_network(checkpoint)
    alone = isinstance(network, MMSamAdapter) and not network.config.adapter
    if recipe.train_experts and not alone:
        raise SartmError(
            f"{checkpoint}: its experts (or adapter) were trained too, so the encoder alone is not the trained "
            "model. Train with train_experts: false (mm_sam_adapter: network: {adapter: false})."
        )
    pretrained = _without_base_layer(network.pretrained_parameters())
    write_weights(out, {name: parameter.detach().half() for name, parameter in pretrained.items()})
    return len(pretrained)
