"""`sartm train` in a folder that another run is writing."""

from pathlib import Path

import pytest
from lightning.pytorch.utilities import rank_zero_only
from typer.testing import CliRunner

from sartm_core.cli import app
from sartm_core.learning.preflight import is_first_process
from sartm_core.outputs import sole_writer

RECIPE = Path(__file__).resolve().parents[3] / "training" / "recipes" / "smoke.yaml"


def test_a_second_run_is_refused(tmp_path: Path) -> None:
    with sole_writer(tmp_path / "run"):
        result = CliRunner().invoke(app, ["train", str(RECIPE), "--out", str(tmp_path / "run")])
    assert result.exit_code == 1
    assert "run: process" in result.output
    assert "is writing it" in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("rank", "variable", "machine", "expected"),
    [(0, "NODE_RANK", None, True), (0, "NODE_RANK", "0", True), (0, "NODE_RANK", "1", False),
     (0, "GROUP_RANK", "2", False), (1, "NODE_RANK", "0", False)],
)  # fmt: skip
def test_of_a_run_of_many_processes_the_first_locks(
    monkeypatch: pytest.MonkeyPatch, rank: int, variable: str, machine: str | None, expected: bool
) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", rank)
    for name in ("NODE_RANK", "GROUP_RANK"):
        monkeypatch.delenv(name, raising=False)
    if machine is not None:
        monkeypatch.setenv(variable, machine)
    assert is_first_process() is expected
