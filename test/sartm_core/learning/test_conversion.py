"""SARTM's published weights: one command makes a checkpoint, a second one scores it as their own evaluation would."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from released_sartm import ReleasedSartm
from typer.testing import CliRunner

from sartm_core.cli import app
from sartm_core.deploy import load_segmenter
from sartm_core.learning.checkpoints import load_network
from sartm_core.learning.export import export
from sartm_core.learning.overrides import read_recipe
from sartm_core.learning.run import train
from sartm_core.rig import load_rig

runner = CliRunner()
RECIPES = Path(__file__).parents[3] / "training" / "recipes"
SIDE, FRAME = 1280, (720, 1280)


def write_frame(root: Path, split: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RGB [H, W, 3], thermal [H, W] and labels [H, W] of a frame of PST900's size, in patches."""
    rng = np.random.default_rng(seed)
    rgb, thermal = (np.kron(rng.integers(0, 256, shape), np.ones(ones)) for shape, ones in
                    (((9, 16, 3), (80, 80, 1)), ((18, 32), (40, 40))))  # fmt: skip
    labels = np.kron(rng.integers(0, 5, (9, 16)), np.ones((80, 80)))
    images = {"rgb": rgb, "thermal": thermal, "labels": labels, "depth": np.ones(FRAME)}
    for folder, image in images.items():
        path = root / split / folder / "frame.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(image.astype(np.uint16 if folder == "depth" else np.uint8)).save(path)
    return rgb.astype(np.uint8), thermal.astype(np.uint8), labels.astype(np.int64)


def their_score(model: ReleasedSartm, rgb: np.ndarray, thermal: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """IoU of each class: padded below with 0, RGB by ImageNet's figures, thermal by 255; absent classes would be 0."""
    images = torch.zeros(2, 3, SIDE, SIDE)
    images[0, :, : FRAME[0]] = torch.from_numpy(rgb).permute(2, 0, 1) / 255
    images[1, :, : FRAME[0]] = torch.from_numpy(thermal) / 255
    mean, std = (torch.tensor(row)[:, None, None] for row in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    images[0] = (images[0] - mean) / std
    mask = model(images).argmax(dim=0)[: FRAME[0]].numpy()
    hits = np.zeros((5, 5))
    np.add.at(hits, (labels, mask), 1)
    return np.diag(hits) / (hits.sum(0) + hits.sum(1) - np.diag(hits))


@pytest.mark.slow
def test_two_commands_repeat_their_evaluation(tmp_path: Path) -> None:
    model, data = ReleasedSartm((SIDE, SIDE)), tmp_path / "PST900"
    write_frame(data, "train", 1)
    expected = their_score(model, *write_frame(data, "test", 2))
    assert len(np.unique(np.round(expected, 3))) > 2  # or the figures say nothing
    weights, checkpoint = model.save(tmp_path / "SARMT_PST_89.88.pth"), tmp_path / "released.ckpt"
    converted = runner.invoke(app, ["weights", "convert", str(weights), "--out", str(checkpoint)])
    assert converted.exit_code == 0, converted.stderr
    assert "do not decide the answer" in converted.stdout
    run = runner.invoke(app, ["evaluate", str(checkpoint), "--data", str(data), "--json"])
    assert run.exit_code == 0, run.stderr
    figures = json.loads(run.stdout)
    assert figures["modalities"] == ["rgb", "thermal"]
    found = [one["iou"] for one in figures["clean"]["classes"].values()]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert figures["clean"]["miou_absent_0"] == pytest.approx(expected.mean(), abs=1e-4)


@pytest.mark.slow
def test_the_preset_trains(tmp_path: Path) -> None:
    """Two steps with all of its losses; then it is a bundle like any other."""
    rig, texts = load_rig("sim"), tmp_path / "texts.npy"
    np.save(texts, np.random.default_rng(0).normal(size=(len(rig.classes), 8)))
    texts.with_suffix(".txt").write_text("\n".join(rig.class_names))
    changes = [
        "data={simulated: sim}", "preset=sartm_released", "train_backbone=false", "workers=0", "lora_rank=2",
        "robustness.passes=clean", "fit=corner", "validation_frames=2", "losses.auxiliary=1", "losses.language=0.2",
        "losses.ohem_least_pixels=6144", "stages=[{size: [64, 96], samples: 4, batch: 2, learning_rate: 0.01}]",
    ]  # fmt: skip
    recipe = read_recipe(RECIPES / "smoke.yaml", [*changes, f"texts={{file: {texts}}}"])
    train(recipe, tmp_path / "run", accelerator="cpu")
    losses = next(csv.DictReader((tmp_path / "run" / "metrics.csv").read_text().splitlines()))
    assert all(float(losses[name]) > 0 for name in ("mask", "auxiliary", "language"))
    bundle = export(tmp_path / "run" / "last.ckpt", tmp_path / "bundle")
    segmenter = load_segmenter(tmp_path / "bundle", "torch", "cpu")
    answer = segmenter.segment({"thermal": np.zeros((3, 64, 96), rig.dtype)}, (64, 96))
    assert (bundle.fit, answer.mask.shape) == ("corner", (64, 96))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ReleasedSartm((64, 64)).save(tmp_path_factory.mktemp("small") / "small.pth")


def test_the_checkpoint_says_what_it_is(small: Path, tmp_path: Path) -> None:
    assert runner.invoke(app, ["weights", "convert", str(small), "--out", str(tmp_path / "a.ckpt")]).exit_code == 0
    network, rig, recipe = load_network(tmp_path / "a.ckpt")
    assert (rig.names, len(rig.classes), recipe.fit, recipe.stages[-1].size) == (
        ("rgb", "thermal"), 5, "corner", (SIDE, SIDE),
    )  # fmt: skip
    # ImageNet's figures on a scale of 0 to 255, and a scale of 0 to 1.
    assert network.mean.tolist() == [pytest.approx([123.675, 116.28, 103.53]), [0, 0, 0]]
    assert network.std.tolist() == [pytest.approx([58.395, 57.12, 57.375]), [255, 255, 255]]
    assert runner.invoke(app, ["weights", "convert", str(small), "--out", str(tmp_path / "b.ckpt")]).exit_code == 0
    again = load_network(tmp_path / "b.ckpt")[0].state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in network.state_dict().items())


def test_the_recipe_trains_what_is_converted(small: Path, tmp_path: Path) -> None:
    runner.invoke(app, ["weights", "convert", str(small), "--out", str(tmp_path / "a.ckpt")])
    converted = load_network(tmp_path / "a.ckpt")[2]
    trained = read_recipe(RECIPES / "sartm_released_pst900.yaml")
    for field in ("name", "preset", "network", "train_backbone", "data", "statistics", "fit"):
        assert getattr(converted, field) == getattr(trained, field), field
    assert trained.lora_rank == 16
    assert converted.stages[-1].size == trained.stages[-1].size


def test_what_cannot_be_converted_is_refused(small: Path, tmp_path: Path) -> None:
    def says(*words: str) -> str:
        run = runner.invoke(app, ["weights", "convert", *words])
        assert run.exit_code == 1
        return run.stderr

    others = ReleasedSartm((64, 64), classes=9).save(tmp_path / "mfnet.pth")
    assert "is for 9 classes, PST900 has 5" in says(str(others), "--out", str(tmp_path / "a.ckpt"))
    assert "expected a name that ends with .ckpt" in says(str(small), "--out", str(tmp_path / "a.pth"))
    assert "no such file" in says(str(tmp_path / "none.pth"), "--out", str(tmp_path / "a.ckpt"))
    assert not (tmp_path / "a.ckpt").exists()
