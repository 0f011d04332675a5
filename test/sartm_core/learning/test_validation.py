"""What validation says of a network is what evaluation says of its bundle: the same frames, the same way."""

from pathlib import Path

import pytest

from sartm_core.datasets.dataset import Frame
from sartm_core.datasets.frame_folder import FrameFolder, FrameFolderWriter, write_frame
from sartm_core.deploy import load_segmenter
from sartm_core.errors import SartmError
from sartm_core.evaluation.evaluate import evaluate
from sartm_core.evaluation.results import as_dict
from sartm_core.learning.export import export
from sartm_core.learning.overrides import read_recipe
from sartm_core.learning.run import train
from sartm_core.rig import load_rig
from sartm_sim.simulation import CONDITIONS, SimulatedRig
from sartm_sim.simulation.rig import resized

pytestmark = pytest.mark.slow

SMOKE = Path(__file__).parents[3] / "training" / "recipes" / "smoke.yaml"


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a camera whose size is no multiple of the network's, and of another aspect."""
    rig = resized(load_rig("sim"), (110, 171))
    folder = tmp_path_factory.mktemp("frames") / "frames"
    with FrameFolderWriter(folder, rig, "frames", {}) as writer:
        for index, split in enumerate(("train", "train", "val", "val", "val")):
            captured = SimulatedRig(rig, 500 + index).capture(3.0, CONDITIONS["day"])
            frame = Frame(split=split, id=str(index), modalities=rig.names)
            write_frame(writer.part, frame, captured.raw, captured.truth)
            writer.add(frame)
    return folder


@pytest.mark.parametrize("fit", ["stretch", "letterbox", "corner", "crop", "window"])
def test_validation_and_evaluation_agree(frames: Path, tmp_path: Path, fit: str) -> None:
    changes = [
        f"data.root={frames}", f"fit={fit}", "workers=0", "validate_every=2", "robustness.passes=clean",
        "stages=[{size: [64, 96], samples: 4, batch: 2, learning_rate: 0.01}]",
        *(["stride=[32, 64]"] if fit == "window" else []),
    ]  # fmt: skip
    figures = train(read_recipe(SMOKE, changes), tmp_path / "run")
    bundle = export(tmp_path / "run" / "last.ckpt", tmp_path / "bundle")
    assert bundle.fit == fit  # the recipe's
    if fit == "window":
        with pytest.raises(SartmError, match="windows of 64x32 leave gaps"):
            export(tmp_path / "run" / "last.ckpt", tmp_path / "gaps", size=(64, 32))
    evaluation = evaluate(load_segmenter(tmp_path / "bundle"), FrameFolder(frames), "val")
    assert as_dict(evaluation)["clean"]["miou"] == pytest.approx(figures["last_miou"], abs=0.001)


def test_a_stride_goes_with_windows(frames: Path) -> None:
    with pytest.raises(SartmError, match="stride: goes with fit: window"):
        read_recipe(SMOKE, ["fit=window"])
    with pytest.raises(SartmError, match="stride: expected at most"):
        read_recipe(SMOKE, ["fit=window", "stride=[2048, 2048]"])
