"""The loss of each sensor, rehearsed on a recording's stamps."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from sartm_core.rig import Rig, rig_from_dict
from sartm_ros.bag.reader import open_bag
from sartm_ros.bag.rehearsal import rehearse
from sartm_ros.bag.types import bag_message
from sartm_ros.bag.writer import BagWriter
from sartm_ros.cli import app
from sartm_ros.decoding.images import header, image_message

START_NS = 1_700_000_000_000_000_000


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RGB and depth at 30 Hz by one trigger, thermal at 9 Hz by its own clock; 8 s."""

    path = tmp_path_factory.mktemp("rehearsal") / "drive"
    images = {"rgb": np.arange(24 * 32 * 3, dtype=np.uint8).reshape(24, 32, 3), "depth": np.full((24, 32), 900, "<u2")}
    images["depth"][3:9] = 1200
    images["thermal"] = np.arange(24 * 32, dtype="<u2").reshape(24, 32) + 8000
    encodings = {"rgb": "rgb8", "depth": "16UC1", "thermal": "mono16"}
    arrivals = [
        (START_NS + round(number / rate_hz * 1e9) + phase_ms * 1_000_000, name)
        for name, rate_hz, phase_ms in (("rgb", 30, 0), ("depth", 30, 4), ("thermal", 9, 13))
        for number in range(8 * rate_hz)
    ]
    with BagWriter(path) as writer:
        for name in images:
            writer.add_topic(f"/{name}", "sensor_msgs/msg/Image")
        for stamp, name in sorted(arrivals):
            stamped = header(bag_message, stamp, "camera")
            writer.write_message(
                f"/{name}", stamp + 5_000_000, image_message(bag_message, images[name], encodings[name], stamped)
            )
    return path


def rig_with(**tolerance_s: float) -> Rig:
    kinds = {
        "rgb": {"kind": "rgb"},
        "thermal": {"kind": "thermal", "encoding": "percentile"},
        "depth": {"kind": "depth"},
    }
    modalities = {
        name: {**fields, "size": [24, 32], "topic": f"/{name}", "tolerance_s": tolerance_s.get(name, 0.05)}
        for name, fields in kinds.items()
    }
    classes = [{"name": "road", "color": [1, 2, 3]}]
    return rig_from_dict({"name": "test", "reference": "rgb", "modalities": modalities, "classes": classes}, "test")


def test_each_sensor_is_lost_once(recording: Path) -> None:
    with open_bag(recording) as bag:
        whole, *lost = rehearse(rig_with(depth=0.01, thermal=0.06), bag)
    assert whole.lost is None
    assert whole.leader == "rgb"
    assert whole.rate_hz == pytest.approx(30, abs=1)
    assert min(whole.shares.values()) > 0.95
    without = {one.lost: one for one in lost}
    assert set(without) == {"rgb", "thermal", "depth"}
    assert without["rgb"].leader == "depth"  # the fastest that is left, not the next in the file
    assert without["rgb"].rate_hz == pytest.approx(30, abs=2)
    assert without["rgb"].shares["thermal"] > 0.95
    assert without["depth"].leader == "rgb"
    assert "depth" not in without["depth"].shares


def test_the_command_says_what_becomes_of_the_sets(recording: Path, tmp_path: Path) -> None:
    rig = tmp_path / "rig.yaml"

    content = rig_with(depth=0.01, thermal=0.06).model_dump(mode="json", exclude_none=True)
    content["modalities"] = {one.pop("name"): one for one in content["modalities"]}
    rig.write_text(yaml.safe_dump(content))
    result = CliRunner().invoke(app, ["rig", "check", str(rig), "--bag", str(recording)])
    assert "with all sensors: rgb leads" in result.output, result.output
    assert "without rgb: depth leads, " in result.output


def test_a_short_recording_is_not_rehearsed(tmp_path: Path) -> None:

    with BagWriter(tmp_path / "short") as writer:
        for name in ("rgb", "depth"):
            writer.add_topic(f"/{name}", "sensor_msgs/msg/Image")
            stamped = header(bag_message, START_NS, "camera")
            message = image_message(bag_message, np.zeros((24, 32), np.uint16), "mono16", stamped)
            writer.write_message(f"/{name}", START_NS, message)
    with open_bag(tmp_path / "short") as bag:
        assert rehearse(rig_with(), bag) == []
