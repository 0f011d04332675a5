"""MM SAM-adapter (arXiv 2509.10408): SAM's ViT on RGB, and a lightweight fused branch it attends to.

Every modality has its own ConvNeXt; their features are fused at four strides (`road_fusion`); the fused pyramid and the
ViT attend to each other (`vit_adapter`); a SegFormer head classifies. Beyond the paper: any number of modalities, any
of which may be absent, RGB included, with convex weights that are reported. `docs/model.md` explains the differences.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartm_core.model.adapter_config import AdapterConfig
from sartm_core.model.contract import Network, NetworkOutput, check_sides
from sartm_core.model.convnext import CONVNEXTS, ConvNext
from sartm_core.model.heads import MlpHead
from sartm_core.model.road_fusion import AddFusion, RoadFusion
from sartm_core.model.routing import weighted_sum
from sartm_core.model.sam_vit import PATCH, VITS, SamVit
from sartm_core.model.vit_adapter import ViTAdapter

BRANCHES = {"large": "small", "base": "small", "nano": "nano"}
"""The ViT -> its lightweight branch: ConvNeXt-S, as published."""
HEAVY_BRANCHES = {"large": "base", "base": "base", "nano": "nano_wide"}
"""The ablation with branches as heavy as the ViT."""
HEAD_WIDTHS = {"large": 512, "base": 512, "nano": 64}
DROP_PATHS = {"vit": (0.3, 0.0, 0.0), "adapter": (0.0, 0.4, 0.3)}
"""`AdapterConfig.drop_path` -> the rates of ViT, branches and extractors, for ViT-L."""
DROP_SHARES = {"large": 1.0, "base": 1 / 3, "nano": 0.0}
"""The ViT -> its share of these rates; below ViT-L ours."""


class MMSamAdapter(Network):
    """The network.

    Args:
        config: see `AdapterConfig`.
        form: `training`, or `inference`, whose attention can be exported.
    """

    config: AdapterConfig

    def __init__(self, config: AdapterConfig, form: str = "training") -> None:
        super().__init__()
        self.config = config
        shape = VITS[config.backbone]
        self.width = shape.width
        attention = "sdpa" if form == "training" else "eager"
        in_vit, in_branches, in_extractors = (
            rate * DROP_SHARES[config.backbone] for rate in DROP_PATHS[config.drop_path]
        )
        self.vit = SamVit(shape, attention, in_vit)
        self.absent = nn.Parameter(torch.zeros(shape.width))
        """Replaces the tokens of an absent reference."""
        head_levels: tuple[int, ...] = (shape.width,)
        if config.adapter:
            branch = (HEAVY_BRANCHES if config.symmetric else BRANCHES)[config.backbone]
            self.widths = widths = CONVNEXTS[branch][0]
            used = (config.modalities[index] for index in config.used)
            self.branches = nn.ModuleDict({name: ConvNext(branch, in_branches) for name in used})
            self.fusions = nn.ModuleList(RoadFusion(c) if config.fusion == "road" else AddFusion() for c in widths)
            self.lifts = nn.ModuleList(nn.Conv2d(channels, shape.width, kernel_size=1) for channels in widths)
            self.level_embedding = nn.Parameter(torch.zeros(3, shape.width))
            nn.init.trunc_normal_(self.level_embedding, std=0.02)
            self.adapter = ViTAdapter(shape.width, shape.heads, extractors=config.extractors, drop_path=in_extractors)
            self.finest = nn.ConvTranspose2d(shape.width, shape.width, kernel_size=2, stride=2)
            self.norms = nn.ModuleList(nn.GroupNorm(1, shape.width) for _ in widths)
            head_levels = (shape.width,) * 4
        self.head = MlpHead(head_levels, config.classes, HEAD_WIDTHS[config.backbone])
        self.register_buffer("mean", torch.zeros(len(config.modalities), 3))
        self.register_buffer("std", torch.ones(len(config.modalities), 3))

    @property
    def encoder_groups(self) -> dict[str, tuple[int, ...]]:
        """Modalities that share an encoder: here each has its own weights."""
        return {f"encoder_{name}": (index,) for index, name in enumerate(self.config.modalities)}

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of what `encode` returns, in order."""
        return ("branch4", "branch8", "branch16", "branch32", "tokens") if self.config.adapter else ("tokens",)

    def row_features(self, features: list[Tensor]) -> Tensor | None:
        """The branch's features at stride 16; without an adapter there are none."""
        return features[2] if self.config.adapter else None

    def pretrained_parameters(self) -> dict[str, nn.Parameter]:
        """What SAM has pre-trained: the ViT."""
        return {name: parameter for name, parameter in self.named_parameters() if name.startswith("vit.")}

    def learning_rate_scale(self, name: str, decay: float) -> float:
        """Layer-wise decay: a block's rate is `decay` times that of the next one; new parts have the full rate.

        With `parameter_groups` of `vit_and_branches` the branches are in layer 0, with the ViT's patch embedding.

        Args:
            name: of a parameter.
            decay: published 0.9.
        """
        parts = name.split(".")
        if parts[0] != "vit" and not self._is_slow_branch(parts[0]):
            return 1.0
        layer = int(parts[2]) + 1 if parts[:2] == ["vit", "layers"] else 0
        return float(decay ** (self.vit.shape.depth + 1 - layer))

    def has_weight_decay(self, name: str, parameter: nn.Parameter) -> bool:
        """See `AdapterConfig.parameter_groups`."""
        part = name.split(".")[0]
        if self._is_slow_branch(part):
            return True
        if part == "fusions" and self.config.parameter_groups == "vit_and_branches":
            return False
        return super().has_weight_decay(name, parameter)

    def _is_slow_branch(self, part: str) -> bool:
        return part == "branches" and self.config.parameter_groups == "vit_and_branches"

    def encode(self, planes: Tensor, modality: Tensor) -> list[Tensor]:
        """Features of each row.

        Args:
            planes: [R, 3, H, W] in the rig's units, any dtype.
            modality: int64 [R].

        Returns:
            The branch's features at strides 4, 8, 16, 32 (zeros for modalities it does not use), and the ViT's
            tokens [R, D, H/16, W/16] without positions.

        Raises:
            SartmError: a side is not a multiple of 32.
        """
        check_sides(planes)
        parts, order = [], []
        for group, (index,) in self.encoder_groups.items():
            rows = (modality == index).nonzero().squeeze(1)
            if len(rows):
                order.append(rows)
                parts.append(self.encode_group(planes[rows], modality[rows], group))
        back = torch.cat(order).argsort()
        return [torch.cat(level)[back] for level in zip(*parts, strict=True)]

    def encode_group(self, planes: Tensor, modality: Tensor, group: str) -> list[Tensor]:
        """`encode` for rows of one of the `encoder_groups`."""
        ((index, name),) = ((i, self.config.modalities[i]) for i in self.encoder_groups[group])
        mean, std = self.mean[index][:, None, None], self.std[index][:, None, None]
        images = ((planes.to(mean.dtype) - mean) / std).to(self.absent.dtype)
        tokens = self.vit.tokens(images)
        if not self.config.adapter:
            return [tokens]
        if name in self.branches:
            return [*self.branches[name](images), tokens]
        rows, height, width = len(images), images.shape[2], images.shape[3]
        empty = [images.new_zeros(rows, c, height >> (2 + i), width >> (2 + i)) for i, c in enumerate(self.widths)]
        return [*empty, tokens]

    def decode(self, features: list[Tensor], sample: Tensor, modality: Tensor, availability: Tensor) -> NetworkOutput:
        """Turns the rows' features into class scores; arguments as in `RoadFusion.forward`."""
        tokens = self._tokens(features[-1], sample, modality, availability)
        height, width = tokens.shape[1:3]
        positioned = tokens + self.vit.positions(height, width)
        if not self.config.adapter:
            x = self.vit.run(positioned, 0, self.vit.shape.depth).permute(0, 3, 1, 2)
            scores = F.interpolate(self.head(x), scale_factor=4.0, mode="bilinear", align_corners=False)
            routing = self._alone(availability)
            return NetworkOutput(scores, scores, None, routing, None, [x, x, x])
        fused, weights = self._fused(features[:-1], sample, modality, availability)
        embedded = [level + e[:, None, None] for level, e in zip(fused[1:], self.level_embedding, strict=True)]
        after, pyramid = self.adapter(self.vit, positioned, embedded)
        seen = after if self.config.vit_features == "quarters" else [after[-1]] * 4
        levels = self._levels(fused[0], pyramid, [x.permute(0, 3, 1, 2) for x in seen])
        logits = self.head(*levels)
        return NetworkOutput(logits, logits, None, weights, None, levels[:3])

    def _tokens(self, rows: Tensor, sample: Tensor, modality: Tensor, availability: Tensor) -> Tensor:
        """[R, D, h, w] -> [B, h, w, D]: those of the reference, or `absent` in its place."""
        reference = self.config.modalities.index(self.config.reference)
        seen = torch.zeros_like(availability)
        seen[:, reference] = availability[:, reference]
        tokens = weighted_sum(rows, seen.to(rows), sample, modality).permute(0, 2, 3, 1)
        missing = (~availability[:, reference]).to(rows)[:, None, None, None]
        return tokens + missing * self.absent

    def _fused(
        self, features: list[Tensor], sample: Tensor, modality: Tensor, availability: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """The fused levels [B, D, h_i, w_i] and the weights [B, 3, M].

        A sample without any of the pyramid's modalities is fused from those present: zeros, with uniform weights.
        """
        used = torch.zeros_like(availability)
        used[:, list(self.config.used)] = True
        usable = availability & used
        usable = usable | (availability & ~usable.any(dim=1, keepdim=True))
        fused, weights = [], []
        for level, fusion, lift in zip(features, self.fusions, self.lifts, strict=True):
            summed, weight = fusion(level, sample, modality, usable)
            fused.append(lift(summed))
            weights.append(weight)
        stacked = torch.stack(weights, dim=1)
        return fused, torch.stack([stacked[:, 0], stacked[:, 1], (stacked[:, 2] + stacked[:, 3]) / 2], dim=1)

    def _levels(self, fine: Tensor, pyramid: list[Tensor], vit: list[Tensor]) -> list[Tensor]:
        """Strides 4, 8, 16, 32: the pyramid after all interactions, and to each the ViT's features [B, D, h, w]."""
        levels = [fine + self.finest(pyramid[0]), *pyramid]
        return [
            norm(level + F.interpolate(x, size=level.shape[2:], mode="bilinear", align_corners=False))
            for norm, level, x in zip(self.norms, levels, vit, strict=True)
        ]

    def _alone(self, availability: Tensor) -> Tensor:
        """Without an adapter only the reference counts; if it is absent, nothing does: reported as uniform weights."""
        reference = self.config.modalities.index(self.config.reference)
        alone = torch.zeros(availability.shape, device=availability.device)
        alone[:, reference] = 1.0
        even = availability / availability.sum(dim=1, keepdim=True)
        weights = torch.where(availability[:, reference, None], alone, even)
        return weights[:, None].expand(-1, 3, -1)

    def fix_size(self, size: tuple[int, int]) -> None:
        """Makes everything that depends only on the input's size constant, for export."""
        height, width = size[0] // PATCH, size[1] // PATCH
        table = self.vit.positions(height, width).detach().clone()
        self.vit.positions = lambda height, width: table  # type: ignore[method-assign]
