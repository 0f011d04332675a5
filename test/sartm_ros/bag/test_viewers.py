"""Films and Rerun's recordings of a replay, read back by the libraries that players are made of."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sartm_core.datasets.legend import legend
from sartm_core.errors import SartmError
from sartm_core.rig import Rig, load_rig
from sartm_core.segmentation import Segmentation
from sartm_ros.bag.rerun_recording import rerun_recording
from sartm_ros.bag.video import PANEL, film, panel
from sartm_ros.frame_sets import FrameSet

STAMP_NS = 1_700_000_000_000_000_000
NEEDS = "needs the extra viewer: pip install 'av>=14' 'rerun-sdk>=0.41'"


@pytest.fixture
def rig() -> Rig:
    return load_rig("sim")


def segmentation(weights: tuple[float, ...]) -> Segmentation:
    mask = np.zeros((48, 64), np.uint8)
    mask[:, 32:] = 3
    return Segmentation(mask, np.full((48, 64), 0.75, np.float32), np.tile(np.float32(weights), (3, 1)))


def test_a_film_plays_in_browsers_and_keeps_the_time(rig: Rig, tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason=NEEDS)
    overlay = np.zeros((48, 64, 3), np.uint8)
    overlay[..., 0] = 220
    states = {"rgb": "present", "thermal": "broken", "depth": "absent"}
    times_ms = (0, 100, 1500, 700)  # one is older than the one before it
    with film(tmp_path / "film.mp4", rig) as opened:
        for at_ms in times_ms:
            opened.add(STAMP_NS + at_ms * 10**6, overlay, segmentation((1, 0, 0)), states)
        assert list(tmp_path.glob("film.mp4")) == []  # not before it is complete
    with av.open(str(tmp_path / "film.mp4")) as found:
        video = found.streams.video[0]
        assert (video.codec.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        frames = list(found.decode(video=0))
    assert [round(float(frame.pts * frame.time_base) * 1000) for frame in frames] == [0, 100, 1500, 1501]
    picture = frames[1].to_ndarray(format="rgb24")
    assert picture.shape[1] == 640 + PANEL
    assert np.abs(picture[100, 100].astype(int) - (220, 0, 0)).max() < 30


def test_a_film_that_fails_leaves_nothing(rig: Rig, tmp_path: Path) -> None:
    pytest.importorskip("av", reason=NEEDS)

    def fail() -> None:
        with film(tmp_path / "film.mp4", rig):
            raise SartmError("no mask")

    with pytest.raises(SartmError, match="no mask"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_wrong_names_and_existing_files_are_refused_first(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").touch()
    (tmp_path / "drive.rrd").touch()
    for opened, message in (
        (film(tmp_path / "film.avi", rig), "expected a name that ends in .mp4"),
        (film(tmp_path / "film.mp4", rig), "already exists"),
        (rerun_recording(tmp_path / "drive.rr", rig), "expected a name that ends in .rrd"),
        (rerun_recording(tmp_path / "drive.rrd", rig), "already exists"),
    ):
        with pytest.raises(SartmError, match=message), opened:
            pass


@pytest.mark.parametrize("package", ["av", "rerun"])
def test_a_missing_package_is_named_with_its_remedy(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    opened = film(tmp_path / "a.mp4", rig) if package == "av" else rerun_recording(tmp_path / "a.rrd", rig)
    with pytest.raises(SartmError, match="is not installed: pip install"), opened:
        pass


def test_the_panel_shows_weights_and_names_what_is_wrong(rig: Rig) -> None:
    blue = (42, 111, 151)

    def bar(weight: float) -> int:
        drawn = panel({"rgb": weight, "thermal": 0.0}, {"rgb": "present", "thermal": "broken"})
        return int((drawn == blue).all(axis=2).any(axis=0).sum())

    assert bar(0.8) == pytest.approx(2 * bar(0.4), abs=2)


def test_the_legend_has_each_class_in_its_colour(rig: Rig) -> None:
    colours = {tuple(pixel) for pixel in legend(rig).reshape(-1, 3).tolist()}
    assert {spec.color for spec in rig.classes} <= colours


def test_rerun_reads_what_was_measured_and_what_the_masks_mean(rig: Rig, tmp_path: Path) -> None:
    rerun = pytest.importorskip("rerun", reason=NEEDS)
    image = np.full((48, 64, 3), 90, np.uint8)
    path = tmp_path / "drive.rrd"
    with rerun_recording(path, rig) as opened:
        for number, state in enumerate(("present", "present", "stale")):
            states = {"rgb": "present", "thermal": state, "depth": "absent"}
            frames = FrameSet(STAMP_NS + number * 10**8, "camera", {"rgb": image}, {}, {}, {}, {}, states)
            opened.add(frames, segmentation((0.75, 0.25, 0)))
    command = [sys.executable, "-m", "rerun", "rrd", "print", "-vvv", str(path)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    for entity in ("/mask", "/confidence", "/sensors/rgb", "/weights/thermal", "/states/depth"):
        assert entity in told.stdout, entity
    assert rerun.__version__
