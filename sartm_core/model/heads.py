"""The auxiliary heads: a second path from the fused pyramid to class scores."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FpnHead(nn.Module):
    """SARTM's head (arXiv 2505.01950, eq. 10): upsample and add from coarse to fine, a 3x3 convolution, classify.

    The paper adds maps of different widths without saying how; here each level is first projected to one width.

    Args:
        channels: of the three levels.
        classes: number of classes, C.
        width: of the head, at most 256.
    """

    def __init__(self, channels: tuple[int, int, int], classes: int, width: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Conv2d(count, width, kernel_size=1) for count in channels)
        self.smooth = nn.Sequential(
            nn.Conv2d(width, width, kernel_size=3, padding=1), nn.GroupNorm(8, width), nn.GELU(), nn.Dropout2d(0.1)
        )
        self.classify = nn.Conv2d(width, classes, kernel_size=1)

    def forward(self, ffp: Tensor, ifp: Tensor, sfm: Tensor) -> Tensor:
        """[B, C_0, 4h, 4w], [B, C_1, 2h, 2w], [B, C_2, h, w] -> [B, C, 4h, 4w]"""
        size = ffp.shape[2:]
        x: Tensor = self.project[0](ffp)
        for level, project in ((ifp, self.project[1]), (sfm, self.project[2])):
            x = x + F.interpolate(project(level), size=size, mode="bilinear", align_corners=False)
        return self.classify(self.smooth(x))


class MlpHead(nn.Module):
    """MLE-SAM's SegFormer head (arXiv 2412.04220, section III-E): an MLP per level, upsample, concatenate, fuse.

    Args:
        channels: of the levels, finest first.
        classes: number of classes, C.
        width: of the head.
    """

    def __init__(self, channels: tuple[int, ...], classes: int, width: int) -> None:
        super().__init__()
        # A 1x1 convolution is the same MLP for every pixel.
        self.project = nn.ModuleList(nn.Conv2d(count, width, kernel_size=1) for count in channels)
        self.fuse = nn.Sequential(
            nn.Conv2d(len(channels) * width, width, kernel_size=1),
            nn.GroupNorm(8, width),
            nn.GELU(),
            nn.Dropout2d(0.1),
        )
        self.classify = nn.Conv2d(width, classes, kernel_size=1)

    def forward(self, *levels: Tensor) -> Tensor:
        """[B, C_i, h_i, w_i] of each level -> [B, C, h_0, w_0]"""
        size = levels[0].shape[2:]
        enlarged = [
            F.interpolate(project(level), size=size, mode="bilinear", align_corners=False)
            for level, project in zip(levels, self.project, strict=True)
        ]
        return self.classify(self.fuse(torch.cat(enlarged, dim=1)))


class DeepLabHead(nn.Module):
    """SARTM's ablation: DeepLab v3+ (arXiv 1802.02611), atrous convolutions of several rates on the coarse level.

    GroupNorm replaces BatchNorm. The rates suit stride 16.

    Args:
        channels: of the three levels.
        classes: number of classes, C.
        width: of the head, at most 256.
    """

    RATES = (6, 12, 18)

    def __init__(self, channels: tuple[int, int, int], classes: int, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([_normalised(channels[2], width, kernel=1)])
        self.branches.extend(_normalised(channels[2], width, kernel=3, dilation=rate) for rate in self.RATES)
        self.image = nn.Sequential(nn.Conv2d(channels[2], width, kernel_size=1), nn.GELU())
        self.merge = _normalised((len(self.RATES) + 2) * width, width, kernel=1)
        self.detail = _normalised(channels[0], width // 4, kernel=1)
        self.smooth = nn.Sequential(_normalised(width + width // 4, width, kernel=3), nn.Dropout2d(0.1))
        self.classify = nn.Conv2d(width, classes, kernel_size=1)

    def forward(self, ffp: Tensor, ifp: Tensor, sfm: Tensor) -> Tensor:
        """As `FpnHead.forward`; the intermediate level is not used."""
        image = self.image(sfm.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *sfm.shape[2:])
        x = self.merge(torch.cat([*(branch(sfm) for branch in self.branches), image], dim=1))
        x = F.interpolate(x, size=ffp.shape[2:], mode="bilinear", align_corners=False)
        return self.classify(self.smooth(torch.cat([x, self.detail(ffp)], dim=1)))


def _normalised(channels: int, width: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(channels, width, kernel_size=kernel, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(8, width), nn.GELU())
