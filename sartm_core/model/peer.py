"""Networks of others: a torch module from outside sartm, trained and scored under the same budget and protocols.

`--peer module:factory` names a function in a module of the current folder or of PYTHONPATH:

    def factory(modalities: tuple[str, ...], classes: int) -> nn.Module

Its result takes a list of images, one [B, 3, H, W] per modality and normalised, and gives logits [B, classes, h, w].
Networks of this kind have no notion of a missing sensor: an absent one is all zeros.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartm_core.errors import SartmError
from sartm_core.model.contract import Network, NetworkOutput
from sartm_core.model.peer_config import PeerConfig, factory_of
from sartm_core.segmentation import LEVELS, SCORE_STRIDE


class PeerNetwork(Network):
    """A peer behind sartm's contract."""

    config: PeerConfig

    def __init__(self, config: PeerConfig) -> None:
        super().__init__()
        self.config, self.width = config, config.classes
        self.peer = factory_of(config.factory)(config.modalities, config.classes)
        if not isinstance(self.peer, nn.Module):
            raise SartmError(f"--peer {config.factory}: expected a torch module, got {type(self.peer).__name__}.")
        self.register_buffer("mean", torch.zeros(len(config.modalities), 3))
        self.register_buffer("std", torch.ones(len(config.modalities), 3))

    @property
    def feature_names(self) -> tuple[str, ...]:
        return ("normalised",)

    def encode(self, planes: Tensor, modality: Tensor) -> list[Tensor]:
        """Rows meet in the peer: theirs are the normalised planes."""
        mean, std = self.mean[modality][:, :, None, None], self.std[modality][:, :, None, None]
        return [((planes.to(mean.dtype) - mean) / std).to(next(self.peer.parameters()).dtype)]

    def decode(self, features: list[Tensor], sample: Tensor, modality: Tensor, availability: Tensor) -> NetworkOutput:
        """Logits at a quarter of the input's size; the weights of the available modalities are equal."""
        rows = features[0]
        images = rows.new_zeros(*availability.shape, *rows.shape[1:])  # [B, M, 3, H, W]
        images[sample, modality] = rows
        logits = self.peer(list(images.unbind(dim=1)))
        expected = (len(availability), self.config.classes)
        if not isinstance(logits, Tensor) or logits.ndim != 4 or logits.shape[:2] != expected:
            found = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise SartmError(
                f"--peer {self.config.factory}: expected logits [{expected[0]}, {expected[1]}, h, w], got {found}."
            )
        size = (rows.shape[2] // SCORE_STRIDE, rows.shape[3] // SCORE_STRIDE)
        if logits.shape[2:] != size:
            logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        weights = (availability / availability.sum(dim=1, keepdim=True)).float()
        routing = weights[:, None].expand(-1, len(LEVELS), -1)
        return NetworkOutput(logits, logits, None, routing, None, [logits] * len(LEVELS))
