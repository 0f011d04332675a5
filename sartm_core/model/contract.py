"""What every network is: how training, evaluation, pictures and export talk to it, whatever is inside.

Only the modalities that are present become rows, are encoded, and decoded together: an absent one costs nothing.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from sartm_core.errors import SartmError

SIDE_MULTIPLE = 32
"""Sides of inputs are multiples of the last stage's stride; SAM2's position embedding cannot be tiled otherwise."""


class NetworkOutput(NamedTuple):
    """Attributes:
    logits: the scores that inference uses, [B, C, H/4, W/4].
    mask_logits: of the mask decoder, [B, C, H/4, W/4]; of a network with one head its scores.
    auxiliary_logits: of the auxiliary head, [B, C, H/4, W/4]; None where there is none.
    routing: float32 [B, 3, M], the convex coefficients that were applied.
    reliability: float32 [R], logit that the row's sensor is sound, rows in the order of `availability.nonzero()`; None
        where the fusion has no such head.
    fused: the three levels of features that the decoders saw; the last has `Network.width` channels.
    row_logits: each row's own scores, [R, C, H/4, W/4], where modalities are trained one by one; the loss is of them.
    """

    logits: Tensor
    mask_logits: Tensor
    auxiliary_logits: Tensor | None
    routing: Tensor
    reliability: Tensor | None
    fused: list[Tensor]
    row_logits: Tensor | None = None


class NetworkConfiguration(Protocol):
    """Everything that decides a network's shape; frozen. What `presets.PRESETS` make."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names, in rig order."""
        ...

    def build(self, form: str = "training") -> "Network":
        """The network with random weights; `inference` is the form of bundles, without what only training needs."""
        ...


class Network(nn.Module, ABC):
    """From planes to class scores and routing weights.

    A subclass registers the buffers `mean` and `std`, [M, 3] each, and normalises with them; it implements `encode`
    and `decode`. The other methods have defaults for a network of one encoder without pre-training or experts.

    Attributes:
        config: what it was built from.
        width: channels of the last fused level.
        classifies_rows: whether the last of a row's features has `width` channels, so that the loss per modality can
            classify each modality alone.
        single_precision: names of the parts that stay float32 in a network of half precision.
    """

    config: NetworkConfiguration
    width: int
    classifies_rows: bool = False
    single_precision: tuple[str, ...] = ()
    mean: Tensor
    std: Tensor

    @property
    @abstractmethod
    def feature_names(self) -> tuple[str, ...]:
        """What `encode` gives, in order; the names of the encoder graphs' outputs."""

    @abstractmethod
    def encode(self, planes: Tensor, modality: Tensor) -> list[Tensor]:
        """Features of each row.

        Args:
            planes: [R, 3, H, W] in the rig's units, any dtype; sides are multiples of 32.
            modality: int64 [R], index of each row's modality.

        Returns:
            One tensor [R, C_l, h_l, w_l] for each of `feature_names`.
        """

    @abstractmethod
    def decode(self, features: list[Tensor], sample: Tensor, modality: Tensor, availability: Tensor) -> NetworkOutput:
        """From the rows' features to class scores.

        Args:
            features: what `encode` gave.
            sample, modality: int64 [R], where each row belongs.
            availability: bool [B, M]; at least one true per sample.
        """

    @property
    def encoder_groups(self) -> dict[str, tuple[int, ...]]:
        """Name of an encoder graph -> the modalities that pass it in one batch; each modality passes one."""
        return {"encoder": tuple(range(len(self.config.modalities)))}

    def encode_group(self, planes: Tensor, modality: Tensor, group: str) -> list[Tensor]:
        """`encode` for rows of one of the `encoder_groups`."""
        return self.encode(planes, modality)

    def row_features(self, features: list[Tensor]) -> Tensor | None:
        """What each row shows by itself, [R, D, h, w], for pictures; None where rows have no learned features."""
        return None

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Sets the normalisation: float [M, 3] each."""
        self.mean.copy_(mean)
        self.std.copy_(std)

    def pretrained_parameters(self) -> dict[str, nn.Parameter]:
        """Name -> parameter of the part that foundation weights are loaded into and papers freeze."""
        return {}

    def freeze_pretrained(self, frozen: bool) -> None:
        """Everything trains, or everything but `pretrained_parameters`."""
        self.requires_grad_(True)
        for parameter in self.pretrained_parameters().values():
            parameter.requires_grad = not frozen

    def freeze_experts(self) -> None:
        """The experts, if there are any, stay as they are."""

    def merge_experts(self) -> None:
        """Turns the training form into the inference form, in place."""

    def set_precision(self, dtype: torch.dtype) -> None:
        """Turns the weights into another type, for inference.

        What is normalised with (kelvin and metres: half precision has 0.25 K at room temperature) and the parts of
        `single_precision` stay as they are.
        """
        for name, part in self.named_modules():
            if any(name == kept or name.startswith(f"{kept}.") for kept in self.single_precision):
                continue
            for parameter in part.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)
            if part is not self:
                for own, buffer in part.named_buffers(recurse=False):
                    setattr(part, own, buffer.to(dtype) if buffer.is_floating_point() else buffer)

    def fix_size(self, size: tuple[int, int]) -> None:
        """Makes what depends on the input's size alone a constant, for export."""

    def parameter_table(self) -> dict[str, int]:
        """Name of a part -> its parameters."""
        return {name: sum(p.numel() for p in part.parameters()) for name, part in self.named_children()}

    def learning_rate_scale(self, name: str, decay: float) -> float:
        """Share of the learning rate for a parameter, such as layer-wise decay over a pre-trained encoder."""
        return 1.0

    def has_weight_decay(self, name: str, parameter: nn.Parameter) -> bool:
        """Whether weight decay acts on a parameter: on matrices and kernels, not on vectors such as biases."""
        return parameter.ndim > 1

    def forward(self, planes: Tensor, availability: Tensor) -> NetworkOutput:
        """Segments B samples.

        Args:
            planes: [B, M, 3, H, W]; what lies where `availability` is false is never read.
            availability: bool [B, M]; at least one true per sample.

        Raises:
            SartmError: a sample without any modality, or a side that is not a multiple of 32.
        """
        if not torch.compiler.is_compiling() and not availability.any(dim=1).all():
            empty = (~availability.any(dim=1)).nonzero().flatten().tolist()
            raise SartmError(f"network: expected at least one modality in every sample, got none in sample(s) {empty}.")
        sample, modality = availability.nonzero(as_tuple=True)
        features = self.encode(planes[sample, modality], modality)
        return self.decode(features, sample, modality, availability)


def check_sides(planes: Tensor) -> None:
    """Raises SartmError where a side is not a multiple of 32."""
    height, width = planes.shape[2:]
    if height % SIDE_MULTIPLE or width % SIDE_MULTIPLE:
        raise SartmError(f"network input: expected sides that are multiples of {SIDE_MULTIPLE}, got {height}x{width}.")
