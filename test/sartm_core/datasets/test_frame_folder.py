"""Frame folders on disk, and the simulated benchmark that is written as one."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from sartm_core.cli import app
from sartm_core.datasets.dataset import Frame
from sartm_core.datasets.frame_folder import FrameFolder, FrameFolderWriter, write_frame
from sartm_core.errors import SartmError
from sartm_core.rig import load_rig
from sartm_core.sensing import encode
from sartm_sim.commands import sim_app
from sartm_sim.simulation import benchmark
from sartm_sim.simulation.faults import FAULTS

pytestmark = pytest.mark.slow

runner = CliRunner()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Twelve frames of each split, written by the command."""
    out = tmp_path_factory.mktemp("frames") / "simrig5"
    result = runner.invoke(sim_app, ["dataset", "--out", str(out), "--limit", "12", "--workers", "2"])
    assert result.exit_code == 0, result.output
    assert "36 frame sets, train, val, test" in result.stdout
    return out


def test_what_was_measured_comes_back(recorded) -> None:
    opened = FrameFolder(recorded)
    rig = load_rig("simrig5")
    assert opened.rig == rig
    sample = benchmark.samples(rig, "val")[7]
    simulated, frame = sample.render(rig)
    entry = opened.frames("val")[7]
    for name, image in simulated.registered(frame).items():
        read = opened.image(entry, name)
        assert np.array_equal(read, image)
        assert read.dtype == image.dtype
        assert encode(rig.modality(name), read, rig.dtype).shape == (3, 256, 320)
    assert np.array_equal(opened.truth(entry), frame.truth)


def test_the_manifest_holds_generator_and_tags(recorded) -> None:
    content = json.loads((recorded / "manifest.json").read_text())
    assert content["generator"] == {"name": "simrig-5", "version": benchmark.GENERATOR_VERSION}
    assert content["name"] == "simrig-5 in part"
    tags = [frame["tags"] for frame in content["frames"] if frame["split"] == "test"]
    assert [tag["condition"] for tag in tags] == ["day", "dusk", "night", "fog", "rain", "low_sun"] * 2
    assert [tag["fault"] == "none" for tag in tags] == [True] * 6 + [False] * 6
    files = sorted(path.suffix for path in (recorded / "test").glob("*/000000.*"))
    assert files == [".npz", ".npz", ".png", ".png", ".png", ".png"]


def test_the_splits_of_the_benchmark() -> None:
    rig = load_rig("simrig5")
    train, val, test = (benchmark.samples(rig, split) for split in ("train", "val", "test"))
    assert [len(split) for split in (train, val, test)] == [3000, 300, 600]
    assert len({sample.seed for sample in (*train, *val, *test)}) == 3900
    assert not any(sample.fault or sample.novel for sample in train)
    assert all(sample.novel for sample in test)
    assert not any(sample.novel for sample in val)
    pairs = {(sample.faulty, sample.fault) for sample in test if sample.fault}
    assert pairs == {(m.name, fault) for fault, kinds in FAULTS.items() for m in rig.modalities if m.kind in kinds}
    met = {(s.fault, s.condition) for s in test if s.fault}
    assert len(met) == len(FAULTS) * 6  # every fault under every condition
    assert sum(sample.fault is None for sample in test) == 300


def test_a_contact_sheet(recorded, tmp_path) -> None:
    out = tmp_path / "sheet.png"
    command = ["data", "preview", str(recorded), "--split", "test", "--each", "fault", "--out", str(out)]
    result = runner.invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "6 frame sets" in result.stdout
    assert out.read_bytes()[:4] == b"\x89PNG"
    assert out.stat().st_size > 100_000


def test_faults_of_a_frame_folder_are_named(recorded, tmp_path) -> None:
    with pytest.raises(SartmError, match=r"is not a frame folder \(no manifest\.json\)"):
        FrameFolder(tmp_path)
    with pytest.raises(SartmError, match="has no split 'night'. It has: test, train, val"):
        FrameFolder(recorded).frames("night")
    rig, frame = load_rig("simrig5"), Frame(split="train", id="0", modalities=("rgb", "lidar"))
    with FrameFolderWriter(tmp_path / "mine", rig, "mine", {}) as writer:
        lidar = np.zeros((256, 320, 3), np.float32)
        images = {"rgb": np.zeros((256, 320, 3), np.uint8), "lidar": lidar}
        write_frame(writer.part, frame, images, None)
        writer.add(frame)
        assert not (tmp_path / "mine").exists()
    opened = FrameFolder(tmp_path / "mine")
    with pytest.raises(SartmError, match=r"train/truth/0\.png: is missing"):
        opened.truth(frame)
    (tmp_path / "mine/train/rgb/0.png").write_bytes(b"no picture")
    with pytest.raises(SartmError, match=r"train/rgb/0\.png: is not a readable image"):
        opened.image(frame, "rgb")
    (tmp_path / "mine/train/lidar/0.npz").write_bytes(b"no array")
    with pytest.raises(SartmError, match=r"train/lidar/0\.npz: is not a readable array"):
        opened.image(frame, "lidar")
    with pytest.raises(SartmError, match="already exists"):
        FrameFolderWriter(tmp_path / "mine", rig, "mine", {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "../etc"}, r"frames\.0\.split"),
        ({"id": "../../passwd"}, r"frames\.0\.id"),
        ({"modalities": ["radar"]}, "has a modality 'radar'; the rig has rgb, thermal"),
    ],
)
def test_a_manifest_that_points_elsewhere_is_refused(recorded, tmp_path, change, message) -> None:
    content = json.loads((recorded / "manifest.json").read_text())
    content["frames"] = [{**content["frames"][0], **change}]
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    (tmp_path / "rig.yaml").write_text((recorded / "rig.yaml").read_text())
    with pytest.raises(SartmError, match=message):
        FrameFolder(tmp_path)


def test_a_failed_writer_leaves_nothing(tmp_path) -> None:
    with pytest.raises(ZeroDivisionError), FrameFolderWriter(tmp_path / "mine", load_rig("simrig5"), "mine", {}):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_wrong_use_of_the_command(tmp_path) -> None:
    result = runner.invoke(sim_app, ["dataset", "--out", str(tmp_path / "x"), "--split", "night"])
    assert result.exit_code == 2
    assert "expected train, val or test, got night" in result.output.replace("\n", " ")
    result = runner.invoke(sim_app, ["dataset", "--out", str(tmp_path / "x"), "--rig", "mcubes"])
    assert result.exit_code == 1
    assert list(tmp_path.iterdir()) == []
