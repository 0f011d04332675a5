"""What `sartm bag info`, `sartm rig init` and `sartm rig check` find out about a recording."""

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from sartm_core.checked_yaml import check
from sartm_core.commands.common import stdout
from sartm_core.errors import SartmError
from sartm_core.rig import Rig, load_rig
from sartm_ros.bag.reader import open_bag
from sartm_ros.bag.rig_check import RigFindings, check_rig
from sartm_ros.bag.rig_draft import draft_rig
from sartm_ros.bag.sensor_kinds import Content, sensor_kinds
from sartm_ros.bag.survey import Survey, survey
from sartm_ros.bag.types import bag_message
from sartm_ros.bag.writer import BagWriter
from sartm_ros.cli import app
from sartm_ros.decoding.images import header, image_message

runner = CliRunner()
IMAGE = "sensor_msgs/msg/Image"
T0 = 1_700_000_000.0


def write_frame(path: Path, topics: dict[str, list[tuple[float, float]]], **content: Any) -> Path:
    """Topic -> (recorded, stamp) in seconds; the topic's content follows from its name, or from `content`."""
    images = {
        "rgb8": np.zeros((12, 16, 3), np.uint8), "mono8": np.zeros((12, 16), np.uint8),
        "mono16": np.full((12, 16), 29000, np.uint16), "16UC1": np.full((12, 16), 2000, np.uint16),
    }  # fmt: skip
    for pixels in images.values():
        pixels[0, 0] += 9  # all equal would be empty
    with BagWriter(path) as writer:
        entries = []
        for topic, times in topics.items():
            writer.add_topic(topic, IMAGE)
            entries += [(recorded, topic, stamp) for recorded, stamp in times]
        for recorded, topic, stamp in sorted(entries):
            encoding = content.get(topic.strip("/").replace("/", "_"), "rgb8")
            stamped = header(bag_message, round(stamp * 1e9), "camera")
            writer.write_message(
                topic, round(recorded * 1e9), image_message(bag_message, images[encoding], encoding, stamped)
            )
    return path


def looked_at(path: Path, reference: str | None = None) -> Survey:
    with open_bag(path) as bag:
        return survey(bag, reference)


def steady(count: int, rate_hz: float, start: float = T0, lag: float = 0.01) -> list[tuple[float, float]]:
    return [(start + index / rate_hz + lag, start + index / rate_hz) for index in range(count)]


