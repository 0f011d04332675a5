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
        symmetric: the larger branches of the paper's ablation, ConvNeXt-B.
        extractors: False removes the path from the ViT back to the pyramid.
        vit_features: what the head's four levels add of the ViT: `last`, its tokens after all blocks, or `quarters`,
            those after each quarter of the blocks, one level each, the finest first.
        drop_path: where stochastic depth acts: in the `vit`, or in the `adapter`: its branches and extractors.
        parameter_groups: what learns slowly, as pre-trained: `vit`, layer by layer, or `vit_and_branches`, where the
            branches learn as slowly as the ViT's first layer; then weight decay acts on every tensor of a branch, norms
            and biases included, and on none of the fusion.
    """

    changeable: ClassVar[frozenset[str]] = frozenset({
        "adapter", "branch", "fusion", "symmetric", "extractors", "vit_features", "drop_path", "parameter_groups",
    })  # fmt: skip
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
    vit_features: Literal["last", "quarters"] = "last"
    drop_path: Literal["vit", "adapter"] = "vit"
    parameter_groups: Literal["vit", "vit_and_branches"] = "vit"

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
