"""SAM2's mask decoder with one class token per class.

SAM2's two-way transformer, upscaling and high-resolution skips by their own names and classes (checkpoints load);
prompts, IoU head and object scores are left out. A shared hypernetwork turns each class token into the class's
kernel over the upscaled features (MLE-SAM has one hypernetwork per class: 3.6 million parameters for 25 classes).
"""

import torch
from torch import Tensor, nn


class ClassTokenDecoder(nn.Module):
    """(FFP, IFP, SFM) -> class scores at stride 4.

    Args:
        width: channels of the pyramid (SFM); FFP has width / 8, IFP width / 4.
        classes: number of classes, C.
        heads: of the two-way transformer's attention.
        mlp_width: of the transformer's feed-forward blocks.
    """

    def __init__(self, width: int, classes: int, heads: int, mlp_width: int) -> None:
        from sam2.modeling.position_encoding import PositionEmbeddingRandom
        from sam2.modeling.sam.transformer import TwoWayTransformer
        from sam2.modeling.sam2_utils import MLP, LayerNorm2d

        super().__init__()
        self.transformer = TwoWayTransformer(depth=2, embedding_dim=width, num_heads=heads, mlp_dim=mlp_width)
        self.position = PositionEmbeddingRandom(width // 2)
        self.class_tokens = nn.Embedding(classes, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, kernel_size=2, stride=2),
            LayerNorm2d(width // 4),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.hypernetwork = MLP(width, width, width // 8, 3)

    def forward(self, ffp: Tensor, ifp: Tensor, sfm: Tensor) -> Tensor:
        """[B, D/8, 4h, 4w], [B, D/4, 2h, 2w], [B, D, h, w] -> [B, C, 4h, 4w]"""
        batch, width, height_16, width_16 = sfm.shape
        position = self.position((height_16, width_16)).expand(batch, -1, -1, -1)
        tokens = self.class_tokens.weight.expand(batch, -1, -1)  # [B, C, D]
        tokens, memory = self.transformer(sfm, position, tokens)
        upscale_1, norm, activation, upscale_2, activation_2 = self.output_upscaling
        x = memory.transpose(1, 2).reshape(batch, width, height_16, width_16)
        x = activation(norm(upscale_1(x) + ifp))
        x = activation_2(upscale_2(x) + ffp)  # [B, D/8, 4h, 4w]
        kernels = self.hypernetwork(tokens)  # [B, C, D/8]
        return torch.einsum("bcd,bdhw->bchw", kernels, x)
