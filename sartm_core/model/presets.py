"""The presets: which parts a network is made of. One function each; ablations change single fields of what it returns.

>>> import dataclasses
>>> config = mle_sam("base_plus", ("rgb", "depth"), classes=25, lora_rank=32)
>>> ablated = dataclasses.replace(config, top_k=1, auxiliary="none", inference="mask")
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from sartm_core.errors import SartmError
from sartm_core.model.adapter_config import AdapterConfig
from sartm_core.model.peer_config import PeerConfig
from sartm_core.rig import Rig

if TYPE_CHECKING:
    from sartm_core.model.contract import Network, NetworkConfiguration


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Everything that decides the network's shape.

    Attributes:
        backbone: `nano`, `tiny`, `small`, `base_plus` or `large`.
        modalities: names, in rig order.
        reference: the modality that partners meet; matters where `rectification` is on.
        classes: number of classes.
        lora_rank: of every expert.
        experts: `modality`, one LoRA expert each, or `shared`, one for all.
        adapts_patches: whether experts adapt the patch embedding too (ours), or q and v alone, as in the papers.
        rectification: whether partners meet the reference in FRM and FFM (SARTM).
        fusion: `reliability` (ours), `mean`, `mean_top_k` or `top_k` (MLE-SAM's F-bar and F-hat, or F-hat alone),
            `language` (SARTM's F-bar and F-hat), `early` (channels of one image, before the encoder), `logits` (SARTM
            as released: each modality is decoded on its own, the mean of their mask logits), `masks` (SAM-LoRA: the
            same with the usual decoder, and each is trained on its own).
        top_k: of `mean_top_k` and `top_k`.
        text_width: of the text embeddings that `language` is guided by.
        hypernetworks: one `shared` by all class tokens, or one `per_class` as in the papers.
        auxiliary: the second head: `fpn` (SARTM), `mlp` (MLE-SAM) and `segformer` (the same), `deeplab`, or `none`.
        inference: whose scores are used: `mask`, `auxiliary`, or their `mean`.
        half_size: modalities that pass the encoder at half the size, for a quarter of the cost.
        sparse: modalities whose empty pixels are 0.
    """

    changeable: ClassVar[frozenset[str]] = frozenset({
        "experts", "adapts_patches", "rectification", "fusion", "top_k", "text_width", "hypernetworks", "auxiliary",
        "inference", "half_size",
    })  # fmt: skip
    """What an ablation may change; the rest comes from rig and recipe."""

    backbone: str
    modalities: tuple[str, ...]
    reference: str
    classes: int
    lora_rank: int
    experts: Literal["modality", "shared"]
    adapts_patches: bool
    rectification: bool
    fusion: Literal["reliability", "mean", "mean_top_k", "top_k", "language", "early", "logits", "masks"]
    top_k: int
    text_width: int
    hypernetworks: Literal["shared", "per_class"]
    auxiliary: Literal["fpn", "mlp", "segformer", "deeplab", "none"]
    inference: Literal["mask", "auxiliary", "mean"]
    half_size: tuple[str, ...] = ()
    sparse: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.modalities or self.classes < 1 or self.lora_rank < 1:
            raise SartmError(
                f"network: expected modalities, classes and a LoRA rank, got {len(self.modalities)} modalities, "
                f"{self.classes} classes, rank {self.lora_rank}."
            )
        if not 1 <= self.top_k <= len(self.modalities):
            raise SartmError(f"network: expected top_k from 1 to {len(self.modalities)}, got {self.top_k}.")
        if self.reference not in self.modalities:
            raise SartmError(f"network: the reference '{self.reference}' is none of {', '.join(self.modalities)}.")
        unknown = sorted({*self.half_size, *self.sparse} - set(self.modalities))
        if unknown:
            raise SartmError(f"network.half_size: '{unknown[0]}' is none of {', '.join(self.modalities)}.")
        if self.fusion == "early" and self.half_size:
            raise SartmError("network.half_size: early fusion has one image; all its modalities are of full size.")
        if self.fusion == "early" and self.adapts_patches:
            raise SartmError("network.adapts_patches: early fusion has a patch embedding of its own; set it to false.")
        alone = (self.rectification, self.hypernetworks, self.auxiliary) == (False, "per_class", "none")
        if self.fusion == "logits" and not alone:
            raise SartmError(
                "network.fusion: logits is SAM2's own decoder on each modality; set rectification to false, "
                "hypernetworks to per_class and auxiliary to none."
            )
        if self.fusion == "masks" and (self.rectification or self.auxiliary != "none"):
            raise SartmError(
                "network.fusion: masks decodes each modality alone; set rectification to false, auxiliary to none."
            )
        if self.auxiliary == "none" and self.inference != "mask":
            raise SartmError(f"network: inference '{self.inference}' needs an auxiliary head; set inference to 'mask'.")

    def build(self, form: str = "training") -> "Network":
        """The network with random weights; `form`: see `MultiModalNetwork`."""
        from sartm_core.model.early_fusion import EarlyFusionNetwork
        from sartm_core.model.network import MultiModalNetwork
        from sartm_core.model.sartm_released import SartmReleased
        from sartm_core.model.separate import SeparateModalities

        special = {"early": EarlyFusionNetwork, "logits": SartmReleased, "masks": SeparateModalities}
        return special.get(self.fusion, MultiModalNetwork)(self, form)


