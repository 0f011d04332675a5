"""SAM2's image encoder (Hiera and its feature pyramid), built from sam2's own classes and configuration files.

SAM 2: Segment Anything in Images and Videos, arXiv 2408.00714; Hiera, arXiv 2306.00989.
"""

from importlib import resources
from typing import TYPE_CHECKING, Any

from sartm_core.errors import SartmError

if TYPE_CHECKING:
    from sam2.modeling.backbones.image_encoder import ImageEncoder

OFFICIAL = {
    "tiny": "sam2.1_hiera_t.yaml",
    "small": "sam2.1_hiera_s.yaml",
    "base_plus": "sam2.1_hiera_b+.yaml",
    "large": "sam2.1_hiera_l.yaml",
}
"""The official encoders and their configuration files inside the `sam2` package."""

BACKBONES = ("nano", *OFFICIAL)


def build_image_encoder(name: str) -> "ImageEncoder":
    """SAM2's image encoder with random weights: [R, 3, H, W] -> a pyramid at strides 4, 8, 16 of equal width.

    Args:
        name: `nano` (ours, for demo and tests) or an official size.

    Raises:
        SartmError: unknown name.
    """
    if name == "nano":
        return _nano()
    if name not in OFFICIAL:
        raise SartmError(f"backbone: '{name}' is unknown. Known: {', '.join(BACKBONES)}.")
    # Importing sam2 initialises Hydra for the whole process: deferred until a backbone is built.
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    text = resources.files("sam2").joinpath(f"configs/sam2.1/{OFFICIAL[name]}").read_text(encoding="utf-8")
    configuration: Any = OmegaConf.create(text)
    return instantiate(configuration.model.image_encoder, _convert_="all")


def _nano() -> "ImageEncoder":
    """Hiera and neck with 1.45 million parameters: classes and layout of the official sizes, a third as wide."""
    from sam2.modeling.backbones.hieradet import Hiera
    from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
    from sam2.modeling.position_encoding import PositionEmbeddingSine

    width = 64
    trunk = Hiera(
        embed_dim=32,
        num_heads=1,
        stages=(1, 2, 3, 1),
        global_att_blocks=(4, 5),
        window_pos_embed_bkg_spatial_size=(7, 7),
        window_spec=(8, 4, 4, 2),
    )
    neck = FpnNeck(
        position_encoding=PositionEmbeddingSine(num_pos_feats=width, normalize=True, temperature=10000),
        d_model=width,
        backbone_channel_list=trunk.channel_list,
        fpn_top_down_levels=[2, 3],
        fpn_interp_model="nearest",
    )
    return ImageEncoder(trunk=trunk, neck=neck, scalp=1)


def pyramid_width(encoder: "ImageEncoder") -> int:
    """Channels of every level of the pyramid (256 for the official sizes, 64 for nano)."""
    return int(encoder.neck.d_model)