class TestSurvey:
    def test_rates_jitter_and_lag(self, tmp_path: Path) -> None:
        rng = random.Random(1)
        uneven = [(t + 0.05, s + rng.gauss(0, 0.004)) for t, s in steady(400, 10)]
        found = looked_at(write_frame(tmp_path / "bag", {"/rgb": steady(1200, 30), "/slow": uneven})).topics
        assert found["/rgb"].rate_hz == pytest.approx(30, abs=0.01)
        assert found["/rgb"].jitter_ms == pytest.approx(0, abs=0.01)
        assert found["/rgb"].lag_ms == pytest.approx(10, abs=0.01)
        assert found["/slow"].rate_hz == pytest.approx(10, abs=0.05)
        assert found["/slow"].jitter_ms == pytest.approx(4 * 2**0.5, rel=0.15)  # of differences of stamps
        assert found["/slow"].count == 400

    def test_gaps_within_at_the_end_and_at_the_beginning(self, tmp_path: Path) -> None:
        times = [t for t in steady(100, 10) if not 3.0 <= t[1] - T0 < 4.5]
        late = [t for t in steady(100, 10) if t[1] - T0 >= 2.0]
        path = write_frame(tmp_path / "bag", {"/a": times, "/b": late, "/c": steady(80, 10), "/d": steady(100, 10)})
        found = looked_at(path).topics
        assert [(round(at, 1), round(length, 1)) for at, length in found["/a"].gaps] == [(2.9, 1.6)]
        assert [(round(at, 1), round(length, 1)) for at, length in found["/b"].gaps] == [(0.0, 2.0)]
        assert [(round(at, 1), round(length, 1)) for at, length in found["/c"].gaps] == [(7.9, 2.0)]
        assert found["/d"].gaps == ()

    def test_stamps_beside_the_reference(self, tmp_path: Path) -> None:
        shifted = [(t + 0.012, s + 0.012) for t, s in steady(300, 30)]
        found = looked_at(write_frame(tmp_path / "bag", {"/rgb": steady(300, 30), "/ir": shifted}, ir="mono16"))
        assert found.reference == "/rgb"
        assert found.topics["/rgb"].skew is None
        skew = found.topics["/ir"].skew
        assert skew.median_ms == pytest.approx(12, abs=0.1)
        assert skew.largest_ms == pytest.approx(12, abs=0.1)

    def test_a_silence_is_no_skew(self, tmp_path: Path) -> None:
        times = [t for t in steady(200, 10) if not 5 <= t[1] - T0 < 9]
        found = looked_at(write_frame(tmp_path / "bag", {"/rgb": steady(200, 10), "/ir": times}, ir="mono16"))
        assert found.topics["/ir"].skew.largest_ms <= 100

    def test_skews_are_those_of_brute_force(self, tmp_path: Path) -> None:
        rng = random.Random(3)
        stamps = [T0 + index / 7.5 + rng.uniform(-0.03, 0.03) for index in range(150)]
        others = [(stamp + 0.02, stamp) for stamp in stamps]
        found = looked_at(write_frame(tmp_path / "bag", {"/rgb": steady(200, 10), "/ir": others}, ir="mono16"))
        nearest = [min((s - r for s in stamps), key=abs) * 1e3 for _, r in steady(200, 10)]
        skew = found.topics["/ir"].skew
        assert skew.median_ms == pytest.approx(float(np.median(nearest)), abs=3)
        assert skew.largest_ms == pytest.approx(float(np.percentile(np.abs(nearest), 99)), rel=0.1)

    def test_missing_and_backward_stamps_are_counted(self, tmp_path: Path) -> None:
        times = steady(50, 10)
        times[20] = (times[20][0], 0.0)
        times[30] = (times[30][0], times[10][1])
        found = looked_at(write_frame(tmp_path / "bag", {"/rgb": times})).topics["/rgb"]
        assert found.unstamped == 1
        assert found.backwards == 1

    def test_memory_does_not_grow_with_the_recording(self, tmp_path: Path) -> None:
        found = looked_at(write_frame(tmp_path / "bag", {"/rgb": steady(9000, 100)})).topics["/rgb"]
        assert found.count == 9000
        assert len(found.times_s) <= 4096
        assert found.times_s[0] == 0
        assert found.times_s[-1] == pytest.approx(90, abs=0.1)

    def test_an_unknown_reference(self, drive: Path) -> None:
        with pytest.raises(SartmError, match=r"has no topic /nosuch. It has: /sim/"):
            looked_at(drive, "/nosuch")

    @pytest.mark.parametrize(
        ("topic", "encoding", "detail", "expected"),
        [
            ("/camera/image_raw", "bgr8", "3 x uint8", ("rgb",)),
            ("/camera/image_raw", "bayer_rggb8", "3 x uint8", ("rgb",)),
            ("/boson/image_raw", "mono16", "1 x uint16", ("thermal", "nir", "depth")),
            ("/boson/image_agc", "bgr8", "3 x uint8", ("thermal", "rgb")),
            ("/camera/depth/image_rect_raw", "16UC1", "1 x uint16", ("depth", "thermal")),
            ("/zed/depth/depth_registered", "32FC1", "1 x float32", ("depth", "thermal")),
            ("/camera/infra1/image_rect_raw", "mono8", "1 x uint8", ("nir", "thermal")),
            ("/perception/mask", "mono8", "1 x uint8", ()),
            ("/zed/confidence/confidence_map", "32FC1", "1 x float32", ()),
            ("/polarcam/aolp_dolp", "32FC3", "3 x float32", ("polarization",)),
        ],
    )
    def test_what_a_topic_could_be(self, topic: str, encoding: str, detail: str, expected: tuple[str, ...]) -> None:
        assert sensor_kinds(topic, Content(IMAGE, (480, 640), encoding, detail)) == expected


