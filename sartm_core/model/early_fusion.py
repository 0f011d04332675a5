"""Early fusion, the baseline without a foundation model: all modalities are channels of one image."""

import torch
from torch import Tensor, nn

from sartm_core.model.contract import NetworkOutput
from sartm_core.model.network import MultiModalNetwork
from sartm_core.model.presets import NetworkConfig


class EarlyFusionNetwork(MultiModalNetwork):
    """One encoder for the stacked planes; an absent modality's channels hold its mean.

    Reports the routing weights of a plain mean: none is applied, present modalities are treated alike.

    Args:
        config, form: as in `MultiModalNetwork`.
    """

    classifies_rows = False

    def __init__(self, config: NetworkConfig, form: str = "training") -> None:
        super().__init__(config, form)
        patches = self.encoder.trunk.patch_embed.proj
        self.encoder.trunk.patch_embed.proj = nn.Conv2d(
            3 * len(config.modalities),
            patches.out_channels,
            kernel_size=patches.kernel_size,
            stride=patches.stride,
            padding=patches.padding,
        )

    @property
    def feature_names(self) -> tuple[str, ...]:
        return ("normalised",)

    def row_features(self, features: list[Tensor]) -> Tensor | None:
        """Rows meet before the encoder: none has features of its own."""
        return None

    def encode_alike(self, planes: Tensor, modality: Tensor, half: bool) -> list[Tensor]:
        """[R, 3, H, W] -> the same shape, normalised."""
        return [self.normalised(planes, modality)]

    def decode(self, features: list[Tensor], sample: Tensor, modality: Tensor, availability: Tensor) -> NetworkOutput:
        """Stacks the rows of each sample and segments; arguments as in `MultiModalNetwork.decode`."""
        rows = features[0]
        stacked = rows.new_zeros(*availability.shape, *rows.shape[1:])  # [B, M, 3, H, W]
        stacked[sample, modality] = rows
        self.experts.rows = torch.zeros(len(stacked), dtype=torch.long, device=rows.device)
        fused = self.pyramid(stacked.flatten(1, 2))
        routing, _ = self.routing(fused, sample, modality, availability)
        return self.answer(fused, routing, None)
