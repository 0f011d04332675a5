"""ConvNeXt (arXiv 2201.03545) from `transformers`: four levels of features at strides 4, 8, 16, 32."""

from typing import Any

from torch import Tensor, nn

Widths = tuple[int, int, int, int]

CONVNEXTS: dict[str, tuple[Widths, Widths]] = {
    "nano": ((24, 48, 96, 192), (1, 1, 2, 1)),
    "nano_wide": ((40, 80, 160, 320), (1, 1, 2, 1)),
    "small": ((96, 192, 384, 768), (3, 3, 27, 3)),
    "base": ((128, 256, 512, 1024), (3, 3, 27, 3)),
}
"""Widths and depths of the stages; the nano ones are ours."""


class ConvNext(nn.Module):
    """[R, 3, H, W] -> four levels [R, C_i, H / 2^(i+2), W / 2^(i+2)], each normalised over its channels.

    The body keeps the names of `transformers`' ConvNextBackbone, so its checkpoints load.

    Args:
        name: key of `CONVNEXTS`.
        drop_path: stochastic depth of the last block; increases linearly from 0.
    """

    def __init__(self, name: str, drop_path: float = 0.0) -> None:
        from transformers import ConvNextBackbone, ConvNextConfig

        super().__init__()
        self.widths, depths = CONVNEXTS[name]
        configured: Any = ConvNextConfig
        config = configured(
            hidden_sizes=list(self.widths),
            depths=list(depths),
            drop_path_rate=drop_path,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        )
        self.body = ConvNextBackbone(config)

    def forward(self, images: Tensor) -> list[Tensor]:
        return list(self.body(images).feature_maps)
