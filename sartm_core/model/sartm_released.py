"""SARTM as its authors released it (wahaha-debug/SARTM @5327908), which is not what their paper describes.

What decides the answer is SAM2 with one LoRA for all modalities, its mask decoder on each modality's own features, and
the mean of the mask logits. Nothing is fused for it: FRM, FFM, the FPN head and the language act through losses alone,
so they exist in the training form only. The release has three LoRAs of rank r and adds their outputs; that is one of
rank 3 r, with the same gradients and the same steps of AdamW.

Left out is the release's fourth loss, the divergence of class prototypes from their running mean. It divides the mean
feature of a class by the number of its pixels once more, so both distributions are uniform and the loss vanishes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartm_core.model.contract import NetworkOutput
from sartm_core.model.decoder import ClassTokenDecoder
from sartm_core.model.network import MultiModalNetwork
from sartm_core.model.presets import NetworkConfig
from sartm_core.model.rectification import FeatureFusion, FeatureRectification
from sartm_core.model.routing import weighted_sum

HEADS = (1, 2, 4)
"""Of FFM's cross attention at the three levels."""


class SartmReleased(MultiModalNetwork):
    """Every modality is decoded on its own; their logits are averaged over those that are present.

    Args:
        config, form: as in `MultiModalNetwork`.
    """

    def __init__(self, config: NetworkConfig, form: str = "training") -> None:
        super().__init__(config, form)
        self.decoder = Sam2Decoder(self.width, config.classes)
        self.branch: LossBranch | None = None
        if form == "training":
            self.branch = LossBranch((self.width // 8, self.width // 4, self.width), config.classes)
            self._keep_the_narrow_updates()

    def freeze_pretrained(self, frozen: bool) -> None:
        """As released: the two-way transformer trains; the object score and what stands for "no prompt" do not."""
        super().freeze_pretrained(frozen)
        self.decoder.requires_grad_(True)
        for part in (self.decoder.object_score, self.decoder.no_point):
            part.requires_grad_(not frozen)
        self.decoder.dense_embedding.requires_grad = not frozen

    def merge_experts(self) -> None:
        """Turns the training form into the inference form, in place."""
        super().merge_experts()
        self.branch = None

    def decode(self, features: list[Tensor], sample: Tensor, modality: Tensor, availability: Tensor) -> NetworkOutput:
        """The mean of the rows' mask logits; arguments as in `MultiModalNetwork.decode`.

        In training `fused` and `auxiliary_logits` are what the release takes its other losses of.
        """
        routing, _ = self.routing(features, sample, modality, availability)
        logits = weighted_sum(self.decoder(*features), routing[:, 0], sample, modality)
        if self.training and self.branch is not None:
            # The release means to give FFM both modalities, but takes the first one twice.
            first = F.one_hot(availability.int().argmax(dim=1), availability.shape[1])
            fused, auxiliary = self.branch([weighted_sum(level, first, sample, modality) for level in features])
            return NetworkOutput(logits, logits, auxiliary, routing, None, fused)
        fused = [weighted_sum(level, routing[:, index], sample, modality) for index, level in enumerate(features)]
        return NetworkOutput(logits, logits, None, routing, None, fused)

    def _keep_the_narrow_updates(self) -> None:
        """In the blocks that change stage the release updates as much of q and v as the input is wide: half.

        Of q the first half, of v the last. The others start at 0 and stay there.
        """
        for block in self.encoder.trunk.blocks:
            added = block.dim_out - block.dim
            if added:
                for part, rows in ((block.attn.qkv.q, slice(block.dim, None)), (block.attn.qkv.v, slice(added))):
                    for update in part.lora_B.values():
                        update.weight.register_hook(lambda gradient, rows=rows: _zeroed(gradient, rows))


def _zeroed(gradient: Tensor, rows: slice) -> Tensor:
    gradient = gradient.clone()
    gradient[rows] = 0
    return gradient


class Sam2Decoder(ClassTokenDecoder):
    """SAM2's mask decoder with all of its tokens, given no prompt, and with its object score.

    Args:
        width, classes: as in `ClassTokenDecoder`; a hypernetwork per class.
    """

    def __init__(self, width: int, classes: int) -> None:
        from sam2.modeling.sam2_utils import MLP

        super().__init__(width, classes, per_class=True)
        self.obj_score_token = nn.Embedding(1, width)
        self.iou_token = nn.Embedding(1, width)
        self.single_mask_token = nn.Embedding(1, width)
        """Of the one mask that SAM2 gives by default; its mask is not used, but the others attend to it."""
        self.no_point = nn.Embedding(1, width)
        """What SAM2's prompt encoder makes of padding; twice where there is no prompt."""
        self.object_score = MLP(width, width, 1, 3)
        last = self.object_score.layers[-1]  # frozen in training: without SAM2's weights everything is seen
        nn.init.zeros_(last.weight)
        nn.init.ones_(last.bias)

    def forward(self, ffp: Tensor, ifp: Tensor, sfm: Tensor) -> Tensor:
        """As `ClassTokenDecoder.forward`; 0 for every class in an image where nothing is seen.

        SAM2 has -1024 there. What all classes share changes neither argmax nor softmax, also of a mean over modalities,
        but in half precision it would leave steps of 0.5 between the others' logits.
        """
        own = (self.obj_score_token, self.iou_token, self.single_mask_token, self.class_tokens, self.no_point)
        tokens = torch.cat([*(part.weight for part in own), self.no_point.weight])
        tokens, memory = self.attended(tokens, sfm)
        masks = self.masks(tokens[:, 3:-2], memory, ffp, ifp)
        seen = self.object_score(tokens[:, 0]) > 0  # [B, 1]
        return torch.where(seen[:, :, None, None], masks, 0.0)


class LossBranch(nn.Module):
    """What trains the release besides its mask logits: FRM and FFM at every level, and an FPN head.

    The head's convolutions are made anew in every call, so it never learns; its loss passes random weights on its way
    back to the features. GroupNorm replaces FFM's BatchNorm, as everywhere in this package.

    Args:
        channels: of the three levels.
        classes: number of classes, C.
    """

    def __init__(self, channels: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.rectification = nn.ModuleList(FeatureRectification(count) for count in channels)
        self.fusion = nn.ModuleList(FeatureFusion(count, heads) for count, heads in zip(channels, HEADS, strict=True))

    def forward(self, levels: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """FFP, IFP, SFM of one modality -> the same of itself and itself, fused; logits [B, C, 4h, 4w]"""
        pairs = [rectify(level, level) for rectify, level in zip(self.rectification, levels, strict=True)]
        fused = [fuse(*pair) for fuse, pair in zip(self.fusion, pairs, strict=True)]
        x = fused[2]
        width = x.shape[1]
        for level in (fused[1], fused[0]):
            x = F.interpolate(x, size=level.shape[2:], mode="bilinear", align_corners=False)
            x = x + _new_convolution(level, width, kernel=1)
        return fused, _new_convolution(x, self.classes, kernel=3)


def _new_convolution(x: Tensor, channels: int, kernel: int) -> Tensor:
    convolution = nn.Conv2d(x.shape[1], channels, kernel_size=kernel, padding=kernel // 2, device=x.device)
    result: Tensor = convolution.requires_grad_(False)(x)
    return result
