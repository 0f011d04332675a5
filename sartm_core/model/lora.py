"""LoRA experts: low-rank updates per modality, applied in one batched pass.

MLE-SAM (arXiv 2412.04220) eq. 4-6: W_m = W + B_m A_m for q and v of every attention block, one expert per modality m.
Ours adapt the patch embedding as well: SAM2's first filters were trained on colour images, and attention cannot recover
what they lose of a thermal image or of sparse points. Injection, initialisation and file format are peft's. A row of
the batch is one modality of one sample; `RowExperts` tells every layer which expert each row uses.

Hiera's fused qkv is wider at its output than at its input where the stage changes; split into three Linears, each
expert has the right width.
"""

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartm_core.errors import SartmError

if TYPE_CHECKING:
    from peft import LoraConfig
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
    """SAM2's fused qkv projection as three Linears, so that LoRA can adapt q and v alone; bit-exact."""

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
        if torch.is_autocast_enabled(x.device.type):  # once, instead of in each of the three and their experts
            x = x.to(torch.get_autocast_dtype(x.device.type))
        # Ten times faster than `cat` on a CPU, which copies the narrow rows one by one.
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
        """Experts adapt q and v alone: k, the same for all modalities, is stored once."""
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
        # Windows of one row are adjacent. (`len` would freeze the number of rows in a traced graph.)
        tokens = x.reshape(rows.shape[0], -1, x.shape[-1])
        out = torch.baddbmm(self.bias, tokens, self.weight[rows].transpose(1, 2))
        return out.reshape(*x.shape[:-1], -1)


class StackedPatches(nn.Module):
    """The merged patch embeddings of all modalities, stacked: the convolution as one batched product.

    With kernel k <= 2 s, stride s and padding <= s a convolution is a product with the 2 x 2 blocks of s x s pixels
    that it covers, for sides that s divides.

    Args:
        convolution: gives shape and bias.
        modalities: M.
        experts: which modality each row is.

    Raises:
        SartmError: a convolution of another geometry, or without bias.
    """

    def __init__(self, convolution: nn.Conv2d, modalities: int, experts: RowExperts) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = (
            int(pair[0]) for pair in (convolution.kernel_size, convolution.stride, convolution.padding)
        )
        if self.kernel > 2 * self.stride or self.padding > self.stride or convolution.bias is None:
            raise SartmError(
                f"patch embedding: expected a bias, a kernel of at most two strides and padding of at most one, got "
                f"{convolution}. Set network: {{adapts_patches: false}} for this backbone."
            )
        taken = convolution.in_channels * (2 * self.stride) ** 2
        self.weight = nn.Parameter(torch.empty(modalities, convolution.out_channels, taken))
        self.bias = nn.Parameter(convolution.bias.detach().clone())
        self.experts = experts

    @torch.no_grad()
    def fill(self, filters: Tensor) -> None:
        """Sets the filters of each modality, [M, out, in, k, k], reordered to the blocks."""
        step, missing = self.stride, 2 * self.stride - self.kernel
        filters = F.pad(filters, (0, missing, 0, missing))
        filters = filters.reshape(*filters.shape[:3], 2, step, 2, step)
        self.weight.copy_(filters.permute(0, 1, 3, 5, 2, 4, 6).flatten(2))

    def forward(self, x: Tensor) -> Tensor:  # [R, in, H, W] -> [R, out, H/s, W/s]
        rows, step = self.experts.current(x.shape[0]), self.stride
        height, width = x.shape[2] // step, x.shape[3] // step
        border = (self.padding, step - self.padding)
        blocks = F.pixel_unshuffle(F.pad(x, (*border, *border)), step)  # [R, in s s, H/s + 1, W/s + 1]
        covered = [blocks[:, :, top : top + height, left : left + width] for top in (0, 1) for left in (0, 1)]
        tokens = torch.cat(covered, dim=1).flatten(2)  # [R, 4 in s s, h w]
        out = torch.baddbmm(self.bias[:, None], self.weight[rows], tokens)
        return out.reshape(*out.shape[:2], height, width)


def split_qkv(encoder: "ImageEncoder") -> None:
    """Replaces the fused projection of every attention block by `SplitQKV`."""
    for block in encoder.trunk.blocks:
        block.attn.qkv = SplitQKV(block.attn.qkv)


