"""Loads SAM2's official checkpoints (`sam2_hiera_*.pt`, `sam2.1_hiera_*.pt`) into our network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sartm_core.errors import SartmError
from sartm_core.model.network import MultiModalNetwork

_RENAMED = {
    "image_encoder.": "encoder.",
    "sam_mask_decoder.transformer.": "decoder.transformer.",
    "sam_mask_decoder.output_upscaling.": "decoder.output_upscaling.",
    "sam_mask_decoder.conv_s0.": "conv_s0.",
    "sam_mask_decoder.conv_s1.": "conv_s1.",
    "sam_prompt_encoder.pe_layer.": "decoder.position.",
}
_NO_MASK, _NO_MEMORY = "sam_prompt_encoder.no_mask_embed.weight", "no_mem_embed"

_LEFT_OUT = (
    "memory_", "mask_downsample.", "maskmem_tpos_enc", "no_mem_", "no_obj_", "obj_ptr_", "sam_prompt_encoder.",
    "sam_mask_decoder.iou_", "sam_mask_decoder.mask_tokens.", "sam_mask_decoder.obj_score_token.",
    "sam_mask_decoder.output_hypernetworks_mlps.", "sam_mask_decoder.pred_obj_score_head.",
)  # fmt: skip
"""SAM2's parts for prompts, video and instance masks, which a semantic network does not need."""

_SIZES = {(96, 12): "tiny", (96, 16): "small", (112, 24): "base_plus", (144, 48): "large"}
"""Width of the first stage and number of blocks -> our name for the size."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """Result of loading a checkpoint.

    Attributes:
        matched: our parameters and buffers that were loaded.
        missing: our pre-trained parameters that the file lacks.
        left_out: entries of the file for parts of SAM2 that we do not have.
        unexpected: entries of the file that SAM2 is not known to have.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    left_out: tuple[str, ...]
    unexpected: tuple[str, ...]


def load_sam2(network: MultiModalNetwork, path: Path) -> LoadReport:
    """Loads encoder, two-way transformer, upscaling and position encoding; experts and heads are unchanged.

    Args:
        network: in its training form.
        path: an official checkpoint, `{"model": state dict}`; read with weights_only.

    Raises:
        SartmError: no such file, not a SAM2 checkpoint, or one of another size.
    """
    official = _read(path)
    _check_size(official, network.config.backbone, path)
    own = network.state_dict()
    filled: dict[str, Tensor] = {}
    left_out: list[str] = []
    unexpected: list[str] = []
    for name, tensor in official.items():
        targets = _targets(name, tensor, own)
        if targets:
            filled |= targets
        elif name not in (_NO_MASK, _NO_MEMORY):
            (left_out if name.startswith(_LEFT_OUT) else unexpected).append(name)
    if _NO_MASK in official and _NO_MEMORY in official:
        filled["decoder.dense_embedding"] = official[_NO_MASK].flatten() + official[_NO_MEMORY].flatten()
    for name, tensor in filled.items():
        if own[name].shape != tensor.shape:
            raise SartmError(f"{path}: {name}: expected shape {tuple(own[name].shape)}, got {tuple(tensor.shape)}.")
    network.load_state_dict(own | filled)
    missing = [name for name in network.pretrained_parameters() if name not in filled]
    return LoadReport(tuple(filled), tuple(missing), tuple(left_out), tuple(unexpected))


def _targets(name: str, tensor: Tensor, own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our entries for one official entry; the fused qkv maps to three."""
    ours = next((new + name[len(old) :] for old, new in _RENAMED.items() if name.startswith(old)), None)
    if ours is None:
        return {}
    candidates = {ours: tensor}
    if ".attn.qkv." in ours:
        block, kind = ours.rsplit(".", 1)
        candidates = {f"{block}.{part}.{kind}": chunk for part, chunk in zip("qkv", tensor.chunk(3), strict=True)}
    # LoRA keeps an adapted layer under `base_layer`.
    named = {key if key in own else ".base_layer.".join(key.rsplit(".", 1)): value for key, value in candidates.items()}
    return {key: value for key, value in named.items() if key in own}


def _read(path: Path) -> dict[str, Tensor]:
    remedy = (
        "`sartm weights pull` fetches SAM2's official checkpoints; or give one (sam2_hiera_*.pt, sam2.1_hiera_*.pt)."
    )
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise SartmError(f"{path}: no such file. {remedy}") from None
    except Exception as error:  # the unpickler may raise anything
        raise SartmError(f"{path}: is not a checkpoint ({type(error).__name__}). {remedy}") from error
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise SartmError(f"{path}: expected a dictionary with the key 'model', got {type(content).__name__}. {remedy}")
    return content["model"]


def _check_size(official: dict[str, Tensor], backbone: str, path: Path) -> None:
    patch = official.get("image_encoder.trunk.patch_embed.proj.weight")
    if patch is None:
        raise SartmError(f"{path}: has no SAM2 image encoder (image_encoder.trunk.patch_embed.proj.weight).")
    blocks = len({name.split(".")[3] for name in official if name.startswith("image_encoder.trunk.blocks.")})
    found = _SIZES.get((patch.shape[0], blocks), f"unknown ({patch.shape[0]} wide, {blocks} blocks)")
    if found != backbone:
        raise SartmError(f"{path}: is of size {found}, the network's backbone is {backbone}. Set backbone: {found}.")