class TestInfo:
    def test_of_five_sensors(self, drive: Path, tmp_path: Path) -> None:
        picture = tmp_path / "line.png"
        result = runner.invoke(app, ["bag", "info", str(drive), "--json", "--picture", str(picture)])
        assert result.exit_code == 0, result.output
        content = json.loads(result.stdout)
        kinds = {topic: entry["kinds"][0] for topic, entry in content["topics"].items() if entry["kinds"]}
        assert kinds == {f"/sim/{kind}/{end}": kind for kind, end in (
            ("rgb", "image"), ("thermal", "image"), ("depth", "image"), ("lidar", "points"), ("event", "packets"),
        )}  # fmt: skip
        assert content["topics"]["/sim/thermal/image"]["content"]["size"] == [192, 256]
        ((at_s, seconds),) = content["topics"]["/sim/rgb/image"]["gaps"]
        assert (at_s, seconds) == (pytest.approx(2.4, abs=0.05), pytest.approx(1.6, abs=0.05))
        suggested = content["suggestions"]["/sim/thermal/image"]
        assert suggested == {"tolerance_s": pytest.approx(0.02, abs=0.01), "offset_s": 0.0}  # a clock of its own
        assert picture.read_bytes()[:4] == b"\x89PNG"

    def test_for_people(self, drive: Path) -> None:
        result = runner.invoke(app, ["bag", "info", str(drive)])
        assert result.exit_code == 0, result.output
        for text in ("/sim/lidar/points", "sensor_msgs/PointCloud2", "192x256 mono16", "silent 1.6", "suggested"):
            assert text in result.stdout

    def test_of_a_real_event_camera(self, shared_data: Path) -> None:
        found = looked_at(shared_data / "events_evt3")
        (topic,) = found.topics.values()
        assert topic.kinds == ("event",)
        assert topic.content == Content("event_camera_msgs/msg/EventPacket", topic.content.size, "evt3", "")
        assert topic.count == 105
        assert found.seconds == pytest.approx(0.84, abs=0.01)


def drafted(path: Path, reference: str | None = None) -> tuple[Rig, str, list[str]]:
    with open_bag(path) as bag:
        text, remarks = draft_rig(bag, survey(bag, reference), "mine", load_rig("simrobot").classes)
    return check(yaml.safe_load(text), Rig, "draft"), text, remarks


