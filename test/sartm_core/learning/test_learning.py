from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from sartm_core.cli import app
from sartm_core.deploy import load_segmenter
from sartm_core.errors import SartmError
from sartm_core.learning.corruption import CORRUPTIONS, Degraded, degrade
from sartm_core.learning.export import export
from sartm_core.learning.losses import dice, distillation, label_consistency, language_similarity, ohem_cross_entropy
from sartm_core.learning.module import SegmentationModule
from sartm_core.learning.overrides import read_recipe
from sartm_core.learning.run import train
from sartm_core.learning.sampler import Draw, RunSampler, StagePlan
from sartm_core.learning.schedule import stage_factors
from sartm_core.learning.sources import SimulatedSource
from sartm_core.learning.statistics import plane_statistics
from sartm_core.rig import Rig, load_rig

RECIPES = Path(__file__).parents[3] / "training" / "recipes"


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


@pytest.mark.parametrize(
    ("scale", "least", "expected"),
    [(0.5, 1, 0.1381375), (0.5, 67, 0.1155118), (0.5, 500, 0.0807393), (2.0, 200, 0.6910498), (2.0, 500, 0.4258350)],
)
def test_ohem_with_a_number_of_pixels_is_mmsegmentations(scale: float, least: int, expected: float) -> None:
    """Losses of OhemCrossEntropy(min_kept=least) of iacopo97/Multimodal-SAM-Adapter @58ea0b8 for one image.

    Of its 1,080 labelled pixels none is hard with the scale 0.5, and 230 are with 2.
    """
    places = np.arange(4 * 30 * 40)
    logits = torch.from_numpy((scale * np.sin(places * 0.37 + np.cos(places * 1.7))).reshape(1, 4, 30, 40))
    truth = torch.from_numpy((np.arange(1200) * 7 % 4).reshape(1, 30, 40))
    logits.scatter_add_(1, truth[:, None], torch.full((1, 1, 30, 40), 4.0, dtype=logits.dtype))
    truth[:, :3] = 255
    assert float(ohem_cross_entropy(logits, truth, least)) == pytest.approx(expected, rel=1e-5)
    twice = ohem_cross_entropy(logits.repeat(2, 1, 1, 1), truth.repeat(2, 1, 1), least)
    assert float(twice) == pytest.approx(expected, rel=1e-5)


def test_ohem_takes_all_of_a_smaller_image() -> None:
    truth = torch.randint(0, 3, (1, 8, 8), generator=torch.Generator().manual_seed(0))
    logits = 9.0 * torch.nn.functional.one_hot(truth, 3).permute(0, 3, 1, 2) + torch.linspace(0, 1, 8)
    every = torch.nn.functional.cross_entropy(logits, truth)
    assert float(ohem_cross_entropy(logits, truth, 100_000)) == pytest.approx(float(every))


def test_ohem_of_an_image_without_labels_is_zero_and_differentiable() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = ohem_cross_entropy(logits, torch.full((1, 16, 16), 255))
    loss.backward()
    assert float(loss.detach()) == 0.0


def test_dice_against_numpy(rng: np.random.Generator) -> None:
    truth = rng.integers(0, 4, (2, 16, 20))  # the fifth class is in no image
    truth[:, :3] = 255
    logits = rng.normal(size=(2, 5, 16, 20))
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    images = []
    for p, t in zip(probability, truth, strict=True):
        known = t != 255
        classes = [2 * p[c][t == c].sum() / (p[c][known].sum() + (t == c).sum()) for c in range(4)]
        images.append(1 - np.mean(classes))
    assert float(dice(torch.from_numpy(logits), torch.from_numpy(truth))) == pytest.approx(np.mean(images), rel=1e-5)


def test_dice_is_zero_where_all_is_right_or_nothing_is_labelled() -> None:
    truth = torch.randint(0, 3, (1, 8, 8))
    right = 50.0 * torch.nn.functional.one_hot(truth, 3).permute(0, 3, 1, 2)
    assert float(dice(right, truth)) == pytest.approx(0, abs=1e-6)
    assert float(dice(right, torch.full_like(truth, 255))) == 0.0


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(number) for number in range(count)]


def degraded(planes: torch.Tensor, availability: torch.Tensor, names: tuple[str, ...] = ("noise", "blank")) -> Degraded:
    return degrade(planes, availability, torch.full((3, 3), 50.0), generators(len(planes)), 0.5, 0.2, names)


