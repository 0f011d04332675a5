"""The presets: which parts a network is made of. One function each; ablations change single fields of what it returns.

>>> import dataclasses
>>> config = mle_sam("base_plus", ("rgb", "depth"), classes=25, lora_rank=32)
>>> ablated = dataclasses.replace(config, top_k=1, auxiliary="none", inference="mask")
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sartm_core.errors import SartmError


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Everything that decides the network's shape.

    Attributes:
        backbone: `nano`, `tiny`, `small`, `base_plus` or `large`.
        modalities: names, in rig order.
        classes: number of classes.
        lora_rank: of every expert.
        experts: `modality`, one LoRA expert each, or `shared`, one for all.
        fusion: `reliability` (ours), `mean`, `mean_top_k` or `top_k` (MLE-SAM's F-bar and F-hat, or F-hat alone).
        top_k: of `mean_top_k` and `top_k`.
        hypernetworks: one `shared` by all class tokens, or one `per_class` as in the papers.
        auxiliary: the second head: `fpn` (SARTM), `mlp` (MLE-SAM) or `none`.
        inference: whose scores are used: `mask`, `auxiliary`, or their `mean`.
    """

    backbone: str
    modalities: tuple[str, ...]
    classes: int
    lora_rank: int
    experts: Literal["modality", "shared"]
    fusion: Literal["reliability", "mean", "mean_top_k", "top_k"]
    top_k: int
    hypernetworks: Literal["shared", "per_class"]
    auxiliary: Literal["fpn", "mlp", "none"]
    inference: Literal["mask", "auxiliary", "mean"]

    def __post_init__(self) -> None:
        if not self.modalities or self.classes < 1 or self.lora_rank < 1:
            raise SartmError(
                f"network: expected modalities, classes and a LoRA rank, got {len(self.modalities)} modalities, "
                f"{self.classes} classes, rank {self.lora_rank}."
            )
        if not 1 <= self.top_k <= len(self.modalities):
            raise SartmError(f"network: expected top_k from 1 to {len(self.modalities)}, got {self.top_k}.")
        if self.auxiliary == "none" and self.inference != "mask":
            raise SartmError(f"network: inference '{self.inference}' needs an auxiliary head; set inference to 'mask'.")


def any_sensor(backbone: str, modalities: tuple[str, ...], classes: int, lora_rank: int) -> NetworkConfig:
    """Ours: an expert per modality, supervised reliability, both heads."""
    return NetworkConfig(
        backbone=backbone,
        modalities=modalities,
        classes=classes,
        lora_rank=lora_rank,
        experts="modality",
        fusion="reliability",
        top_k=1,
        hypernetworks="shared",
        auxiliary="fpn",
        inference="mean",
    )


def mle_sam(backbone: str, modalities: tuple[str, ...], classes: int, lora_rank: int) -> NetworkConfig:
    """MLE-SAM (arXiv 2412.04220): F-bar and top-k F-hat, a hypernetwork per class, SegFormer-style auxiliary head.

    Its private copy of the decoder per modality is not reproduced; k is not published, ours is 2.
    """
    return NetworkConfig(
        backbone=backbone,
        modalities=modalities,
        classes=classes,
        lora_rank=lora_rank,
        experts="modality",
        fusion="mean_top_k",
        top_k=min(2, len(modalities)),
        hypernetworks="per_class",
        auxiliary="mlp",
        inference="mean",
    )


def mean_fusion(backbone: str, modalities: tuple[str, ...], classes: int, lora_rank: int) -> NetworkConfig:
    """The papers' baseline: experts, their plain mean, no auxiliary head."""
    return NetworkConfig(
        backbone=backbone,
        modalities=modalities,
        classes=classes,
        lora_rank=lora_rank,
        experts="modality",
        fusion="mean",
        top_k=1,
        hypernetworks="shared",
        auxiliary="none",
        inference="mask",
    )


def sam_lora(backbone: str, modalities: tuple[str, ...], classes: int, lora_rank: int) -> NetworkConfig:
    """The papers' baseline: one LoRA for all modalities, their plain mean."""
    return NetworkConfig(
        backbone=backbone,
        modalities=modalities,
        classes=classes,
        lora_rank=lora_rank,
        experts="shared",
        fusion="mean",
        top_k=1,
        hypernetworks="shared",
        auxiliary="none",
        inference="mask",
    )


PRESETS: dict[str, Callable[[str, tuple[str, ...], int, int], NetworkConfig]] = {
    "any_sensor": any_sensor,
    "mle_sam": mle_sam,
    "mean_fusion": mean_fusion,
    "sam_lora": sam_lora,
}


def preset(name: str, backbone: str, modalities: tuple[str, ...], classes: int, lora_rank: int) -> NetworkConfig:
    """The preset of that name.

    Raises:
        SartmError: there is none.
    """
    if name not in PRESETS:
        raise SartmError(f"preset '{name}' is unknown. Known: {', '.join(PRESETS)}.")
    return PRESETS[name](backbone, modalities, classes, lora_rank)
