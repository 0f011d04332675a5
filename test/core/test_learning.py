from pathlib import Path

import numpy as np
import pytest
import torch

from sartm_core.checked_yaml import read_yaml
from sartm_core.datasets.simulated import SimulatedDataset, plane_statistics
from sartm_core.deploy import load_segmenter
from sartm_core.deploy.export import export
from sartm_core.errors import SartmError
from sartm_core.learning.corruption import degrade, random_subsets
from sartm_core.learning.losses import ohem_cross_entropy
from sartm_core.learning.recipe import Recipe
from sartm_core.learning.train import train
from sartm_core.rig import Rig

RECIPES = Path(__file__).parents[2] / "training" / "recipes"


def numpy_ohem(logits: np.ndarray, truth: np.ndarray) -> float:
    """Straight from the text: per image, losses above -ln 0.7, at least valid / 16 of them."""
    images = []
    for scores, labels in zip(logits.astype(np.float64), truth, strict=True):
        log_sum = np.log(np.exp(scores - scores.max(0)).sum(0)) + scores.max(0)
        losses = sorted(
            (log_sum[y, x] - scores[labels[y, x], y, x] for y, x in np.argwhere(labels != 255)), reverse=True
        )
        hard = [loss for loss in losses if loss > 0.35667494393873245]
        least = max(len(losses) // 16, 1)
        images.append(np.mean(hard if len(hard) >= least else losses[:least]))
    return float(np.mean(images))


@pytest.mark.parametrize("sharpness", [0.1, 30.0])  # all pixels hard, hardly any
def test_ohem_against_numpy(rng: np.random.Generator, sharpness: float) -> None:
    truth = rng.integers(0, 5, (3, 16, 20))
    logits = rng.normal(size=(3, 5, 16, 20)) + sharpness * np.moveaxis(np.eye(5)[truth], -1, 1)
    truth[:, :3] = 255
    got = ohem_cross_entropy(torch.from_numpy(logits), torch.from_numpy(truth))
    assert float(got) == pytest.approx(numpy_ohem(logits, truth), rel=1e-5)


def test_ohem_of_an_image_without_labels_is_zero_and_differentiable() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = ohem_cross_entropy(logits, torch.full((1, 16, 16), 255))
    loss.backward()
    assert float(loss.detach()) == 0.0


def test_subsets_are_never_empty_and_all_occur() -> None:
    subsets = random_subsets(2000, 3, torch.Generator().manual_seed(0))
    counts = {tuple(row) for row in subsets.tolist()}
    assert len(counts) == 7
    assert (False, False, False) not in counts


def test_degrading_says_what_it_did(sim_rig: Rig) -> None:
    planes = torch.rand(200, 3, 3, 8, 8) * 255
    degraded = degrade(planes, torch.full((3, 3), 50.0), torch.Generator().manual_seed(0))
    changed = (degraded.planes != planes).flatten(2).any(dim=2)
    assert torch.equal(changed, ~degraded.sound & degraded.availability)
    assert (degraded.sound & degraded.availability).any(dim=1).all()
    # half of the samples lose one third of their modalities on average
    assert 0.12 < (~degraded.availability).float().mean() < 0.22
    again = degrade(planes, torch.full((3, 3), 50.0), torch.Generator().manual_seed(0))
    assert torch.equal(again.planes, degraded.planes)


def test_simulated_samples_are_repeatable_and_splits_share_nothing(sim_rig: Rig) -> None:
    first, again = (SimulatedDataset(sim_rig, 4, "train", (64, 96)) for _ in range(2))
    assert torch.equal(first[2]["planes"], again[2]["planes"])
    validation = SimulatedDataset(sim_rig, 4, "val", (64, 96))
    assert not torch.equal(first[2]["truth"], validation[2]["truth"])
    assert len(list(first)) == 4


def test_statistics_normalise(sim_rig: Rig) -> None:
    dataset = SimulatedDataset(sim_rig, 8, "train", (64, 96))
    mean, std = plane_statistics(dataset, 8)
    planes = torch.stack([dataset[i]["planes"] for i in range(8)])
    normalised = (planes - mean[:, :, None, None]) / std[:, :, None, None]
    assert normalised.mean(dim=(0, 3, 4)).abs().max() < 1e-3
    assert (normalised.std(dim=(0, 3, 4)) - 1).abs().max() < 1e-2


def test_the_shipped_recipe_is_valid() -> None:
    assert read_yaml(RECIPES / "first_light.yaml", Recipe).name == "first_light"


def test_sizes_that_the_encoder_cannot_take_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text((RECIPES / "first_light.yaml").read_text().replace("[128, 160]", "[130, 160]"))
    with pytest.raises(SartmError, match=r"stages.0.size: expected sides that are multiples of 32"):
        read_yaml(path, Recipe)


def test_a_recipes_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text((RECIPES / "first_light.yaml").read_text().replace("lora_rank: 8", "lora_rnak: 8"))
    with pytest.raises(SartmError, match="(?s)lora_rank: this field is required.*Did you mean 'lora_rank'"):
        read_yaml(path, Recipe)


@pytest.mark.slow
def test_a_small_run_learns_exports_and_serves(tmp_path: Path, sim_rig: Rig) -> None:
    """From nothing to a bundle: the loss falls well below chance, and the bundle answers like the checkpoint."""
    content = {
        "name": "tiny_run",
        "preset": "any_sensor",
        "rig": "sim",
        "backbone": "nano",
        "train_backbone": True,
        "lora_rank": 4,
        "seed": 0,
        "stages": [{"size": [64, 96], "samples": 480, "batch": 8, "learning_rate": 0.002}],
        "validation_samples": 4,
    }
    figures = train(Recipe.model_validate(content), tmp_path)
    assert figures["day"]["all"] > 0.15  # nine classes; one colour for all gives about 0.04
    bundle = export(tmp_path / "last.ckpt", tmp_path / "bundle")
    assert bundle.figures == figures
    segmenter = load_segmenter(tmp_path / "bundle")
    sample = SimulatedDataset(sim_rig, 1, "val", (64, 96))[0]
    planes = dict(zip(sim_rig.names, sample["planes"].numpy(), strict=True))
    answer = segmenter.segment(planes, size=(64, 96))
    assert (answer.mask == sample["truth"].numpy()).mean() > 0.4


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SartmError, match="no such file"):
        export(tmp_path / "missing.ckpt", tmp_path / "out")
    junk = tmp_path / "junk.ckpt"
    junk.write_bytes(b"not a checkpoint")
    with pytest.raises(SartmError, match="is no checkpoint"):
        export(junk, tmp_path / "out")
    with pytest.raises(SartmError, match="is a folder. Give a .ckpt file"):
        export(tmp_path, tmp_path / "out")
    (tmp_path / "text.ckpt").write_text("name: a recipe, not a checkpoint\n")
    with pytest.raises(SartmError, match="text.ckpt: is no checkpoint"):
        export(tmp_path / "text.ckpt", tmp_path / "out")
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.ckpt")
    with pytest.raises(SartmError, match="no training state of ours"):
        export(tmp_path / "other.ckpt", tmp_path / "out")
    assert not (tmp_path / "out" / "bundle.json").exists()
