"""Two bundles over a fleet: paired differences and their intervals."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import bootstrap

from sartm_core.errors import SartmError
from sartm_ros.fleet.comparison import compare_fleets

OPTIONS = {"action": "segment", "stamps": "header"}


def write_result(
    out: Path, name: str, values: np.ndarray, bundle: str, step_s: float = 6.0, first: int = 0, rig: str = "r"
) -> None:
    (out / name).mkdir(parents=True)
    key = {"source": f"/{name}", "size": 1, "bundle": bundle, "rig": rig, "options": OPTIONS}
    (out / name / "result.json").write_text(json.dumps({"key": key, "figures": {"sensors": {}}}))
    stamps = [round((first + index) * step_s * 1e9) for index in range(len(values))]
    (out / name / "sets.json").write_text(json.dumps({"stamp_ns": stamps, "confidence": values.tolist()}))


@pytest.fixture
def runs(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, Path]:
    for number in range(6):
        before = rng.uniform(0.3, 0.6, 200)
        gained = before + rng.normal(0.05 * (number - 1), 0.1, 200)
        write_result(tmp_path / "a", f"drive_{number}", before, "one")
        write_result(tmp_path / "b", f"drive_{number}", gained, "two")
    return tmp_path / "a", tmp_path / "b"


def test_intervals_of_independent_sets_are_scipys(runs: tuple[Path, Path]) -> None:
    """Six seconds apart, sets are blocks of one."""
    metric, gains, whole = compare_fleets(*runs)
    assert metric == "confidence"
    assert gains[0].name == "drive_0"
    assert gains[0].difference < 0 < gains[-1].difference
    for gain in gains:
        values = [np.array(json.loads((run / gain.name / "sets.json").read_text())["confidence"]) for run in runs]
        differences = values[1] - values[0]
        expected = bootstrap((differences,), np.mean, method="percentile", n_resamples=4000, rng=1).confidence_interval
        assert gain.difference == pytest.approx(differences.mean(), abs=1e-5)
        assert (gain.low, gain.high) == pytest.approx((expected.low, expected.high), abs=2e-3)
    assert whole.difference == pytest.approx(np.mean([gain.difference for gain in gains]), abs=1e-5)
    assert whole.low is not None
    assert whole.low < whole.difference < (whole.high or 0)


def test_neighbouring_sets_say_less(tmp_path: Path, rng: np.random.Generator) -> None:
    """The same values ten times over, at 10 Hz, as of a camera that hardly moves: no more is known than of a tenth."""
    before, after = rng.uniform(0.3, 0.6, 80), rng.uniform(0.3, 0.6, 80)
    for out, values in (("a", before), ("b", after)):
        write_result(tmp_path / out, "fast", values.repeat(50), out, step_s=0.1)
        write_result(tmp_path / out, "slow", values, out, step_s=6.0)
    gains = {gain.name: gain for gain in compare_fleets(tmp_path / "a", tmp_path / "b")[1]}
    widths = {name: (gain.high or 0) - (gain.low or 0) for name, gain in gains.items()}
    assert widths["fast"] == pytest.approx(widths["slow"], rel=0.25)


def test_only_sets_of_both_are_paired_and_few_have_no_interval(tmp_path: Path) -> None:
    write_result(tmp_path / "a", "drive", np.array([0.1, 0.2, 0.3]), "one")
    write_result(tmp_path / "b", "drive", np.array([0.5, 0.7, 0.9]), "two", first=1)
    _, (gain,), whole = compare_fleets(tmp_path / "a", tmp_path / "b")
    assert (gain.pairs, gain.first, gain.second, gain.difference) == (2, 0.25, 0.6, 0.35)
    assert (gain.low, gain.high, whole.low) == (None, None, None)


def test_what_cannot_be_compared_is_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(SartmError, match="of the same bundle"):
        compare_fleets(runs[0], runs[0])
    with pytest.raises(SartmError, match="no recording in common"):
        compare_fleets(runs[0], tmp_path / "c")
    write_result(tmp_path / "c", "drive_0", np.zeros(4), "three", rig="other")
    with pytest.raises(SartmError, match="different rigs or options"):
        compare_fleets(runs[0], tmp_path / "c")
