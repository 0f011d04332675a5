"""ViT-Adapter (arXiv 2205.08534): a ViT and a pyramid that attend to each other, by multi-scale deformable attention.

The attention is `transformers`' (Mask2Former's, plain PyTorch; three GridSample in ONNX). It works at half the width
between two linear layers, in place of the original's ratio of 0.5 inside a compiled operator.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartm_core.model.sam_vit import SamVit, kept_paths

POINTS = 4
GATE = 1e-6
"""Initial value of the injectors' gates: the ViT starts out as pre-trained."""
Shapes = list[tuple[int, int]]


class DeformableAttention(nn.Module):
    """Queries sample a few points around their position, on every level of the values.

    Args:
        width: of queries and values, D.
        heads: of the attention.
        levels: of the values.
    """

    def __init__(self, width: int, heads: int, levels: int) -> None:
        from transformers.models.mask2former.modeling_mask2former import (
            Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention as Attention,
        )

        super().__init__()
        half = width // 2
        self.query_norm, self.value_norm = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.query, self.value = nn.Linear(width, half), nn.Linear(width, half)
        self.attention = Attention(half, heads, levels, POINTS)
        self.project = nn.Linear(half, width)
        self._initialise_offsets(heads, levels)

    def _initialise_offsets(self, heads: int, levels: int) -> None:
        """Initialised as in Deformable DETR: every head has its own direction, all points equal weight."""
        angles = torch.arange(heads) * (2 * math.pi / heads)
        directions = torch.stack([angles.cos(), angles.sin()], dim=1)
        directions = directions / directions.abs().amax(dim=1, keepdim=True)
        offsets = directions[:, None, None, :].repeat(1, levels, POINTS, 1)
        offsets = offsets * torch.arange(1, POINTS + 1)[None, None, :, None]
        a = self.attention
        nn.init.zeros_(a.sampling_offsets.weight)
        with torch.no_grad():
            a.sampling_offsets.bias.copy_(offsets.flatten())
        for linear in (a.attention_weights,):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, queries: Tensor, places: Tensor, values: Tensor, shapes: Shapes) -> Tensor:
        """[B, Q, D], [1, Q, 2] (x, y from 0 to 1), [B, V, D], (h, w) of the values' levels -> [B, Q, D]"""
        reference = places[:, :, None].expand(len(queries), -1, len(shapes), -1)
        attended, _ = self.attention(
            self.query(self.query_norm(queries)),
            encoder_hidden_states=self.value(self.value_norm(values)),
            reference_points=reference,
            spatial_shapes_list=shapes,
        )
        return self.project(attended)


class ConvolutionalFeedForward(nn.Module):
    """A feed-forward layer with a depth-wise convolution on each level.

    Args:
        width: D; the hidden layer has a quarter of it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = width // 4
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.enter, self.leave = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.mix = nn.Conv2d(hidden, hidden, kernel_size=3, padding=1, groups=hidden)

    def forward(self, x: Tensor, shapes: Shapes) -> Tensor:
        """[B, V, D] -> [B, V, D]"""
        hidden = self.enter(self.norm(x))
        levels = [self.mix(level).flatten(2).transpose(1, 2) for level in split_levels(hidden, shapes)]
        return self.leave(F.gelu(torch.cat(levels, dim=1)))


class Injector(nn.Module):
    """The ViT's tokens attend to the pyramid, through a gate that starts almost closed.

    Args:
        width, heads: of the ViT.
        levels: of the pyramid.
    """

    def __init__(self, width: int, heads: int, levels: int) -> None:
        super().__init__()
        self.attention = DeformableAttention(width, heads, levels)
        self.gate = nn.Parameter(torch.full((width,), GATE))

    def forward(self, tokens: Tensor, places: Tensor, pyramid: Tensor, shapes: Shapes) -> Tensor:
        """[B, N, D] -> [B, N, D]"""
        return tokens + self.gate * self.attention(tokens, places, pyramid, shapes)


class Extractor(nn.Module):
    """The pyramid attends to the ViT's tokens.

    Args:
        width, heads: of the ViT.
        drop_path: stochastic depth of the feed-forward layer.
    """

    def __init__(self, width: int, heads: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self._drop_path = drop_path
        self.attention = DeformableAttention(width, heads, levels=1)
        self.feed_forward = ConvolutionalFeedForward(width)

    def forward(
        self, pyramid: Tensor, places: Tensor, shapes: Shapes, tokens: Tensor, token_shape: tuple[int, int]
    ) -> Tensor:
        """[B, V, D] -> [B, V, D]"""
        pyramid = pyramid + self.attention(pyramid, places, tokens, [token_shape])
        update = self.feed_forward(pyramid, shapes)
        if self.training and self._drop_path:
            update = update * kept_paths(pyramid, self._drop_path)
        return pyramid + update


class ViTAdapter(nn.Module):
    """Runs a ViT in parts, with an injector before and an extractor after each, and two more extractors at the end.

    Args:
        width, heads: of the ViT.
        parts: number of parts the blocks are split into.
        extractors: False leaves the pyramid unchanged (ablation of the path back).
        drop_path: stochastic depth of the extractors.
    """

    def __init__(self, width: int, heads: int, parts: int = 4, extractors: bool = True, drop_path: float = 0.0) -> None:
        super().__init__()
        self.injectors = nn.ModuleList(Injector(width, heads, levels=3) for _ in range(parts))
        count = parts + 2 if extractors else 0
        self.extractors = nn.ModuleList(Extractor(width, heads, drop_path) for _ in range(count))

    def forward(self, vit: SamVit, tokens: Tensor, levels: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Runs all blocks.

        Args:
            vit: gives the blocks.
            tokens: [B, h, w, D], with positions.
            levels: the pyramid at strides 8, 16, 32, [B, D, h_i, w_i].

        Returns:
            The tokens after each part, [B, h, w, D] each, and the pyramid.
        """
        batch, height, width, channels = tokens.shape
        shapes: Shapes = [(level.shape[2], level.shape[3]) for level in levels]
        pyramid = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)
        token_places = places_of([(height, width)]).to(tokens)
        pyramid_places = places_of(shapes).to(tokens)
        parts = len(self.injectors)
        bounds = [round(part * vit.shape.depth / parts) for part in range(parts + 1)]
        after = []
        for index, injector in enumerate(self.injectors):
            flat = injector(tokens.reshape(batch, -1, channels), token_places, pyramid, shapes)
            tokens = vit.run(flat.reshape(batch, height, width, channels), bounds[index], bounds[index + 1])
            mine = self.extractors[index : index + 1] if index < parts - 1 else self.extractors[index:]
            for extractor in mine:
                flat = tokens.reshape(batch, -1, channels)
                pyramid = extractor(pyramid, pyramid_places, shapes, flat, (height, width))
            after.append(tokens)
        return after, split_levels(pyramid, shapes)


def places_of(shapes: Shapes) -> Tensor:
    """Centres of the cells of several grids, [1, sum of h w, 2]: x and y from 0 to 1."""
    grids = []
    for height, width in shapes:
        y, x = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
        grids.append(torch.stack([x.repeat(height), y.repeat_interleave(width)], dim=1))
    return torch.cat(grids)[None]


def split_levels(x: Tensor, shapes: Shapes) -> list[Tensor]:
    """[B, sum of h w, D] -> [B, D, h, w] of each grid."""
    parts = torch.split(x, [height * width for height, width in shapes], dim=1)
    return [
        part.transpose(1, 2).reshape(len(x), -1, height, width)
        for part, (height, width) in zip(parts, shapes, strict=True)
    ]
