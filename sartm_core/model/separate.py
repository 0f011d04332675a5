"""MLE-SAM's baseline SAM-LoRA (arXiv 2412.04220, appendix): a model for each modality, whose masks are averaged.

The paper applies LoRA to the encoder, trains each modality's on its own, and freezes the rest of SAM. Here the
modalities also share what SAM lacks and somebody must train, class tokens, hypernetworks and upscaling.
"""

from torch import Tensor

from sartm_core.model.contract import NetworkOutput
from sartm_core.model.network import MultiModalNetwork
from sartm_core.model.routing import weighted_sum


class SeparateModalities(MultiModalNetwork):
    """Each modality is decoded and supervised alone; the answer is the mean over those that are present."""

    def decode(self, features: list[Tensor], sample: Tensor, modality: Tensor, availability: Tensor) -> NetworkOutput:
        """As `MultiModalNetwork.decode`; every row has logits of its own."""
        routing, _ = self.routing(features, sample, modality, availability)
        rows = self.decoder(*features)
        logits = weighted_sum(rows, routing[:, 0], sample, modality)
        fused = [weighted_sum(level, routing[:, index], sample, modality) for index, level in enumerate(features)]
        return NetworkOutput(logits, logits, None, routing, None, fused, rows)
