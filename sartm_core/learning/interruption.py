"""Ends a run at the next step when a signal asks for it, with a checkpoint of that step."""

import os
import signal
import threading
from types import FrameType
from typing import Any

import lightning
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn

from sartm_core.errors import SartmError
from sartm_core.learning.checkpoints import KeepLastAndBest

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C; the end of a container or a SLURM job; what `sbatch --signal=USR1@120` sends before it."""


class StopOnSignal(Callback):
    """Saves `last.ckpt` at the end of the step in which a signal comes, of whichever process, and interrupts the run.

    During a validation it waits for the end, where a checkpoint is written anyway. Comes after the other callbacks.
    Lightning's own handlers, which it replaces while the run trains, end a run without a checkpoint.

    Args:
        keep: writes the checkpoint.

    Attributes:
        received: the signal, if one came to this process.
    """

    def __init__(self, keep: KeepLastAndBest) -> None:
        self._keep = keep
        self.received: int | None = None

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._note)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        done = batch_index + 1
        within_a_step = done % trainer.accumulate_grad_batches != 0
        if within_a_step or done >= trainer.num_training_batches or not self._asked(trainer):
            return
        self._keep.save_last(trainer)
        raise KeyboardInterrupt

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and self._asked(trainer):
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received == number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice: at once
        self.received = number
        # The streams may be in use by what was interrupted.
        os.write(2, b"the run ends after this step or validation; Ctrl-C twice ends it at once\n")

    def _asked(self, trainer: lightning.Trainer) -> bool:
        """Whether any process got a signal: all must save together."""
        return trainer.strategy.reduce_boolean_decision(self.received is not None, all=False)


def slurm() -> list[SLURMEnvironment]:
    """Lightning's plugin for a job of SLURM, without what it does by default at a signal.

    That is to write `hpc_ckpt_N.ckpt` into the working folder, from where the next run of whatever kind goes on, and to
    requeue the job.

    Raises:
        SartmError: the job has other tasks than those that Lightning can use.
    """
    if not SLURMEnvironment.detect():
        return []
    try:
        return [SLURMEnvironment(auto_requeue=False)]
    except RuntimeError as error:
        raise SartmError(
            f"SLURM: {error} Start one task for each GPU by `srun` with --ntasks-per-node, the number of --devices."
        ) from error
