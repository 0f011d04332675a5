"""AnySeg's convention, against its definition in NumPy and figures of its own code."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner
from untrained import untrained_bundle

from sartm_core.cli import app
from sartm_core.datasets.dataset import read_frame
from sartm_core.datasets.frame_folder import FrameFolder
from sartm_core.deploy import load_segmenter
from sartm_core.errors import SartmError
from sartm_core.evaluation.comparison import compare_runs
from sartm_core.evaluation.convention import as_anyseg, check_convention
from sartm_core.evaluation.evaluate import evaluate
from sartm_core.evaluation.outcome import LabelledSet
from sartm_core.evaluation.results import as_dict
from sartm_core.evaluation.tally import Tally
from sartm_core.rig import load_rig
from sartm_sim.dataset import write_benchmark

runner = CliRunner()
SIDE = 64


@pytest.fixture(scope="module")
def frame_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of 256x320 with a margin that nobody labelled."""
    out = tmp_path_factory.mktemp("convention") / "sim"
    write_benchmark(load_rig("sim"), out, ["test"], 2, 1, lambda done, total: None)
    for path in (out / "test" / "truth").iterdir():
        truth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        truth[:, :31] = 255
        cv2.imwrite(str(path), truth)
    return out


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rig = load_rig("sim").only(["rgb", "thermal"])
    return untrained_bundle(tmp_path_factory.mktemp("bundle") / "square", rig, size=(SIDE, SIDE))


