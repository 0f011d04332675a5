"""Routing: which modality to trust, per sample and per pyramid level.

MLE-SAM (arXiv 2412.04220) eq. 8-10 pools each modality's features and turns them into weights by a linear layer and a
softmax. Left to itself such a gate collapses to constants. Ours adds a reliability that is supervised: training
corrupts inputs and knows which.
"""

import torch
from torch import Tensor, nn


class ReliabilityRouting(nn.Module):
    """F = sum over the available modalities of w_m F_m, w = softmax(reliability_m + router_m).

    Args:
        channels: of the three levels (`sartm_core.frames.LEVELS`).
        hidden: width of the reliability head.
    """

    def __init__(self, channels: tuple[int, int, int], hidden: int = 64) -> None:
        super().__init__()
        self.routers = nn.ModuleList(nn.Linear(width, 1) for width in channels)
        # Mean and deviation of every channel: a blank or saturated image betrays itself by the second.
        self.reliability = nn.Sequential(nn.Linear(2 * sum(channels), hidden), nn.GELU(), nn.Linear(hidden, 1))

    def forward(
        self, features: list[Tensor], sample: Tensor, modality: Tensor, availability: Tensor
    ) -> tuple[Tensor, Tensor]:
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
        reliability = self.reliability(torch.cat([*means, *deviations], dim=1)).squeeze(1)  # [R]
        levels = []
        for router, mean in zip(self.routers, means, strict=True):
            logits = reliability.new_full(availability.shape, -torch.inf)
            logits[sample, modality] = reliability + router(mean).squeeze(1)
            levels.append(logits.softmax(dim=1))
        return torch.stack(levels, dim=1), reliability


def weighted_sum(features: Tensor, weights: Tensor, sample: Tensor, modality: Tensor) -> Tensor:
    """Sum over m of w[b, m] F[b, m].

    Args:
        features: [R, C, h, w].
        weights: [B, M].
        sample, modality: int64 [R].

    Returns:
        [B, C, h, w]
    """
    scaled = features * weights[sample, modality][:, None, None, None]
    fused = scaled.new_zeros(weights.shape[0], *features.shape[1:])
    return fused.index_add(0, sample, scaled)
