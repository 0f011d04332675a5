"""`sartm rig calibrate` on a small recording: hidden offsets come back, and what cannot be seen is refused."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from sartm_core.rig import load_rig
from sartm_ros.bag.calibration_frames import frames_around
from sartm_ros.bag.reader import open_bag
from sartm_ros.bag.types import bag_message
from sartm_ros.bag.writer import BagWriter
from sartm_ros.cli import app
from sartm_ros.decoding.images import header, image_message

T0_NS, PERIOD_NS = 1_700_000_000_000_000_000, 100_000_000
K = np.array([[200.0, 0, 100], [0, 200, 80], [0, 0, 1]])
RIG = """\
name: r
reference: rgb
modalities:
  rgb:
    kind: rgb
    size: [160, 200]
    topic: /rgb
    intrinsics: {fx: 200, fy: 200, cx: 100, cy: 80}
  thermal:
    kind: thermal
    size: [160, 200]
    topic: /thermal
    intrinsics: {fx: 200, fy: 200, cx: 100, cy: 80}
    extrinsics: {rotation_xyzw: [0.0, 0.0174524, 0.0, 0.9998477]}   # 2 degrees off
  event:
    kind: event
    size: [160, 200]
    topic: /events
classes:
  - {name: road, color: [1, 2, 3]}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording in which a camera turns to and fro; the thermal one is inverted, and stamped 40 ms late."""
    folder = tmp_path_factory.mktemp("calibrate")
    rng = np.random.default_rng(1)
    wide = np.full((220, 700, 3), 128, np.uint8)
    for _ in range(300):
        x, y = int(rng.integers(700)), int(rng.integers(220))
        shape = cv2.boxPoints(((x, y), tuple(rng.uniform(8, 40, 2)), rng.uniform(0, 90))).astype(int)
        cv2.fillPoly(wide, [shape], [float(rng.uniform(0, 255))] * 3)
    k_wide = np.array([[200.0, 0, 350], [0, 200, 110], [0, 0, 1]])
    with BagWriter(folder / "drive") as writer:
        for topic in ("/rgb", "/thermal"):
            writer.add_topic(topic, "sensor_msgs/msg/Image")
        for index in range(16):
            turn = cv2.Rodrigues(np.array([0, 0.25 * np.sin(index * 0.7), 0]))[0]
            image = cv2.warpPerspective(wide, K @ turn.T @ np.linalg.inv(k_wide), (200, 160))
            stamp = T0_NS + index * PERIOD_NS
            for topic, pixels, encoding, at in (
                ("/rgb", image, "rgb8", stamp),
                ("/thermal", np.ascontiguousarray(255 - image[..., 0]), "mono8", stamp + 40_000_000),
            ):
                message = image_message(bag_message, pixels, encoding, header(bag_message, at, topic[1:]))
                writer.write_message(topic, at, message)
    return folder


def test_moments_have_the_references_frames_around_the_sensors_stamps(folder: Path) -> None:
    (folder / "plain.yaml").write_text(RIG)
    with open_bag(folder / "drive") as bag:
        seen = frames_around(bag, load_rig(folder / "plain.yaml"), "thermal", 5)
    assert len(seen.moments) == len(seen.measurements) == 5
    assert seen.frame_ids == {"/rgb": "rgb", "/thermal": "thermal"}
    for moment in seen.moments:
        assert moment.times_s[0] < 0 < moment.times_s[-1]
        assert np.abs(moment.times_s + 0.04).min() == pytest.approx(0, abs=1e-6)  # the frame of the same instant


def test_a_turn_and_a_delay_are_found_and_written(folder: Path) -> None:
    rig = folder / "rig.yaml"
    rig.write_text(RIG)
    arguments = ["rig", "calibrate", str(rig), "--bag", str(folder / "drive")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    thermal = load_rig(rig).modality("thermal")
    assert thermal.extrinsics is not None
    turn = np.degrees(np.linalg.norm(cv2.Rodrigues(thermal.extrinsics.matrix[:3, :3])[0]))
    assert turn < 0.15
    assert thermal.offset_s == pytest.approx(-0.040, abs=0.003)
    assert "# calibrated" in rig.read_text()
    assert "event: not calibrated: events have no edges" in done.output
    assert cv2.imread(str(folder / "rig_calibration.png")) is not None


def test_what_is_not_recorded_is_refused_and_nothing_is_written(folder: Path) -> None:
    rig = folder / "other.yaml"
    rig.write_text(RIG.replace("/thermal", "/thermal2"))
    done = CliRunner().invoke(app, ["rig", "calibrate", str(rig), "--bag", str(folder / "drive")])
    assert done.exit_code == 1
    assert "thermal: not calibrated" in done.output
    assert rig.read_text() == RIG.replace("/thermal", "/thermal2")
    assert not (folder / "other_calibration.png").exists()


def test_a_shipped_rig_is_not_changed(folder: Path) -> None:
    done = CliRunner().invoke(app, ["rig", "calibrate", "rgbt", "--bag", str(folder / "drive")])
    assert done.exit_code == 1
    assert "--out" in done.output


def test_rig_check_says_how_far_off_a_sensor_is(folder: Path) -> None:
    rig = folder / "checked.yaml"
    rig.write_text(RIG.replace("  event:\n    kind: event\n    size: [160, 200]\n    topic: /events\n", ""))
    done = CliRunner().invoke(app, ["rig", "check", str(rig), "--bag", str(folder / "drive")])
    assert done.exit_code == 0, done.output
    said = re.search(r"remark: thermal: lies ([\d.]+) px off, known within [\d.]+ px; (\d+) ms late", done.output)
    assert said, done.output
    assert float(said[1]) == pytest.approx(200 * np.tan(np.radians(2)), abs=1)
    assert int(said[2]) == pytest.approx(40, abs=3)
