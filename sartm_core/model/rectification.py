"""SARTM's interaction of two modalities: feature rectification and feature fusion, as in CMX (arXiv 2203.04838).

SARTM (arXiv 2505.01950, section III-E) combines the semantic feature map of each modality with that of the
reference camera. Here several partners are each combined with the reference; if the reference or the partner is absent,
features pass unchanged. GroupNorm replaces CMX's BatchNorm: a sample must not depend on the others of its batch.
"""

import torch
from torch import Tensor, nn


class FeatureRectification(nn.Module):
    """CMX's FRM: each stream adds the other one, weighted per channel and per pixel.

    Args:
        channels: of both streams, C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = nn.Sequential(
            nn.Linear(4 * channels, 4 * channels), nn.ReLU(), nn.Linear(4 * channels, 2 * channels), nn.Sigmoid()
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(2 * channels, channels, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(channels, 2, kernel_size=1),
            nn.Sigmoid(),
        )

    def forward(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """[P, C, h, w] each -> both, rectified by half the channel-weighted and half the spatially weighted other."""
        both = torch.cat([one, other], dim=1)
        pooled = torch.cat([both.mean(dim=(2, 3)), both.amax(dim=(2, 3))], dim=1)  # [P, 4C]
        channel_one, channel_other = self.channel(pooled)[:, :, None, None].chunk(2, dim=1)
        spatial_one, spatial_other = self.spatial(both).chunk(2, dim=1)
        return (
            one + 0.5 * channel_other * other + 0.5 * spatial_other * other,
            other + 0.5 * channel_one * one + 0.5 * spatial_one * one,
        )


class CrossAttention(nn.Module):
    """CMX's linear attention: each stream's queries read the context (k^T v) of the other.

    Args:
        channels: of both streams, C.
        heads: of the attention.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.key_value = nn.ModuleList(nn.Linear(channels, 2 * channels, bias=False) for _ in range(2))

    def forward(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """[P, N, C] each -> what each reads from the other, [P, N, C] each."""
        contexts = [self._context(x, project) for x, project in zip((one, other), self.key_value, strict=True)]
        return self._read(one, contexts[1]), self._read(other, contexts[0])

    def _split(self, x: Tensor) -> Tensor:  # [P, N, C] -> [P, heads, N, C / heads]
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def _context(self, x: Tensor, project: nn.Module) -> Tensor:  # -> [P, heads, C / heads, C / heads]
        key, value = (self._split(part) for part in project(x).chunk(2, dim=2))
        return (key.transpose(2, 3) @ value * key.shape[3] ** -0.5).softmax(dim=2)

    def _read(self, x: Tensor, context: Tensor) -> Tensor:
        return (self._split(x) @ context).transpose(1, 2).flatten(2)


class FeatureFusion(nn.Module):
    """CMX's FFM: exchanges by cross attention, then merges two maps into one.

    Args:
        channels: of both streams and of the result, C.
        heads: of the cross attention.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.enter = nn.ModuleList(nn.Sequential(nn.Linear(channels, 2 * channels), nn.ReLU()) for _ in range(2))
        self.attention = CrossAttention(channels, heads)
        self.leave = nn.ModuleList(nn.Linear(2 * channels, channels) for _ in range(2))
        self.norm = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))
        self.residual = nn.Conv2d(2 * channels, channels, kernel_size=1, bias=False)
        self.embed = nn.Sequential(
            nn.Conv2d(2 * channels, channels, kernel_size=1),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1, groups=channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel_size=1),
            nn.GroupNorm(8, channels),
        )
        self.final_norm = nn.GroupNorm(8, channels)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """[P, C, h, w] each -> [P, C, h, w]"""
        size = one.shape[2:]
        tokens = [x.flatten(2).transpose(1, 2) for x in (one, other)]  # [P, N, C]
        kept, sent = zip(*(enter(x).chunk(2, dim=2) for enter, x in zip(self.enter, tokens, strict=True)), strict=True)
        read = self.attention(*sent)
        exchanged = [
            norm(x + leave(torch.cat([mine, theirs], dim=2)))
            for x, mine, theirs, leave, norm in zip(tokens, kept, read, self.leave, self.norm, strict=True)
        ]
        both = torch.cat([x.transpose(1, 2).unflatten(2, size) for x in exchanged], dim=1)  # [P, 2C, h, w]
        return self.final_norm(self.residual(both) + self.embed(both))


class MeetTheReference(nn.Module):
    """FRM and FFM between the reference modality and each of its partners, at one level.

    A partner's feature becomes the output of FFM for it and the reference; the reference's becomes the mean of its FRM
    outputs over the partners. Nothing else changes.

    Args:
        channels: of the level.
        reference: index of the reference modality.
    """

    def __init__(self, channels: int, reference: int) -> None:
        super().__init__()
        self.reference = reference
        self.rectification = FeatureRectification(channels)
        self.fusion = FeatureFusion(channels, heads=8 if channels >= 256 else 4)

    def forward(self, features: Tensor, sample: Tensor, modality: Tensor, availability: Tensor) -> Tensor:
        """Arguments as in `ReliabilityRouting.forward`, one level: [R, C, h, w] -> [R, C, h, w]"""
        if torch.compiler.is_compiling() or (features.is_cuda and availability.shape[0] == 1 and not self.training):
            return self._of_one_sample(features, modality)
        row = torch.full(availability.shape, -1, device=sample.device)
        row[sample, modality] = torch.arange(len(sample), device=sample.device)
        reference_row = row[:, self.reference][sample]  # [R], -1 where the reference is absent
        partners = ((reference_row >= 0) & (modality != self.reference)).nonzero().squeeze(1)
        if len(partners) == 0:
            return features
        references = reference_row[partners].to(features.device)
        partners = partners.to(features.device)
        rectified_reference, rectified = self.rectification(features[references], features[partners])
        fused = features.index_copy(0, partners, self.fusion(rectified_reference, rectified))
        counts = torch.zeros(len(features), device=features.device, dtype=features.dtype)
        counts = counts.index_add(0, references, counts.new_ones(len(references)))[:, None, None, None]
        total = torch.zeros_like(features).index_add(0, references, rectified_reference)
        return torch.where(counts > 0, total / counts.clamp_min(1), fused)

    def _of_one_sample(self, features: Tensor, modality: Tensor) -> Tensor:
        """The same for one sample, with static shapes, for exported and captured graphs."""
        is_reference = (modality == self.reference)[:, None, None, None]
        is_partner = ~is_reference & is_reference.any(dim=0, keepdim=True)
        zeros = torch.zeros_like(features)
        reference = torch.where(is_reference, features, zeros).sum(dim=0, keepdim=True).expand_as(features)
        rectified_reference, rectified = self.rectification(reference, features)
        fused = torch.where(is_partner, self.fusion(rectified_reference, rectified), features)
        counts = is_partner.to(features.dtype).sum(dim=0, keepdim=True)
        mean = torch.where(is_partner, rectified_reference, zeros).sum(dim=0, keepdim=True) / counts.clamp_min(1)
        return torch.where(is_reference & (counts > 0), mean, fused)