def test_subsets_are_never_empty_and_all_occur() -> None:
    planes = torch.rand(600, 3, 3, 4, 4)
    left = degrade(
        planes, torch.ones(600, 3, dtype=torch.bool), torch.ones(3, 3), generators(600), 1.0, 0.0, ("noise",)
    )
    counts = {tuple(row) for row in left.availability.tolist()}
    assert len(counts) == 7
    assert (False, False, False) not in counts


def test_what_a_sample_lacks_is_not_given_to_it() -> None:
    availability = torch.rand(200, 3, generator=torch.Generator().manual_seed(1)) < 0.6
    availability[:, 1] = True
    result = degraded(torch.rand(200, 3, 3, 4, 4), availability)
    assert not (result.availability & ~availability).any()
    assert result.availability.any(dim=1).all()


def test_degrading_says_what_it_did() -> None:
    planes = torch.rand(200, 3, 3, 8, 8) * 255
    everything = torch.ones(200, 3, dtype=torch.bool)
    result = degraded(planes, everything)
    changed = (result.planes != planes).flatten(2).any(dim=2)
    assert torch.equal(changed, ~result.sound)
    assert not (~result.sound & ~result.availability).any()
    assert (result.sound & result.availability).any(dim=1).all()
    # half of the samples lose one third of their modalities on average
    assert 0.12 < (~result.availability).float().mean() < 0.22
    assert torch.equal(degraded(planes, everything).planes, result.planes)


def test_a_sample_is_degraded_alike_whatever_stands_beside_it() -> None:
    planes, everything = torch.rand(6, 3, 3, 8, 8), torch.ones(6, 3, dtype=torch.bool)
    together = degraded(planes, everything)
    alone = degrade(
        planes[3:4], everything[3:4], torch.full((3, 3), 50.0), generators(4)[3:], 0.5, 0.2, ("noise", "blank")
    )
    assert torch.equal(together.planes[3], alone.planes[0])
    assert torch.equal(together.availability[3], alone.availability[0])


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_every_corruption_changes_the_planes_and_keeps_their_shape(name: str) -> None:
    planes = torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(0)) * 255
    result = CORRUPTIONS[name](planes, torch.full((3, 1, 1), 60.0), torch.Generator().manual_seed(3))
    assert result.shape == planes.shape
    assert torch.isfinite(result).all()
    assert (result - planes).abs().mean() > 3


class TestLanguage:
    """L_se against a plain NumPy reading of the text."""

    @staticmethod
    def by_hand(features: np.ndarray, truth: np.ndarray, texts: np.ndarray, known: np.ndarray) -> float:
        pixels, labels = np.moveaxis(features, 1, -1).reshape(-1, features.shape[1]), truth.ravel()
        classes = [c for c in range(len(texts)) if known[c] and (labels == c).any()]

        def similarity(rows: np.ndarray) -> np.ndarray:
            unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
            exponent = np.exp(unit @ unit.T)
            return exponent / exponent.sum(1, keepdims=True)

        ours = similarity(np.stack([pixels[labels == c].mean(0) for c in classes]))
        theirs = similarity(texts[classes])
        return float((theirs * np.log(theirs / ours)).sum(1).mean())

    def test_equals_the_reading(self, rng: np.random.Generator) -> None:
        features, texts = rng.normal(size=(2, 6, 8, 8)), rng.normal(size=(5, 16))
        truth = rng.integers(0, 4, (2, 8, 8))  # class 4 does not occur
        truth[0, :2] = 255
        known = np.array([True, True, False, True, True])
        arrays = (torch.from_numpy(array) for array in (features, truth, texts, known))
        got = language_similarity(*arrays)
        assert float(got) == pytest.approx(self.by_hand(features, truth, texts, known), rel=1e-4)

    def test_texts_of_themselves_cost_nothing(self, rng: np.random.Generator) -> None:
        truth = torch.from_numpy(rng.integers(0, 3, (1, 8, 8)))
        texts = torch.from_numpy(rng.normal(size=(3, 6)))
        features = texts[truth].permute(0, 3, 1, 2).float()
        assert float(language_similarity(features, truth, texts, torch.ones(3, dtype=torch.bool))) == pytest.approx(
            0, abs=1e-6
        )

    def test_fewer_than_two_classes_give_zero_and_a_gradient(self) -> None:
        features = torch.randn(1, 4, 4, 4, requires_grad=True)
        loss = language_similarity(
            features, torch.zeros(1, 8, 8).long(), torch.randn(3, 5), torch.ones(3, dtype=torch.bool)
        )
        loss.backward()
        assert float(loss.detach()) == 0.0


