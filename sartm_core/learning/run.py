"""One training run, from a recipe to checkpoints with their figures. One process or many: the same recipe."""

import json
import logging
import shutil
import signal
import time
import warnings
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader, Dataset

from sartm_core.errors import SartmError
from sartm_core.files import atomic_path, write_text
from sartm_core.learning import preflight
from sartm_core.learning.checkpoints import (
    BEST,
    LAST,
    InPlace,
    KeepLastAndBest,
    load_all_weights,
    load_initial_weights,
    load_network,
)
from sartm_core.learning.interruption import StopOnSignal, slurm
from sartm_core.learning.module import SegmentationModule
from sartm_core.learning.normalisation import normalisation
from sartm_core.learning.opening import frame_weights, name_of, open_source
from sartm_core.learning.recipe import Recipe
from sartm_core.learning.sampler import RunSampler, StagePlan, epoch_length
from sartm_core.learning.sources import (
    Source,
    TrainingFrames,
    ValidationFrames,
    collate_validation,
    validation_draws,
)
from sartm_core.learning.workers import check_shared_memory, loading_errors
from sartm_core.model import language
from sartm_core.model.mm_sam_adapter import MMSamAdapter
from sartm_core.model.routing import LanguageRouting
from sartm_core.model.sam1_weights import load_branches
from sartm_core.model.weights_file import write_checkpoint
from sartm_core.rig import Rig

log = logging.getLogger(__name__)
# Lightning prints by a handler of its own; passed on, every line would come twice.
logging.getLogger("lightning.pytorch").propagate = False
warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's own use of torch
# True of other data loaders: ours begins where the checkpoint ended.
warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")
warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
warnings.filterwarnings("ignore", message=".*find_unused_parameters=True.*")
warnings.filterwarnings("ignore", message=".*Experiment logs directory.*")


def train(
    recipe: Recipe,
    out: Path,
    devices: int = 1,
    nodes: int = 1,
    resume: bool | Literal["auto"] = False,
    accelerator: str = "auto",
) -> dict[str, Any]:
    """Trains; writes `last.ckpt`, `best.ckpt`, `figures.json`, `metrics.csv` and TensorBoard files to `out`.

    Args:
        recipe: all there is to know.
        out: folder of the run; one that holds a run needs `resume`.
        devices, nodes: processes on each machine, machines; the recipe's batch is spread over them.
        resume: goes on from `last.ckpt`, to the bit; `auto`: where there is one.
        accelerator: as Lightning names it.

    Returns:
        The figures: best and last mean IoU on validation, steps, seconds; in all but the first process nothing.

    Raises:
        SartmError: data, weights or texts are missing or wrong; the loss is not finite; the disk is full.
        KeyboardInterrupt: Ctrl-C; what was done is kept.
        SystemExit: another signal of `interruption.SIGNALS`, with the status 128 + its number; likewise.
    """
    resumed = preflight.check_folder(out, recipe, resume)
    preflight.check_accelerator(accelerator)
    preflight.check_division(recipe, devices * nodes)
    training, validation = open_source(recipe.data, "train"), open_source(recipe.data, "val")
    log.info("data: %s, train %d, val %d", name_of(recipe.data), len(training), len(validation))
    check_shared_memory(recipe, training.rig, nodes)
    preflight.check_sanity(recipe, training, "train")
    preflight.check_sanity(recipe, validation, "val")
    weights = frame_weights(recipe.data, training)
    epoch = epoch_length(len(training), weights)
    plans = [StagePlan(stage.size, stage.steps(epoch), stage.batch) for stage in recipe.stages]
    module = _module(recipe, training, [plan.steps for plan in plans])
    keep = KeepLastAndBest(out, recipe.keep_every, best_from=module.clean_steps)
    progress, stop = _Progress(sum(plan.steps for plan in plans)), StopOnSignal(keep)
    trainer = _trainer(
        recipe, out, devices, nodes, accelerator, [keep, progress, stop], sum(plan.steps for plan in plans)
    )
    data = _Data(recipe, training, validation, plans, _done(out) if resumed else 0, weights)
    started = time.monotonic()
    try:
        with loading_errors():
            trainer.fit(module, datamodule=data, ckpt_path=str(out / LAST) if resumed else None, weights_only=True)
    except SystemExit:  # what Lightning makes of an interrupt
        kept = f"--resume goes on from step {keep.saved_step}" if keep.saved_step else "nothing was kept yet"
        log.info("interrupted at step %d; %s", trainer.global_step, kept)
        if stop.received in (None, signal.SIGINT):
            raise KeyboardInterrupt from None
        raise SystemExit(128 + stop.received) from None
    if keep.validated_step != trainer.global_step:
        with loading_errors():
            trainer.validate(module, datamodule=data, verbose=False)
    last = float(trainer.callback_metrics["val_miou"])
    if last > keep.best and trainer.is_global_zero:
        with atomic_path(out / BEST) as temporary:
            shutil.copyfile(out / LAST, temporary)
    figures = {
        "best_miou": round(max(keep.best, last), 4),
        "last_miou": round(last, 4),
        "steps": trainer.global_step,
        "seconds": round(time.monotonic() - started),
        "recipe": recipe.name,
    }
    if not trainer.is_global_zero:
        return {}
    write_text(out / "figures.json", json.dumps(figures, indent=2) + "\n")
    return figures


