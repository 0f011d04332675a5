"""Masks of a split with hidden labels, in the format of MUSES' server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner
from untrained import untrained_bundle

from sartm_core.cli import app
from sartm_core.datasets.layouts import open_data
from sartm_core.datasets.muses import Muses
from sartm_core.deploy import load_segmenter
from sartm_core.errors import SartmError
from sartm_core.evaluation.class_map import ClassMap
from sartm_core.evaluation.submission import check_submission, write_submission
from sartm_core.rig import load_rig

runner = CliRunner()
FRAMES = {  # below frame_camera
    "val": ("fog/night/REC0011_frame_000001", "rain/day/REC0012_frame_000002"),
    "test": ("clear/day/REC0006_frame_043620", "snow/night/REC0033_frame_000003"),
}


@pytest.fixture(scope="module")
def muses(tmp_path_factory: pytest.TempPathFactory) -> Muses:
    """Images of the published size; labels of val only."""
    root, rng = tmp_path_factory.mktemp("submission") / "muses", np.random.default_rng(0)
    for split, names in FRAMES.items():
        for name in names:
            path = root / "frame_camera" / split / f"{name}_frame_camera.png"
            path.parent.mkdir(parents=True)
            cells = rng.integers(0, 255, (9, 16, 3)).astype(np.uint8)
            cv2.imwrite(str(path), cv2.resize(cells, (1920, 1080), interpolation=cv2.INTER_NEAREST))
            if split == "val":
                path = root / "gt_semantic" / split / f"{name}_gt_labelTrainIds.png"
                path.parent.mkdir(parents=True)
                labels = rng.integers(0, 20, (9, 16)).astype(np.uint8)
                labels[labels == 19] = 255
                cv2.imwrite(str(path), cv2.resize(labels, (1920, 1080), interpolation=cv2.INTER_NEAREST))
    data = open_data(root)
    assert isinstance(data, Muses)
    return data


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rig = load_rig("muses").only(["rgb"])
    return untrained_bundle(tmp_path_factory.mktemp("model") / "rgb", rig, size=(64, 96))


@pytest.mark.slow
def test_masks_are_named_and_stored_as_the_server_expects(muses: Muses, bundle: Path, tmp_path: Path) -> None:
    command = ["evaluate", str(bundle), "--data", str(muses.root), "--submission", str(tmp_path / "out")]
    result = runner.invoke(app, command)
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert "labelTrainIds: 2 of the 750 masks that the server expects; zip this folder for https://www" in said
    folder = tmp_path / "out" / "labelTrainIds"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["labelTrainIds"]
    assert sorted(path.name for path in folder.iterdir()) == ["REC0006_frame_043620.png", "REC0033_frame_000003.png"]
    segmenter = load_segmenter(bundle)
    for name in FRAMES["test"]:
        rgb = cv2.imread(str(muses.root / "frame_camera" / "test" / f"{name}_frame_camera.png"))[..., ::-1]
        wanted = segmenter.segment({"rgb": np.ascontiguousarray(rgb.transpose(2, 0, 1))}).mask
        with Image.open(folder / f"{name.rsplit('/', 1)[-1]}.png") as image:
            assert (image.mode, image.size) == ("L", (1920, 1080))
            np.testing.assert_array_equal(np.asarray(image), wanted)
        assert len(np.unique(wanted)) > 1


def test_it_appears_when_it_is_complete(muses: Muses, bundle: Path, tmp_path: Path) -> None:
    segmenter = load_segmenter(bundle)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_submission(segmenter, muses, "test", tmp_path, progress=stop)
    assert not (tmp_path / "labelTrainIds").exists()
    (tmp_path / ".labelTrainIds.part" / "REC9999_frame_000000.png").touch()  # of a run that was stopped
    assert write_submission(segmenter, muses, "test", tmp_path, limit=1) == 1
    assert [path.name for path in (tmp_path / "labelTrainIds").iterdir()] == ["REC0006_frame_043620.png"]
    with pytest.raises(SartmError, match="labelTrainIds: already exists and is not overwritten"):
        check_submission(muses, tmp_path)


def test_what_the_server_would_refuse_is_refused(muses: Muses, bundle: Path, tmp_path: Path) -> None:
    segmenter = load_segmenter(bundle)
    names = muses.rig.class_names
    nothing = ClassMap(classes={name: name for name in names} | dict.fromkeys(names))
    with pytest.raises(SartmError, match="test clear/day/REC0006_frame_043620: 2073600 pixels .* have no class"):
        write_submission(segmenter, muses, "test", tmp_path, nothing)
    small = tmp_path / "frame_camera" / "test" / "fog" / "day" / "REC0001_frame_000001_frame_camera.png"
    small.parent.mkdir(parents=True)
    cv2.imwrite(str(small), np.zeros((540, 960, 3), np.uint8))
    with pytest.raises(SartmError, match=rf"{small.name}: is 540x960 .* expects masks of .*, 1080x1920"):
        write_submission(segmenter, open_data(tmp_path), "test", tmp_path)


def test_only_muses_hides_its_labels(bundle: Path, tmp_path: Path) -> None:
    for folder in ("img", "semantic"):  # DELIVER
        (tmp_path / folder).mkdir()
    command = ["evaluate", str(bundle), "--data", str(tmp_path), "--submission", str(tmp_path / "out")]
    result = runner.invoke(app, command)
    assert result.exit_code == 1
    assert "Of the layouts only MUSES has a split with hidden labels, test" in " ".join(result.output.split())


@pytest.mark.parametrize("more", [["--protocol", "subsets"], ["--convention", "anyseg"], ["--out", "x"]])
def test_nothing_can_be_scored_without_labels(muses: Muses, bundle: Path, tmp_path: Path, more: list[str]) -> None:
    command = ["evaluate", str(bundle), "--data", str(muses.root), *more]
    result = runner.invoke(app, [*command, "--submission", str(tmp_path)])
    assert result.exit_code == 1
    assert "muses test: has no labels, so --protocol, --list, --convention and --out have nothing to score" in " ".join(
        result.output.split()
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.soak
@pytest.mark.slow
def test_a_split_with_labels_is_scored_too_by_any_number_of_processes(
    muses: Muses, bundle: Path, tmp_path: Path
) -> None:
    arguments = ["evaluate", str(bundle), "--data", str(muses.root), "--split", "val", "--protocol", "conditions"]
    one, two = ([*arguments, "--json", "--submission", str(tmp_path / name)] for name in ("one", "two"))
    alone = runner.invoke(app, one)
    assert alone.exit_code == 0, alone.output
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}
    both = subprocess.run(
        [*command, "-m", "sartm_ros.cli", *two], env=environment, capture_output=True, text=True, timeout=300
    )
    assert both.returncode == 0, both.stderr[-2000:]
    found = []
    for name, said in (("one", alone.stdout), ("two", both.stdout)):
        figures, folder = json.loads(said), tmp_path / name / "labelTrainIds"
        assert figures.pop("submission") == {"folder": str(folder), "masks": 2, "expected": 250}
        figures.pop("latency_ms")
        found.append((figures, {path.name: path.read_bytes() for path in folder.iterdir()}))
    assert found[0] == found[1]
    assert set(found[0][0]["single_conditions"]) == {"fog", "rain", "day", "night"}
    assert len(found[0][1]) == 2