def test_consistency_is_the_cross_entropy_of_labelled_pixels(rng: np.random.Generator) -> None:
    logits = torch.from_numpy(rng.normal(size=(2, 4, 6, 6)))
    truth = torch.from_numpy(rng.integers(0, 4, (2, 12, 12)))
    truth[:, :4] = 255
    small = truth[:, 1::2, 1::2]  # half the size: the centre lies on an edge, the next pixel counts
    wanted = torch.nn.functional.cross_entropy(logits, small, ignore_index=255)
    assert float(label_consistency(logits, truth)) == pytest.approx(float(wanted))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
@pytest.mark.parametrize("preset", ["any_sensor", "sam_lora"])
def test_micro_batches_have_the_gradient_of_the_whole_batch(preset: str, sim_rig: Rig) -> None:
    """Frames that are labelled in part, and lack sensors."""
    losses = "losses={auxiliary: 0.5, dice: 1, consistency: 1, per_modality: 1, reliability: 0.5}"
    changes = [
        f"preset={preset}", losses, "dropout=0", "initial_weights=null", "start_from=null", "data={simulated: sim}",
        "robustness={passes: degraded, corruptions: [noise]}", "lora_rank=2", "backbone=nano",
    ]  # fmt: skip
    if preset == "sam_lora":
        changes[1] = "losses={per_modality: 1}"
    recipe = read_recipe(RECIPES / "any_sensor_simrig5.yaml", changes)
    generator = torch.Generator().manual_seed(3)
    truth = torch.randint(0, 14, (8, 32, 64), generator=generator)
    for index in range(8):
        truth[index, 4 * index :] = 255  # the first has no label
    availability = torch.rand(8, 3, generator=generator) < 0.6
    availability[:, 0] = True
    batch = {
        "planes": torch.randint(0, 256, (8, 3, 3, 32, 64), generator=generator),
        "truth": truth,
        "availability": availability,
        "number": torch.arange(8),
    }
    torch.manual_seed(0)
    module = SegmentationModule(sim_rig.model_dump(mode="json"), recipe.model_dump(mode="json"), [1])
    module.network.set_statistics(torch.full((3, 3), 127.0), torch.full((3, 3), 60.0))
    gradients = []
    for pieces in (1, 2, 8):
        module.zero_grad()
        for number in range(pieces):
            part = {name: values.chunk(pieces)[number] for name, values in batch.items()}
            (module.training_step(part, number) / pieces).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]))
    for gradient in gradients[1:]:
        assert float((gradient - gradients[0]).norm() / gradients[0].norm()) < 1e-5


def test_distillation_is_zero_for_the_teacher_itself_and_does_not_teach_the_teacher() -> None:
    student, teacher = torch.randn(2, 3, 4, 4, requires_grad=True), torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = distillation(student, teacher)
    loss.backward()
    assert float(loss.detach()) > 0
    assert teacher.grad is None
    assert float(distillation(student, student).detach()) == pytest.approx(0, abs=1e-7)


class TestDraws:
    plans = (StagePlan((64, 96), 5, 8), StagePlan((32, 32), 3, 4))

    def sampler(self, rank: int = 0, world: int = 1, first: int = 0, accumulate: int = 1) -> RunSampler:
        return RunSampler(self.plans, 10, 7, accumulate, rank, world, first)

    def test_every_frame_once_per_pass_in_another_order_each_time(self) -> None:
        draws = [draw for batch in self.sampler() for draw in batch]
        assert [draw.number for draw in draws] == list(range(52))
        passes = [[draw.frame for draw in draws[start : start + 10]] for start in (0, 10, 20)]
        assert all(sorted(frames) == list(range(10)) for frames in passes)
        assert passes[0] != passes[1]
        assert {draw.size for draw in draws[:40]} == {(64, 96)}
        assert {draw.size for draw in draws[40:]} == {(32, 32)}

    def test_processes_share_the_batches_of_one(self) -> None:
        whole = list(self.sampler())
        halves = list(zip(self.sampler(0, 2), self.sampler(1, 2), strict=True))
        assert [first + second for first, second in halves] == whole

    def test_micro_batches_add_up(self) -> None:
        micro = list(self.sampler(accumulate=2))
        assert [a + b for a, b in zip(micro[::2], micro[1::2], strict=True)] == list(self.sampler())

    def test_a_cut_run_goes_on_where_it_was(self) -> None:
        assert list(self.sampler(first=3)) == list(self.sampler())[3:]
        assert len(self.sampler(first=3)) == 8