def _trainer(
    recipe: Recipe, out: Path, devices: int, nodes: int, accelerator: str, callbacks: list[Callback], steps: int
) -> lightning.Trainer:
    parallel = devices * nodes > 1
    return lightning.Trainer(
        default_root_dir=out,
        max_epochs=1,
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy=DDPStrategy(find_unused_parameters=True) if parallel else "auto",
        precision=preflight.precision(recipe.precision, accelerator),
        accumulate_grad_batches=recipe.accumulate,
        gradient_clip_val=recipe.gradient_clip or None,
        val_check_interval=recipe.validate_every * recipe.accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=_loggers(out),
        plugins=[*slurm(), InPlace()],
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        log_every_n_steps=min(10, steps),
    )


def write_untrained(recipe: Recipe, out: Path) -> None:
    """A checkpoint of a network whose weights are there before training: those that a peer's factory has loaded.

    Raises:
        SartmError: see `open_source`.
    """
    module = _module(recipe, open_source(recipe.data, "train"), [1])
    write_checkpoint(out, {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)})


def _module(recipe: Recipe, training: Source, steps: list[int]) -> SegmentationModule:
    torch.manual_seed(recipe.seed)
    rig = training.rig
    texts, teacher = _texts(recipe, rig), None
    if recipe.robustness.passes == "two" and recipe.robustness.teacher != "clean_pass":
        teacher, taught, _ = load_network(Path(recipe.robustness.teacher))
        if (taught.names, taught.class_names) != (rig.names, rig.class_names):
            raise SartmError(
                f"{recipe.robustness.teacher}: was trained for {', '.join(taught.names)} and {len(taught.classes)} "
                f"classes, this run has {', '.join(rig.names)} and {len(rig.classes)}. Train the teacher for this rig."
            )
    module = SegmentationModule(rig.model_dump(mode="json"), recipe.model_dump(mode="json"), steps, texts, teacher)
    routing = getattr(module.network, "routing", None)
    if texts is not None and isinstance(routing, LanguageRouting):
        routing.set_text(texts.embeddings[texts.known])
    if recipe.initial_weights is not None:
        count = load_initial_weights(module.network, recipe.initial_weights)
        log.info("initial weights: %d tensors of %s", count, recipe.initial_weights)
    if recipe.start_from is not None:
        load_all_weights(module, Path(recipe.start_from))
        log.info("goes on from %s", recipe.start_from)
    if recipe.branch_weights is not None:
        if not isinstance(module.network, MMSamAdapter):
            raise SartmError(f"branch_weights: preset {recipe.preset} has no branches; they are mm_sam_adapter's.")
        count = load_branches(module.network, Path(recipe.branch_weights))
        log.info("branch weights: %d tensors of %s", count, recipe.branch_weights)
    statistics = normalisation(recipe, training)
    module.network.set_statistics(torch.from_numpy(statistics.mean), torch.from_numpy(statistics.std))
    total = sum(p.numel() for p in module.network.parameters())
    trained = sum(p.numel() for p in module.network.parameters() if p.requires_grad)
    log.info("parameters: %d in all, %d trained", total, trained)
    return module


