"""Fusion of the modalities' features at one level, after Road-Fusion (RoadFormer+, arXiv 2407.21631) in MM SAM-adapter.

The original concatenates exactly two streams. Here each stream is enhanced, by itself and by the others, and the
available streams are then summed with convex weights: any number of streams works, and the weights can be reported.
Nothing depends on the input's size (the original's LayerNorm over H x W bakes it into the weights).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartm_core.model.routing import spread, weighted_sum

HEADS = 8


class ChannelAttention(nn.Module):
    """Attention between channels, over all pixels; its contribution starts at zero.

    Args:
        channels: C, a multiple of `HEADS`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels, kernel_size=1, bias=False)
        self.key_value = nn.Conv2d(channels, 2 * channels, kernel_size=1, bias=False)
        self.project = nn.Conv2d(channels, channels, kernel_size=1)
        self.temperature = nn.Parameter(torch.ones(HEADS, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Both [R, C, h, w] -> the update to add to x."""
        rows, channels, height, width = x.shape
        heads = (rows, HEADS, channels // HEADS, height * width)
        key, value = self.key_value(context).chunk(2, dim=1)
        query, key, value = (part.reshape(heads) for part in (self.query(x), key, value))
        similarity = F.normalize(query, dim=3) @ F.normalize(key, dim=3).transpose(2, 3)  # [R, heads, C/heads, C/heads]
        mixed = (similarity * self.temperature).softmax(dim=3) @ value
        return self.gamma * self.project(mixed.reshape(rows, channels, height, width))


class CoordinateAttention(nn.Module):
    """Weights per row and per column (arXiv 2103.02907); the identity at initialisation.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 16, 8)
        self.squeeze = nn.Sequential(
            nn.Conv2d(channels, hidden, kernel_size=1), nn.GroupNorm(1, hidden), nn.Hardswish()
        )
        self.rows = nn.Conv2d(hidden, channels, kernel_size=1)
        self.columns = nn.Conv2d(hidden, channels, kernel_size=1)
        for last in (self.rows, self.columns):
            nn.init.zeros_(last.weight)
            assert last.bias is not None
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> the same shape."""
        row_mean, column_mean = x.mean(dim=3, keepdim=True), x.mean(dim=2, keepdim=True)
        by_row = 2 * self.rows(self.squeeze(row_mean)).sigmoid()
        by_column = 2 * self.columns(self.squeeze(column_mean)).sigmoid()
        return x * by_row * by_column


class RoadFusion(nn.Module):
    """Fusion of one level.

    Args:
        channels: C of every stream.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.local = nn.Sequential(  # like a block of MobileNetV2
            nn.Conv2d(channels, 2 * channels, kernel_size=1),
            nn.GELU(),
            nn.Conv2d(2 * channels, 2 * channels, kernel_size=3, padding=1, groups=2 * channels),
            nn.GELU(),
            nn.Conv2d(2 * channels, channels, kernel_size=1),
        )
        self.local_scale = nn.Parameter(torch.zeros(channels, 1, 1))
        self.own = ChannelAttention(channels)
        self.others = ChannelAttention(channels)
        self.score = nn.Linear(2 * channels, 1, bias=False)
        self.recalibrate = CoordinateAttention(channels)

    def forward(
        self, features: Tensor, sample: Tensor, modality: Tensor, availability: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Fuses the rows of each sample.

        Args:
            features: [R, C, h, w], a row for each present modality of each sample.
            sample, modality: int64 [R], where each row belongs.
            availability: bool [B, M]; rows of unavailable modalities are ignored.

        Returns:
            [B, C, h, w], and the convex weights [B, M], 0 where absent.
        """
        x = self.norm(features)
        context = _mean_of_others(x, sample, modality, availability)
        x = features + self.local_scale * self.local(x) + self.own(x, x) + self.others(x, context)
        score = self.score(torch.cat([x.mean(dim=(2, 3)), x.flatten(2).std(dim=2)], dim=1)).squeeze(1)
        scores = spread(score, sample, modality, availability)
        scores = scores.masked_fill(~availability.to(scores.device), -torch.inf)
        weights = scores.softmax(dim=1)
        return self.recalibrate(weighted_sum(x, weights, sample, modality)), weights


class AddFusion(nn.Module):
    """The ablation: a plain sum, computed as a mean (the next projection absorbs the scale)."""

    def forward(
        self, features: Tensor, sample: Tensor, modality: Tensor, availability: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `RoadFusion.forward`."""
        weights = (availability / availability.sum(dim=1, keepdim=True)).to(features)
        return weighted_sum(features, weights, sample, modality), weights


def _mean_of_others(x: Tensor, sample: Tensor, modality: Tensor, availability: Tensor) -> Tensor:
    """[R, C, h, w]: for each row the mean of its sample's other rows; 0 if there are none."""
    total = weighted_sum(x, availability.to(x), sample, modality)  # [B, C, h, w]
    others = (availability.sum(dim=1)[sample] - 1)[:, None, None, None]
    mine = total[sample] if len(total) > 1 else total
    return (mine - x) * ((others > 0) / others.clamp_min(1)).to(x)