def test_the_learning_rate_warms_up_and_falls_in_every_stage() -> None:
    stages = [f"{{size: [64, 96], samples: 8, batch: 8, learning_rate: {rate}}}" for rate in (1.0e-3, 4.0e-4)]
    recipe = read_recipe(RECIPES / "any_sensor_simrig5.yaml", [f"stages=[{', '.join(stages)}]"])
    rate = stage_factors(recipe, [1000, 400])
    assert rate(0) == pytest.approx(1e-4)  # a tenth
    assert rate(50) == pytest.approx(1e-3)
    assert rate(525) == pytest.approx(1e-3 * 0.5**0.9, rel=1e-3)
    assert rate(999) < 1e-5
    assert rate(1020) == pytest.approx(4e-4)
    assert rate(1400) == 0.0


def test_the_linear_warm_up_is_that_of_delivers_code() -> None:
    """Rates of `warmuppolylr` run for 1,000 iterations, 100 of them warm-up (jamycheung/DELIVER @4981c16)."""
    stage = "{size: [64, 96], samples: 8000, batch: 8, learning_rate: 6.0e-5}"
    recipe = read_recipe(RECIPES / "mle_sam_deliver.yaml", [f"stages=[{stage}]"])
    rate = stage_factors(recipe, [1000])
    theirs = {
        0: 6e-06, 1: 6.54e-06, 37: 2.598e-05, 99: 5.946e-05, 100: 6e-05,
        101: 5.993999666530785e-05, 550: 3.21532038760888e-05, 999: 1.3162336572231615e-07,
    }  # fmt: skip
    assert {step: rate(step) for step in theirs} == pytest.approx(theirs, rel=1e-6)


def test_mmcvs_decay_begins_with_the_run() -> None:
    """mmcv 1.x: PolyLrUpdaterHook, power 0.9, times warmup='exp', which it multiplies with the regular rate."""
    stage = "{size: [1024, 1024], samples: 8000, batch: 8, learning_rate: 2.0e-4}"
    recipe = read_recipe(RECIPES / "mm_sam_adapter_deliver.yaml", [f"stages=[{stage}]"])
    rate = stage_factors(recipe, [1000])
    assert rate(0) == pytest.approx(2e-5)
    assert rate(50) == pytest.approx(2e-4 * 0.95**0.9 * 0.1**0.5)
    assert rate(100) == pytest.approx(2e-4 * 0.9**0.9)
    assert rate(999) == pytest.approx(2e-4 * 0.001**0.9)


def test_an_untrained_head_does_not_answer() -> None:
    overrides = ["losses.auxiliary=0", "backbone=nano", "initial_weights=null"]
    recipe = read_recipe(RECIPES / "mle_sam_deliver.yaml", overrides)
    rig = load_rig("deliver").model_dump(mode="json")
    with pytest.raises(SartmError, match=r"losses\.auxiliary: 0 leaves .* network\.inference is mean.*none"):
        SegmentationModule(rig, recipe.model_dump(mode="json"), [10])
    headless = ["network.auxiliary=none", "network.inference=mask"]
    recipe = read_recipe(RECIPES / "mle_sam_deliver.yaml", [*overrides, *headless])
    assert SegmentationModule(rig, recipe.model_dump(mode="json"), [10]).network.auxiliary is None


