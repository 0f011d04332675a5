"""Runs that are stopped, killed or left without space, and what they go on from."""

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from sartm_core.errors import SartmError
from sartm_core.learning.module import SegmentationModule
from sartm_core.learning.overrides import read_recipe
from sartm_core.learning.recipe import Recipe
from sartm_core.learning.run import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Experiment logs directory", "ignore:.*your dataloader is not resumable"),
]

RECIPE = {
    "name": "tiny",
    "preset": "any_sensor",
    "backbone": "nano",
    "train_backbone": True,
    "lora_rank": 2,
    "stages": [{"size": [32, 64], "samples": 24, "batch": 4, "learning_rate": 1.0e-3}],
    "accumulate": 2,
    "validate_every": 2,
    "validation_frames": 2,
    "workers": 0,
    "statistics_frames": 2,
}
IN_SLURM = {"NTASKS": "1", "JOB_ID": "123", "JOB_NAME": "train", "NODELIST": "n1", "PROCID": "0", "LOCALID": "0"}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, small_recording: Path) -> Recipe:
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    data = {"root": str(small_recording), "modalities": ["rgb"]}
    path.write_text(yaml.safe_dump(RECIPE | {"data": data}))
    return read_recipe(path)


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run."""
    out = tmp_path_factory.mktemp("whole")
    train(recipe, out, accelerator="cpu")
    return out


@pytest.fixture(autouse=True)
def _handlers() -> Any:
    """Lightning leaves Ctrl-C ignored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def content(path: Path) -> dict[str, Any]:
    return torch.load(path, map_location="cpu", weights_only=True)


def same_weights(one: Path, other: Path) -> bool:
    first, second = content(one)["state_dict"], content(other)["state_dict"]
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[], None]) -> None:
    """Acts at the beginning of a step, in the first of its micro-batches."""
    real = SegmentationModule.training_step

    def acting(module: SegmentationModule, batch: Any, index: int) -> torch.Tensor:
        if module.global_step == step and index % 2 == 0:
            act()
        return real(module, batch, index)

    monkeypatch.setattr(SegmentationModule, "training_step", acting)


@pytest.mark.parametrize(
    ("number", "step", "ends"),
    [
        (signal.SIGTERM, 0, SystemExit),  # before anything was validated
        (signal.SIGUSR1, 2, SystemExit),
        (signal.SIGINT, 4, KeyboardInterrupt),
    ],
)
def test_a_signal_keeps_the_step_and_the_same_command_goes_on_to_the_bit(
    recipe: Recipe, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, step: int, ends: Any
) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, step, lambda: os.kill(os.getpid(), number))
        with pytest.raises(ends) as caught:
            train(recipe, tmp_path, resume="auto", accelerator="cpu")
    if ends is SystemExit:
        assert caught.value.code == 128 + number
    assert content(tmp_path / "last.ckpt")["global_step"] == step + 1
    figures = train(recipe, tmp_path, resume="auto", accelerator="cpu")
    assert figures["steps"] == 6
    assert same_weights(tmp_path / "last.ckpt", whole / "last.ckpt")
    assert same_weights(tmp_path / "best.ckpt", whole / "best.ckpt")


