"""Whole runs: resumed, spread over processes, on data from disk."""

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import pytest
import torch
import yaml
from lightning.pytorch.trainer.states import TrainerFn
from safetensors.torch import load_file

from sartm_core.datasets.frame_folder import FrameFolder
from sartm_core.deploy import load_segmenter
from sartm_core.errors import SartmError
from sartm_core.learning.checkpoints import KeepLastAndBest, extract_pretrained, load_initial_weights, load_network
from sartm_core.learning.export import export
from sartm_core.learning.module import SegmentationModule
from sartm_core.learning.overrides import read_recipe
from sartm_core.learning.run import train
from sartm_core.model.presets import build_network, preset
from sartm_core.resources import shipped_weights
from sartm_core.rig import load_rig
from sartm_sim.dataset import write_benchmark

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]

RECIPE = {
    "name": "tiny",
    "preset": "any_sensor",
    "backbone": "nano",
    "train_backbone": True,
    "lora_rank": 2,
    "data": {"simulated": "sim"},
    "robustness": {"passes": "two", "clean_share": 0.4, "subset_share": 0.7, "corrupted_share": 0.4},
    "losses": {"per_modality": 0.2, "consistency": 0.1},
    "stages": [
        {"size": [64, 96], "samples": 20, "batch": 4, "learning_rate": 1.0e-3},
        {"size": [32, 64], "samples": 20, "batch": 4, "learning_rate": 5.0e-4},
    ],
    "validate_every": 3,
    "validation_frames": 6,
    "workers": 0,
    "statistics_frames": 4,
}


def written(folder: Path, **changes: object) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, **changes}))
    return path


def command(recipe: Path, out: Path, *more: str) -> list[str]:
    script = str(ROOT / "training" / "train.py")
    return [sys.executable, script, str(recipe), "--out", str(out), "--accelerator", "cpu", *more]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, map_location="cpu", weights_only=True)["state_dict"]


