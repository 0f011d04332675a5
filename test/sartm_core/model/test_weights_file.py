import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from sartm_core.model.weights_file import write_checkpoint, write_weights

TENSORS = {"w": torch.arange(1_000_000.0)}


@pytest.fixture
def _small_files() -> Iterator[None]:
    """What a full disk is to a file: it grows no further."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("_small_files")
@pytest.mark.parametrize("write", [write_checkpoint, write_weights])
def test_a_full_disk_is_told_as_one_and_leaves_what_was_there(
    tmp_path: Path, write: Callable[[Path, dict[str, torch.Tensor]], None]
) -> None:
    """torch and safetensors have errors of their own, which no command expects."""
    path = tmp_path / "weights"
    path.write_bytes(b"the old ones")
    with pytest.raises(OSError, match="File too large"):
        write(path, TENSORS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["weights"]
    assert path.read_bytes() == b"the old ones"
