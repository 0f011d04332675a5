"""Input and output of every segmenter: a frame set and a segmentation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNLABELLED = 255
"""The id in a mask that means "no class"; never counted."""

LEVELS = ("FFP", "IFP", "SFM")
"""The pyramid levels: fine-grained (stride 4), intermediate resolution (8), semantic feature map (16)."""


@dataclass(frozen=True, slots=True)
class FrameSet:
    """The planes of one instant. An absent modality has no key.

    Attributes:
        stamp_ns: time of the anchor's measurement, nanoseconds.
        planes: modality name -> [3, H, W] of the rig's dtype, at the sensor's own size.
    """

    stamp_ns: int
    planes: dict[str, NDArray[np.uint8] | NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Segmentation:
    """The result for one frame set.

    Attributes:
        mask: uint8 [H, W], class ids, 255 = unlabelled; geometry of the reference camera.
        confidence: float32 [H, W], softmax probability of the chosen class, 0 to 1.
        routing: float32 [L, M], the convex coefficients applied to each modality (in rig order) at each
            pyramid level; 0 for an absent modality, every row sums to 1.
    """

    mask: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    routing: NDArray[np.float32]
