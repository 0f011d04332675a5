"""What every network answers."""

from typing import NamedTuple

from torch import Tensor


class NetworkOutput(NamedTuple):
    """Attributes:
    logits: the scores that inference uses, [B, C, H/4, W/4].
    mask_logits: of the mask decoder, [B, C, H/4, W/4].
    auxiliary_logits: of the auxiliary head, [B, C, H/4, W/4]; None where there is none.
    routing: float32 [B, 3, M], the convex coefficients that were applied.
    reliability: float32 [R], logit that the row's sensor is sound, rows in the order of `availability.nonzero()`; None
        where the fusion has no such head.
    fused: the three levels of features that the decoders saw.
    """

    logits: Tensor
    mask_logits: Tensor
    auxiliary_logits: Tensor | None
    routing: Tensor
    reliability: Tensor | None
    fused: list[Tensor]
