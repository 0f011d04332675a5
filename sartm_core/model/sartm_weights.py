"""Loads the weights that SARTM's authors publish, the state of their whole model (wahaha-debug/SARTM @5327908)."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from sartm_core.errors import SartmError
from sartm_core.model.backbone import BACKBONES
from sartm_core.model.sam1_weights import read_tensors
from sartm_core.model.sam2_weights import size_of
from sartm_core.model.sartm_released import SartmReleased

_SAM2 = "sam."
_MASK_TOKENS = "sam.sam_mask_decoder.mask_tokens.weight"
_FIRST_UPDATE = "sam.image_encoder.trunk.blocks.0.attn.qkv.linear_a_q.weight"
_UPDATES = ("", "2", "3")
"""Endings of the names of the three LoRAs."""

_RENAMED = {
    "encoder.": "sam.image_encoder.",
    "conv_s0.": "sam.sam_mask_decoder.conv_s0.",
    "conv_s1.": "sam.sam_mask_decoder.conv_s1.",
    "decoder.position.": "sam.sam_prompt_encoder.pe_layer.",
    "decoder.no_point.": "sam.sam_prompt_encoder.not_a_point_embed.",
    "decoder.object_score.": "sam.sam_mask_decoder.pred_obj_score_head.",
    "decoder.": "sam.sam_mask_decoder.",
}
"""Ours -> theirs; the first that fits."""

_LEFT_OUT = (
    "FFMs.", "FRMs.", "linear_fuse.", "linear_pred.", "mlp_feat_s0.", "mlp_feat_s1.", "mlp_src.", "model_clip.",
    "sam.mask_downsample.", "sam.maskmem_tpos_enc", "sam.memory_", "sam.no_mem_", "sam.no_obj_ptr", "sam.obj_ptr_",
    "sam.sam_mask_decoder.iou_prediction_head.", "sam.sam_mask_decoder.output_hypernetworks_mlps.0.",
    "sam.sam_prompt_encoder.mask_downscaling.", "sam.sam_prompt_encoder.point_embeddings.",
)  # fmt: skip
"""What does not decide their answer: parts for the losses, for video and for prompts, and parts that are never used."""

_REMEDY = (
    "Give the .pth file that SARTM's authors publish for PST900 (SARMT_PST_89.88.pth, linked from the README of "
    "wahaha-debug/SARTM), or one that their training code has saved beside the *_checkpoint.pth."
)


@dataclass(frozen=True, slots=True)
class Released:
    """The content of a published file.

    Attributes:
        path: of the file, for messages.
        tensors: by their names.
        backbone: our name for SAM2's size.
        classes: number of classes.
        lora_rank: of each of the three LoRAs.
    """

    path: Path
    tensors: dict[str, Tensor]
    backbone: str
    classes: int
    lora_rank: int

    def take(self, name: str) -> Tensor:
        """The tensor of that name.

        Raises:
            SartmError: there is none.
        """
        if name not in self.tensors:
            raise SartmError(f"{self.path}: has no tensor {name}. {_REMEDY}")
        return self.tensors[name]


def read_released(path: Path) -> Released:
    """Reads a published file, on the CPU and with weights_only.

    Raises:
        SartmError: no such file, or another model's.
    """
    tensors = read_tensors(path, _REMEDY)
    for name in (_MASK_TOKENS, _FIRST_UPDATE):
        if name not in tensors:
            raise SartmError(f"{path}: is not SARTM's: it has no tensor {name}. {_REMEDY}")
    sam2 = {name.removeprefix(_SAM2): tensor for name, tensor in tensors.items() if name.startswith(_SAM2)}
    # The first mask token is of SAM2's single mask.
    classes, rank, backbone = len(tensors[_MASK_TOKENS]) - 1, len(tensors[_FIRST_UPDATE]), size_of(sam2, path)
    if backbone not in BACKBONES:
        raise SartmError(f"{path}: expected an image encoder of size {', '.join(BACKBONES)}, got {backbone}. {_REMEDY}")
    return Released(path, tensors, backbone, classes, rank)


def load_released(network: SartmReleased, released: Released) -> tuple[int, int]:
    """Loads all that decides the answer; the normalisation and the parts for the losses are unchanged.

    Args:
        network: in its training form, of the file's backbone, classes and rank.
        released: from `read_released`.

    Returns:
        Number of tensors of the file that were used, and that belong to known parts which do not decide the answer.

    Raises:
        SartmError: a tensor is missing, has another shape, or is unknown; names the first.
    """
    used: set[str] = set()

    def take(name: str) -> Tensor:
        used.add(name)
        return released.take(name)

    own = network.state_dict()
    wanted = [name for name in own if name not in ("mean", "std") and not name.startswith("branch.")]
    for name in wanted:
        tensor = _converted(name, own[name], take)
        if tensor.shape != own[name].shape:
            raise SartmError(
                f"{released.path}: for {name} expected shape {tuple(own[name].shape)}, got {tuple(tensor.shape)}. "
                f"{_REMEDY}"
            )
        own[name] = tensor
    others = [name for name in released.tensors if name not in used]
    if unknown := [name for name in others if not name.startswith(_LEFT_OUT)]:
        raise SartmError(f"{released.path}: has {len(unknown)} unknown tensors, the first is {unknown[0]}. {_REMEDY}")
    network.load_state_dict(own)
    return len(used), len(others)


def _converted(name: str, own: Tensor, take: Callable[[str], Tensor]) -> Tensor:
    """Their tensor for one of our names."""
    if found := re.fullmatch(r"encoder\.(.*\.attn\.qkv)\.([qv])\.lora_([AB])\..*", name):
        layer, part, side = found.groups()
        return _joined(f"{_SAM2}image_encoder.{layer}.linear_{side.lower()}_{part}", part, side, own, take)
    if found := re.fullmatch(r"encoder\.(.*\.attn\.qkv)\.([qkv])\.(?:base_layer\.)?(weight|bias)", name):
        layer, part, kind = found.groups()
        return take(f"{_SAM2}image_encoder.{layer}.qkv.{kind}").chunk(3)["qkv".index(part)]
    if name == "decoder.single_mask_token.weight":
        return take(_MASK_TOKENS)[:1]
    if name == "decoder.class_tokens.weight":
        return take(_MASK_TOKENS)[1:]
    if name == "decoder.dense_embedding":
        return take("sam.sam_prompt_encoder.no_mask_embed.weight").flatten()
    if found := re.fullmatch(r"decoder\.hypernetworks\.(\d+)\.(.*)", name):
        return take(f"sam.sam_mask_decoder.output_hypernetworks_mlps.{int(found[1]) + 1}.{found[2]}")
    ours, theirs = next(pair for pair in _RENAMED.items() if name.startswith(pair[0]))
    return take(theirs + name.removeprefix(ours))


def _joined(stem: str, part: str, side: str, own: Tensor, take: Callable[[str], Tensor]) -> Tensor:
    """The three LoRAs as one: A [3 r, in] or B [out, 3 r], the sum of whose products is its product.

    Where the stage changes their B is only as high as the input is wide: of q the first rows, of v the last.
    """
    parts = [take(f"{stem}{ending}.weight") for ending in _UPDATES]
    if side == "A":
        return torch.cat(parts)
    joined = torch.cat(parts, dim=1)
    missing = max(len(own) - len(joined), 0)
    return F.pad(joined, (0, 0, 0, missing) if part == "q" else (0, 0, missing, 0))
