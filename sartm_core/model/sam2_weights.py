"""Loads SAM2's official checkpoints (`sam2_hiera_*.pt`, `sam2.1_hiera_*.pt`) into our network."""

import re
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
    "sam_mask_decoder.iou_token.": "decoder.iou_token.",
    "sam_mask_decoder.obj_score_token.": "decoder.obj_score_token.",
    "sam_mask_decoder.pred_obj_score_head.": "decoder.object_score.",
    "sam_prompt_encoder.pe_layer.": "decoder.position.",
    "sam_prompt_encoder.not_a_point_embed.": "decoder.no_point.",
}
_NO_MASK, _NO_MEMORY = "sam_prompt_encoder.no_mask_embed.weight", "no_mem_embed"
_DENSE = "decoder.dense_embedding"
"""Ours, made of these two."""

_LEFT_OUT = (
    "memory_", "mask_downsample.", "maskmem_tpos_enc", "no_mem_", "no_obj_", "obj_ptr_", "sam_prompt_encoder.",
    "sam_mask_decoder.iou_", "sam_mask_decoder.mask_tokens.", "sam_mask_decoder.obj_score_token.",
    "sam_mask_decoder.output_hypernetworks_mlps.", "sam_mask_decoder.pred_obj_score_head.",
)  # fmt: skip
"""SAM2's parts for prompts, video and instance masks, which a semantic network does not need."""

_SIZES = {(32, 7): "nano", (96, 12): "tiny", (96, 16): "small", (112, 24): "base_plus", (144, 48): "large"}
"""Width of the first stage and number of blocks -> our name for the size."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """Result of loading a checkpoint.

    Attributes:
        matched: our parameters and buffers that were loaded: all that SAM2 has.
        left_out: entries of the file for parts of SAM2 that we do not have.
        unexpected: entries of the file that SAM2 is not known to have.
    """

    matched: tuple[str, ...]
    left_out: tuple[str, ...]
    unexpected: tuple[str, ...]


def load_sam2(network: MultiModalNetwork, path: Path) -> LoadReport:
    """Loads encoder, two-way transformer, upscaling and position encoding; experts and heads are unchanged.

    Args:
        network: in its training form.
        path: an official checkpoint, `{"model": state dict}`; read with weights_only.

    Raises:
        SartmError: no such file, not a SAM2 checkpoint, one of another size, or one that lacks something: what is not
            loaded would stay random, and frozen.
    """
    official = _read(path)
    backbone = network.config.backbone
    if (found := size_of(official, path)) != backbone:
        raise SartmError(f"{path}: is of size {found}, the network's backbone is {backbone}. Set backbone: {found}.")
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
        dense = official[_NO_MASK].flatten()
        if network.config.fusion != "logits":  # SARTM's code skips what SAM2 adds to an image without memory
            dense = dense + official[_NO_MEMORY].flatten()
        filled[_DENSE] = dense
    for name, tensor in filled.items():
        if own[name].shape != tensor.shape:
            raise SartmError(f"{path}: {name}: expected shape {tuple(own[name].shape)}, got {tuple(tensor.shape)}.")
    _check_complete(path, official, own, filled, unexpected)
    network.load_state_dict(own | filled)
    return LoadReport(tuple(filled), tuple(left_out), tuple(unexpected))


def _check_complete(
    path: Path, official: dict[str, Tensor], own: dict[str, Tensor], filled: dict[str, Tensor], unexpected: list[str]
) -> None:
    missing = [name for name in (_NO_MASK, _NO_MEMORY) if name not in official and _DENSE not in filled]
    ours = (name for name in own if name.startswith(tuple(_RENAMED.values())) and "lora_" not in name)
    missing += dict.fromkeys(_official(name) for name in ours if name not in filled)
    if missing:
        odd = f" It holds {len(unexpected)} that SAM2 has not, such as {unexpected[0]}." if unexpected else ""
        raise SartmError(
            f"{path}: lacks {len(missing)} tensors of SAM2, which would stay random:\n  " + "\n  ".join(missing) + "\n"
            f"Give a whole checkpoint: with the mask decoder too, and a LoRA merged (peft's merge_and_unload).{odd}"
        )


def _official(name: str) -> str:
    """SAM2's name of a parameter or buffer of ours."""
    name = re.sub(r"\.qkv\.[qkv]\.", ".qkv.", name.replace(".base_layer.", "."))
    old, new = next((old, new) for old, new in _RENAMED.items() if name.startswith(new))
    return old + name.removeprefix(new)


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


def size_of(official: dict[str, Tensor], path: Path) -> str:
    """Our name for the size of the image encoder in SAM2's tensors.

    Raises:
        SartmError: there is no image encoder.
    """
    patch = official.get("image_encoder.trunk.patch_embed.proj.weight")
    if patch is None:
        raise SartmError(f"{path}: has no SAM2 image encoder (image_encoder.trunk.patch_embed.proj.weight).")
    blocks = len({name.split(".")[3] for name in official if name.startswith("image_encoder.trunk.blocks.")})
    return _SIZES.get((patch.shape[0], blocks), f"unknown ({patch.shape[0]} wide, {blocks} blocks)")
