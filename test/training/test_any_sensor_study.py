"""The study's own parts: its frames, its scores against the network itself, its report."""

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sartm_core.datasets.frame_folder import FrameFolder
from sartm_core.errors import SartmError
from sartm_core.learning.checkpoints import load_network
from sartm_core.learning.overrides import read_recipe
from sartm_core.learning.run import train
from sartm_core.sensing import encode

pytestmark = pytest.mark.slow

STUDY = Path(__file__).resolve().parents[2] / "training" / "studies"


@pytest.fixture(scope="module")
def study() -> Any:
    """The modules of the folder, which is a script's and no package."""
    sys.path.insert(0, str(STUDY))
    try:
        yield {name: importlib.import_module(name) for name in ("frames", "scores", "report", "any_sensor")}
    finally:
        sys.path.remove(str(STUDY))


@pytest.fixture(scope="module")
def data(study: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "data"
    study["frames"].render(out, (64, 96), limit=12)
    return out


@pytest.fixture(scope="module")
def checkpoint(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    changes = [f"data.root={data}", "stages.0.samples=16", "stages.0.size=[64, 96]", "validation_frames=4"]
    train(read_recipe(STUDY / "any_sensor.yaml", changes), out, accelerator="cpu")
    return out / "last.ckpt"


def test_a_repaired_frame_differs_from_the_faulty_one_only_in_the_faulty_sensor(study: Any, data: Path) -> None:
    folder, frames = FrameFolder(data), study["frames"]
    faulty, repaired = folder.frames(frames.FAULTY), folder.frames(frames.REPAIRED)
    assert len(folder.frames("test")) == len(faulty) == len(repaired) == 6
    for broken, sound in zip(faulty, repaired, strict=True):
        assert broken.id == sound.id
        same = {n: np.array_equal(folder.image(broken, n), folder.image(sound, n)) for n in folder.rig.names}
        assert {name for name, is_same in same.items() if not is_same} == {broken.tags["faulty"]}
        assert np.array_equal(folder.truth(broken), folder.truth(sound))


def test_scores_are_those_of_the_network_itself(study: Any, data: Path, checkpoint: Path) -> None:
    """The shortcut (encode once, decode subsets) against one whole pass per subset."""
    scores, folder = study["scores"], FrameFolder(data)
    figures = scores.score(checkpoint, data, limit=2)
    network, rig, _ = load_network(checkpoint)
    network.eval()
    board = scores.SegmentationScore(len(rig.classes))
    for frame in folder.frames("test")[:2]:
        planes = {m.name: encode(m, folder.image(frame, m.name), rig.dtype) for m in rig.modalities}
        stacked = torch.from_numpy(np.stack([planes[name] for name in rig.names]))[None]
        kept = torch.tensor([[name in ("thermal", "lidar") for name in rig.names]])
        with torch.no_grad():
            logits = network(stacked, kept).logits
        mask = torch.nn.functional.interpolate(logits, size=(64, 96), mode="bilinear").argmax(dim=1)[0]
        board.update(mask.numpy(), folder.truth(frame))
    assert figures["miou"]["drop"]["thermal+lidar"] == pytest.approx(board.mean_iou(), abs=2e-3)
    assert len(figures["miou"]["drop"]) == len(figures["miou"]["zero"]) == 30
    assert sum(entry["frames"] for entry in figures["falls"].values()) == 2


def test_the_report_says_what_was_reached(study: Any, data: Path, checkpoint: Path, tmp_path: Path) -> None:
    report = study["report"]
    figures = study["scores"].score(checkpoint, data, limit=3)
    rival = {**figures, "miou": {**figures["miou"], "drop": dict.fromkeys(figures["miou"]["drop"], 0.0)}}
    # A rival that is lost without all of its sensors: ours is above it by what ours has.
    aims = {row[0]: row for row in report.aims({"any_sensor": figures, "mle_sam": rival}, {})}
    gain = 100 * sum(figures["miou"]["drop"].values()) / 31
    assert float(aims["mean of 31 subsets (DROP) above mle_sam"][2]) == pytest.approx(gain, abs=0.01)
    assert aims["all sensors: below the best of all"][3] == "reached"
    settings = report.Settings(
        rates={"any_sensor": "1e-3", "mle_sam": "3e-3"},
        tried={"any_sensor": ("1e-3",), "mle_sam": ("1e-3", "3e-3")},
        passes=8,
        search_passes=4,
        seed=0,
        entrants=("any_sensor", "mle_sam", "shared_lora"),
        ablations=("as it is", "clean frames only"),
        when="2026-11-27, 2 CPU cores",
    )
    report.write_report(tmp_path, {"any_sensor": figures, "mle_sam": rival}, {"as it is": figures}, settings)
    text = (tmp_path / "report.md").read_text()
    assert "| mle_sam | 3e-3 | 1e-3, 3e-3 |" in text
    assert 'Not run: shared_lora, the ablation "clean frames only".' in text
    assert "Ablations of any_sensor: 4 passes" in text
    assert (tmp_path / "report.html").read_text().count('src="data:image/png;base64,') == 5
    for picture in ("subsets.png", "conditions.png", "cost.png", "routing.png", "faults.png"):
        assert f"({picture})" in text
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")


def test_the_early_fusion_entrant_trains(data: Path, tmp_path: Path) -> None:
    """It has no features per modality: the loss on them is refused, the others train all of it."""
    changes = [
        "preset=early_fusion", "initial_weights=null", "train_backbone=true", "train_experts=false",
        f"data.root={data}", "stages.0.samples=16", "stages.0.size=[64, 96]", "validation_frames=4",
    ]  # fmt: skip
    assert train(read_recipe(STUDY / "any_sensor.yaml", changes), tmp_path / "run", accelerator="cpu")["steps"] == 2
    recipe = read_recipe(STUDY / "any_sensor.yaml", [*changes, "losses.per_modality=0.2"])
    with pytest.raises(SartmError, match="losses.per_modality: early_fusion's"):
        train(recipe, tmp_path / "refused", accelerator="cpu")


def test_every_entrant_and_ablation_is_a_recipe(study: Any) -> None:
    runner = study["any_sensor"]
    ours = read_recipe(STUDY / "any_sensor.yaml", runner.ENTRANTS["any_sensor"])
    for changes in runner.ENTRANTS.values():
        recipe = read_recipe(STUDY / "any_sensor.yaml", changes)
        assert recipe.stages == ours.stages  # one budget
    for name, changes in runner.ABLATIONS.items():
        ablated = read_recipe(STUDY / "any_sensor.yaml", [*runner.ENTRANTS["any_sensor"], *changes])
        assert (ablated == ours) == (name == "as it is")
