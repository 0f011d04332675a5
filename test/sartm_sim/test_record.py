"""`sartm sim record`: the recording is what a robot with these sensors would have recorded."""

import hashlib
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from sartm_core.rig import load_rig
from sartm_core.sensing.evt3 import Evt3Decoder
from sartm_ros.bag.reader import read_messages
from sartm_ros.cli import app
from sartm_ros.decoding.images import raw_array, stamp_ns
from sartm_ros.decoding.point_clouds import cloud_points
from sartm_sim.record import START_NS
from sartm_sim.simulation import CONDITIONS, SimulatedRig

pytestmark = pytest.mark.slow

SCENARIO = """
name: tiny
phases:
  - {name: day, seconds: 0.6, condition: day}
  - {name: night, seconds: 0.6, condition: night, unplugged: [rgb], faults: {thermal: frozen}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sim_record")
    (folder / "tiny.yaml").write_text(SCENARIO)
    for name in ("one", "two"):
        command = ["sim", "record", "--scenario", str(folder / "tiny.yaml"), "--out", str(folder / name), "--rate", "5"]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        assert "6 instants of scenario 'tiny'" in result.stdout
    return folder


@pytest.fixture(scope="module")
def messages(folder):
    by_topic: dict[str, list] = {}
    for topic, _, message in read_messages(folder / "one"):
        by_topic.setdefault(topic, []).append(message)
    return by_topic


def test_topics_and_counts(messages) -> None:
    counts = {topic: len(found) for topic, found in messages.items()}
    events = counts.pop("/sim/event/packets")
    assert counts == {
        "/tf_static": 1,
        "/sim/phase": 2,
        "/sim/truth": 6,
        "/sim/rgb/image": 3,
        "/sim/rgb/camera_info": 3,
        "/sim/thermal/image": 6,
        "/sim/thermal/camera_info": 6,
        "/sim/depth/image": 6,
        "/sim/depth/camera_info": 6,
        "/sim/lidar/points": 6,
        "/sim/event/camera_info": 6,
    }
    assert 90 <= events <= 120  # 1.2 s in packets of 10 ms


def test_the_messages_are_the_measurements(messages) -> None:
    rig = load_rig("simrobot")
    frame = SimulatedRig(rig, seed=7).capture(0.4, CONDITIONS["day"], events_since_s=0.2)
    at = START_NS + 400_000_000
    topics = ("/sim/rgb/image", "/sim/thermal/image", "/sim/depth/image", "/sim/lidar/points", "/sim/truth")
    here = {topic: min(messages[topic], key=lambda m: abs(stamp_ns(m) - at)) for topic in topics}
    for name in ("rgb", "thermal", "depth"):
        assert np.array_equal(raw_array(here[f"/sim/{name}/image"]), frame.raw[name])
    assert np.array_equal(raw_array(here["/sim/truth"]), frame.truth)
    assert np.array_equal(cloud_points(here["/sim/lidar/points"]), frame.raw["lidar"][:, :4])
    decoder = Evt3Decoder()
    events = np.concatenate([decoder.decode([m.events]).events().records for m in messages["/sim/event/packets"]])
    window = events[(events["t"] >= 200_000) & (events["t"] < 400_000)]
    assert np.array_equal(window, frame.raw["event"])
    assert (np.diff(events["t"]) >= 0).all()


def test_every_sensor_has_a_clock_and_a_way_of_its_own(folder) -> None:
    """As on a robot: stamps differ, and what was measured first may arrive last."""
    arrivals: dict[str, list[tuple[int, int]]] = {}
    order = []
    for topic, time_ns, message in read_messages(folder / "one"):
        order.append(time_ns)
        if topic.endswith(("/image", "/points")):
            instant = START_NS + round((stamp_ns(message) - START_NS) / 200e6) * 200_000_000
            arrivals.setdefault(topic, []).append((stamp_ns(message) - instant, time_ns - instant))
    assert order == sorted(order)
    expected_ms = {"rgb/image": (0, 15), "thermal/image": (11, 40), "depth/image": (5, 25), "lidar/points": (-15, 45)}
    for name, (offset_ms, delay_ms) in expected_ms.items():
        offsets, delays = np.array(arrivals[f"/sim/{name}"]).T / 1e6
        assert np.abs(offsets - offset_ms).max() <= 3, name
        assert np.abs(delays - delay_ms).max() <= 3, name
        assert len(set(offsets)) > 1 or name == "rgb/image", "no jitter"


def test_one_clock_on_request(folder) -> None:
    command = ["sim", "record", "--scenario", str(folder / "tiny.yaml"), "--out", str(folder / "shared"), "--rate", "5"]
    assert CliRunner().invoke(app, [*command, "--rig", "sim", "--shared-clock"]).exit_code == 0
    for topic, time_ns, message in read_messages(folder / "shared"):
        if topic.endswith("/image"):
            assert stamp_ns(message) == time_ns
            assert (time_ns - START_NS) % 200_000_000 == 0


def test_calibration_is_published(messages) -> None:
    info = messages["/sim/thermal/camera_info"][0]
    assert (info.height, info.width) == (192, 256)
    assert info.k.reshape(3, 3).tolist() == [[190, 0, 127.5], [0, 190, 95.5], [0, 0, 1]]  # centres of pixels
    transforms = {t.child_frame_id: t for t in messages["/tf_static"][0].transforms}
    assert set(transforms) == {
        "sim_rgb_optical", "sim_thermal_optical", "sim_depth_optical", "sim_lidar", "sim_event_optical",
    }  # fmt: skip
    assert transforms["sim_rgb_optical"].header.frame_id == "base_link"
    assert transforms["sim_lidar"].header.frame_id == "sim_rgb_optical"
    assert transforms["sim_lidar"].transform.translation.y == -0.25
    assert messages["/sim/lidar/points"][0].header.frame_id == "sim_lidar"
    assert messages["/sim/depth/image"][0].header.frame_id == "sim_depth_optical"


def test_phases_and_faults(messages) -> None:
    phases = [json.loads(message.data) for message in messages["/sim/phase"]]
    assert [phase["name"] for phase in phases] == ["day", "night"]
    assert phases[1]["unplugged"] == ["rgb"]
    assert phases[1]["faults"] == {"thermal": "frozen"}
    frozen = [raw_array(m).tobytes() for m in messages["/sim/thermal/image"][3:]]
    assert len(set(frozen)) == 1


def test_the_same_scenario_and_seed_give_the_same_messages(folder) -> None:
    digests = []
    for name in ("one", "two"):
        digest = hashlib.sha256()
        for topic, time_ns, message in read_messages(folder / name):
            digest.update(repr((topic, time_ns, message)).encode())
        digests.append(digest.hexdigest())
    assert digests[0] == digests[1]


def test_what_does_not_fit_is_refused(folder, tmp_path) -> None:
    result = CliRunner().invoke(
        app, ["sim", "record", "--scenario", "faults", "--rig", "sim", "--out", str(tmp_path / "bag")]
    )
    assert result.exit_code == 1
    assert "rig 'sim' has no modality 'lidar'" in result.output
    assert list(tmp_path.iterdir()) == []
