"""Processes that load data: what they need, and what they say when they fail."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sartm_core.errors import SartmError
from sartm_core.learning.recipe import Recipe
from sartm_core.rig import Rig

SHARED_MEMORY = Path("/dev/shm")
AHEAD = 2
"""Batches that torch has each of them prepare."""
_REMEDY = "Use --set workers=0, or give it more: docker run --shm-size 8g."


def check_shared_memory(recipe: Recipe, rig: Rig, nodes: int) -> None:
    """Checks that the batches which are on their way fit into a machine's shared memory; docker's default is 64 MB.

    Raises:
        SartmError: they do not.
    """
    if not recipe.workers or not SHARED_MEMORY.is_dir():
        return
    pixel = len(rig.names) * 3 * rig.dtype.itemsize + 8  # planes and truth
    batch = max(stage.batch * stage.size[0] * stage.size[1] * pixel for stage in recipe.stages)
    needed = batch // (recipe.accumulate * nodes) * recipe.workers * AHEAD
    free = shutil.disk_usage(SHARED_MEMORY).free
    if needed > free:
        raise SartmError(
            f"workers: {recipe.workers} for each process hand over up to {needed / 1e6:.0f} MB through "
            f"{SHARED_MEMORY}, which has {free / 1e6:.0f} MB left. {_REMEDY}"
        )


@contextmanager
def loading_errors() -> Iterator[None]:
    """What happens in a process that loads data, in the words that it would have in this one."""
    try:
        yield
    except SartmError as error:
        # torch puts the traceback of the other process into the message.
        *traceback, own = str(error).rsplit(f"{SartmError.__module__}.{SartmError.__qualname__}: ", 1)
        if traceback:
            raise SartmError(own.strip()) from None
        raise
    except RuntimeError as error:
        if "DataLoader worker" in str(error) or "No space left on device" in str(error):
            raise SartmError(
                f"workers: a process that loads data failed ({str(error).splitlines()[-1]}). Is memory or "
                f"{SHARED_MEMORY} full? {_REMEDY} --resume goes on from the last checkpoint."
            ) from error
        raise
