"""Configuration of MM SAM-adapter; see `mm_sam_adapter`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from sartm_core.errors import SartmError

if TYPE_CHECKING:
    from sartm_core.model.contract import Network

VIT_BACKBONES = ("nano", "base", "large")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """Everything that determines the network's architecture.

    Attributes:
        backbone: `nano`, `base` or `large`: SAM's ViT.
        modalities: names, in rig order.
        reference: the modality the ViT takes as input.
        classes: number of classes.
        adapter: False is the baseline: ViT and head only, other modalities are ignored.
        branch: source of the pyramid: `fused`, all modalities; `auxiliary`, all but the reference; `reference`.
        fusion: `road`, or `add`, a plain mean.
        symmetric: branches as heavy as the ViT.
        extractors: False removes the path from the ViT back to the pyramid.
    """

    changeable: ClassVar[frozenset[str]] = frozenset({"adapter", "branch", "fusion", "symmetric", "extractors"})
    """What an ablation may change; the rest comes from rig and recipe."""

    backbone: str
    modalities: tuple[str, ...]
    reference: str
    classes: int
    adapter: bool = True
    branch: Literal["fused", "auxiliary", "reference"] = "fused"
    fusion: Literal["road", "add"] = "road"
    symmetric: bool = False
    extractors: bool = True

    def __post_init__(self) -> None:
        if self.backbone not in VIT_BACKBONES:
            known = ", ".join(VIT_BACKBONES)
            raise SartmError(f"backbone '{self.backbone}': mm_sam_adapter is built on SAM's ViT: {known}.")
        if not self.modalities or self.classes < 1:
            raise SartmError(
                f"network: expected modalities and classes, got {len(self.modalities)} and {self.classes}."
            )
        if self.reference not in self.modalities:
            raise SartmError(f"network: the reference '{self.reference}' is not one of {', '.join(self.modalities)}.")
        if self.adapter and self.branch == "auxiliary" and len(self.modalities) == 1:
            raise SartmError("network.branch: 'auxiliary' needs a modality besides the reference.")

    @property
    def used(self) -> tuple[int, ...]:
        """Indices of the modalities that form the pyramid."""
        reference = self.modalities.index(self.reference)
        every = range(len(self.modalities))
        if not self.adapter or self.branch == "reference":
            return (reference,)
        return tuple(index for index in every if self.branch == "fused" or index != reference)

    def build(self, form: str = "training") -> "Network":
        """The network with random weights; `form`: see `MMSamAdapter`."""
        from sartm_core.model.mm_sam_adapter import MMSamAdapter

        return MMSamAdapter(self, form)