def any_sensor(backbone: str, modalities: tuple[str, ...], classes: int, lora_rank: int) -> NetworkConfig:
    """Ours: an expert per modality, supervised reliability, both heads. The first modality is the reference."""
    return NetworkConfig(
        backbone=backbone,
        modalities=modalities,
        reference=modalities[0],
        classes=classes,
        lora_rank=lora_rank,
        experts="modality",
        adapts_patches=True,
        rectification=False,
        fusion="reliability",
        top_k=1,
        text_width=512,
        hypernetworks="shared",
        auxiliary="fpn",
        inference="mean",
    )


def sartm(backbone: str, modalities: tuple[str, ...], classes: int, lora_rank: int) -> NetworkConfig:
    """SARTM (arXiv 2505.01950): FRM and FFM with the reference, language-guided weights, FPN head.

    The papers say that a hypernetwork makes the masks; we read it as SAM's, one per token.
    """
    base = any_sensor(backbone, modalities, classes, lora_rank)
    return replace(base, adapts_patches=False, rectification=True, fusion="language", hypernetworks="per_class")


def mle_sam(backbone: str, modalities: tuple[str, ...], classes: int, lora_rank: int) -> NetworkConfig:
    """MLE-SAM (arXiv 2412.04220): F-bar and top-k F-hat, a hypernetwork per class, SegFormer-style auxiliary head.

    Its private copy of the decoder per modality is not reproduced; k is not published, ours is 2.
    """
    base = any_sensor(backbone, modalities, classes, lora_rank)
    return replace(
        base,
        adapts_patches=False,
        fusion="mean_top_k",
        top_k=min(2, len(modalities)),
        hypernetworks="per_class",
        auxiliary="mlp",
    )


def mean_fusion(backbone: str, modalities: tuple[str, ...], classes: int, lora_rank: int) -> NetworkConfig:
    """The papers' baseline: experts, their plain mean, no auxiliary head."""
    base = any_sensor(backbone, modalities, classes, lora_rank)
    return replace(base, adapts_patches=False, fusion="mean", auxiliary="none", inference="mask")


def sam_lora(backbone: str, modalities: tuple[str, ...], classes: int, lora_rank: int) -> NetworkConfig:
    """MLE-SAM's baseline (appendix): a LoRA per modality, each trained on its own, their masks averaged."""
    return replace(mean_fusion(backbone, modalities, classes, lora_rank), fusion="masks")


def shared_lora(backbone: str, modalities: tuple[str, ...], classes: int, lora_rank: int) -> NetworkConfig:
    """A baseline of ours: one LoRA for all modalities, their plain mean."""
    return replace(mean_fusion(backbone, modalities, classes, lora_rank), experts="shared")


def sartm_released(backbone: str, modalities: tuple[str, ...], classes: int, lora_rank: int) -> NetworkConfig:
    """SARTM's code (wahaha-debug/SARTM @5327908): three LoRAs of that rank for all modalities, whose outputs are added.

    They are one of three times the rank; see `model.sartm_released`.
    """
    base = shared_lora(backbone, modalities, classes, 3 * lora_rank)
    return replace(base, fusion="logits", hypernetworks="per_class")