def _texts(recipe: Recipe, rig: Rig) -> language.TextTeacher | None:
    if recipe.texts is None:
        return None
    texts = language.texts_of(recipe.model_dump(mode="json"), rig.class_names)
    assert texts is not None
    missing = [name for name, known in zip(rig.class_names, texts.known.tolist(), strict=True) if not known]
    if missing:
        log.warning("classes without a text, left out of the language loss: %s", ", ".join(missing))
    return texts


def _done(out: Path) -> int:
    """Micro-batches that `last.ckpt` has behind it."""
    content = torch.load(out / LAST, map_location="cpu", weights_only=True)
    return int(content["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["processed"])


def _loggers(out: Path) -> list[Logger]:
    metrics = out / "metrics.csv"
    if metrics.is_file():  # the logger begins a new file: the one before a resume is kept
        before = len(list(out.glob("metrics_*.csv")))
        metrics.rename(out / f"metrics_{before}.csv")
    loggers: list[Logger] = [CSVLogger(str(out), name="", version="")]
    try:
        from lightning.pytorch.loggers import TensorBoardLogger

        loggers.append(TensorBoardLogger(str(out), name="", version="tensorboard"))
    except ModuleNotFoundError:
        log.info("no TensorBoard files: neither tensorboard nor tensorboardX is installed")
    return loggers


class _Data(lightning.LightningDataModule):
    def __init__(
        self, recipe: Recipe, training: Source, validation: Source, plans: list[StagePlan], first: int,
        weights: list[float] | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._weights = weights
        self._recipe, self._plans, self._first = recipe, plans, first
        self._training = TrainingFrames(training, recipe.fit, recipe.augmentation, recipe.seed)
        self._validation = ValidationFrames(validation, recipe.fit)

    def state_dict(self) -> dict[str, Any]:
        return {"frames": len(self._training)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The data may have moved, but their order depends on how many there are."""
        if state["frames"] != len(self._training):
            raise SartmError(
                f"data.root: has {len(self._training)} training frames; the run that is to be resumed had "
                f"{state['frames']}. Resume it on the same frames, or start a new run."
            )

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        sampler = RunSampler(
            self._plans,
            len(self._training),
            self._recipe.seed,
            self._recipe.accumulate,
            self.trainer.global_rank,
            self.trainer.world_size,
            self._first,
            self._weights,
        )
        return self._loader(self._training, sampler)

    def val_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        count = min(self._recipe.validation_frames, len(self._validation))
        draws = validation_draws(count, self._recipe.stages[-1].size)
        draws = draws[self.trainer.global_rank :: self.trainer.world_size]
        together = 1 if self._recipe.fit == "window" else 4  # frames that are cut into windows have sizes of their own
        batches = [draws[start : start + together] for start in range(0, len(draws), together)]
        return self._loader(self._validation, batches, collate_validation)

    def _loader(self, dataset: Dataset[Any], batches: Any, collate: Any = None) -> DataLoader[Any]:
        workers = self._recipe.workers
        return DataLoader(
            dataset, batch_sampler=batches, num_workers=workers, persistent_workers=workers > 0, collate_fn=collate
        )


class _Progress(Callback):
    """A line now and then: step, loss, pace, time to go. Lines, not a bar: they survive in a log file."""

    EVERY_S = 10.0

    def __init__(self, steps: int) -> None:
        self._steps, self._begun_s, self._begun_step, self._said_s = steps, 0.0, 0, 0.0

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._begun_s = self._said_s = time.monotonic()
        self._begun_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, *_: Any
    ) -> None:
        now, done = time.monotonic(), trainer.global_step - self._begun_step
        if not trainer.is_global_zero or now - self._said_s < self.EVERY_S or not done:
            return
        self._said_s = now
        pace = done / (now - self._begun_s)
        left_s = (self._steps - trainer.global_step) / pace
        loss = float(outputs["loss"]) * trainer.accumulate_grad_batches
        log.info(
            "step %d/%d, loss %.3f, %.2f steps/s, %d:%02d left",
            trainer.global_step, self._steps, loss, pace, left_s // 60, left_s % 60,
        )  # fmt: skip

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if trainer.is_global_zero and "val_miou" in trainer.callback_metrics:
            log.info("step %d: validation mIoU %.4f", trainer.global_step, trainer.callback_metrics["val_miou"])
