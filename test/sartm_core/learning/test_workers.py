"""Processes that load data: refused before the work where they cannot, and in words where they fail."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from sartm_core.errors import SartmError
from sartm_core.learning.overrides import read_recipe
from sartm_core.learning.workers import check_shared_memory, loading_errors
from sartm_core.rig import load_rig

RECIPES = Path(__file__).parents[3] / "training" / "recipes"


def test_too_little_shared_memory_is_told_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker gives 64 MB. A batch of 8 at 256x320, five sensors of float32 and the truth, has 44.6 MB."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("Usage", "free")(64_000_000))
    rig = load_rig("simrig5")
    stage = "stages=[{size: [256, 320], samples: 80, batch: 8, learning_rate: 1.0e-3}]"
    recipe = read_recipe(RECIPES / "any_sensor_simrig5.yaml", [stage, "workers=2"])
    with pytest.raises(SartmError, match=r"workers: 2 .* up to 178 MB .* has 64 MB left. Use --set workers=0, or"):
        check_shared_memory(recipe, rig, 1)
    check_shared_memory(recipe.model_copy(update={"workers": 0}), rig, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("Usage", "free")(8e9))
    check_shared_memory(recipe, rig, 1)


class Broken:
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> None:
        raise SartmError("a.png: is not a readable image. (Set data.on_unreadable: skip.)") from SartmError("a.png: no")


def test_an_error_of_a_loading_process_is_one_line() -> None:
    from torch.utils.data import DataLoader

    with pytest.raises(SartmError) as caught, loading_errors():
        list(DataLoader(Broken(), num_workers=1))  # type: ignore[arg-type]
    assert str(caught.value) == "a.png: is not a readable image. (Set data.on_unreadable: skip.)"


@pytest.mark.parametrize(
    "said",
    [
        "DataLoader worker (pid 7) is killed by signal: Bus error. ",
        "Caught RuntimeError in DataLoader worker process 0.\nRuntimeError: No space left on device (28)",
    ],
)
def test_full_memory_is_named(said: str) -> None:
    with pytest.raises(SartmError, match=r"memory or /dev/shm full\? Use --set workers=0.* --resume"), loading_errors():
        raise RuntimeError(said)
    with pytest.raises(RuntimeError, match="shapes"), loading_errors():
        raise RuntimeError("shapes differ")