class TestInit:
    def test_a_name_that_looks_like_a_number(self, drive: Path) -> None:
        with open_bag(drive) as bag:
            text, _ = draft_rig(bag, survey(bag), "2024", load_rig("simrobot").classes)
        assert check(yaml.safe_load(text), Rig, "draft").name == "2024"

    def test_the_simulated_robot_is_found_out(self, drive: Path) -> None:
        rig, text, remarks = drafted(drive)
        truth = load_rig("simrobot")
        assert rig.names == ("rgb", "thermal", "depth", "lidar", "event")
        assert rig.reference == "rgb"
        assert remarks == []
        for modality in rig.modalities:
            real = truth.modality(modality.name)
            assert (modality.kind, modality.topic, modality.size, modality.message) == (
                real.kind, real.topic, real.size, real.message,
            )  # fmt: skip
            assert getattr(modality, "encoding", None) == getattr(real, "encoding", None)
            assert modality.calibration == "ros"
        assert rig.classes == truth.classes
        assert "# 16UC1 1 x uint16" in text

    def test_drafts_work_as_they_are(self, drive: Path) -> None:
        rig, _, _ = drafted(drive)
        findings = findings_of(rig, drive)
        assert findings.faults == []
        assert (findings.tried, findings.complete) == (12, 12)

    def test_aligned_cameras_need_no_calibration(self, tmp_path: Path) -> None:
        path = write_frame(tmp_path / "bag", {"/camera/rgb": steady(50, 10), "/ir": steady(50, 10)}, ir="mono16")
        rig, _, remarks = drafted(path)
        assert rig.modality("thermal").calibration == "file"
        assert remarks == []

    def test_what_the_recording_does_not_calibrate_is_told(self, tmp_path: Path, drive: Path) -> None:
        """Without /tf_static and CameraInfo."""
        kept = [m.topic for m in load_rig("simrobot").modalities]
        with open_bag(drive) as bag, BagWriter(tmp_path / "bag") as writer:
            for topic in kept:
                writer.add_topic(topic, bag.topics[topic].message_type)
            for message in bag.messages(kept):
                writer.write(message.topic, message.time_ns, message.data)
        rig, text, remarks = drafted(tmp_path / "bag")
        assert "    # not calibrated: write intrinsics: {fx, fy, cx, cy} and extrinsics" in text
        told = [line for line in findings_of(rig, tmp_path / "bag").remarks if "assumed to be aligned" in line]
        assert [line.split(":")[0] for line in told] == ["thermal", "depth", "event"]
        assert all(m.calibration == "file" for m in rig.modalities)
        assert [remark.split(":")[0] for remark in remarks] == ["thermal", "depth", "lidar", "event"]
        assert "nothing can be projected. Write extrinsics" in remarks[2]

    def test_another_clock_gets_its_offset(self, tmp_path: Path) -> None:
        uptime = [(t, s - T0 + 100) for t, s in steady(60, 10)]
        path = write_frame(tmp_path / "bag", {"/rgb": steady(60, 10), "/ir": uptime}, ir="mono16")
        rig, _, remarks = drafted(path)
        assert rig.modality("thermal").offset_s == pytest.approx(T0 - 100, abs=0.02)
        assert "another clock" in remarks[0]
        assert findings_of(rig, path).faults == []

    def test_the_command_writes_and_does_not_overwrite(self, drive: Path, tmp_path: Path) -> None:
        out = tmp_path / "robot.yaml"
        command = ["rig", "init", "--from-bag", str(drive), "--out", str(out), "--classes", "simrobot"]
        assert runner.invoke(app, command).exit_code == 0
        assert load_rig(out).name == "robot"
        again = runner.invoke(app, command)
        assert again.exit_code == 1
        assert "already exists" in again.output
        assert runner.invoke(app, [*command, "--force"]).exit_code == 0

    def test_no_sensor(self, tmp_path: Path) -> None:
        with BagWriter(tmp_path / "bag") as writer:
            writer.add_topic("/chatter", "std_msgs/msg/String")
            writer.write_message("/chatter", 1, bag_message("std_msgs/msg/String", data="hello"))
        result = runner.invoke(app, ["rig", "init", "--from-bag", str(tmp_path / "bag"), "--out", str(tmp_path / "r")])
        assert result.exit_code == 1
        assert "has no sensor topic. It has: /chatter" in result.output


def findings_of(rig: Rig, path: Path) -> RigFindings:
    with open_bag(path) as bag:
        topic = rig.modality(rig.reference).topic
        return check_rig(rig, bag, survey(bag, topic if topic in bag.topics else None))


def changed(rig: Rig, name: str, **fields: Any) -> Rig:
    modalities = (m.model_copy(update=fields) if m.name == name else m for m in rig.modalities)
    return rig.model_copy(update={"modalities": tuple(modalities)})