def early_fusion(backbone: str, modalities: tuple[str, ...], classes: int, lora_rank: int) -> NetworkConfig:
    """The baseline without a foundation model: all modalities are channels of one image. Trained as a whole."""
    return replace(mean_fusion(backbone, modalities, classes, lora_rank), experts="shared", fusion="early")


def mm_sam_adapter(backbone: str, modalities: tuple[str, ...], classes: int, lora_rank: int) -> AdapterConfig:
    """MM SAM-adapter (arXiv 2509.10408): SAM's ViT, ConvNeXt branches, ViT-Adapter; it has no LoRA."""
    return AdapterConfig(backbone=backbone, modalities=modalities, reference=modalities[0], classes=classes)


def mm_sam_adapter_released(backbone: str, modalities: tuple[str, ...], classes: int, lora_rank: int) -> AdapterConfig:
    """MM SAM-adapter where its code differs from the paper (iacopo97/Multimodal-SAM-Adapter @58ea0b8)."""
    base = mm_sam_adapter(backbone, modalities, classes, lora_rank)
    return replace(base, vit_features="quarters", drop_path="adapter", parameter_groups="vit_and_branches")


def peer(backbone: str, modalities: tuple[str, ...], classes: int, lora_rank: int) -> PeerConfig:
    """A network from outside sartm; see `model.peer`."""
    return PeerConfig(modalities=modalities, classes=classes)


PRESETS: "dict[str, Callable[[str, tuple[str, ...], int, int], NetworkConfiguration]]" = {
    "any_sensor": any_sensor,
    "sartm": sartm,
    "sartm_released": sartm_released,
    "mle_sam": mle_sam,
    "mean_fusion": mean_fusion,
    "sam_lora": sam_lora,
    "shared_lora": shared_lora,
    "early_fusion": early_fusion,
    "peer": peer,
    "mm_sam_adapter": mm_sam_adapter,
    "mm_sam_adapter_released": mm_sam_adapter_released,
}
"""Name -> backbone, modalities, number of classes, LoRA rank -> configuration. The only list of presets."""


def preset(
    name: str, backbone: str, modalities: tuple[str, ...], classes: int, lora_rank: int
) -> "NetworkConfiguration":
    """The preset of that name; the first modality is the reference.

    Raises:
        SartmError: there is none.
    """
    if name not in PRESETS:
        raise SartmError(f"preset '{name}' is unknown. Known: {', '.join(PRESETS)}.")
    return PRESETS[name](backbone, modalities, classes, lora_rank)


def build_network(config: "NetworkConfiguration", form: str = "training") -> "Network":
    """The network of a configuration with random weights."""
    return config.build(form)


def preset_for_rig(
    name: str, backbone: str, rig: Rig, lora_rank: int, changes: dict[str, Any] | None = None
) -> "NetworkConfiguration":
    """The preset of that name for a rig's modalities, reference and classes.

    Args:
        changes: other values of the configuration's fields, such as `{"fusion": "top_k"}`: an ablation.

    Raises:
        SartmError: unknown preset or field, or a value that does not fit.
    """
    config: Any = preset(name, backbone, rig.names, len(rig.classes), lora_rank)
    changes = dict(changes or {})
    _check_changes(config, changes)
    fields = {field.name for field in dataclasses.fields(config)}
    of_rig = {"reference": rig.reference, "sparse": tuple(m.name for m in rig.modalities if m.sparse)}
    lists = {field: tuple(value) for field, value in changes.items() if isinstance(value, list)}
    return replace(config, **{name: value for name, value in of_rig.items() if name in fields}, **changes | lists)


def _check_changes(config: Any, changes: dict[str, Any]) -> None:
    """Checks types and choices; what they mean together the configuration checks itself."""
    unknown = sorted(set(changes) - config.changeable)
    if unknown:
        known = ", ".join(sorted(config.changeable))
        raise SartmError(f"network: '{unknown[0]}' cannot be changed; these can: {known}.")
    hints = get_type_hints(type(config))
    for field, value in changes.items():
        if get_origin(hints[field]) is tuple:
            if not isinstance(value, list | tuple):
                raise SartmError(f"network.{field}: expected a list of modalities, got {value!r}.")
            continue
        choices = get_args(hints[field])
        if (choices and value not in choices) or (not choices and not isinstance(value, hints[field])):
            expected = ", ".join(map(str, choices)) or hints[field].__name__
            raise SartmError(f"network.{field}: expected {expected}, got {value!r}.")
