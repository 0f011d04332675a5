"""LoRA experts: one low-rank update of q and v per modality, all of them in one batched pass.

MLE-SAM (arXiv 2412.04220) eq. 4-6: W_m = W + B_m A_m for q and v of every attention block, one expert per modality m.
Injection, initialisation and file format are peft's. A row of the batch is one modality of one sample; `RowExperts`
tells every layer which expert each row uses.

Hiera's fused qkv is wider at its output than at its input where the stage changes; split into three Linears each
expert gets the right width by itself.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sartm_core.errors import SartmError

if TYPE_CHECKING:
    from sam2.modeling.backbones.image_encoder import ImageEncoder


class RowExperts:
    """Which expert each row of the running batch uses; shared by all adapted layers of one encoder.

    Attributes:
        rows: int64 [R], index of the modality of each row; None before the first pass.
    """

    def __init__(self) -> None:
        self.rows: Tensor | None = None

    def current(self, batch: int) -> Tensor:
        """The rows of the running pass; `batch` is a multiple of R (windows are cut row by row)."""
        if self.rows is None or batch % self.rows.shape[0]:
            raise RuntimeError(f"the rows' experts were not set for a batch of {batch}: call MultiModalNetwork.encode")
        return self.rows


class SplitQKV(nn.Module):
    """SAM2's fused qkv projection as three Linears, so that LoRA can adapt q and v alone; equal bit for bit."""

    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        width = fused.out_features // 3
        self.q, self.k, self.v = (nn.Linear(fused.in_features, width) for _ in range(3))
        with torch.no_grad():
            for part, weight, bias in zip(
                (self.q, self.k, self.v), fused.weight.chunk(3), fused.bias.chunk(3), strict=True
            ):
                part.weight.copy_(weight)
                part.bias.copy_(bias)

    def forward(self, x: Tensor) -> Tensor:  # [N, h, w, in] -> [N, h, w, 3 out]
        if torch.is_autocast_enabled(x.device.type):  # once, not by each of the three and their experts
            x = x.to(torch.get_autocast_dtype(x.device.type))
        # On a CPU ten times as fast as `cat`, which copies the narrow rows one by one.
        return torch.stack([self.q(x), self.k(x), self.v(x)], dim=-2).flatten(-2)


class StackedQKV(nn.Module):
    """The merged projections of all modalities, stacked: one batched product per layer, no LoRA at run time.

    Args:
        modalities: M.
        in_features, out_features: of the fused qkv.
        experts: which modality each row is.
    """

    def __init__(self, modalities: int, in_features: int, out_features: int, experts: RowExperts) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(modalities, out_features, in_features))
        self.bias = nn.Parameter(torch.empty(out_features))
        self.experts = experts

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        """Experts adapt q and v alone: k, the same for all modalities, is kept once."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        q, k, v = destination.pop(f"{prefix}weight").chunk(3, dim=1)
        destination |= {f"{prefix}q": q.contiguous(), f"{prefix}k": k[0].contiguous(), f"{prefix}v": v.contiguous()}

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        names = [f"{prefix}{name}" for name in "qkv"]
        if all(name in state_dict for name in names):
            q, k, v = (state_dict.pop(name) for name in names)
            state_dict[f"{prefix}weight"] = torch.cat([q, k.expand_as(q), v], dim=1)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, x: Tensor) -> Tensor:  # [N, h, w, in] -> [N, h, w, out]
        rows = self.experts.current(x.shape[0])
        # Windows of one row lie together. (`len` would fix the number of rows while a graph is traced.)
        tokens = x.reshape(rows.shape[0], -1, x.shape[-1])
        out = torch.baddbmm(self.bias, tokens, self.weight[rows].transpose(1, 2))
        return out.reshape(*x.shape[:-1], -1)


def split_qkv(encoder: "ImageEncoder") -> None:
    """Replaces the fused projection of every attention block by `SplitQKV`."""
    for block in encoder.trunk.blocks:
        block.attn.qkv = SplitQKV(block.attn.qkv)


def add_experts(encoder: "ImageEncoder", modalities: tuple[str, ...], rank: int, experts: RowExperts) -> None:
    """Injects one trainable expert per modality (peft adapters of the modalities' names) into q and v.

    The update is B A without scaling (alpha = rank), as in the papers; B starts at 0, so nothing changes at first.

    Raises:
        SartmError: no layer was found to adapt.
    """
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    from sartm_core.model.expert_linear import expert_linear_class

    layer_class = expert_linear_class(modalities, experts)
    tuner: Any = None
    for name in modalities:
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=r".*qkv\.(q|v)", lora_dropout=0.0)
        config._register_custom_module({nn.Linear: layer_class})
        if tuner is None:
            tuner = LoraModel(encoder, {name: config}, name)
        else:
            tuner.peft_config[name] = config
            tuner.inject_adapter(encoder, name)
    # peft trains only the adapters that are active.
    tuner.set_adapter(list(modalities))
    adapted = sum(isinstance(module, layer_class) for module in encoder.modules())
    if adapted != 2 * len(encoder.trunk.blocks):
        raise SartmError(f"LoRA: expected {2 * len(encoder.trunk.blocks)} adapted layers, got {adapted}.")


def stack_merged(encoder: "ImageEncoder", modalities: tuple[str, ...], experts: RowExperts) -> None:
    """Merges every modality's expert into q and v and stacks the results: `SplitQKV` becomes `StackedQKV`.

    Raises:
        SartmError: a merged weight is not finite; names the modality.
    """
    for block in encoder.trunk.blocks:
        split = block.attn.qkv
        merged = torch.stack([_merged_weight(split, name) for name in modalities])
        stacked = StackedQKV(len(modalities), merged.shape[2], merged.shape[1], experts)
        with torch.no_grad():
            stacked.weight.copy_(merged)
            stacked.bias.copy_(torch.cat([_base(part).bias for part in (split.q, split.k, split.v)]))
        block.attn.qkv = stacked


def prepare_stacked(encoder: "ImageEncoder", modalities: tuple[str, ...], experts: RowExperts) -> None:
    """An encoder for inference whose stacked weights will be loaded from a bundle."""
    for block in encoder.trunk.blocks:
        fused = block.attn.qkv
        block.attn.qkv = StackedQKV(len(modalities), fused.in_features, fused.out_features, experts)


def _base(part: Any) -> nn.Linear:
    return part.get_base_layer() if hasattr(part, "get_base_layer") else part


@torch.no_grad()
def _merged_weight(split: Any, name: str) -> Tensor:
    weights = []
    for part in (split.q, split.k, split.v):
        weight = _base(part).weight.detach().clone()
        if hasattr(part, "get_delta_weight"):
            weight += part.get_delta_weight(name)
        weights.append(weight)
    merged = torch.cat(weights)
    if not torch.isfinite(merged).all():
        raise SartmError(f"the LoRA expert of modality '{name}' holds values that are not finite; train again.")
    return merged
