"""Checks before a run, to fail early. All raise SartmError with how to fix it."""

import logging
from pathlib import Path

import torch

from sartm_core.errors import SartmError
from sartm_core.learning.checkpoints import LAST, read_checkpoint, recipe_of
from sartm_core.learning.recipe import Recipe
from sartm_core.learning.sampler import Draw
from sartm_core.learning.sources import Source
from sartm_core.segmentation import UNLABELLED

log = logging.getLogger(__name__)
SANITY_FRAMES = 8


def check_folder(out: Path, recipe: Recipe, resume: bool) -> None:
    """Creates the folder; refuses to overwrite a run, or to resume one with another recipe."""
    out.mkdir(parents=True, exist_ok=True)
    last = out / LAST
    if resume and not last.is_file():
        raise SartmError(f"{out}: has no {LAST} to resume. Start without --resume.")
    if resume:
        before = recipe_of(read_checkpoint(last), last)
        changed = [name for name in Recipe.model_fields if getattr(before, name) != getattr(recipe, name)]
        if changed:
            raise SartmError(
                f"{last}: was written with another recipe: {changed[0]} was {getattr(before, changed[0])!r}, now it is "
                f"{getattr(recipe, changed[0])!r}. Resume with the same recipe and options, or start a new run."
            )
    elif last.is_file():
        raise SartmError(f"{out}: already holds a run. Continue with --resume, or choose another --out.")


def check_accelerator(name: str) -> None:
    """Checks that the accelerator is known and available."""
    if name not in ("auto", "cpu", "gpu"):
        raise SartmError(f"accelerator '{name}' is unknown. Known: auto, cpu, gpu.")
    if name == "gpu" and not torch.cuda.is_available():
        raise SartmError("accelerator gpu: torch finds no CUDA device. Use auto or cpu, or a CUDA build of torch.")


def precision(requested: str, accelerator: str) -> str:
    """The precision to use: a CPU without bfloat16 would emulate it, eight times slower than float32."""
    on_cpu = accelerator == "cpu" or not torch.cuda.is_available()
    if requested == "bf16-mixed" and on_cpu and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        log.warning("precision %s: this CPU would only emulate bfloat16; 32-true is used instead", requested)
        return "32-true"
    return requested


def check_division(recipe: Recipe, processes: int) -> None:
    """Checks that every process gets equally many samples of each batch."""
    for index, stage in enumerate(recipe.stages):
        if stage.batch % (processes * recipe.accumulate):
            raise SartmError(
                f"recipe '{recipe.name}', stages.{index}.batch: {stage.batch} cannot be split over {processes} "
                f"processes, {recipe.accumulate} micro-batches each. Use a multiple of {processes * recipe.accumulate}."
            )


def check_sanity(recipe: Recipe, source: Source, split: str) -> None:
    """Checks that the first frames have labels, and none outside the class list."""
    labelled = 0
    for index in range(min(SANITY_FRAMES, len(source))):
        _, truth = source.read(Draw(index, index, recipe.stages[-1].size))
        labelled += int((truth != UNLABELLED).sum())
        wrong = truth[(truth >= len(source.rig.classes)) & (truth != UNLABELLED)]
        if wrong.size:
            raise SartmError(f"{split} frame {index}: label {wrong[0]}, expected 0 to {len(source.rig.classes) - 1}.")
    if not labelled:
        raise SartmError(f"{split}: no pixel of the first {SANITY_FRAMES} frames is labelled. Are these label images?")
