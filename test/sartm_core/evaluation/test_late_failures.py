"""What would end an evaluation after its hours is told before; odd names of classes survive it."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from sartm_core.cli import app
from sartm_core.datasets.files import check_whole
from sartm_core.errors import SartmError

NAMES = {0: "$bad{$", 1: "price $5$", 2: "道路", 3: "e:f", 4: "x^2 \\alpha"}


@pytest.fixture
def data(small_recording: Path, tmp_path: Path) -> Path:
    """Two test frames."""
    root = Path(shutil.copytree(small_recording, tmp_path / "data"))
    manifest = json.loads((root / "manifest.json").read_text())
    frames = [frame for frame in manifest["frames"] if frame["split"] == "test"][:2]
    (root / "manifest.json").write_text(json.dumps(manifest | {"frames": frames}))
    return root


def sartm(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, " ".join(result.output.split())


@pytest.mark.parametrize("harm", ["file as folder", "broken", "cut", "missing"])
def test_what_cannot_end_well_is_refused_before_a_frame_is_scored(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a frame was scored")

    monkeypatch.setattr("sartm_core.evaluation.scoring.Scoring.add", never)
    out, last = tmp_path / "out", sorted((data / "test" / "thermal").iterdir())[1]
    if harm == "file as folder":
        out.write_text("x")
        last = out
    elif harm == "missing":
        last.unlink()
    else:
        last.write_bytes(b"broken" if harm == "broken" else last.read_bytes()[:-30])
    status, said = sartm("evaluate", "any_sensor_simrig5", "--data", data, "--out", out, "--device", "cpu")
    assert status == 1
    assert f"error: {last}: " in said


def test_whole_files_of_every_kind_pass(data: Path, tmp_path: Path) -> None:
    files = [path for path in (data / "test").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".png", ".npz"}
    for path in files:
        check_whole(path)
    packed = next(path for path in files if path.suffix == ".npz")
    packed.write_bytes(packed.read_bytes()[:-5])
    with pytest.raises(SartmError, match=r"is not a readable .npz file"):
        check_whole(packed)


@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")  # where no font for them is installed
def test_names_of_classes_are_no_mathematics(data: Path, tmp_path: Path) -> None:
    rig = yaml.safe_load((data / "rig.yaml").read_text())
    classes = {spec["name"]: NAMES.get(index, spec["name"]) for index, spec in enumerate(rig["classes"])}
    for spec in rig["classes"]:
        spec["name"] = classes[spec["name"]]
    (data / "rig.yaml").write_text(yaml.safe_dump(rig, allow_unicode=True))
    (tmp_path / "map.yaml").write_text(yaml.safe_dump({"classes": classes}, allow_unicode=True))
    labels = tmp_path / "labels"
    for command in (
        [
            "evaluate",
            "any_sensor_simrig5",
            "--data",
            data,
            "--classes",
            tmp_path / "map.yaml",
            "--out",
            tmp_path / "out",
        ],
        ["data", "preview", data, "--out", tmp_path / "sheet.png"],
        ["data", "export-labels", data, "--out", labels],
        ["data", "import-labels", data, "--from", labels],
    ):
        status, said = sartm(*command)
        assert status == 0, said
    assert "price $5$" in (tmp_path / "out" / "report.html").read_text()
