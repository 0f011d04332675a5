"""The result of segmentation, and the words that it is described in."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

UNLABELLED = 255
"""The id in a mask that means "no class"; never counted."""

LEVELS = ("FFP", "IFP", "SFM")
"""The pyramid levels: fine-grained (stride 4), intermediate resolution (8), semantic feature map (16)."""

SCORE_STRIDE = 4
"""Pixels of the network's input per cell of its class scores."""


@dataclass(frozen=True, slots=True)
class Segmentation:
    """The result for one frame set.

    Attributes:
        mask: uint8 [H, W], class ids, 255 = unlabelled; geometry of the reference camera.
        confidence: float32 [H, W], softmax probability of the chosen class, 0 to 1.
        routing: float32 [L, M], the convex coefficients applied to each modality (in rig order) at each
            pyramid level; 0 for an absent modality, every row sums to 1.
        reused: how many modalities had the very planes of the frame before, as a slow camera's message in several
            sets has: their features were kept.
    """

    mask: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    routing: NDArray[np.float32]
    reused: int = 0

    def at_least(self, confidence: float) -> "Segmentation":
        """The same, but pixels of a lower confidence are unlabelled; itself where that is 0."""
        if confidence <= 0:
            return self
        return replace(self, mask=np.where(self.confidence < confidence, np.uint8(UNLABELLED), self.mask))