class TestSimulatedSource:
    def test_draws_are_repeatable_and_splits_share_nothing(self, sim_rig: Rig) -> None:
        draw = Draw(2, 2, (64, 96))
        first, again, other = (SimulatedSource(sim_rig, split, 4).read(draw) for split in ("train", "train", "val"))
        assert np.array_equal(first[0]["rgb"], again[0]["rgb"])
        assert not np.array_equal(first[1], other[1])

    def test_statistics_normalise(self, sim_rig: Rig) -> None:
        source = SimulatedSource(sim_rig, "train", 8)
        frames = [source.read(Draw(i, i, (64, 96)))[0] for i in range(8)]
        statistics = plane_statistics(sim_rig.names, frames)
        for index, name in enumerate(sim_rig.names):
            stacked = np.stack([planes[name] for planes in frames]).astype(float)
            assert statistics.mean[index] == pytest.approx(stacked.mean(axis=(0, 2, 3)))
            assert statistics.std[index] == pytest.approx(stacked.std(axis=(0, 2, 3)))
        assert statistics.frames.tolist() == [8, 8, 8]


def test_sizes_that_the_encoder_cannot_take_are_refused() -> None:
    with pytest.raises(SartmError, match=r"stages.0.size: expected sides that are multiples of 32"):
        read_recipe(RECIPES / "any_sensor_simrig5.yaml", ["stages.0.size=[130, 160]"])


def test_paths_are_taken_as_they_are(tmp_path: Path) -> None:
    """YAML would read `run #2` as `run`, and 2024 as a number."""
    recipe = RECIPES / "any_sensor_simrig5.yaml"
    assert read_recipe(recipe, ["start_from=old #2/best.ckpt"]).start_from == "old #2/best.ckpt"
    assert read_recipe(recipe, ["start_from='old'"]).start_from == "old"
    for name in ("run #2", "2024", "null", "a: b", "[x]"):
        assert read_recipe(recipe, None, {"data.root": name}).data.root == name
        command = ["train", str(recipe), "--data", name, "--out", str(tmp_path / "out")]
        assert f": {name}: no such folder" in CliRunner().invoke(app, command).output
    with pytest.raises(SartmError, match=r"--set name\.x\.y=1: the recipe has no field 'name\.x\.y'"):
        read_recipe(recipe, ["name.x.y=1"])


def test_a_recipes_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text((RECIPES / "any_sensor_simrig5.yaml").read_text().replace("backbone: nano", "bakcbone: nano"))
    with pytest.raises(SartmError, match="(?s)backbone: this required field is missing.*Did you mean 'backbone'"):
        read_recipe(path)


@pytest.mark.slow
def test_a_small_run_learns_exports_and_serves(tmp_path: Path, sim_rig: Rig) -> None:
    """From a backbone to a bundle: validation rises well above chance, and the bundle answers like the checkpoint."""
    changes = [
        "stages=[{size: [64, 96], samples: 200, batch: 8, learning_rate: 0.002}]", "lora_rank=4", "seed=0",
        "initial_weights=nano", "start_from=null", "data={simulated: sim}", "validation_frames=12", "workers=0",
        "statistics_frames=16",
    ]  # fmt: skip
    figures = train(read_recipe(RECIPES / "any_sensor_simrig5.yaml", changes), tmp_path, accelerator="cpu")
    assert figures["best_miou"] > 0.15  # fourteen classes; one colour for all gives about 0.04
    bundle = export(tmp_path / "last.ckpt", tmp_path / "bundle")
    assert bundle.figures == figures
    segmenter = load_segmenter(tmp_path / "bundle")
    planes, truth = SimulatedSource(sim_rig, "val", 1).read(Draw(0, 0, (64, 96)))
    answer = segmenter.segment(planes, size=(64, 96))
    assert (answer.mask == truth).mean() > 0.4


def test_not_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SartmError, match="no such file"):
        export(tmp_path / "missing.ckpt", tmp_path / "out")
    junk = tmp_path / "junk.ckpt"
    junk.write_bytes(b"not a checkpoint")
    with pytest.raises(SartmError, match="is not a checkpoint"):
        export(junk, tmp_path / "out")
    with pytest.raises(SartmError, match="is not a bundle"):
        export(tmp_path, tmp_path / "out")
    (tmp_path / "text.ckpt").write_text("name: a recipe, not a checkpoint\n")
    with pytest.raises(SartmError, match="text.ckpt: is not a checkpoint"):
        export(tmp_path / "text.ckpt", tmp_path / "out")
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.ckpt")
    with pytest.raises(SartmError, match="has no training state of sartm"):
        export(tmp_path / "other.ckpt", tmp_path / "out")
    assert not (tmp_path / "out" / "bundle.json").exists()
