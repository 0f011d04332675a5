"""What all networks share: only the modalities that are present become rows, are encoded, and decoded together."""

import torch
from torch import Tensor, nn

from sartm_core.errors import SartmError
from sartm_core.model.output import NetworkOutput

SIDE_MULTIPLE = 32
"""Sides of inputs are multiples of the last stage's stride; SAM2's position embedding cannot be tiled otherwise."""


class RowNetwork(nn.Module):
    """A network with `encode`, a row for each present modality of each sample, and `decode`, from rows to scores."""

    def encode(self, planes: Tensor, modality: Tensor) -> list[Tensor]:
        """[R, 3, H, W] and the modality of each row, int64 [R], to features [R, C_l, h_l, w_l]."""
        raise NotImplementedError

    def decode(self, features: list[Tensor], sample: Tensor, modality: Tensor, availability: Tensor) -> NetworkOutput:
        """From the rows' features to class scores; where each row belongs, int64 [R]; availability bool [B, M]."""
        raise NotImplementedError

    def forward(self, planes: Tensor, availability: Tensor) -> NetworkOutput:
        """Segments B samples.

        Args:
            planes: [B, M, 3, H, W]; what lies where `availability` is false is never read.
            availability: bool [B, M]; at least one true per sample.

        Raises:
            SartmError: a sample without any modality, or a side that is no multiple of 32.
        """
        if not torch.compiler.is_compiling() and not availability.any(dim=1).all():
            empty = (~availability.any(dim=1)).nonzero().flatten().tolist()
            raise SartmError(f"network: expected at least one modality in every sample, got none in sample(s) {empty}.")
        sample, modality = availability.nonzero(as_tuple=True)
        features = self.encode(planes[sample, modality], modality)
        return self.decode(features, sample, modality, availability)


def check_sides(planes: Tensor) -> None:
    """Raises SartmError where a side is no multiple of 32."""
    height, width = planes.shape[2:]
    if height % SIDE_MULTIPLE or width % SIDE_MULTIPLE:
        raise SartmError(f"network input: expected sides that are multiples of {SIDE_MULTIPLE}, got {height}x{width}.")
