"""One recording's result: the same however it is cut, complete or not there at all."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleets import BUNDLE, content_of, fleet_order, fleet_rig, write_recording, write_rig
from typer.testing import CliRunner

from sartm_core.deploy.bundle import read_bundle
from sartm_core.resources import resolve_bundle
from sartm_core.segmentation import Segmentation
from sartm_ros.bag.writer import BagWriter
from sartm_ros.cli import app
from sartm_ros.fleet.order import Evaluating, Extracting, Order
from sartm_ros.fleet.perform import perform
from sartm_ros.fleet.plan import Recording
from sartm_ros.fleet.tasks import Task


class Cheap:
    """Answers in no time; another mask for every image."""

    backend = "none"

    def __init__(self) -> None:
        self.bundle = read_bundle(resolve_bundle(BUNDLE))

    def segment(self, planes: dict[str, Any], size: tuple[int, int] | None = None) -> Segmentation:
        assert size is not None
        mean = np.mean([np.nan_to_num(plane).mean(axis=0).mean() for plane in planes.values()])
        mask = np.arange(size[0] * size[1]).reshape(size) * int(mean * 1e4) % 9
        routing = np.array([[name in planes for name in self.bundle.rig.names]] * 3, np.float32) / len(planes)
        return Segmentation(mask.astype(np.uint8), np.full(size, mean % 1, np.float32), routing)


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = Cheap()
    monkeypatch.setattr("sartm_ros.fleet.perform._loaded", lambda *_: segmenter)


FILES = ["masks.mcap", "report.html", "result.json", "sets.json", "thumbnail.jpg"]


def recording_of(path: Path) -> Recording:
    return Recording(path.name, str(path), sum(file.stat().st_size for file in path.iterdir()))


def done(path: Path, order: Order, out: Path) -> dict[str, Any]:
    outcome = perform(Task(recording_of(path)), order, out)
    assert outcome.failure is None
    return dict(json.loads((out / path.name / "result.json").read_text())["figures"])


def sliced(path: Path, order: Order, out: Path, count: int) -> dict[str, bytes]:
    """Backwards, as slices may end in any order."""
    for index in reversed(range(count)):
        assert perform(Task(recording_of(path), "slice", index, count), order, out).failure is None
    assert perform(Task(recording_of(path), "join", count=count), order, out).failure is None
    assert not (out / ".slices").exists()
    return content_of(out / path.name)


def test_masks_are_those_of_bag_segment(tmp_path: Path) -> None:
    path, rig = write_recording(tmp_path / "drive", thermal=(1, 9)), write_rig(tmp_path / "rig.yaml")
    figures = done(path, fleet_order(), tmp_path / "out")
    alone = tmp_path / "masks.mcap"
    arguments = ["bag", "segment", path, "--bundle", BUNDLE, "--rig", rig, "--out", alone, "--device", "cpu"]
    assert CliRunner().invoke(app, [str(one) for one in arguments]).exit_code == 0
    files = content_of(tmp_path / "out" / "drive")
    assert [*files] == FILES
    assert files["masks.mcap"] == alone.read_bytes()
    assert (figures["sets"], figures["masks"], figures["seconds"]) == (4, 4, 0.3)
    assert figures["sensors"]["thermal"]["dead"] == 0.25
    assert figures["sensors"]["rgb"]["dead"] == 0
    assert [*figures["sensors"]] == ["rgb", "thermal"]  # the bundle's other sensors are not of this rig
    confidences = json.loads(files["sets.json"])["confidence"]
    assert figures["confidence"] == pytest.approx(sum(confidences) / 4, abs=1e-6)
    assert 0 < figures["disagreement"] <= 1


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("count", [2, 7])
@pytest.mark.parametrize("silent", ["none", "thermal", "rgb"])
def test_slices_joined_are_the_whole_to_the_byte(silent: str, count: int, tmp_path: Path) -> None:
    """Where a sensor is silent for long the matching waits, and another takes the reference's place."""
    gaps = {} if silent == "none" else {silent: (0, 5)}
    path = write_recording(tmp_path / "drive", sets=12, **gaps)
    done(path, fleet_order(), tmp_path / "whole")
    assert sliced(path, fleet_order(), tmp_path / "sliced", count) == content_of(tmp_path / "whole" / "drive")


