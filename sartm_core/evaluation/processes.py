"""Several processes that score together, started by torchrun; without it, one. One process alone needs no torch."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

ValueT = TypeVar("ValueT")


@contextmanager
def process_group() -> Iterator[tuple[int, int]]:
    """Rank of this process and their number; joins them where torchrun started several."""
    joined = _joined()
    if joined is not None:  # by a caller, whose matter it is to end it
        yield joined.get_rank(), joined.get_world_size()
        return
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield 0, 1
        return
    import torch.distributed as distributed

    distributed.init_process_group("gloo")
    try:
        yield distributed.get_rank(), world
    finally:
        distributed.destroy_process_group()


def gathered(mine: ValueT) -> list[ValueT]:
    """What each process gives, in order of rank, in all of them; must be called by all."""
    distributed = _joined()
    if distributed is None:
        return [mine]
    everything: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(everything, mine)
    return everything


def _joined() -> Any:
    """`torch.distributed`, where this process has joined others."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed
