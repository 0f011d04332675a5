"""Experts as peft adapters on disk: one folder per modality, readable by stock peft."""

import dataclasses
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from sartm_core.errors import SartmError
from sartm_core.files import atomic_path, write_text
from sartm_core.model.lora import adapter_config
from sartm_core.model.network import MultiModalNetwork

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_PREFIX = "base_model.model."
_PATCHES = " (experts of any_sensor adapt the patch embedding, the papers' do not: network.adapts_patches)"


def save_experts(network: MultiModalNetwork, folder: Path) -> None:
    """Writes `folder/<modality>/adapter_model.safetensors` and `adapter_config.json` for every expert."""
    for name in network.expert_names:
        weights = {
            _PREFIX + key.replace(f".{name}.", "."): tensor.contiguous()
            for key, tensor in network.encoder.state_dict().items()
            if f".lora_A.{name}." in key or f".lora_B.{name}." in key
        }
        with atomic_path(folder / name / WEIGHTS) as temporary:
            save_file(weights, temporary, metadata={"format": "pt"})
        content = adapter_config(network.config.lora_rank, network.config.adapts_patches).to_dict()
        content["inference_mode"] = True
        text = json.dumps(content, indent=2, default=lambda value: getattr(value, "value", None) or sorted(value))
        write_text(folder / name / CONFIG, text + "\n")


def load_expert(network: MultiModalNetwork, name: str, folder: Path) -> None:
    """Loads the expert of one modality from `folder`; the others are unchanged.

    Raises:
        SartmError: no adapter found, or one of another rank, width or model.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise SartmError(f"{path}: no such file. Give a folder written by peft or by `save_experts`.")
    if name not in network.expert_names:
        raise SartmError(f"the network has no expert '{name}'; it has {', '.join(network.expert_names)}.")
    own = network.encoder.state_dict()
    filled = {}
    for key, tensor in load_file(path).items():
        target = (
            key.removeprefix(_PREFIX).replace(".lora_A.", f".lora_A.{name}.").replace(".lora_B.", f".lora_B.{name}.")
        )
        if target not in own:
            raise SartmError(
                f"{path}: {key}: the encoder has no such layer; the adapter belongs to another model{_PATCHES}."
            )
        if own[target].shape != tensor.shape:
            raise SartmError(
                f"{path}: {key}: expected shape {tuple(own[target].shape)} (rank {network.config.lora_rank}), got "
                f"{tuple(tensor.shape)}. Use the rank and the backbone that the adapter was trained with."
            )
        filled[target] = tensor
    expected = {key for key in own if f".lora_A.{name}." in key or f".lora_B.{name}." in key}
    if missing := sorted(expected - filled.keys()):
        raise SartmError(
            f"{path}: lacks {len(missing)} of {len(expected)} layers, the first is {missing[0]}{_PATCHES}."
        )
    network.encoder.load_state_dict(own | filled)


@torch.no_grad()
def with_modalities(network: MultiModalNetwork, modalities: tuple[str, ...]) -> MultiModalNetwork:
    """A network for more, fewer or reordered modalities that keeps everything the given one has learned.

    Experts and statistics are copied by name; a new modality's expert starts without effect (B = 0), with mean 0 and
    deviation 1. Routing and heads are shared and unchanged. A new modality counts as dense and of full size.
    """
    config = network.config
    extended = MultiModalNetwork(
        dataclasses.replace(
            config,
            modalities=modalities,
            top_k=min(config.top_k, len(modalities)),
            half_size=tuple(name for name in config.half_size if name in modalities),
            sparse=tuple(name for name in config.sparse if name in modalities),
        )
    )
    own = extended.state_dict()
    own |= {key: tensor for key, tensor in network.state_dict().items() if key in own and key not in ("mean", "std")}
    extended.load_state_dict(own)
    for row, name in enumerate(modalities):
        if name in config.modalities:
            known = config.modalities.index(name)
            extended.mean[row], extended.std[row] = network.mean[known], network.std[known]
    return extended