def test_a_run_in_slurm_keeps_to_its_own_folder(
    recipe: Recipe, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning goes on from an `hpc_ckpt_*.ckpt` of the working folder, whichever run it is of."""
    for name, value in {**IN_SLURM, "NODEID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    place = tmp_path / "cwd"
    place.mkdir()
    shutil.copy(whole / "last.ckpt", place / "hpc_ckpt_1.ckpt")
    monkeypatch.chdir(place)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))  # it may be small, or full
    at_step(monkeypatch, 3, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    with pytest.raises(SystemExit):
        train(recipe, tmp_path / "run", resume="auto", accelerator="cpu")
    assert content(tmp_path / "run" / "last.ckpt")["global_step"] == 4
    assert [path.name for path in place.iterdir()] == ["hpc_ckpt_1.ckpt"]


def test_tasks_of_slurm_that_lightning_cannot_use_are_explained(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**IN_SLURM, "NODEID": "0", "NTASKS": "2"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    with pytest.raises(SartmError, match="SLURM: .*--ntasks=2.* Start one task for each GPU by `srun`"):
        train(recipe, tmp_path, accelerator="cpu")


class Killed(BaseException):
    """As by SIGKILL: nothing is cleaned up."""


def test_a_kill_between_the_two_checkpoints_loses_none(
    recipe: Recipe, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.replace

    def replace(part: Path, target: Path) -> Path:
        if target.name == "last.ckpt" and (tmp_path / "last.ckpt").is_file():  # at the second validation
            raise Killed
        return real(part, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(Killed):
            train(recipe, tmp_path, accelerator="cpu")
    check_resumed(recipe, whole, tmp_path)


def test_a_disk_that_fills_up_between_the_two_checkpoints(
    recipe: Recipe, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        at_step(patch, 2, lambda: patch.setattr(shutil, "copyfile", no_space))  # the first validation is over
        with pytest.raises(SartmError, match=r"\.ckpt: cannot be written .*No space left.* continue with --resume"):
            train(recipe, tmp_path, accelerator="cpu")
    assert not list(tmp_path.glob(".*"))
    check_resumed(recipe, whole, tmp_path)


def test_a_best_checkpoint_that_is_missing_is_not_named(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(SystemExit):
            train(recipe, tmp_path, accelerator="cpu")
    (tmp_path / "best.ckpt").unlink()
    figures = train(recipe, tmp_path, resume=True, accelerator="cpu")
    assert "best.ckpt: is missing; the best of the validations to come" in caplog.text
    assert figures["best_miou"] == round(recorded(tmp_path / "best.ckpt"), 4)


def check_resumed(recipe: Recipe, whole: Path, out: Path) -> None:
    assert content(out / "last.ckpt")["global_step"] == 2
    figures = train(recipe, out, resume=True, accelerator="cpu")
    assert same_weights(out / "best.ckpt", whole / "best.ckpt")
    assert same_weights(out / "last.ckpt", whole / "last.ckpt")
    assert figures["best_miou"] == round(recorded(whole / "best.ckpt"), 4)


def recorded(checkpoint: Path) -> float:
    """The mean IoU that a checkpoint has of itself."""
    return content(checkpoint)["callbacks"]["KeepLastAndBest"]["best"]


def test_what_decides_nothing_may_change_in_a_resumed_run(
    recipe: Recipe, small_recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a file has broken: the advice of the message, on data that have moved."""
    before, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(small_recording, before)
    source = recipe.data.model_copy(update={"root": str(before)})
    stage = recipe.stages[0].model_copy(update={"samples": 16})
    first = recipe.model_copy(update={"data": source, "stages": (stage,)})
    with monkeypatch.context() as patch:
        at_step(patch, 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(SystemExit):
            train(first, out, accelerator="cpu")
    after = before.rename(tmp_path / "elsewhere")
    (after / "train" / "rgb" / "000003.png").write_bytes(b"broken")
    moved = source.model_copy(update={"root": str(after), "on_unreadable": "skip"})
    changes = {"data": moved, "workers": 1, "keep_every": 4, "description": "on another machine"}
    for field, value in {"seed": 5, "accumulate": 1, "data": moved.model_copy(update={"modalities": None})}.items():
        with pytest.raises(SartmError, match=rf"another recipe: {field} was .* What decides nothing may change: descr"):
            train(first.model_copy(update=changes | {field: value}), out, resume=True, accelerator="cpu")
    manifest = json.loads((after / "manifest.json").read_text())
    fewer = [frame for frame in manifest["frames"] if frame["id"] != "000004"]
    (after / "manifest.json").write_text(json.dumps(manifest | {"frames": fewer}))
    with pytest.raises(SartmError, match=r"data.root: has 11 training frames; the run .* had 12"):
        train(first.model_copy(update=changes), out, resume=True, accelerator="cpu")
    (after / "manifest.json").write_text(json.dumps(manifest))
    assert train(first.model_copy(update=changes), out, resume=True, accelerator="cpu")["steps"] == 4
    assert (out / "step_4.ckpt").is_file()


def test_a_run_is_begun_or_resumed_but_not_overwritten(recipe: Recipe, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(SartmError, match=r"has no last.ckpt to resume. Start without --resume, or with --resume auto"):
        train(recipe, tmp_path, resume=True, accelerator="cpu")
    with pytest.raises(SartmError, match="already holds a run. Continue with --resume"):
        train(recipe, whole, accelerator="cpu")
