"""The whole network: planes of the present modalities in, class scores and routing weights out."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartm_core.model import lora
from sartm_core.model.backbone import build_image_encoder, pyramid_width
from sartm_core.model.contract import SIDE_MULTIPLE, Network, NetworkOutput, check_sides
from sartm_core.model.decoder import ClassTokenDecoder
from sartm_core.model.heads import DeepLabHead, FpnHead, MlpHead
from sartm_core.model.presets import NetworkConfig
from sartm_core.model.rectification import MeetTheReference
from sartm_core.model.routing import LanguageRouting, MeanRouting, ReliabilityRouting, TopKRouting, weighted_sum

STRIDES = (4, 8, 16)
"""Of the three levels."""
HEAD_WIDTH = 256
"""Of the auxiliary head: at 768, as in SegFormer, it would cost as much as the encoder."""


def _fusion(config: NetworkConfig, channels: tuple[int, int, int]) -> nn.Module:
    if config.fusion == "reliability":
        return ReliabilityRouting(channels)
    if config.fusion in ("mean", "early", "logits", "masks"):
        return MeanRouting()
    if config.fusion == "language":
        return LanguageRouting(channels, config.text_width)
    return TopKRouting(channels, config.top_k, use_mean=config.fusion == "mean_top_k")


def _auxiliary(config: NetworkConfig, channels: tuple[int, int, int]) -> nn.Module | None:
    heads = {"fpn": FpnHead, "mlp": MlpHead, "segformer": MlpHead, "deeplab": DeepLabHead}
    if config.auxiliary == "none":
        return None
    return heads[config.auxiliary](channels, config.classes, min(channels[2], HEAD_WIDTH))


def _halved(planes: Tensor, sparse: Tensor) -> Tensor:
    """Means of 2x2 pixels; of sparse planes (bool [R, 1, 1, 1]) of those that were measured."""
    mean = F.avg_pool2d(planes, 2)
    measured = F.avg_pool2d((planes != 0).any(dim=1, keepdim=True).to(planes.dtype), 2)
    return torch.where(sparse & (measured > 0), mean / measured.clamp_min(0.25), mean)


def _half_size(size: tuple[int, int]) -> tuple[int, int]:
    """What the encoder sees of a modality at half size: sides are filled up to a multiple of 32."""
    height, width = (-(-side // (2 * SIDE_MULTIPLE)) * SIDE_MULTIPLE for side in size)
    return height, width


class MultiModalNetwork(Network):
    """SAM2's encoder with LoRA experts, routing, two decoders.

    Args:
        config: from `sartm_core.model.presets`.
        form: `training` has LoRA layers (needs peft), `inference` the merged and stacked weights.
    """

    config: NetworkConfig
    classifies_rows = True
    single_precision = ("routing", "decoder.position")
    is_sparse: Tensor

    def __init__(self, config: NetworkConfig, form: str = "training") -> None:
        super().__init__()
        self.config = config
        self.experts = lora.RowExperts()
        self.expert_names = config.modalities if config.experts == "modality" else ("shared",)
        self.encoder = build_image_encoder(config.backbone)
        if form == "training":
            lora.split_qkv(self.encoder)
            lora.add_experts(self.encoder, self.expert_names, config.lora_rank, self.experts, config.adapts_patches)
        else:
            lora.prepare_stacked(self.encoder, self.expert_names, self.experts, config.adapts_patches)
        self.width = width = pyramid_width(self.encoder)
        channels = (width // 8, width // 4, width)
        self.conv_s0 = nn.Conv2d(width, channels[0], kernel_size=1)
        self.conv_s1 = nn.Conv2d(width, channels[1], kernel_size=1)
        self.meeting = (
            MeetTheReference(width, config.modalities.index(config.reference)) if config.rectification else None
        )
        self.routing = _fusion(config, channels)
        self.decoder = ClassTokenDecoder(width, config.classes, per_class=config.hypernetworks == "per_class")
        self.auxiliary = _auxiliary(config, channels)
        self.register_buffer("mean", torch.zeros(len(config.modalities), 3))
        self.register_buffer("std", torch.ones(len(config.modalities), 3))
        sparse = torch.tensor([name in config.sparse for name in config.modalities])
        self.register_buffer("is_sparse", sparse, persistent=False)

    @property
    def encoder_groups(self) -> dict[str, tuple[int, ...]]:
        """Modalities that pass the encoder in one batch: those of full, then those of half size."""
        names, half = self.config.modalities, self.config.half_size
        groups = {
            group: tuple(index for index, name in enumerate(names) if (name in half) == is_half)
            for group, is_half in (("encoder", False), ("encoder_half", True))
        }
        return {group: members for group, members in groups.items() if members}

    @property
    def feature_names(self) -> tuple[str, ...]:
        """What `encode` gives, in order."""
        return ("ffp", "ifp", "sfm")

    def pretrained_parameters(self) -> dict[str, nn.Parameter]:
        """What SAM2's training has made and the papers freeze: the encoder without experts, the two-way transformer."""
        return {
            name: parameter
            for name, parameter in self.named_parameters()
            if name.startswith(("encoder.", "decoder.transformer.")) and "lora_" not in name
        }

    def freeze_experts(self) -> None:
        """The experts stay what they are: at first, nothing."""
        for name, parameter in self.named_parameters():
            if "lora_" in name:
                parameter.requires_grad = False

    def merge_experts(self) -> None:
        """Turns the training form into the inference form, in place."""
        lora.stack_merged(self.encoder, self.expert_names, self.experts)

    def encode(self, planes: Tensor, modality: Tensor) -> list[Tensor]:
        """One pass for all rows, whatever their modality.

        Args:
            planes: [R, 3, H, W] in the rig's units, any dtype.
            modality: int64 [R].

        Returns:
            FFP [R, D/8, H/4, W/4], IFP [R, D/4, H/8, W/8], SFM [R, D, H/16, W/16].

        Raises:
            SartmError: a side is not a multiple of 32.
        """
        check_sides(planes)
        if not self.config.half_size:
            return self.encode_alike(planes, modality, half=False)
        is_half = torch.tensor([name in self.config.half_size for name in self.config.modalities])
        is_half = is_half.to(modality.device)[modality]
        order, levels = [], []
        for half in (False, True):
            rows = (is_half == half).nonzero().squeeze(1)
            if len(rows):
                order.append(rows)
                levels.append(self.encode_alike(planes[rows], modality[rows], half))
        back = torch.cat(order).argsort()
        return [torch.cat(parts)[back] for parts in zip(*levels, strict=True)]

    def encode_group(self, planes: Tensor, modality: Tensor, group: str) -> list[Tensor]:
        """`encode` for rows of one of the `encoder_groups`."""
        return self.encode_alike(planes, modality, half=group == "encoder_half")

    def row_features(self, features: list[Tensor]) -> Tensor | None:
        """The semantic level."""
        return features[2]

    def encode_alike(self, planes: Tensor, modality: Tensor, half: bool) -> list[Tensor]:
        """`encode` for rows that all pass at full, or all at half size; the features have the same sizes either way."""
        self.experts.rows = modality if self.config.experts == "modality" else torch.zeros_like(modality)
        if not half:
            return self.pyramid(self.normalised(planes, modality))
        planes = _halved(planes.to(self.mean.dtype), self.is_sparse[modality][:, None, None, None])
        height, width = planes.shape[2:]
        padded_height, padded_width = _half_size((2 * height, 2 * width))
        if (padded_height, padded_width) != (height, width):
            planes = F.pad(planes, (0, padded_width - width, 0, padded_height - height), mode="replicate")
        features = self.pyramid(self.normalised(planes, modality))
        cropped = [
            level[:, :, : height // stride, : width // stride] for level, stride in zip(features, STRIDES, strict=True)
        ]
        return [F.interpolate(level, scale_factor=2.0, mode="bilinear", align_corners=False) for level in cropped]

    def normalised(self, planes: Tensor, modality: Tensor) -> Tensor:
        """Planes [R, 3, H, W] in units of their modality's deviation."""
        mean, std = self.mean[modality][:, :, None, None], self.std[modality][:, :, None, None]
        return ((planes.to(mean.dtype) - mean) / std).to(self.conv_s0.weight.dtype)

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """FFP, IFP, SFM of normalised images."""
        fine, middle, coarse = self.encoder(images)["backbone_fpn"]
        # SAM2's neck enlarges, and therefore adds, in float32, whatever its weights are.
        return [self.conv_s0(fine), self.conv_s1(middle), coarse.to(self.conv_s0.weight.dtype)]

    def decode(self, features: list[Tensor], sample: Tensor, modality: Tensor, availability: Tensor) -> NetworkOutput:
        """Routes, fuses and decodes the rows' features; arguments as in `ReliabilityRouting`."""
        if self.meeting is not None:  # at the semantic level alone, as the paper says
            features = [*features[:2], self.meeting(features[2], sample, modality, availability)]
        single = [level.float() for level in features]  # sums over whole images are compared
        routing, reliability = self.routing(single, sample, modality, availability)
        fused = [weighted_sum(level, routing[:, index], sample, modality) for index, level in enumerate(features)]
        return self.answer(fused, routing, reliability)

    def answer(self, fused: list[Tensor], routing: Tensor, reliability: Tensor | None) -> NetworkOutput:
        """Both heads on the fused levels."""
        mask_logits = self.decoder(*fused)
        auxiliary_logits = None if self.auxiliary is None else self.auxiliary(*fused)
        logits = mask_logits
        if auxiliary_logits is not None and self.config.inference != "mask":
            logits = auxiliary_logits if self.config.inference == "auxiliary" else (mask_logits + auxiliary_logits) / 2
        return NetworkOutput(logits, mask_logits, auxiliary_logits, routing, reliability, fused)

    def fix_size(self, size: tuple[int, int]) -> None:
        """Makes the position embeddings constants, for export: they would otherwise be computed for each frame."""
        trunk, decoder = self.encoder.trunk, self.decoder
        sizes = (size, _half_size(size)) if self.config.half_size else (size,)
        grids = [(height // STRIDES[0], width // STRIDES[0]) for height, width in sizes]
        embeddings = {grid: trunk._get_pos_embed(grid).detach().clone() for grid in grids}
        trunk._get_pos_embed = lambda hw: embeddings[int(hw[0]), int(hw[1])]
        decoder.position = _Constant(decoder.position((size[0] // 16, size[1] // 16)).detach().clone())

    def parameter_table(self) -> dict[str, int]:
        """Name of a part -> its parameters."""
        parts = {name: sum(p.numel() for p in part.parameters()) for name, part in self.named_children()}
        lora_parameters = sum(p.numel() for name, p in self.encoder.named_parameters() if "lora_" in name)
        experts = len(self.expert_names)
        return {
            "encoder_without_lora": parts.pop("encoder") - lora_parameters,
            "lora_per_expert": lora_parameters // experts,
            "experts": experts,
            **parts,
        }

    def learning_rate_scale(self, name: str, decay: float) -> float:
        """Layer-wise decay over the blocks of the encoder; what is new has the full rate."""
        if not name.startswith("encoder.trunk.") or "lora_" in name:
            return 1.0
        parts = name.split(".")
        layer = int(parts[3]) + 1 if parts[2] == "blocks" else 0
        return float(decay ** (len(self.encoder.trunk.blocks) + 1 - layer))


class _Constant(nn.Module):
    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)

    def forward(self, _: object) -> Tensor:
        return self.value
