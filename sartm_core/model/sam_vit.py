"""SAM's image encoder (a ViT with windowed and global blocks), from `transformers`' layers; any input size.

Segment Anything, arXiv 2304.02643. Names and values are those of `transformers`' SamVisionEncoder, whose output without
the neck is reproduced bit-exactly at the pre-training size.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 16
"""Side of a token, pixels."""


@dataclass(frozen=True, slots=True)
class VitShape:
    """One model size.

    Attributes:
        width, depth, heads: of the transformer.
        global_blocks: blocks with global attention; the others use windows.
        window: side of a window, tokens.
        image: side of the pre-training images, pixels.
    """

    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    window: int = 14
    image: int = 1024


VITS = {
    "large": VitShape(1024, 24, 16, (5, 11, 17, 23)),
    "base": VitShape(768, 12, 12, (2, 5, 8, 11)),
    "nano": VitShape(64, 4, 2, (1, 3), window=4, image=256),
}
"""SAM's ViT-L and ViT-B; `nano` is ours, for tests and studies on a CPU."""


class SamVit(nn.Module):
    """The encoder without its neck, in parts, so that an adapter can run between blocks.

    Args:
        shape: one of `VITS`.
        attention: transformers' implementation: `sdpa`, or `eager`, which can be exported to ONNX.
        drop_path: stochastic depth of the last block; increases linearly from 0.
    """

    def __init__(self, shape: VitShape, attention: str = "sdpa", drop_path: float = 0.0) -> None:
        from transformers import SamVisionConfig
        from transformers.models.sam import modeling_sam

        super().__init__()
        self.shape = shape
        library: Any = modeling_sam
        configured: Any = SamVisionConfig
        config = configured(
            hidden_size=shape.width,
            num_hidden_layers=shape.depth,
            num_attention_heads=shape.heads,
            mlp_dim=4 * shape.width,
            image_size=shape.image,
            patch_size=PATCH,
            window_size=shape.window,
            global_attn_indexes=list(shape.global_blocks),
            attn_implementation=attention,
        )
        side = shape.image // PATCH
        self.patch_embed = library.SamPatchEmbeddings(config)
        self.pos_embed = nn.Parameter(torch.zeros(1, side, side, shape.width))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.layers = nn.ModuleList(
            library.SamVisionLayer(config, window_size=0 if index in shape.global_blocks else shape.window)
            for index in range(shape.depth)
        )
        self._drop_rates = [drop_path * index / max(shape.depth - 1, 1) for index in range(shape.depth)]

    def tokens(self, images: Tensor) -> Tensor:
        """[B, 3, H, W], normalised -> [B, D, H/16, W/16], without positions."""
        projected: Tensor = self.patch_embed.projection(images)
        return projected

    def positions(self, height: int, width: int) -> Tensor:
        """[1, h, w, D]: as trained, or interpolated to another grid of tokens."""
        if (height, width) == tuple(self.pos_embed.shape[1:3]):
            return self.pos_embed
        table = self.pos_embed.permute(0, 3, 1, 2)
        scaled = F.interpolate(table, size=(height, width), mode="bicubic", align_corners=False)
        return scaled.permute(0, 2, 3, 1)

    def run(self, x: Tensor, first: int, last: int) -> Tensor:
        """Blocks `first` to `last` - 1: [B, h, w, D] -> [B, h, w, D]."""
        for index in range(first, last):
            y = self.layers[index](x)
            rate = self._drop_rates[index]
            if self.training and rate:  # the whole block's contribution, per sample
                y = x + (y - x) * kept_paths(x, rate)
            x = y
        return x


def kept_paths(x: Tensor, rate: float) -> Tensor:
    """Stochastic depth (arXiv 1603.09382): what the update of each sample is multiplied by.

    Args:
        x: [B, ...], what is updated.
        rate: of the updates that are dropped.

    Returns:
        [B, 1, ...] with as many dimensions as x: 0, or 1 / (1 - rate), so that the mean stays.
    """
    kept = torch.rand(len(x), *(1,) * (x.ndim - 1), device=x.device) >= rate
    return kept.to(x.dtype) / (1 - rate)
