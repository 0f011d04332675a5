"""Rows for each word of a combined condition, against NumPy over the frames themselves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from untrained import untrained_bundle

from sartm_core.commands.evaluation import print_tables
from sartm_core.deploy.bundle import read_bundle
from sartm_core.evaluation.comparison import compare_runs
from sartm_core.evaluation.outcome import Evaluation, LabelledSet
from sartm_core.evaluation.report import write_report
from sartm_core.evaluation.results import as_csv, as_dict
from sartm_core.evaluation.scoring import Scoring
from sartm_core.rig import load_rig
from sartm_core.segmentation import Segmentation

CONDITIONS = ("fog day", "fog night", "clear day", "clear day", "snow night", "clear night", "fog day", "fog")


class Stub:
    """Answers with the class that its image names, so that each frame has a score of its own."""

    backend = "stub"

    def __init__(self, bundle: object) -> None:
        self.bundle = bundle

    def segment(self, planes, size=None) -> Segmentation:
        mask = planes["rgb"][0].astype(np.uint8)
        weight = float(mask[0, 0] % 7) / 7
        return Segmentation(mask, np.full(size, 0.5 + weight / 2, np.float32), np.tile([weight, 0, 0], (3, 1)))


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Stub:
    folder = untrained_bundle(tmp_path_factory.mktemp("stub") / "bundle", load_rig("muses"), size=(64, 64))
    return Stub(read_bundle(folder))


def scored(stub: Stub, conditions: tuple[str, ...]) -> tuple[Evaluation, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    truths = rng.integers(0, 19, (len(conditions), 20, 30)).astype(np.uint8)
    masks = np.where(rng.random(truths.shape) < 0.5, truths, rng.integers(0, 19, truths.shape)).astype(np.uint8)
    truths[rng.random(truths.shape) < 0.1] = 255
    scoring = Scoring(stub, load_rig("muses"), ("clean", "conditions"))
    for number, (condition, mask, truth) in enumerate(zip(conditions, masks, truths, strict=True)):
        scoring.add(LabelledSet(str(number), {}, {"rgb": np.stack([mask] * 3)}, truth, {"condition": condition}))
    return scoring.result("muses", "val"), masks, truths


def figures_of(stub: Stub, conditions: tuple[str, ...]) -> dict[str, Any]:
    return as_dict(scored(stub, conditions)[0])


def numpy_miou(masks: np.ndarray, truths: np.ndarray) -> float:
    valid = truths != 255
    mask, truth = masks[valid], truths[valid]
    ious = [((mask == c) & (truth == c)).sum() / ((mask == c) | (truth == c)).sum() for c in range(19)]
    return float(np.mean(ious))


def test_each_word_is_the_tally_of_its_frames(stub: Stub) -> None:
    evaluation, masks, truths = scored(stub, CONDITIONS)
    figures = as_dict(evaluation)
    assert set(figures["conditions"]) == set(CONDITIONS)  # as before
    single = figures["single_conditions"]
    assert list(single) == ["clear", "day", "fog", "night", "snow"]
    for word, entry in single.items():
        of_it = np.array([word in condition.split() for condition in CONDITIONS])
        assert entry["frames"] == of_it.sum()
        assert entry["miou"] == pytest.approx(numpy_miou(masks[of_it], truths[of_it]), abs=1e-5)
        weights = [float(mask[0, 0] % 7) / 7 for mask in masks[of_it]]
        assert entry["routing"]["rgb"] == pytest.approx(np.mean(weights), abs=1e-4)
    assert [row.split(",")[:2] for row in as_csv(figures).splitlines()][-5:] == [
        ["single_conditions", w] for w in single
    ]


def test_conditions_of_one_word_have_one_row(stub: Stub) -> None:
    assert "single_conditions" not in figures_of(stub, ("fog", "night", "fog"))
    figures = figures_of(stub, ("rain", "fog night", "fog"))
    assert list(figures["single_conditions"]) == ["fog", "night"]
    assert figures["single_conditions"]["fog"]["frames"] == 2
    assert figures["conditions"]["fog"]["frames"] == 1


def test_they_are_printed_compared_and_reported(stub: Stub, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    evaluation, *_ = scored(stub, CONDITIONS)
    figures = as_dict(evaluation)
    print_tables(figures)
    assert "in any fog" in capsys.readouterr().out
    (tmp_path / "metrics.json").write_text(json.dumps(figures))
    _, rows = compare_runs([tmp_path, tmp_path])
    assert rows["in any snow"] == [figures["single_conditions"]["snow"]["miou"]] * 2
    write_report(evaluation, figures, tmp_path / "report.html")
    assert "<h2>Single conditions</h2>" in (tmp_path / "report.html").read_text()