def adapter_config(rank: int, adapts_patches: bool) -> "LoraConfig":
    """Configuration of one expert for peft: the update is B A without scaling (alpha = rank), as in the papers.

    Args:
        rank: of the update.
        adapts_patches: adapts the patch embedding besides q and v.
    """
    from peft import LoraConfig

    layers = r".*(qkv\.(q|v)|patch_embed\.proj)" if adapts_patches else r".*qkv\.(q|v)"
    return LoraConfig(r=rank, lora_alpha=rank, target_modules=layers, lora_dropout=0.0)


def add_experts(
    encoder: "ImageEncoder", modalities: tuple[str, ...], rank: int, experts: RowExperts, adapts_patches: bool = False
) -> None:
    """Injects one trainable expert per modality (peft adapters of the modalities' names).

    B starts at 0, so nothing changes at first. Arguments as in `adapter_config`.

    Raises:
        SartmError: another number of layers was adapted than expected.
    """
    from peft.tuners.lora import LoraModel

    from sartm_core.model.expert_layers import expert_layer_classes

    classes = expert_layer_classes(modalities, experts)
    tuner: Any = None
    for name in modalities:
        config = adapter_config(rank, adapts_patches)
        config._register_custom_module(classes)
        if tuner is None:
            tuner = LoraModel(encoder, {name: config}, name)
        else:
            tuner.peft_config[name] = config
            tuner.inject_adapter(encoder, name)
    # peft trains only the adapters that are active.
    tuner.set_adapter(list(modalities))
    adapted = sum(isinstance(module, tuple(classes.values())) for module in encoder.modules())
    expected = 2 * len(encoder.trunk.blocks) + adapts_patches
    if adapted != expected:
        raise SartmError(f"LoRA: expected {expected} adapted layers, got {adapted}.")


def stack_merged(encoder: "ImageEncoder", modalities: tuple[str, ...], experts: RowExperts) -> None:
    """Merges every modality's expert and stacks the results: `SplitQKV` becomes `StackedQKV`, a patch embedding with
    experts `StackedPatches`.

    Raises:
        SartmError: a merged weight is not finite; names the modality.
    """
    for block in encoder.trunk.blocks:
        split = block.attn.qkv
        merged = torch.stack([_merged_weight([split.q, split.k, split.v], name) for name in modalities])
        stacked = StackedQKV(len(modalities), merged.shape[2], merged.shape[1], experts)
        with torch.no_grad():
            stacked.weight.copy_(merged)
            stacked.bias.copy_(torch.cat([_base(part).bias for part in (split.q, split.k, split.v)]))
        block.attn.qkv = stacked
    adapted = encoder.trunk.patch_embed.proj
    if hasattr(adapted, "get_base_layer"):
        encoder.trunk.patch_embed.proj = StackedPatches(adapted.get_base_layer(), len(modalities), experts)
        encoder.trunk.patch_embed.proj.fill(torch.stack([_merged_weight([adapted], name) for name in modalities]))


def prepare_stacked(
    encoder: "ImageEncoder", modalities: tuple[str, ...], experts: RowExperts, adapts_patches: bool = False
) -> None:
    """Prepares an encoder for inference; its stacked weights are loaded from a bundle later."""
    if adapts_patches:
        encoder.trunk.patch_embed.proj = StackedPatches(encoder.trunk.patch_embed.proj, len(modalities), experts)
    for block in encoder.trunk.blocks:
        fused = block.attn.qkv
        block.attn.qkv = StackedQKV(len(modalities), fused.in_features, fused.out_features, experts)


def _base(part: Any) -> Any:
    return part.get_base_layer() if hasattr(part, "get_base_layer") else part


@torch.no_grad()
def _merged_weight(parts: list[Any], name: str) -> Tensor:
    weights = []
    for part in parts:
        weight = _base(part).weight.detach().clone()
        if hasattr(part, "get_delta_weight"):
            weight += part.get_delta_weight(name)
        weights.append(weight)
    merged = torch.cat(weights)
    if not torch.isfinite(merged).all():
        raise SartmError(f"the LoRA expert of modality '{name}' has non-finite values; train again.")
    return merged