@pytest.mark.usefixtures("cheap")
def test_a_size_that_only_an_earlier_slice_knows(tmp_path: Path) -> None:
    """Masks have the size of the last image of the reference camera: here not the rig file's, and before the seam."""
    path = write_recording(tmp_path / "drive", sets=8, rgb=(0, 2), size=(96, 128))
    done(path, fleet_order(), tmp_path / "whole")
    assert sliced(path, fleet_order(), tmp_path / "sliced", 2) == content_of(tmp_path / "whole" / "drive")


@pytest.mark.usefixtures("cheap")
def test_a_slice_that_is_there_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, order = write_recording(tmp_path / "drive"), fleet_order()
    task = Task(recording_of(path), "slice", 0, 2)
    assert perform(task, order, tmp_path / "out").failure is None

    def fail(*_: Any) -> None:
        raise ValueError("made again")

    monkeypatch.setattr("sartm_ros.fleet.perform.segment", fail)
    assert perform(task, order, tmp_path / "out").failure is None
    assert perform(task, fleet_order(stamps="recorded"), tmp_path / "out").failure == "ValueError: made again"


@pytest.mark.usefixtures("cheap")
def test_a_full_disk_leaves_nothing_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_recording(tmp_path / "drive")

    def write(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(BagWriter, "write", write)
        outcome = perform(Task(recording_of(path)), fleet_order(), tmp_path / "out")
    assert outcome.failure is not None
    assert "the disk is full" in outcome.failure
    assert [*(tmp_path / "out").iterdir()] == []
    done(path, fleet_order(), tmp_path / "out")


@pytest.mark.usefixtures("cheap")
def test_a_result_of_another_order_is_replaced_whole(tmp_path: Path) -> None:
    path, out = write_recording(tmp_path / "drive"), tmp_path / "out"
    done(path, fleet_order(what=Extracting(every_s=0)), out)
    assert (out / "drive" / "frames" / "manifest.json").is_file()
    done(path, fleet_order(), out)
    assert [*content_of(out / "drive")] == FILES
    (out / "drive" / "notes.txt").write_text("mine")
    failure = perform(Task(recording_of(path)), fleet_order(stamps="recorded"), out).failure
    assert failure is not None
    assert "notes.txt" in failure
    assert (out / "drive" / "notes.txt").read_text() == "mine"


@pytest.mark.usefixtures("cheap")
def test_what_holds_no_mask_says_why(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "drive", rgb=(0, 0), thermal=(0, 0))
    failure = perform(Task(recording_of(path)), fleet_order(), tmp_path / "out").failure
    assert failure is not None
    assert "/rgb" in failure


@pytest.mark.slow
def test_scores_are_those_of_bag_evaluate(tmp_path: Path) -> None:
    path, rig = write_recording(tmp_path / "drive", thermal=(2, 9)), write_rig(tmp_path / "rig.yaml")
    order = fleet_order(what=Evaluating(truth_topic="/truth"))
    figures = done(path, order, tmp_path / "out")
    arguments = ["bag", "evaluate", path, "--bundle", BUNDLE, "--rig", rig, "--truth-topic", "/truth", "--json"]
    told = CliRunner().invoke(app, [str(one) for one in (*arguments, "--device", "cpu")]).stdout
    expected = json.loads(told[told.index("{\n") :])
    assert figures["miou"] == expected["clean"]["miou"]
    assert figures["sensors"]["thermal"]["dead"] == 0.5
    done(path, order, tmp_path / "again")
    assert content_of(tmp_path / "again" / "drive") == content_of(tmp_path / "out" / "drive")


def test_frames_are_a_data_set(tmp_path: Path) -> None:
    from sartm_core.datasets.frame_folder import FrameFolder

    path = write_recording(tmp_path / "drive", thermal=(0, 3))
    figures = done(path, fleet_order(what=Extracting(every_s=0, truth_topic="/truth")), tmp_path / "out")
    folder = FrameFolder(tmp_path / "out" / "drive" / "frames")
    assert len(folder.frames()) == figures["frames"] == 4
    assert figures["sensors"]["thermal"]["dead"] == 0.25
    assert folder.rig.names == fleet_rig().names
