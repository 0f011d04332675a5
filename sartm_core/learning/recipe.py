"""The recipe: a YAML file that fully describes one training run."""

from typing import Literal

from pydantic import Field, field_validator

from sartm_core.checked_yaml import Checked
from sartm_core.rig import Size


class Stage(Checked):
    """A part of the run at one image size. Small images first: four times as many streets for the same time."""

    size: Size
    samples: int = Field(gt=0)
    batch: int = Field(gt=0)
    learning_rate: float = Field(gt=0)

    @field_validator("size")
    @classmethod
    def _fits_the_encoder(cls, size: Size) -> Size:
        if any(side % 32 for side in size):
            raise ValueError("expected sides that are multiples of 32")
        return size


class Recipe(Checked):
    """One training run on the simulated rig."""

    name: str
    preset: Literal["any_sensor", "mle_sam", "mean_fusion", "sam_lora"]
    rig: str
    backbone: Literal["nano", "tiny", "small", "base_plus", "large"]
    train_backbone: bool
    """False freezes SAM2's weights and trains the experts; true is for backbones without pre-training."""
    lora_rank: int = Field(gt=0)
    seed: int
    stages: tuple[Stage, ...] = Field(min_length=1)
    weight_decay: float = Field(0.01, ge=0)
    warm_up_share: float = Field(0.05, ge=0, lt=1)
    auxiliary_weight: float = Field(0.5, ge=0)
    reliability_weight: float = Field(0.2, ge=0)
    validation_samples: int = Field(40, gt=0)
    """Per condition."""
