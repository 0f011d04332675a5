"""SARTM as released, by sam2's own classes at our small size: the layout of its file, and what it answers.

The names are those that wahaha-debug/SARTM @5327908 gives its parts; the computation is written down from what its code
does, without code of ours but the small encoder's shape.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from sam2.modeling.sam.mask_decoder import MaskDecoder
from sam2.modeling.sam.prompt_encoder import PromptEncoder
from sam2.modeling.sam.transformer import TwoWayTransformer
from torch import Tensor, nn

from sartm_core.model.backbone import build_image_encoder

WIDTH, NO_OBJECT = 64, -1024.0


class ThreeUpdates(nn.Module):
    """A fused qkv to whose q and v three updates are added, each as wide as the input."""

    def __init__(self, qkv: nn.Linear, rank: int) -> None:
        super().__init__()
        self.qkv, self.dim = qkv, qkv.in_features
        for ending in ("", "2", "3"):
            for part in "qv":
                setattr(self, f"linear_a_{part}{ending}", nn.Linear(self.dim, rank, bias=False))
                setattr(self, f"linear_b_{part}{ending}", nn.Linear(rank, self.dim, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        result = self.qkv(x)
        for ending in ("", "2", "3"):
            q, v = (getattr(self, f"linear_b_{p}{ending}")(getattr(self, f"linear_a_{p}{ending}")(x)) for p in "qv")
            result = F.pad(q, (0, result.shape[-1] - self.dim)) + result + F.pad(v, (result.shape[-1] - self.dim, 0))
        return result


class ReleasedSartm(nn.Module):
    """Random weights; every part shows in the answer.

    Args:
        size: height, width of the images.
        classes, rank: of the mask decoder, of each update.
    """

    def __init__(self, size: tuple[int, int], classes: int = 5, rank: int = 2) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.sam = sam = nn.Module()
        sam.image_encoder = build_image_encoder("nano")
        for block in sam.image_encoder.trunk.blocks:
            block.attn.qkv = ThreeUpdates(block.attn.qkv, rank)
        sam.sam_prompt_encoder = PromptEncoder(WIDTH, (size[0] // 16, size[1] // 16), size, mask_in_chans=16)
        transformer = TwoWayTransformer(depth=2, embedding_dim=WIDTH, num_heads=4, mlp_dim=8 * WIDTH)
        sam.sam_mask_decoder = MaskDecoder(
            transformer_dim=WIDTH, transformer=transformer, num_multimask_outputs=classes, use_high_res_features=True,
            iou_prediction_use_sigmoid=True, pred_obj_scores=True, pred_obj_scores_mlp=True,
            use_multimask_token_for_obj_ptr=True,
        )  # fmt: skip
        # What the file holds besides.
        sam.maskmem_tpos_enc = nn.Parameter(torch.zeros(7, 1, 1, 4))
        sam.no_mem_embed = nn.Parameter(torch.ones(1, 1, WIDTH))
        sam.memory_encoder, sam.obj_ptr_proj = nn.Linear(2, 2), nn.Linear(2, 2)
        self.FRMs, self.FFMs = nn.ModuleList([nn.Linear(2, 2)]), nn.ModuleList([nn.BatchNorm2d(2)])
        self.mlp_src, self.linear_pred, self.model_clip = nn.Linear(2, 2), nn.Conv2d(2, 9, 1), nn.Embedding(3, 2)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if "pos_embed" in name or (parameter.ndim == 1 and name.endswith("bias")):
                    parameter.normal_(std=0.1)
                if "hypernetworks" in name:  # else all logits are about 0
                    parameter.mul_(3)
        self.raise_scores(5.0)  # about 5 in any image: every image is seen
        self.eval()

    @torch.no_grad()
    def raise_scores(self, by: float) -> None:
        """Of the objects in every image; masks show where they are above 0."""
        self.sam.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.add_(by)

    @torch.no_grad()
    def decoded(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images [M, 3, H, W] -> each one's mask logits [M, C, H/4, W/4] and object score [M]."""
        decoder, prompts = self.sam.sam_mask_decoder, self.sam.sam_prompt_encoder
        fine, middle, coarse = self.sam.image_encoder(images)["backbone_fpn"]
        count = len(images)
        padding = (torch.zeros(count, 1, 2), -torch.ones(count, 1, dtype=torch.int32))
        sparse, dense = prompts(points=padding, boxes=None, masks=None)
        masks, _, _, score = decoder(
            image_embeddings=coarse, image_pe=prompts.get_dense_pe(), sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense, multimask_output=True, repeat_image=False,
            high_res_features=[decoder.conv_s0(fine), decoder.conv_s1(middle)],
        )  # fmt: skip
        return masks, score[:, 0]

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [M, 3, H, W] of one frame -> logits [C, H, W]"""
        masks, score = self.decoded(images)
        masks = torch.where((score > 0)[:, None, None, None], masks, NO_OBJECT)
        return F.interpolate(masks, size=images.shape[2:], mode="bilinear", align_corners=False).mean(dim=0)

    def save(self, path: Path) -> Path:
        torch.save(self.state_dict(), path)
        return path