class TestCheck:
    def test_the_right_rig_has_no_faults(self, drive: Path) -> None:
        findings = findings_of(load_rig("simrobot"), drive)
        assert findings.faults == []
        assert findings.complete == findings.tried == 12
        silent = re.compile(r"rgb: /sim/rgb/image was silent 1.6\d s from 2.4 s on")
        assert any(silent.match(remark) for remark in findings.remarks)

    @pytest.mark.parametrize(
        ("name", "fields", "expected"),
        [
            ("thermal", {"topic": "/sim/thermal/img"}, "no topic /sim/thermal/img. Did you mean /sim/thermal/image?"),
            ("thermal", {"size": (480, 640)}, "192x256 (height x width), the rig file says size: [480, 640]. Set size"),
            ("rgb", {"message": "sensor_msgs/msg/CompressedImage"}, "Set message: sensor_msgs/msg/Image"),
            ("thermal", {"encoding": "image"}, "in 12 of 12 frame sets it is unusable: thermal: encoding 'image'"),
        ],
    )
    def test_faults_are_named_with_what_mends_them(
        self, drive: Path, name: str, fields: dict[str, Any], expected: str
    ) -> None:
        findings = findings_of(changed(load_rig("simrobot"), name, **fields), drive)
        assert any(fault.startswith(name) and expected in fault for fault in findings.faults), findings.faults

    def test_calibration_from_the_recording_is_no_fault(self, drive: Path) -> None:
        rig = changed(load_rig("simrobot"), "lidar", calibration="ros", extrinsics=None)
        assert findings_of(rig, drive).faults == []

    def test_a_slow_camera_beside_a_fast_one(self, tmp_path: Path) -> None:
        path = write_frame(tmp_path / "bag", {"/rgb": steady(90, 30), "/ir": steady(27, 9)}, ir="mono16")
        rig, _, _ = drafted(path)
        findings = findings_of(rig, path)
        assert findings.faults == []
        assert findings.complete >= findings.tried - 1

    def test_a_tolerance_that_is_too_small(self, tmp_path: Path) -> None:
        shifted = [(t + 0.03, s + 0.03) for t, s in steady(60, 10)]
        path = write_frame(tmp_path / "bag", {"/rgb": steady(60, 10), "/ir": shifted}, ir="mono16")
        rig, _, _ = drafted(path)
        (fault,) = findings_of(changed(rig, "thermal", tolerance_s=0.01), path).faults
        assert "frame sets lack it, because its stamps are farther than tolerance_s 0.01" in fault
        wanted = float(fault.split("Set tolerance_s: ")[1].split()[0].rstrip("."))
        assert fault.endswith("set offset_s: -0.030 instead.")
        assert findings_of(changed(rig, "thermal", tolerance_s=wanted), path).faults == []

    def test_a_gap_elsewhere_hides_no_tolerance_that_is_too_small(self, tmp_path: Path) -> None:
        shifted = [(t + 0.03, s + 0.03) for t, s in steady(60, 10)]
        thermal = shifted[:40] + shifted[50:]
        path = write_frame(tmp_path / "bag", {"/rgb": steady(60, 10), "/ir": thermal}, ir="mono16")
        rig, _, _ = drafted(path)
        (fault,) = findings_of(changed(rig, "thermal", tolerance_s=0.01), path).faults
        assert "frame sets lack it" in fault
        assert findings_of(changed(rig, "thermal", tolerance_s=0.04), path).faults == []

    def test_stamps_of_zero_and_of_another_clock(self, tmp_path: Path) -> None:
        topics = {"/rgb": steady(60, 10), "/ir": [(t, 0.0) for t, _ in steady(60, 10)]}
        path = write_frame(tmp_path / "zero", topics, ir="mono16")
        rig, _, remarks = drafted(path)
        assert "60 of its 60 messages have stamp 0" in remarks[0]
        (fault,) = findings_of(rig, path).faults
        assert "60 of 60 messages of /ir have stamp 0 and are rejected" in fault
        topics["/ir"] = [(t, s - 5000) for t, s in steady(60, 10)]
        (fault,) = findings_of(rig, write_frame(tmp_path / "clock", topics, ir="mono16")).faults
        assert "of /ir and /rgb are from different clocks, 5000.000 s apart" in fault
        assert "set offset_s: 5000" in fault

    def test_the_command_ends_with_status_1_on_faults(self, drive: Path, tmp_path: Path) -> None:
        assert runner.invoke(app, ["rig", "check", "simrobot", "--bag", str(drive)]).exit_code == 0
        result = runner.invoke(app, ["rig", "check", "rgbt", "--bag", str(drive)])
        assert result.exit_code == 1
        assert "Did you mean /sim/rgb/image?" in result.stdout
        assert "rgbt: 2 modalities, 14 classes, 2 faults" in result.stdout
        for rig, status in (("simrobot", 0), ("mfnet", 1)):
            served = runner.invoke(app, ["rig", "check", rig, "--bundle", "any_sensor_simrig5"])
            assert served.exit_code == status
        assert "fault: rig 'mfnet': the bundle was trained for the classes" in served.stdout
        told = runner.invoke(app, ["rig", "check", "rgbt", "--bag", str(drive), "--json"])
        assert len(json.loads(told.stdout)["faults"]) == 2


def test_rig_show_tells_how_each_sensor_is_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdout, "width", 200)
    result = runner.invoke(app, ["rig", "show", "simrobot"])
    assert result.exit_code == 0
    assert "the reference" in result.stdout
    assert "by plane at 15 m, calibration from the rig file" in result.stdout
    assert "projected, calibration from the rig file" in result.stdout
