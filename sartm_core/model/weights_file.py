"""Tensors in files, whole or not at all."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from sartm_core.files import atomic_path


def write_weights(path: Path, tensors: dict[str, Tensor]) -> None:
    """Writes tensors, made contiguous.

    Raises:
        OSError: the disk is full, or takes no file of that size; names the file.
    """
    with atomic_path(path) as temporary:  # for its mode, too: the robot's user is another
        try:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)
        except SafetensorError as error:  # of the operating system's, it keeps the words alone
            raise OSError(f"{path}: cannot be written ({error}).") from error


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Writes what `torch.load` reads.

    Raises:
        OSError: the disk is full, or takes no file of that size.
    """
    with atomic_path(path) as temporary:
        save(content, temporary)


def save(content: dict[str, Any], path: Path) -> None:
    """`torch.save`, in place, but with the operating system's own error."""
    try:
        with path.open("wb") as stream:
            torch.save(content, stream)
    except RuntimeError as error:  # of its closing, after the one that says why
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
