"""The auxiliary head: a small feature pyramid decoder beside the mask decoder (SARTM, arXiv 2505.01950)."""

import torch.nn.functional as F
from torch import Tensor, nn


class FpnHead(nn.Module):
    """(FFP, IFP, SFM) -> class scores at stride 4: project, upsample, sum, smooth, classify.

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
