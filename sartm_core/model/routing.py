"""Routing: which modality to trust, per sample and per pyramid level.

Every routing returns the convex coefficients actually applied: F = sum over m of w_m F_m, w_m = 0 for an absent
modality, sum over m of w_m = 1. Nothing here depends on the order of the modalities.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartm_core.errors import SartmError

LEAST_POWER = 1e-4
"""Edges with a smaller mean square are damped; representable in half precision."""
LARGEST_EDGE = 100.0
"""Its square is representable in half precision."""


class MeanRouting(nn.Module):
    """The mean over the available modalities, MLE-SAM (arXiv 2412.04220) eq. 7 with the absent ones left out."""

    def forward(
        self, features: list[Tensor], sample: Tensor, modality: Tensor, availability: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """As `ReliabilityRouting.forward`, without a reliability."""
        weights = availability / availability.sum(dim=1, keepdim=True)
        return weights.to(features[0].device)[:, None].expand(-1, len(features), -1), None


class TopKRouting(nn.Module):
    """MLE-SAM's mixture: the mean plus the k best, eq. 7-10 over the available modalities.

    The paper specifies neither k nor how the mean F-bar and the routed F-hat are combined. Ours:
    (F-bar + s F-hat) / (1 + s) with one learned s > 0 per level that starts at 0.1, so the coefficients stay convex.

    Args:
        channels: of the three levels (`sartm_core.segmentation.LEVELS`).
        k: number of routed modalities, capped at those available.
        use_mean: False drops F-bar (the paper's ablation "F-hat only").
    """

    def __init__(self, channels: tuple[int, int, int], k: int, use_mean: bool = True) -> None:
        super().__init__()
        self.routers = nn.ModuleList(nn.Linear(width, 1) for width in channels)
        self.k = k
        self.scales = nn.Parameter(torch.full((len(channels),), math.log(math.expm1(0.1)))) if use_mean else None

    def forward(
        self, features: list[Tensor], sample: Tensor, modality: Tensor, availability: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """As `ReliabilityRouting.forward`, without a reliability."""
        levels = []
        for router, level in zip(self.routers, features, strict=True):
            logits = spread(router(level.mean(dim=(2, 3))).squeeze(1), sample, modality, availability)
            rank = logits.argsort(dim=1, descending=True).argsort(dim=1)
            levels.append(logits.masked_fill(rank >= self.k, -torch.inf).softmax(dim=1))
        routed = torch.stack(levels, dim=1)  # [B, 3, M]
        if self.scales is None:
            return routed, None
        return _mixed(routed, self.scales, availability), None


class LanguageRouting(nn.Module):
    """SARTM's mixture (arXiv 2505.01950, section III-A): the mean F-bar and the language-guided F-hat.

    A modality's weight in F-hat grows with the similarity of its projected features to the text embeddings. The paper
    gives no formula; ours: cosine with their mean, a learned temperature, softmax over the available modalities.
    F-bar and F-hat are combined as in `TopKRouting`. Only the mean's direction is stored, so inference needs no text.

    Args:
        channels: of the three levels (`sartm_core.segmentation.LEVELS`).
        text_width: of the text embeddings, D.
    """

    text_direction: Tensor

    def __init__(self, channels: tuple[int, int, int], text_width: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(width, text_width) for width in channels)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # as in CLIP
        self.scales = nn.Parameter(torch.full((len(channels),), math.log(math.expm1(0.1))))
        self.register_buffer("text_direction", torch.zeros(text_width))

    def set_text(self, embeddings: Tensor) -> None:
        """Sets the teacher, [C, D]; until then F-hat is the mean as well.

        Raises:
            SartmError: the width differs from `text_width`.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != len(self.text_direction):
            raise SartmError(
                f"text embeddings: expected [classes, {len(self.text_direction)}], got {list(embeddings.shape)}. Set "
                "text_width of the network to the width of the text model."
            )
        self.text_direction.copy_(F.normalize(F.normalize(embeddings.float(), dim=1).mean(dim=0), dim=0))

    def forward(
        self, features: list[Tensor], sample: Tensor, modality: Tensor, availability: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """As `ReliabilityRouting.forward`, without a reliability."""
        levels = []
        for projection, level in zip(self.projections, features, strict=True):
            similarity = F.normalize(projection(level.mean(dim=(2, 3))), dim=1) @ self.text_direction  # [R]
            levels.append(spread(self.log_scale.exp() * similarity, sample, modality, availability).softmax(dim=1))
        return _mixed(torch.stack(levels, dim=1), self.scales, availability), None


class ReliabilityRouting(nn.Module):
    """F = sum over the available modalities of w_m F_m, w = softmax(reliability_m + router_m).

    Without supervision, a gate like MLE-SAM's collapses to constants. Here the reliability is supervised: training
    corrupts inputs and knows which. Its inputs reveal faults: mean and deviation of every channel (a blank or saturated
    image has no deviation), and how well a modality agrees with the others in content and in edge positions (a frozen
    or miscalibrated one looks intact by itself).

    Args:
        channels: of the three levels (`sartm_core.segmentation.LEVELS`).
        hidden: width of the reliability head.
    """

    def __init__(self, channels: tuple[int, int, int], hidden: int = 64) -> None:
        super().__init__()
        self.routers = nn.ModuleList(nn.Linear(width, 1) for width in channels)
        seen = 2 * sum(channels) + 2 * len(channels)
        self.reliability = nn.Sequential(nn.Linear(seen, hidden), nn.GELU(), nn.Linear(hidden, 1))

    def forward(
        self, features: list[Tensor], sample: Tensor, modality: Tensor, availability: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Weights from the features of the present modalities.

        Args:
            features: three levels [R, C_l, h_l, w_l], a row for each present modality of each sample.
            sample, modality: int64 [R], where each row belongs.
            availability: bool [B, M]; at least one true per sample.

        Returns:
            weights float32 [B, 3, M], convex over M, 0 where absent; reliability logits float32 [R].
        """
        means = [level.mean(dim=(2, 3)) for level in features]
        deviations = [level.flatten(2).std(dim=2) for level in features]
        others = [sum_of_others(level, sample, availability) for level in features]
        agreements = [agreement(level, rest)[:, None] for level, rest in zip(features, others, strict=True)]
        edges = [edge_agreement(level, rest)[:, None] for level, rest in zip(features, others, strict=True)]
        reliability = self.reliability(torch.cat([*means, *deviations, *agreements, *edges], dim=1)).squeeze(1)  # [R]
        levels = [
            spread(reliability + router(mean).squeeze(1), sample, modality, availability).softmax(dim=1)
            for router, mean in zip(self.routers, means, strict=True)
        ]
        return torch.stack(levels, dim=1), reliability


def sum_of_others(level: Tensor, sample: Tensor, availability: Tensor) -> Tensor:
    """For each row the sum of its sample's other rows.

    Args:
        level: [R, C, h, w].
        sample: int64 [R].
        availability: bool [B, M].

    Returns:
        [R, C, h, w]; 0 for a modality without others.
    """
    if availability.shape[0] == 1:
        total = level.sum(dim=0, keepdim=True)
    else:
        total = level.new_zeros(availability.shape[0], *level.shape[1:]).index_add(0, sample, level)[sample]
    has_others = (availability.sum(dim=1) > 1)[sample][:, None, None, None]
    return (total - level) * has_others.to(level)


def agreement(level: Tensor, others: Tensor) -> Tensor:
    """Agreement of each row with the others: mean cosine over the pixels, [R, C, h, w] each -> [R]."""
    # torch's default eps is 0 in half precision, and the sum of no others is 0.
    return F.cosine_similarity(level, others, dim=1, eps=1e-3).mean(dim=(1, 2))


def edge_agreement(level: Tensor, others: Tensor) -> Tensor:
    """Agreement of edge positions: correlation of each row's deviation from its surroundings with the others'.

    Drops as soon as images are displaced, where `agreement` hardly changes: what all pixels share is removed.

    Args:
        level, others: [R, C, h, w].

    Returns:
        [R], -1 to 1; 0 where one of them has no edges.
    """
    edges, theirs = (
        (x - F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)).clamp(-LARGEST_EDGE, LARGEST_EDGE)
        for x in (level, others)
    )
    # Means, not sums, which would overflow half precision.
    scale, other_scale = (x.square().mean(dim=(1, 2, 3)).clamp_min(LEAST_POWER).rsqrt() for x in (edges, theirs))
    return (edges * theirs).mean(dim=(1, 2, 3)) * scale * other_scale


def spread(logits: Tensor, sample: Tensor, modality: Tensor, availability: Tensor) -> Tensor:
    """[R] -> [B, M], minus infinity where absent."""
    spread = logits.new_full(availability.shape, -torch.inf)
    spread[sample, modality] = logits
    return spread


def _mixed(routed: Tensor, scales: Tensor, availability: Tensor) -> Tensor:
    """(mean + s routed) / (1 + s), s = softplus(scale) per level; [B, 3, M]."""
    mean = (availability / availability.sum(dim=1, keepdim=True)).to(routed)[:, None]
    scale = F.softplus(scales)[None, :, None]
    return (mean + scale * routed) / (1 + scale)


def weighted_sum(features: Tensor, weights: Tensor, sample: Tensor, modality: Tensor) -> Tensor:
    """Sum over m of w[b, m] F[b, m].

    Args:
        features: [R, C, h, w].
        weights: [B, M].
        sample, modality: int64 [R].

    Returns:
        [B, C, h, w]
    """
    scaled = features * weights[sample, modality].to(features)[:, None, None, None]
    if weights.shape[0] == 1:
        return scaled.sum(dim=0, keepdim=True)
    fused = scaled.new_zeros(weights.shape[0], *features.shape[1:])
    return fused.index_add(0, sample.to(features.device), scaled)
