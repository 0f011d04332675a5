"""SAM2's mask decoder with one class token per class.

SAM2's two-way transformer, upscaling and high-resolution skips keep their names and classes, so checkpoints load;
prompts, IoU head and object scores are omitted.
"""

import torch
from torch import Tensor, nn


class ClassTokenDecoder(nn.Module):
    """(FFP, IFP, SFM) -> class scores at stride 4.

    A hypernetwork turns each class token into the class's kernel over the upscaled features: one for all classes, or
    one per class as in the papers (139,808 parameters each at width 256).

    Args:
        width: channels of the pyramid (SFM), D; FFP has D / 8, IFP D / 4.
        classes: number of classes, C.
        per_class: one hypernetwork per class.
    """

    def __init__(self, width: int, classes: int, per_class: bool) -> None:
        from sam2.modeling.position_encoding import PositionEmbeddingRandom
        from sam2.modeling.sam.transformer import TwoWayTransformer
        from sam2.modeling.sam2_utils import MLP, LayerNorm2d

        super().__init__()
        # SAM2's sizes at width 256: 8 heads, 2048 wide.
        self.transformer = TwoWayTransformer(
            depth=2, embedding_dim=width, num_heads=8 if width >= 256 else 4, mlp_dim=8 * width
        )
        self.position = PositionEmbeddingRandom(width // 2)
        # What SAM2 adds to an image without memory and without a mask prompt; 0 without a checkpoint.
        self.dense_embedding = nn.Parameter(torch.zeros(width))
        self.class_tokens = nn.Embedding(classes, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, kernel_size=2, stride=2),
            LayerNorm2d(width // 4),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        count = classes if per_class else 1
        self.hypernetworks = nn.ModuleList(MLP(width, width, width // 8, 3) for _ in range(count))

    def forward(self, ffp: Tensor, ifp: Tensor, sfm: Tensor) -> Tensor:
        """[B, D/8, 4h, 4w], [B, D/4, 2h, 2w], [B, D, h, w] -> [B, C, 4h, 4w]"""
        tokens, memory = self.attended(self.class_tokens.weight, sfm)
        return self.masks(tokens, memory, ffp, ifp)

    def attended(self, tokens: Tensor, sfm: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [N, D] and SFM [B, D, h, w] after they have attended to each other: [B, N, D], [B, D, h, w]."""
        batch, width, height_16, width_16 = sfm.shape
        position = self.position((height_16, width_16)).to(sfm.dtype).expand(batch, -1, -1, -1)
        tokens, memory = self.transformer(
            sfm + self.dense_embedding[:, None, None], position, tokens.expand(batch, -1, -1)
        )
        return tokens, memory.transpose(1, 2).reshape(batch, width, height_16, width_16)

    def masks(self, tokens: Tensor, memory: Tensor, ffp: Tensor, ifp: Tensor) -> Tensor:
        """Attended class tokens [B, C, D] and SFM -> [B, C, 4h, 4w]"""
        upscale_1, norm, activation, upscale_2, activation_2 = self.output_upscaling
        x = activation(norm(upscale_1(memory) + ifp))
        x = activation_2(upscale_2(x) + ffp)  # [B, D/8, 4h, 4w]
        return torch.einsum("bcd,bdhw->bchw", self._kernels(tokens), x)

    def _kernels(self, tokens: Tensor) -> Tensor:  # [B, C, D] -> [B, C, D/8]
        if len(self.hypernetworks) == 1:
            return self.hypernetworks[0](tokens)
        return torch.stack([network(tokens[:, index]) for index, network in enumerate(self.hypernetworks)], dim=1)
