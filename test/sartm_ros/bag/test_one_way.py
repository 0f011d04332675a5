"""The same frames through a data set and through a recording: the same masks, the same score, for every fit.

The camera's size is no multiple of the network's and has another aspect: where sizes had several owners, they differed.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from sartm_core.datasets.dataset import Frame, read_frame
from sartm_core.datasets.frame_folder import FrameFolder, FrameFolderWriter, write_frame
from sartm_core.deploy import load_segmenter
from sartm_core.errors import SartmError
from sartm_core.evaluation.evaluate import evaluate
from sartm_core.evaluation.results import as_dict
from sartm_core.resources import resolve_bundle
from sartm_core.rig import Rig, load_rig
from sartm_ros.bag.evaluate import BagEvaluation, evaluate_bags
from sartm_ros.bag.reader import open_bag
from sartm_ros.bag.replay import ReplayOptions
from sartm_ros.bag.segment import segment
from sartm_ros.bag.types import bag_message
from sartm_ros.bag.writer import BagWriter
from sartm_ros.decoding.images import header, image_message, raw_array
from sartm_sim.simulation import CONDITIONS, SimulatedRig
from sartm_sim.simulation.rig import resized

pytestmark = pytest.mark.slow

CAMERA = (301, 470)
STEP_NS, START_NS = 200_000_000, 1_700_000_000_000_000_000
ENCODINGS = {"rgb": "rgb8", "thermal": "mono16", "depth": "16UC1"}
FITS = {
    "stretch": {},
    "letterbox": {},
    "crop": {},
    "window": {"stride": [192, 240]},
}


@pytest.fixture(scope="module")
def rig() -> Rig:
    return resized(load_rig("sim"), CAMERA)


@pytest.fixture(scope="module")
def both(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same three frames as a frame folder and as a recording."""
    folder = tmp_path_factory.mktemp("both")
    with BagWriter(folder / "drive") as bag, FrameFolderWriter(folder / "frames", rig, "frames", {}) as frames:
        bag.add_topic("/truth", "sensor_msgs/msg/Image")
        for modality in rig.modalities:
            bag.add_topic(modality.topic, modality.message)
        for index, condition in enumerate(("day", "night", "fog")):
            simulated = SimulatedRig(rig, 2_000_000_100 + index)
            captured = simulated.capture(3.0, CONDITIONS[condition])
            stamp = START_NS + index * STEP_NS
            stamped = header(bag_message, stamp, "camera")
            frame = Frame(split="test", id=str(stamp), modalities=rig.names)
            write_frame(frames.part, frame, captured.raw, captured.truth)
            frames.add(frame)
            bag.write_message("/truth", stamp, image_message(bag_message, captured.truth, "mono8", stamped))
            for name, raw in captured.raw.items():
                message = image_message(bag_message, raw, ENCODINGS[name], stamped)
                bag.write_message(rig.modality(name).topic, stamp, message)
    return folder / "frames", folder / "drive"


def bundle_with(tmp_path: Path, fit: str, argmax: str = "frame") -> Path:
    """The shipped bundle with another fit, which its files do not depend on."""
    folder = Path(shutil.copytree(resolve_bundle("any_sensor_simrig5"), tmp_path / "bundle"))
    content = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(content | {"fit": fit, "argmax": argmax} | FITS[fit]))
    return folder


@pytest.mark.parametrize(("fit", "argmax"), [*((fit, "frame") for fit in FITS), ("stretch", "network")])
def test_masks_and_scores_are_the_same(
    rig: Rig, both: tuple[Path, Path], tmp_path: Path, fit: str, argmax: str
) -> None:
    frames, drive = both
    backend = "auto" if argmax == "frame" else "torch"  # the graphs answer for one argmax, the weights for both
    segmenter = load_segmenter(bundle_with(tmp_path, fit, argmax), backend)
    data = FrameFolder(frames)
    wanted = [
        segmenter.segment(read_frame(data, frame, dtype=segmenter.bundle.rig.dtype).planes, CAMERA).mask
        for frame in data.frames("test")
    ]
    with open_bag(drive) as bag:
        assert segment(bag, rig, segmenter, tmp_path / "masks")[0] == 3
    with open_bag(tmp_path / "masks") as bag:
        found = [raw_array(bag.deserialize(message)) for message in bag.messages({"/perception/mask"})]
    equal = [float((one == other).mean()) for one, other in zip(found, wanted, strict=True)]
    assert min(equal) >= 0.999, equal
    scored = as_dict(evaluate(segmenter, data, "test"))["clean"]["miou"]
    how = BagEvaluation(options=ReplayOptions(truth_topic="/truth"))
    _, replayed = evaluate_bags(segmenter, rig, [drive], how)
    assert replayed["clean"]["miou"] == pytest.approx(scored, abs=0.001)
    assert scored > 0.1  # masks of something


def test_other_percentiles_are_refused_before_anything_is_scored(rig: Rig, both: tuple[Path, Path]) -> None:
    segmenter = load_segmenter("any_sensor_simrig5")
    thermal = rig.modality("thermal").model_copy(update={"percentiles": (40.0, 60.0)})
    other = rig.model_copy(update={"modalities": tuple(thermal if m.name == "thermal" else m for m in rig.modalities)})
    how = BagEvaluation(options=ReplayOptions(truth_topic="/truth"))
    with pytest.raises(SartmError, match=r"trained with percentiles '\[1\.0, 99\.0\]', the rig file says '\[40\.0, 60"):
        evaluate_bags(segmenter, other, [both[1]], how)
    data = FrameFolder(both[0])
    data.rig = other
    with pytest.raises(SartmError, match="trained with percentiles"):
        evaluate(segmenter, data, "test")
    assert np.isfinite(as_dict(evaluate(segmenter, FrameFolder(both[0]), "test"))["clean"]["miou"])
