"""Checks before a run, to fail early. All raise SartmError with how to fix it."""

import logging
import os
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_only

from sartm_core.errors import SartmError
from sartm_core.learning.checkpoints import LAST, read_checkpoint, recipe_of
from sartm_core.learning.recipe import Recipe
from sartm_core.learning.sampler import Draw
from sartm_core.learning.sources import Source
from sartm_core.outputs import check_writable
from sartm_core.segmentation import UNLABELLED

log = logging.getLogger(__name__)
SANITY_FRAMES = 8

_FREE: dict[str, Any] = {"description": True, "workers": True, "keep_every": True, "data": {"root", "on_unreadable"}}
"""Fields of a recipe that may change when a run is resumed, in the form that pydantic takes."""


def check_folder(out: Path, recipe: Recipe, resume: bool | Literal["auto"]) -> bool:
    """Creates the folder; refuses to overwrite a run, or to resume one with another recipe.

    Returns:
        Whether there is a run to resume.
    """
    check_writable(out)
    last = out / LAST
    if not last.is_file():
        if resume is True:
            raise SartmError(f"{out}: has no {LAST} to resume. Start without --resume, or with --resume auto.")
        return False
    if not resume:
        raise SartmError(f"{out}: already holds a run. Continue with --resume, or choose another --out.")
    before, now = (one.model_dump(exclude=_FREE) for one in (recipe_of(read_checkpoint(last), last), recipe))
    changed = [name for name in now if before[name] != now[name]]
    if changed:
        name, *more = changed
        also = f" (also {', '.join(more)})" if more else ""
        raise SartmError(
            f"{last}: was written with another recipe: {name} was {before[name]!r}, now it is {now[name]!r}{also}. "
            "Resume with the same recipe and options, or start a new run. What decides nothing may change: "
            "description, workers, keep_every, data.root (the same frames in another place) and data.on_unreadable."
        )
    return True


def is_first_process() -> bool:
    """Whether this is the process of a run that the others follow: the only one, or the first on the first machine."""
    machine = os.environ.get("NODE_RANK") or os.environ.get("GROUP_RANK") or "0"
    return rank_zero_only.rank == 0 and machine == "0"


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