def squeezed(labels: np.ndarray, side: int) -> np.ndarray:
    """The nearest pixel as torch's `nearest` takes it, and road for what is unlabelled."""
    rows, columns = (np.arange(side) * length // side for length in labels.shape)
    return np.where(labels == 255, 0, labels)[rows][:, columns]


def means(masks: list[np.ndarray], truths: list[np.ndarray], classes: int) -> dict[str, float]:
    """Absent classes count 0."""
    mask, truth = np.concatenate(masks, axis=None), np.concatenate(truths, axis=None)
    ious, accuracies, f1s = np.zeros(classes), np.zeros(classes), np.zeros(classes)
    for c in range(classes):
        both, of_mask, of_truth = ((mask == c) & (truth == c)).sum(), (mask == c).sum(), (truth == c).sum()
        if of_mask + of_truth:
            ious[c], f1s[c] = both / (of_mask + of_truth - both), 2 * both / (of_mask + of_truth)
        if of_truth:
            accuracies[c] = both / of_truth
    return {"miou": ious.mean(), "macc": accuracies.mean(), "f1": f1s.mean()}


@pytest.mark.parametrize("fit", ["stretch", "letterbox", "crop", "window"])
def test_figures_follow_the_definition(frame_folder: Path, bundle: Path, fit: str) -> None:
    """Whatever the model's fit: AnySeg squeezes the whole frame."""
    data, segmenter = FrameFolder(frame_folder), load_segmenter(bundle)
    stride = (32, 32) if fit == "window" else None
    segmenter._host.bundle = segmenter.bundle.model_copy(update={"fit": fit, "stride": stride})
    masks, truths = [], []
    for frame in data.frames("test"):
        planes = read_frame(data, frame, ["rgb", "thermal"], segmenter.bundle.rig.dtype).planes
        small = {  # 256x320 is more than one and a half times 64x64: averaged
            name: np.stack([cv2.resize(plane, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for plane in array])
            for name, array in planes.items()
        }
        masks.append(segmenter.segment(small, (SIDE, SIDE)).mask)
        truths.append(squeezed(data.truth(frame), SIDE))
    figures = as_dict(evaluate(segmenter, data, "test", convention="anyseg"))
    wanted = means(masks, truths, len(data.rig.classes))
    for name, value in wanted.items():
        assert figures["clean"][name] == pytest.approx(value, abs=1e-5)
    assert figures["clean"]["miou_absent_0"] == figures["clean"]["miou"]
    assert figures["clean"]["pixel_accuracy"] == pytest.approx(np.mean(np.equal(masks, truths)), abs=1e-5)
    assert (figures["convention"], figures["scored_size"]) == ("anyseg", [SIDE, SIDE])


def test_figures_of_their_code() -> None:
    """2.19, 3.99, 4.19: `Metrics` of zhengxuJosh/AnySeg @100571b on these labels, squeezed by its loader's lines."""
    rng, tally = np.random.default_rng(7), Tally(19, 3)
    for _ in range(4):
        labels = rng.integers(0, 12, (27, 48)).astype(np.uint8)
        labels[rng.random(labels.shape) < 0.2] = 255
        scores = rng.random((1, 19, 16, 16)).astype(np.float32)
        scores[:, 15:] = -1
        mask = scores[0].argmax(axis=0).astype(np.uint8)
        sample = as_anyseg(LabelledSet("", {}, {}, labels), load_rig("muses"), (16, 16))
        tally.add(mask, sample.truth, np.ones(mask.shape, np.float32), np.ones((3, 3), np.float32))
    ours = [tally.score.mean_iou("zero"), tally.score.mean_accuracy("zero"), tally.score.mean_f1("zero")]
    assert [round(100 * value, 2) for value in ours] == [2.19, 3.99, 4.19]


def test_labels_of_the_published_size_are_squeezed_as_theirs() -> None:
    labels = np.random.default_rng(0).integers(0, 20, (1080, 1920)).astype(np.uint8)
    labels[labels == 19] = 255
    given = labels.copy()
    sample = as_anyseg(LabelledSet("", {}, {}, labels), load_rig("muses"), (1024, 1024))
    np.testing.assert_array_equal(sample.truth, squeezed(labels, 1024))
    np.testing.assert_array_equal(labels, given)
    assert torch.from_numpy(sample.truth).dtype == torch.uint8


def test_where_it_is_undefined_it_is_refused(frame_folder: Path, bundle: Path) -> None:
    with pytest.raises(SartmError, match="convention 'cityscapes' is unknown. Known: standard, anyseg"):
        check_convention("cityscapes", load_rig("muses"), (64, 64))
    with pytest.raises(SartmError, match="class 0 of 'deliver' is building.*use convention standard"):
        check_convention("anyseg", load_rig("deliver"), (64, 64))
    with pytest.raises(SartmError, match="expected a network with a square input .*, got 64x160"):
        check_convention("anyseg", load_rig("muses"), (64, 160))
    with pytest.raises(SartmError, match="convention 'luck' is unknown"):
        evaluate(load_segmenter(bundle), FrameFolder(frame_folder), "test", convention="luck")


def test_the_result_says_so_and_is_not_compared_with_others(frame_folder: Path, bundle: Path, tmp_path: Path) -> None:
    for name in ("standard", "anyseg"):
        command = ["evaluate", str(bundle), "--data", str(frame_folder), "--limit", "1", "--convention", name]
        result = runner.invoke(app, [*command, "--out", str(tmp_path / name)])
        assert result.exit_code == 0, result.output
        note = "unlabelled pixels counted as road"
        page = (tmp_path / name / "report.html").read_text()
        assert (note in result.stdout) == (note in page) == (name == "anyseg")
    metrics = tmp_path / "anyseg" / "metrics.json"
    assert json.loads(metrics.read_text())["convention"] == "anyseg"
    with pytest.raises(SartmError, match="different conventions: anyseg at 64x64, standard"):
        compare_runs([tmp_path / "standard", tmp_path / "anyseg"])
    compare_runs([metrics, metrics])
    older = json.loads((tmp_path / "standard" / "metrics.json").read_text())
    older.pop("convention")  # written before there were several
    (tmp_path / "older.json").write_text(json.dumps(older))
    compare_runs([tmp_path / "standard", tmp_path / "older.json"])