def run(*arguments: str) -> None:
    done = subprocess.run(
        arguments, env=environment(), capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run in one process, in the folder `run` beside its recipe."""
    folder = tmp_path_factory.mktemp("whole")
    run(*command(written(folder), folder / "run"))
    return folder


def test_a_run_that_was_killed_goes_on_to_the_bit(whole_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    recipe = written(tmp_path)
    with subprocess.Popen(command(recipe, out), env=environment(), stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not (out / "last.ckpt").is_file():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    step = torch.load(out / "last.ckpt", weights_only=True)["global_step"]
    assert 3 <= step < 10
    run(*command(recipe, out, "--resume"))
    resumed, uninterrupted = weights(out / "last.ckpt"), weights(whole_run / "run" / "last.ckpt")
    assert resumed.keys() == uninterrupted.keys()
    assert all(torch.equal(resumed[name], uninterrupted[name]) for name in resumed)
    assert not list(out.glob(".*"))
    assert (out / "metrics_0.csv").is_file()  # of before the resume
    assert (out / "metrics.csv").is_file()


def test_two_processes_and_one_give_the_same(tmp_path: Path) -> None:
    # Sums in another order differ in the last digit; a small learning rate keeps that from growing over the steps.
    changes = ["dropout=0", *(f"stages.{i}.learning_rate=1.0e-5" for i in (0, 1))]
    same = [part for change in changes for part in ("--set", change)]
    run(*command(written(tmp_path), tmp_path / "one", *same))
    run(*command(written(tmp_path), tmp_path / "two", "--devices", "2", *same))

    def column(folder: Path, name: str) -> list[float]:
        with (folder / "metrics.csv").open() as stream:
            return [float(row[name]) for row in csv.DictReader(stream) if row[name]]

    for name in ("loss", "mask", "distillation", "reliability", "per_modality", "consistency"):
        one, two = column(tmp_path / "one", name), column(tmp_path / "two", name)
        assert len(one) == len(two) == 1
        assert two == pytest.approx(one, rel=1e-5, abs=1e-5), name
    figures = [json.loads((out / "figures.json").read_text()) for out in (tmp_path / "one", tmp_path / "two")]
    assert figures[0]["steps"] == figures[1]["steps"] == 10


def test_a_run_can_begin_with_whole_and_sound_frames(tmp_path: Path) -> None:
    degraded = {"passes": "degraded", "clean_share": 0.5, "subset_share": 1.0, "corrupted_share": 0.5}
    stages = [{"size": [32, 64], "samples": 32, "batch": 4, "learning_rate": 1.0e-3}]
    for name, robustness in (("clean", {"passes": "clean", "clean_share": 0.5}), ("late", degraded)):
        recipe = written(tmp_path, robustness=robustness, stages=stages, validate_every=2, keep_every=4)
        train(read_recipe(recipe), tmp_path / name, accelerator="cpu")
    for step, alike in ((4, True), (8, False)):
        clean, late = (weights(tmp_path / name / f"step_{step}.ckpt") for name in ("clean", "late"))
        assert all(torch.equal(clean[key], late[key]) for key in clean) == alike


@pytest.mark.parametrize(("best_from", "expected"), [(0, 4), (4, 6)])
def test_the_best_checkpoint_is_of_the_part_that_breaks_sensors(tmp_path: Path, best_from: int, expected: int) -> None:
    keep = KeepLastAndBest(tmp_path, best_from=best_from)
    for step, miou in ((2, 0.5), (4, 0.9), (6, 0.4), (8, 0.3)):
        trainer = SimpleNamespace(
            state=SimpleNamespace(fn=TrainerFn.FITTING), global_step=step, is_global_zero=True,
            callback_metrics={"val_miou": torch.tensor(miou)},
            save_checkpoint=lambda path, step=step: path.write_text(str(step)),
        )  # fmt: skip
        keep.on_validation_end(trainer, None)
    assert (tmp_path / "best.ckpt").read_text() == str(expected)
    assert (tmp_path / "last.ckpt").read_text() == "8"


def test_a_run_leaves_what_it_promises(whole_run: Path, tmp_path: Path) -> None:
    out = whole_run / "run"
    assert sorted(path.name for path in out.iterdir()) == [
        "best.ckpt", "figures.json", "hparams.yaml", "last.ckpt", "metrics.csv", "tensorboard",
    ]  # fmt: skip
    assert list((out / "tensorboard").glob("events.*"))
    bundle = export(out / "best.ckpt", tmp_path / "bundle", fit="letterbox")
    assert (
        len({path.stat().st_mode for path in (tmp_path / "bundle").iterdir()}) == 1
    )  # whoever may read one, reads all
    assert (bundle.size, bundle.fit) == ((32, 64), "letterbox")
    assert load_segmenter(tmp_path / "bundle").bundle.rig.names == ("rgb", "thermal", "depth")
    with pytest.raises(SartmError, match="holds other things and is not a bundle"):
        export(out / "best.ckpt", out)
    with pytest.raises(SartmError, match="already holds a run. Continue with --resume"):
        train(read_recipe(whole_run / "tiny.yaml"), out)
    with pytest.raises(SartmError, match="was written with another recipe: lora_rank was 2, now it is 3"):
        train(read_recipe(whole_run / "tiny.yaml", ["lora_rank=3"]), out, resume=True)


def test_a_recording_trains_a_part_of_its_rig(tmp_path: Path, small_recording: Path) -> None:
    """`--data` and `--modalities`; the reference is not among them."""
    changes = [
        f"data.root={small_recording}", "data.modalities=[thermal,lidar,event]", "stages.1.samples=8",
        "stages.0.epochs=1", "stages.0.samples=null", "validation_frames=3",
    ]  # fmt: skip
    recipe = read_recipe(written(tmp_path), [*changes, "keep_every=3"])
    figures = train(recipe, tmp_path / "run", accelerator="cpu")
    assert sorted(path.name for path in (tmp_path / "run").glob("*.ckpt")) == ["best.ckpt", "last.ckpt", "step_3.ckpt"]
    assert figures["steps"] == 3 + 2  # 12 frames in batches of 4, then 8 samples
    _, rig, _ = load_network(tmp_path / "run" / "best.ckpt")
    assert rig.names == ("thermal", "lidar", "event")
    assert rig.reference == "thermal"


def test_unreadable_files_stop_or_are_skipped(tmp_path: Path, small_recording: Path) -> None:
    data = FrameFolder(Path(shutil.copytree(small_recording, tmp_path / "data")))
    path = data.path(data.frames("train")[5], "thermal")
    path.write_bytes(b"broken")
    changes = [f"data.root={tmp_path / 'data'}", "stages.0.samples=24", "stages.1.samples=4", "statistics_frames=2"]
    with pytest.raises(SartmError, match=rf"{path.name}: is not a readable image.*on_unreadable: skip"):
        train(read_recipe(written(tmp_path), changes), tmp_path / "stop", accelerator="cpu")
    changes.append("data.on_unreadable=skip")
    figures = train(read_recipe(written(tmp_path), changes), tmp_path / "skip", accelerator="cpu")
    assert figures["steps"] == 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["data.root=/no/such/folder"], "/no/such/folder: no such folder"),
        (["data.modalities=[radar]"], "rig 'sim' has no modality 'radar'. It has: rgb, thermal, depth"),
        (["stages.0.batch=5", "accumulate=2"], r"stages\.0\.batch: expected a multiple of accumulate \(2\)"),
        (["losses.language=100"], "losses.language needs texts"),
        (["network={fusion: psychic}"], "network.fusion: expected reliability, mean,.* got 'psychic'"),
        (["network={backbone: large}"], "network: 'backbone' cannot be changed; these can"),
        (["initial_weights=nosuch"], "initial_weights 'nosuch': no such weights. Expected nano, one of sam2"),
        (["robustness.corruptions=[rust]"], "expected some of noise, .* got 'rust'"),
        (["seed"], "--set seed: expected field=value"),
        (["stages.7.batch=4"], "--set stages.7.batch=4: the recipe has no field 'stages.7.batch'"),
        (["stages.0.learning_rate=1.0e+9", "validate_every=100"], "the loss is not finite .* Lower the"),
    ],
)
def test_what_cannot_be_trained_is_named(tmp_path: Path, changes: list[str], message: str) -> None:
    with pytest.raises(SartmError, match=message):
        train(read_recipe(written(tmp_path), changes), tmp_path / "run", accelerator="cpu")
    assert not list(tmp_path.glob("run/.*"))


def test_a_batch_that_cannot_be_spread_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SartmError, match=r"stages\.0\.batch: 4 cannot be split over 3 processes"):
        train(read_recipe(written(tmp_path)), tmp_path / "run", devices=3, accelerator="cpu")


@pytest.mark.parametrize(
    ("name", "message"), [("tpu", "accelerator 'tpu' is unknown. Known: auto, cpu, gpu"), ("gpu", "no CUDA device")]
)
def test_an_accelerator_that_is_not_there_is_named(tmp_path: Path, name: str, message: str) -> None:
    if name == "gpu" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(SartmError, match=message):
        train(read_recipe(written(tmp_path)), tmp_path / "run", accelerator=name)


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_a_cpu_without_bfloat16_does_not_emulate_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, has_bfloat16: bool
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: has_bfloat16)
    used = []
    real = lightning.Trainer

    def trainer(**options: Any) -> lightning.Trainer:
        used.append(options["precision"])
        return real(**options)

    monkeypatch.setattr(lightning, "Trainer", trainer)
    changes = ["precision=bf16-mixed", "robustness.passes=clean", "stages.0.samples=4", "stages.1.samples=4"]
    train(read_recipe(written(tmp_path), changes), tmp_path / "run", accelerator="cpu")
    assert used == ["bf16-mixed" if has_bfloat16 else "32-true"]
    assert ("this CPU would only emulate bfloat16" in caplog.text) != has_bfloat16


def test_ctrl_c_says_what_was_kept(tmp_path: Path) -> None:
    out = tmp_path / "run"
    long = written(tmp_path, stages=[{"size": [64, 96], "samples": 4000, "batch": 4, "learning_rate": 1e-3}])
    started = subprocess.Popen(
        command(long, out),
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background inherits that it ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with started as process:
        deadline = time.monotonic() + 120
        while not (out / "last.ckpt").is_file():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for _ in range(4):  # an interrupt that falls into a destructor is lost; a user presses again
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
                break
        _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "--resume goes on from step" in " ".join(said.split())
    assert "Traceback" not in said


@pytest.mark.filterwarnings("ignore:Experiment logs directory", "ignore:.*your dataloader is not resumable")
def test_an_interrupt_after_a_resume_says_from_where_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = SegmentationModule.training_step

    def step(module: SegmentationModule, *arguments: Any) -> torch.Tensor:
        if module.global_step == 5:
            raise KeyboardInterrupt
        return real(module, *arguments)

    monkeypatch.setattr(SegmentationModule, "training_step", step)
    caplog.set_level("INFO")
    recipe, handler = read_recipe(written(tmp_path)), signal.getsignal(signal.SIGINT)
    for resume in (False, True):
        caplog.clear()
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "run", accelerator="cpu", resume=resume)
        signal.signal(signal.SIGINT, handler)  # Lightning leaves it ignored
        assert "interrupted at step 5; --resume goes on from step 3" in caplog.text


def test_a_full_disk_is_named_and_the_last_checkpoint_stays(tmp_path: Path, monkeypatch) -> None:
    import lightning

    def no_space(trainer, path, *_: object) -> None:
        Path(path).write_bytes(b"half a")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lightning.Trainer, "save_checkpoint", no_space)
    with pytest.raises(SartmError, match=r"last\.ckpt: cannot be written .*No space left.* continue with --resume"):
        train(read_recipe(written(tmp_path)), tmp_path / "run", accelerator="cpu")
    assert not list((tmp_path / "run").glob("*.ckpt*"))
    assert not list((tmp_path / "run").glob(".*"))


def test_pretrained_weights_are_extracted_and_frozen(tmp_path: Path) -> None:
    """Pre-train without experts, take the encoder out, adapt it: the encoder stays what it was."""
    pretraining = ["train_experts=false", "stages.1.samples=4", "stages.0.samples=8", "data.modalities=[rgb]"]
    train(read_recipe(written(tmp_path), pretraining), tmp_path / "pre", accelerator="cpu")
    file = tmp_path / "nano.safetensors"
    assert extract_pretrained(tmp_path / "pre" / "last.ckpt", file) > 50
    pretrained = load_network(tmp_path / "pre" / "last.ckpt")[0].pretrained_parameters()
    adapt = [f"initial_weights={file}", "train_backbone=false", "stages.1.samples=4", "stages.0.samples=8"]
    train(read_recipe(written(tmp_path), adapt), tmp_path / "run", accelerator="cpu")
    adapted, _, _ = load_network(tmp_path / "run" / "last.ckpt")
    for name, tensor in adapted.pretrained_parameters().items():
        assert torch.equal(tensor, pretrained[name].half().float()), name
    trained = [name for name, p in adapted.named_parameters() if "lora_B" in name and p.abs().max() > 0]
    assert trained
    with pytest.raises(SartmError, match=r"its experts \(or adapter\) were trained too"):
        extract_pretrained(tmp_path / "run" / "last.ckpt", file)
    with pytest.raises(SartmError, match="do not fit the backbone; the first difference is"):
        load_initial_weights(load_network_of("tiny"), str(file))


@pytest.mark.parametrize("name", ["any_sensor", "mean_fusion"])
def test_pretrained_weights_fit_whichever_layers_have_experts(name: str) -> None:
    shipped = load_file(shipped_weights("nano.safetensors"))
    network = build_network(preset(name, "nano", ("rgb", "depth"), 2, 1))
    assert load_initial_weights(network, "nano") == len(shipped) > 100
    own = {key.replace(".base_layer", ""): tensor for key, tensor in network.state_dict().items()}
    for key, tensor in shipped.items():
        assert torch.equal(own[key.replace(".base_layer", "")], tensor.float()), key


def test_a_checkpoint_of_an_earlier_form_is_refused_in_words(whole_run: Path, tmp_path: Path) -> None:
    content = torch.load(whole_run / "run" / "best.ckpt", weights_only=True)
    name = "network.routing.reliability.0.weight"
    content["state_dict"][name] = content["state_dict"][name][:, :-3]
    torch.save(content, tmp_path / "old.ckpt")
    with pytest.raises(
        SartmError, match=r"any_sensor has changed since it was trained: .*routing.reliability.0.weight is"
    ):
        export(tmp_path / "old.ckpt", tmp_path / "bundle")


def test_a_run_goes_on_from_all_weights_of_another(tmp_path: Path) -> None:
    short = ["stages.1.samples=4", "stages.0.samples=8"]
    train(read_recipe(written(tmp_path), short), tmp_path / "first", accelerator="cpu")
    checkpoint = tmp_path / "first" / "last.ckpt"
    hardly = [f"start_from={checkpoint}", "stages.0.learning_rate=1e-12", "stages.1.learning_rate=1e-12", *short]
    train(read_recipe(written(tmp_path), hardly), tmp_path / "second", accelerator="cpu")
    (before, _, _), (after, _, _) = load_network(checkpoint), load_network(tmp_path / "second" / "last.ckpt")
    for name, tensor in before.state_dict().items():
        torch.testing.assert_close(after.state_dict()[name], tensor, msg=name)
    with pytest.raises(SartmError, match="start_from '.*last.ckpt': has another network.*lora_"):
        train(read_recipe(written(tmp_path), [*hardly, "lora_rank=3"]), tmp_path / "third", accelerator="cpu")


def load_network_of(backbone: str):
    from sartm_core.model.network import MultiModalNetwork
    from sartm_core.model.presets import any_sensor

    return MultiModalNetwork(any_sensor(backbone, ("rgb",), 2, 1))


@pytest.mark.parametrize("path", sorted((ROOT / "training" / "recipes").rglob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_recipes_are_valid(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    assert recipe.description


@pytest.mark.soak
def test_the_smoke_recipe_learns(tmp_path: Path) -> None:
    """300 steps from the shipped nano backbone, frames rendered beforehand."""
    write_benchmark(load_rig("sim"), tmp_path / "data", ["train", "val"], 400, 2, lambda done, total: None)
    recipe = read_recipe(ROOT / "training" / "recipes" / "smoke.yaml", [f"data.root={tmp_path / 'data'}"])
    assert train(recipe, tmp_path / "run", accelerator="cpu")["best_miou"] > 0.28
