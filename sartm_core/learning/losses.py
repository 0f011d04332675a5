"""Losses."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from sartm_core.frames import UNLABELLED

OHEM_THRESHOLD = -math.log(0.7)
"""Pixels whose class got less than 0.7 are hard."""


def ohem_cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy over the hard pixels of each image (online hard example mining, MLE-SAM eq. 13).

    Chosen per image, at least a sixteenth of its valid pixels, so one and many processes agree.

    Args:
        logits: [B, C, h, w]; brought to the truth's size.
        truth: int64 [B, H, W]; 255 is ignored.

    Returns:
        Scalar, the mean over images of the mean over the chosen pixels.
    """
    if logits.shape[2:] != truth.shape[1:]:
        logits = F.interpolate(logits, size=truth.shape[1:], mode="bilinear", align_corners=False)
    losses = F.cross_entropy(logits, truth, ignore_index=UNLABELLED, reduction="none").flatten(1)  # [B, H W]
    valid = (truth != UNLABELLED).flatten(1)
    images = []
    for image, labelled in zip(losses, valid, strict=True):
        pixels = image[labelled]
        least = max(len(pixels) // 16, 1)
        hard = pixels[pixels > OHEM_THRESHOLD]
        if len(pixels) == 0:
            hard = image[:0].sum()[None]
        elif len(hard) < least:
            hard = pixels.topk(least).values
        images.append(hard.mean())
    return torch.stack(images).mean()
