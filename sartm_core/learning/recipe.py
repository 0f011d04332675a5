"""The recipe: a YAML file that fully describes one training run."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from sartm_core.checked_yaml import Checked
from sartm_core.learning.augmentation import Augmentation
from sartm_core.learning.corruption import CORRUPTIONS
from sartm_core.model.presets import PRESETS
from sartm_core.rig import Size
from sartm_core.sensing.fit import FitMode

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class DataSource(Checked):
    """Where frames come from: `root`, a data set on disk, `folders`, several of one rig, or `simulated`, a rig whose
    frames are rendered on demand.

    Attributes:
        folders: data set -> weight: of one with weight 2 each frame is drawn twice as often as of one with 1. Only
            training is weighted.
        modalities: only these of the rig; the reference must be among them or the first takes its place.
        enlarge: each LiDAR point and each pixel with events covers a square of so many pixels; 2 as by the MUSES SDK,
            unless its `projected_to_rgb` is enlarged already.
        on_unreadable: `stop` at a file that cannot be read, or `skip` it with a warning and take the next frame.
    """

    root: str | None = None
    folders: dict[str, Annotated[float, Field(gt=0, le=100)]] | None = Field(None, min_length=1)
    simulated: str | None = None
    modalities: tuple[str, ...] | None = None
    enlarge: int = Field(1, ge=1)
    on_unreadable: Literal["stop", "skip"] = "stop"

    @model_validator(mode="after")
    def _one(self) -> "DataSource":
        if sum(one is not None for one in (self.root, self.folders, self.simulated)) != 1:
            raise ValueError("expected either root (a folder), folders (several) or simulated (a rig's name)")
        return self


class Stage(Checked):
    """A part of the run at one image size. Small images first: four times as many frames for the same time.

    Attributes:
        size: height, width of the crops.
        samples: frames in all; or give `epochs`.
        epochs: passes over the training frames.
        batch: frames per optimiser step, over all devices and accumulation.
        learning_rate: at the end of the warm-up.
    """

    size: Size
    samples: int | None = Field(None, gt=0)
    epochs: float | None = Field(None, gt=0)
    batch: int = Field(gt=0)
    learning_rate: float = Field(gt=0)

    @field_validator("size")
    @classmethod
    def _fits_the_encoder(cls, size: Size) -> Size:
        if any(side % 32 for side in size):
            raise ValueError("expected sides that are multiples of 32")
        return size

    @model_validator(mode="after")
    def _one_length(self) -> "Stage":
        if (self.samples is None) == (self.epochs is None):
            raise ValueError("expected either samples or epochs")
        return self

    def steps(self, frames: int) -> int:
        """Optimiser steps of the stage for a training set of so many frames."""
        samples = self.samples if self.samples is not None else round((self.epochs or 0) * frames)
        return max(samples // self.batch, 1)


class Robustness(Checked):
    """What training does so that the network learns to do without some sensors.

    Attributes:
        passes: `clean`, all sensors sound; `degraded`, instead a random subset with corrupted members; `two`, both: the
            degraded pass is also taught by the full answer (`teacher`).
        clean_share: of the optimiser steps, at the beginning, that see every sensor, sound: what they show is learned
            faster so, and then to do without some. The best checkpoint is of the steps after it.
        teacher: `clean_pass`, the network's own answer to the clean input, or a checkpoint of a full-modality model.
        subset_share: samples of the degraded pass that lose modalities.
        corrupted_share: remaining modalities that are corrupted.
        corruptions: which kinds.
    """

    passes: Literal["clean", "degraded", "two"] = "clean"
    clean_share: Share = 0.0
    teacher: str = "clean_pass"
    subset_share: Share = 0.5
    corrupted_share: Share = 0.2
    corruptions: tuple[str, ...] = ("noise", "blank", "saturated", "blur", "dim")

    @field_validator("corruptions")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name not in CORRUPTIONS]
        if unknown:
            raise ValueError(f"expected some of {', '.join(CORRUPTIONS)}, got '{unknown[0]}'")
        return names


class LossWeights(Checked):
    """Weights of the losses; the mask decoder's has `mask`.

    Attributes:
        mask, auxiliary: OHEM cross-entropy of the two heads.
        ohem_least_pixels: how many pixels of each image OHEM takes at least, in pixels of the stage's size; by default
            a sixteenth of those that are labelled.
        dice: Dice loss of both heads, the auxiliary one's with its weight.
        consistency: L_cr of SARTM, labels against a 1x1 classifier on the fused feature; its published 10000 belongs to
            a reduction that is not stated, ours is the mean over the labelled pixels of each image.
        language: L_se of SARTM, self-similarity of class prototypes against that of the texts; published 100.
        per_modality: the same classifier on every modality's own feature.
        reliability: which sensors were corrupted.
        distillation: of the degraded pass towards the teacher.
    """

    mask: Weight = 1.0
    auxiliary: Weight = 0.5
    ohem_least_pixels: int | None = Field(None, gt=0)
    dice: Weight = 0.0
    consistency: Weight = 0.0
    language: Weight = 0.0
    per_modality: Weight = 0.0
    reliability: Weight = 0.2
    distillation: Weight = 1.0


class Texts(Checked):
    """The text teacher: `file` (see `sartm_core.model.language.from_file`), or a CLIP model on disk or on the hub."""

    file: str | None = None
    clip: str | None = None
    prompt: str = "{}"

    @model_validator(mode="after")
    def _one(self) -> "Texts":
        if (self.file is None) == (self.clip is None):
            raise ValueError("expected either file or clip")
        return self


class Recipe(Checked):
    """One training run.

    Attributes:
        network: changes to the preset, fields of `NetworkConfig` or `AdapterConfig`: the papers' ablations.
        initial_weights: of the pre-trained part alone: `sam2.1_tiny` and the like, a SAM2 `.pt` file, `nano`, or a
            checkpoint of sartm.
        start_from: a checkpoint of the same network and rig; all of its weights, experts and heads too, go on learning.
        train_backbone: false freezes SAM2's weights and trains the experts; true is for backbones without pre-training.
        lora_rank: of the experts; mm_sam_adapter has none, of sartm_released each of the three.
        branch_weights: file or folder of a ConvNeXt of transformers, for the branches of mm_sam_adapter.
        layer_decay: each block of the pre-trained backbone learns this much slower than the one behind it.
        train_experts: false leaves the experts at nothing: for pre-training a backbone.
        fit: how a camera's frame comes to a stage's size, in training, validation and the bundle: `stretch`,
            `letterbox` (padded), `corner` (padded below and on the right), `crop` (the middle), or `window`: windows of
            that size slide over the frame at its own resolution.
        stride: rows, columns between the windows.
        warm_up: how the learning rate rises from `warm_up_ratio` of it over the first `warm_up_share` of a stage.
        decay_from: where the polynomial decay begins: behind the warm-up, or with the stage's start.
        dropout: of the auxiliary head. With 0, one and many processes give the same losses; the masks are drawn per
            process.
        accumulate: micro-batches per optimiser step.
        precision: as Lightning names it; a CPU without bfloat16 arithmetic takes 32-true in place of bf16-mixed.
        validate_every: optimiser steps.
        keep_every: optimiser steps; at the validations that fall on a multiple a `step_N.ckpt` is kept besides.
        validation_frames: maximum number; for the simulated rig the total number.
        statistics: that planes are normalised by: `measured` on the training split; `pretrained`, for RGB those that
            SAM and SAM2 were trained with, as their lineages do; or `scaled`, besides that all other planes are divided
            by 255. By default `pretrained` with their weights.
        statistics_frames: frames that are measured, spread over the training split.
    """

    name: str
    description: str = ""
    preset: str
    network: dict[str, Any] = Field(default_factory=dict)
    backbone: Literal["nano", "tiny", "small", "base_plus", "base", "large"]
    initial_weights: str | None = None
    start_from: str | None = None
    train_backbone: bool
    train_experts: bool = True
    lora_rank: int = Field(16, gt=0)
    branch_weights: str | None = None
    layer_decay: float = Field(1.0, gt=0, le=1)
    seed: int = 0
    data: DataSource
    augmentation: Augmentation = Augmentation()
    robustness: Robustness = Robustness()
    losses: LossWeights = LossWeights()
    texts: Texts | None = None
    stages: tuple[Stage, ...] = Field(min_length=1)
    fit: FitMode = "stretch"
    stride: Size | None = None
    weight_decay: Weight = 0.01
    warm_up: Literal["linear", "exponential"] = "exponential"
    decay_from: Literal["warm_up", "start"] = "warm_up"
    warm_up_share: float = Field(0.05, ge=0, lt=1)
    warm_up_ratio: float = Field(0.1, gt=0, le=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    gradient_clip: Weight = 1.0
    accumulate: int = Field(1, gt=0)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    workers: int = Field(2, ge=0)
    validate_every: int = Field(500, gt=0)
    keep_every: int | None = Field(None, gt=0)
    validation_frames: int = Field(200, gt=0)
    statistics: Literal["pretrained", "measured", "scaled"] | None = None
    statistics_frames: int = Field(64, gt=0)

    @field_validator("preset")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in PRESETS:
            raise ValueError(f"expected one of {', '.join(PRESETS)}")
        return name

    @property
    def pretrained_statistics(self) -> bool:
        """Whether RGB is normalised as SAM's and SAM2's training images were."""
        if self.statistics is not None:
            return self.statistics in ("pretrained", "scaled")
        return self.backbone != "nano" and self.initial_weights is not None

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        if (self.fit == "window") != (self.stride is not None):
            raise ValueError("stride: goes with fit: window, such as [640, 640] for windows of [1024, 1024]")
        if self.stride is not None and any(s > w for s, w in zip(self.stride, self.stages[-1].size, strict=True)):
            raise ValueError(f"stride: expected at most the last stage's size {list(self.stages[-1].size)}: no gaps")
        if self.statistics == "pretrained" and self.backbone == "nano" and self.preset != "peer":
            raise ValueError("statistics: pretrained are those of SAM's and SAM2's weights; nano has none")
        if self.losses.language and self.texts is None:
            raise ValueError("losses.language needs texts: {file: ...} or texts: {clip: ...}")
        for index, stage in enumerate(self.stages):
            if stage.batch % self.accumulate:
                raise ValueError(f"stages.{index}.batch: expected a multiple of accumulate ({self.accumulate})")
        return self
