"""`sartm bag segment`, `evaluate` and `extract`: what they write is what the node and `sartm evaluate` would say."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from foreign_files import BEST_EFFORT, RELIABLE, TRANSIENT_LOCAL, VOLATILE, Channel, profile, write_channels
from mcap.reader import make_reader
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import Reader
from typer.testing import CliRunner
from untrained import untrained_bundle

from sartm_core.datasets.files import read_image
from sartm_core.datasets.frame_folder import FrameFolder
from sartm_core.deploy import Segmenter, load_segmenter
from sartm_core.deploy.provenance import provenance_of
from sartm_core.rig import load_rig, rig_from_dict
from sartm_core.segmentation import LEVELS
from sartm_core.sensing import encode
from sartm_ros.bag.extract import split_at
from sartm_ros.bag.faults import BagFaults, parse_fault
from sartm_ros.bag.labels import stamp_of_name
from sartm_ros.bag.reader import open_bag, read_messages
from sartm_ros.bag.replay import Replay
from sartm_ros.bag.types import bag_message
from sartm_ros.bag.writer import BagWriter
from sartm_ros.cli import app
from sartm_ros.decoding.images import header, image_message, raw_array, stamp_ns
from sartm_ros.result_messages import OUTPUT_TYPES
from sartm_sim.record import START_NS

pytestmark = pytest.mark.slow

runner = CliRunner()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_bundle(tmp_path_factory.mktemp("bundle") / "random", load_rig("simrobot"), size=(64, 96))


@pytest.fixture(scope="module")
def segmenter(bundle: Path) -> Segmenter:
    return load_segmenter(bundle, device="cpu")


def run(*arguments: Any, status: int = 0) -> str:
    result = runner.invoke(app, [str(part) for part in arguments], env={"COLUMNS": "200"})
    assert result.exit_code == status, result.output
    return result.output


def json_of(output: str) -> dict[str, Any]:
    """What --json printed; the runner puts progress before it."""
    return dict(json.loads(output[output.index("{\n") :]))


def messages_of(path: Path) -> dict[str, list[Any]]:
    by_topic: dict[str, list[Any]] = {}
    for topic, _, message in read_messages(path):
        by_topic.setdefault(topic, []).append(message)
    return by_topic


def digest_of(path: Path, ignored: str = "") -> str:
    digest = hashlib.sha256()
    with open_bag(path) as bag:
        for message in bag.messages():
            if not ignored or not message.topic.startswith(ignored):
                digest.update(repr(message).encode())
    return digest.hexdigest()


def channels_of(path: Path, offered: dict[str, list[dict[str, Any]]]) -> list[Channel]:
    """A recording's messages, for `write_channels`; topics without QoS have none."""
    with Reader(path) as reader:
        found: dict[str, list[tuple[int, bytes]]] = {one.topic: [] for one in reader.connections}
        for one, time_ns, data in reader.messages():
            found[one.topic].append((time_ns, bytes(data)))
        return [
            Channel(one.topic, one.msgtype, found[one.topic], schema=one.msgdef.data.encode(),
                    qos=offered.get(one.topic, ()))
            for one in reader.connections
        ]  # fmt: skip


@pytest.fixture(scope="module")
def segmented(drive: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("segmented") / "masks.mcap"
    told = run("bag", "segment", drive, "--bundle", bundle, "--out", out)
    assert "20 masks of 20 frame sets (8 lacked a sensor)" in told
    return out


def instant_of(identity: str) -> int:
    """Of a frame; its stamp is that of the sensor that led, by that sensor's clock."""
    return START_NS + round((int(identity.split("/")[-1]) - START_NS) / 200e6) * 200_000_000


class TestSegment:
    def test_what_it_wrote_can_be_looked_at(self, segmented: Path) -> None:
        """A recording without any sensor."""
        told = run("bag", "info", segmented)
        assert "/perception/mask" in told.replace("\n", "")

    def test_a_rig_of_another_robot_is_noticed(self, drive: Path) -> None:
        with open_bag(drive) as bag:
            rig = load_rig("simrig5")
            replay = Replay(bag, rig, rig, faults=BagFaults((parse_fault("drop", "event"),), rig.names))
            list(replay)
            told = "\n".join(replay.remarks())
        assert "thermal: images of /sim/thermal/image are 192x256, rig 'simrig5' says 256x320. Is it this robot" in told
        assert "event" not in told  # dropped on request

    def test_topics_and_types_are_the_nodes(self, segmented: Path) -> None:
        with open_bag(segmented) as bag:
            kinds = {name: (topic.message_type, topic.count, topic.latched) for name, topic in bag.topics.items()}
        assert kinds == {
            f"/perception/{name}": (kind, 1 if name == "labels" else 20, name == "labels")
            for name, kind in OUTPUT_TYPES.items()
            if name not in ("overlay", "points")
        }

    def test_masks_are_those_of_the_segmenter(self, segmented: Path, segmenter: Segmenter, extracted: Path) -> None:
        """Beside frames on disk, encoded and segmented here."""
        found = messages_of(segmented)
        masks = {stamp_ns(message): message for message in found["/perception/mask"]}
        confidences = {stamp_ns(message): raw_array(message) for message in found["/perception/confidence"]}
        recording, rig = FrameFolder(extracted), load_rig("simrobot")
        for frame in recording.frames("val"):
            planes = {
                name: encode(rig.modality(name), recording.image(frame, name), rig.dtype) for name in frame.modalities
            }
            expected = segmenter.segment(planes, (256, 320))
            mask = masks.pop(int(frame.id))
            assert (mask.encoding, mask.header.frame_id) == ("mono8", "sim_rgb_optical")
            assert np.array_equal(raw_array(mask), expected.mask)
            np.testing.assert_allclose(confidences[int(frame.id)] / 255, expected.confidence, atol=0.501 / 255)
        assert masks == {}
        assert len({raw_array(message).tobytes() for message in found["/perception/mask"]}) > 10

    def test_routing_tells_weights_and_states(self, segmented: Path) -> None:
        routing = {stamp_ns(m): m for m in messages_of(segmented)["/perception/routing_weights"]}
        first, last = routing[min(routing)], routing[max(routing)]
        assert [status.name for status in first.status] == [f"perception: routing {level}" for level in LEVELS]
        for message, absent in ((first, set()), (last, {"rgb"})):
            for status in message.status:
                values = {pair.key: pair.value for pair in status.values}
                weights = {name: float(values[name]) for name in ("rgb", "thermal", "depth", "lidar", "event")}
                assert sum(weights.values()) == pytest.approx(1, abs=1e-4)
                assert {name for name, weight in weights.items() if weight == 0} == absent
                assert values["rgb.state"] == ("stale" if absent else "present")

    def test_labels_and_camera_info(self, segmented: Path, segmenter: Segmenter) -> None:
        found = messages_of(segmented)
        labels = json.loads(found["/perception/labels"][0].data)
        assert labels["provenance"] == provenance_of(segmenter).as_dict()
        assert labels["provenance"]["bundle"] == segmenter.bundle.name
        assert labels["classes"][0] == {"id": 0, "name": "road", "color": [128, 64, 128]}
        assert labels["unlabelled"] == 255
        stamps = [stamp_ns(message) for message in found["/perception/camera_info"]]
        assert stamps == [stamp_ns(message) for message in found["/perception/mask"]]

    def test_twice_gives_the_same_to_the_byte(self, drive: Path, bundle: Path, segmented: Path, tmp_path: Path) -> None:
        run("bag", "segment", drive, "--bundle", bundle, "--out", tmp_path / "again.mcap")
        assert digest_of(tmp_path / "again.mcap") == digest_of(segmented)

    def test_points_come_from_depth_then_from_the_lidar(self, drive: Path, bundle: Path, tmp_path: Path) -> None:
        params = tmp_path / "node.yaml"
        outputs = {"cars": {"as": "mask", "classes": ["car"]}, "all": {"as": "points", "size": "reference"}}
        params.write_text(yaml.safe_dump({"/**": {"ros__parameters": {"bundle": "x", "outputs": outputs}}}))
        command = ("--points", "--params", params, "--drop", "depth@2:9", "--out", tmp_path / "points.mcap")
        run("bag", "segment", drive, "--bundle", bundle, *command)
        found = messages_of(tmp_path / "points.mcap")
        masks = {stamp_ns(message): raw_array(message) for message in found["/perception/mask"]}
        clouds = {stamp_ns(message): message for message in found["/perception/points"]}
        assert clouds.keys() == masks.keys()
        organised = [(cloud.height, cloud.width) == (256, 320) for _, cloud in sorted(clouds.items())]
        assert organised == sorted(organised, reverse=True)  # first the depth camera
        assert 5 < sum(organised) < 15
        assert {(cloud.height, cloud.width) for cloud in found["/perception/outputs/all"]} == {(256, 320)}
        assert {cloud.header.frame_id for cloud in clouds.values()} == {"sim_rgb_optical"}
        for message in found["/perception/outputs/cars"]:
            np.testing.assert_array_equal(raw_array(message) > 0, masks[stamp_ns(message)] == 8)

    def test_a_rig_without_ranges_has_no_points(self, drive: Path, bundle: Path, tmp_path: Path) -> None:
        rig = tmp_path / "cameras.yaml"
        content = load_rig("simrobot").only(["rgb", "thermal"]).model_dump(mode="json", exclude_none=True)
        content["modalities"] = {one.pop("name"): one for one in content["modalities"]}
        rig.write_text(yaml.safe_dump(content))
        out = tmp_path / "none.mcap"
        said = run("bag", "segment", drive, "--rig", rig, "--bundle", bundle, "--points", "--out", out, status=1)
        assert "labelled points need a depth camera with encoding metres" in said.replace("\n", " ")
        assert not out.exists()

    def test_a_copy_holds_everything_and_the_masks(self, drive: Path, bundle: Path, tmp_path: Path) -> None:
        out = tmp_path / "copy"
        pictures = tmp_path / "pictures"
        run("bag", "segment", drive, "--bundle", bundle, "--out", out, "--copy", "--overlay", "--pictures", pictures)
        assert digest_of(out, ignored="/perception") == digest_of(drive)
        found = messages_of(out)
        overlay = found["/perception/overlay"][0]
        assert (overlay.encoding, overlay.height, overlay.width) == ("rgb8", 256, 320)
        assert len(list(pictures.iterdir())) == 20
        picture = read_image(pictures / f"{stamp_ns(overlay)}.png")
        assert picture.tobytes() == bytes(overlay.data)
        run("bag", "segment", out, "--bundle", bundle, "--out", tmp_path / "second", "--copy", "--node", "/perception")
        assert len(messages_of(tmp_path / "second")["/perception/mask"]) == 20

    def test_a_copy_keeps_what_stands_beside_the_messages(self, drive: Path, bundle: Path, tmp_path: Path) -> None:
        """foxglove/mcap#939, #1756: QoS, attachments, metadata records; and what it cannot keep is named."""
        offered = {topic: [profile(BEST_EFFORT, VOLATILE, 5)] for topic in ("/sim/rgb/image", "/sim/depth/image")}
        offered["/sim/rgb/camera_info"] = [profile(RELIABLE, TRANSIENT_LOCAL, 1)] * 2
        json_log = Channel("/log", "foxglove.Log", [(START_NS, b"{}")], "json", "jsonschema", b"{}")
        channels = [*channels_of(drive, offered), json_log]
        assert set(offered) <= {channel.topic for channel in channels}

        def extra(writer: McapWriter) -> None:
            writer.add_attachment(START_NS, START_NS, "rig.yaml", "application/yaml", b"fx: 431.5")
            writer.add_metadata("run", {"driver": "anna"})

        (tmp_path / "in").mkdir()
        write_channels(tmp_path / "in" / "x.mcap", channels, extra=extra)
        notes = {"relative_file_paths": ["x.mcap"], "custom_data": {"weather": "rain"}}
        (tmp_path / "in" / "metadata.yaml").write_text(json.dumps({"rosbag2_bagfile_information": notes}))
        out = tmp_path / "out.2024-05-01"
        told = run("bag", "segment", tmp_path / "in", "--bundle", bundle, "--out", out, "--copy")
        assert "/log: not copied, because its messages are encoded as json" in told.replace("\n", " ")
        with (out / f"{out.name}.mcap").open("rb") as stream:
            reader = make_reader(stream)
            assert [(one.name, one.data) for one in reader.iter_attachments()] == [("rig.yaml", b"fx: 431.5")]
            assert {"driver": "anna"} in [one.metadata for one in reader.iter_metadata()]
        noted = yaml.safe_load((out / "metadata.yaml").read_text())["rosbag2_bagfile_information"]["custom_data"]
        assert noted["weather"] == "rain"
        assert noted["sartm_bundle"] == "untrained"
        with open_bag(out) as copied, open_bag(tmp_path / "in") as original:
            assert copied.topics["/sim/rgb/image"].offered[0].reliability.name == "BEST_EFFORT"
            assert [qos.depth for qos in copied.topics["/sim/rgb/camera_info"].offered] == [1, 1]
            for name, topic in original.topics.items():
                assert name == "/log" or copied.topics[name].offered == topic.offered, name

    def test_a_copy_of_a_topic_with_two_types(self, drive: Path, bundle: Path, tmp_path: Path) -> None:
        text = Channel("/sim/phase", "std_msgs/msg/Empty", [(START_NS, b"\0\1\0\0\0")], schema=b"")
        write_channels(tmp_path / "x.mcap", [*channels_of(drive, {}), text])
        run("bag", "segment", tmp_path / "x.mcap", "--bundle", bundle, "--out", tmp_path / "out.mcap", "--copy")
        with open_bag(tmp_path / "out.mcap") as copied, open_bag(tmp_path / "x.mcap") as original:
            assert list(copied.messages(["/sim/phase"])) == list(original.messages(["/sim/phase"]))
            assert {kind for topic, kind in copied.kinds if topic == "/sim/phase"} == {
                "std_msgs/msg/String",
                "std_msgs/msg/Empty",
            }

    def test_faults_on_demand(self, drive: Path, bundle: Path, tmp_path: Path) -> None:
        out = tmp_path / "dropped.mcap"
        run("bag", "segment", drive, "--bundle", bundle, "--out", out, "--drop", "depth@0.5:1.5", "--drop", "lidar")
        states = []
        for message in messages_of(out)["/perception/routing_weights"]:
            values = {pair.key: pair.value for pair in message.status[0].values}
            states.append((values["depth.state"] == "present", values["lidar.state"]))
            assert float(values["lidar"]) == 0
        assert [present for present, _ in states] == [not 0.5 <= (i + 1) * 0.2 < 1.5 for i in range(20)]
        assert {state for _, state in states} == {"absent"}

    def test_a_fault_behind_the_end_is_told(self, drive: Path, bundle: Path, tmp_path: Path) -> None:
        told = run("bag", "segment", drive, "--bundle", bundle, "--out", tmp_path / "x.mcap", "--drop", "rgb@100:150")
        assert "--drop rgb@100:150: begins after the recording's end at 4.0 s, so it had no effect" in told

    def test_what_cannot_be_is_refused_and_leaves_nothing(self, drive: Path, bundle: Path, tmp_path: Path) -> None:
        for command, expected in (
            (["--rig", "mfnet"], "the bundle was trained for the classes"),
            (["--drop", "radar@1:2"], "--drop radar: the rig has no such modality"),
            (["--noise", "rgb"], "--noise rgb: expected NAME=SIGMA"),
            (["--msgs", str(tmp_path)], "holds no message definitions"),
        ):
            told = run("bag", "segment", drive, "--bundle", bundle, "--out", tmp_path / "x.mcap", *command, status=1)
            assert expected in told
        assert "expected header or recorded" in run(
            "bag", "segment", drive, "--bundle", bundle, "--out", tmp_path / "x.mcap", "--stamps", "wall", status=2
        )
        assert list(tmp_path.iterdir()) == []

    def test_no_mask_leaves_no_file(self, drive: Path, bundle: Path, tmp_path: Path) -> None:
        drops = [part for name in load_rig("simrobot").names for part in ("--drop", name)]
        told = run("bag", "segment", drive, "--bundle", bundle, "--out", tmp_path / "x.mcap", *drops, status=1)
        assert "x.mcap: not written, because the recording yields no mask" in told
        assert list(tmp_path.iterdir()) == []

    def test_conditions_without_tags(self, drive: Path, bundle: Path) -> None:
        told = run("bag", "evaluate", drive, "--bundle", bundle, "--protocol", "conditions", status=1)
        assert "needs --tags-topic" in told

    def test_an_interruption_leaves_nothing(self, drive: Path, segmenter: Segmenter, tmp_path: Path) -> None:
        from sartm_ros.bag.segment import segment

        def interrupt(sets: int, read_ns: int) -> None:
            if sets == 3:
                raise KeyboardInterrupt

        with open_bag(drive) as bag, pytest.raises(KeyboardInterrupt):
            segment(bag, load_rig("simrobot"), segmenter, tmp_path / "x.mcap", progress=interrupt)
        assert list(tmp_path.iterdir()) == []

    def test_a_recording_that_was_cut_off(self, drive: Path, bundle: Path, segmented: Path, tmp_path: Path) -> None:
        cut = tmp_path / "cut"
        cut.mkdir()
        whole = (drive / "drive.mcap").read_bytes()
        (cut / "cut_0.mcap").write_bytes(whole[: len(whole) * 2 // 3])
        told = run("bag", "segment", cut, "--bundle", bundle, "--out", tmp_path / "out.mcap")
        assert "it has no metadata.yaml" in told
        assert "cut_0.mcap: is truncated" in told
        found, full = messages_of(tmp_path / "out.mcap"), messages_of(segmented)
        masks = [raw_array(message) for message in found["/perception/mask"]]
        assert 5 < len(masks) < 20
        for mask, expected in zip(masks[:-1], full["/perception/mask"], strict=False):
            assert np.array_equal(mask, raw_array(expected))

    def test_real_events(self, shared_data: Path, tmp_path: Path) -> None:
        bag = shared_data / "events_evt3"
        size = next(iter(read_messages(bag)))[2]
        rig = rig_from_dict(
            {
                "name": "events", "reference": "event",
                "modalities": [{
                    "name": "event", "kind": "event", "encoding": "counts", "topic": "/event_camera/events",
                    "size": [size.height, size.width],
                }],
                "classes": [{"name": name, "color": [i, i, i]} for i, name in enumerate(("moving", "still"))],
            },
            "test",
        )  # fmt: skip
        made = untrained_bundle(tmp_path / "bundle", rig, size=(64, 96), seed=2)
        told = run("bag", "segment", bag, "--bundle", made, "--out", tmp_path / "out.mcap")
        masks = messages_of(tmp_path / "out.mcap")["/perception/mask"]
        assert f"{len(masks)} masks" in told
        assert len(masks) == pytest.approx(84, abs=25)  # 0.84 s, every 10 ms at most
        assert (masks[0].height, masks[0].width) == (size.height, size.width)
        assert len({raw_array(mask).tobytes() for mask in masks}) > 1


@pytest.fixture(scope="module")
def extracted(drive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("extracted") / "frames"
    command = ["bag", "extract", drive, "--rig", "simrobot", "--every", "0", "--truth-topic", "/sim/truth"]
    told = run(*command, "--tags-topic", "/sim/phase", "--val", "1", "--out", out)
    assert "20 frame sets (val 20), labels of the recording" in told
    return out


EVALUATE = ("--truth-topic", "/sim/truth", "--tags-topic", "/sim/phase", "--window", "2")


@pytest.fixture(scope="module")
def evaluated(drive: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluated") / "eval"
    protocols = ("--protocol", "conditions", "--protocol", "faults")
    run("bag", "evaluate", drive, "--bundle", bundle, *EVALUATE, *protocols, "--out", out)
    return out


def figures_of(out: Path) -> dict[str, Any]:
    figures = json.loads((out / "metrics.json").read_text())
    del figures["latency_ms"]
    return figures


class TestEvaluate:
    def test_figures_are_those_of_the_extracted_frames(self, bundle: Path, evaluated: Path, extracted: Path) -> None:
        """Another way to the same: frames on disk, scored by `sartm evaluate`."""
        told = json_of(run("evaluate", bundle, "--data", extracted, "--split", "val", "--json"))
        clean = figures_of(evaluated)["clean"]
        for key in ("miou", "macc", "f1", "pixel_accuracy", "frames"):
            assert told["clean"][key] == pytest.approx(clean[key], abs=2e-5)
        assert told["clean"]["classes"]["road"]["iou"] == pytest.approx(clean["classes"]["road"]["iou"], abs=2e-5)

    def test_conditions_faults_windows_and_the_course(self, evaluated: Path) -> None:
        figures = figures_of(evaluated)
        assert {name: entry["frames"] for name, entry in figures["conditions"].items()} == {"day": 8, "night": 12}
        assert {name: entry["frames"] for name, entry in figures["faults"].items()} == {
            "none": 16, "thermal: frozen": 4,
        }  # fmt: skip
        windows = {name: entry["frames"] for name, entry in figures["windows"].items()}
        assert windows == {
            "drive 0-2 s": 10,
            "drive 2-4 s": 9,
            "drive 4-6 s": 1,
        }  # by thermal's clock, the last at 4.01 s
        assert [round(one["time_s"], 1) for one in figures["course"]] == [round(0.2 * (i + 1), 1) for i in range(20)]
        assert figures["course"][-1]["states"]["rgb"] == "stale"
        assert figures["course"][-1]["routing"]["rgb"] == 0
        weights = np.mean([one["routing"]["depth"] for one in figures["course"]])
        assert figures["clean"]["routing"]["depth"] == pytest.approx(weights, abs=1e-4)

    def test_what_was_scored_is_hashed(self, drive: Path, evaluated: Path) -> None:
        figures = figures_of(evaluated)
        (recording,) = figures["recordings"]
        inner = hashlib.sha256((drive / "drive.mcap").read_bytes()).hexdigest()
        assert recording["sha256"] == hashlib.sha256(inner.encode()).hexdigest()
        assert (recording["name"], recording["scored"], recording["replay"]["sets"]) == ("drive", 20, 20)
        assert recording["lacking"] == 8
        assert any("8 of the 20 scored frame sets lacked a sensor" in remark for remark in recording["remarks"])
        assert len(figures["bundle"]["sha256"]) == len(figures["configuration"]["sha256"]) == 64
        page = (evaluated / "report.html").read_text()
        for text in (recording["sha256"], "Over time", "drive 2-4 s", figures["bundle"]["sha256"]):
            assert text in page

    def test_twice_gives_the_same_figures(self, drive: Path, bundle: Path, evaluated: Path, tmp_path: Path) -> None:
        protocols = ("--protocol", "conditions", "--protocol", "faults")
        run("bag", "evaluate", drive, "--bundle", bundle, *EVALUATE, *protocols, "--out", tmp_path / "again")
        assert figures_of(tmp_path / "again") == figures_of(evaluated)

    def test_labels_from_files_by_stamp(self, drive: Path, bundle: Path, evaluated: Path, tmp_path: Path) -> None:
        stamps = []
        for message in messages_of(drive)["/sim/truth"][::2]:
            stamps.append(stamp_ns(message))
            cv2.imwrite(str(tmp_path / f"{stamps[-1]}.png"), raw_array(message))
        told = run("bag", "evaluate", drive, "--bundle", bundle, "--labels", tmp_path, "--json")
        figures = json_of(told)
        course = {instant_of(one["id"]): one["miou"] for one in figures_of(evaluated)["course"]}
        assert {instant_of(one["id"]): one["miou"] for one in figures["course"]} == {
            stamp: course[stamp] for stamp in stamps
        }

    def test_labels_of_an_extracted_recording(
        self, drive: Path, bundle: Path, evaluated: Path, extracted: Path
    ) -> None:
        told = run("bag", "evaluate", drive, "--bundle", bundle, "--labels", extracted, "--json")
        assert json_of(told)["clean"] == figures_of(evaluated)["clean"]

    @pytest.mark.soak
    def test_several_recordings_on_two_processes(self, drive: Path, bundle: Path, tmp_path: Path) -> None:
        second = tmp_path / "second"
        with open_bag(drive) as bag, BagWriter(second) as writer:
            for name, topic in bag.topics.items():
                writer.add_topic(name, topic.message_type, topic.latched, bag.typestore)
            for message in bag.messages():
                if message.time_ns < START_NS + 2_000_000_000:
                    writer.write(message.topic, message.time_ns, message.data)
        run("bag", "evaluate", drive, second, "--bundle", bundle, *EVALUATE, "--out", tmp_path / "one")
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "sartm_ros.cli"]
        work = ["bag", "evaluate", drive, second, "--bundle", bundle, *EVALUATE, "--out", tmp_path / "two"]
        command = [sys.executable, *launch, *work]
        done = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, timeout=200,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        assert figures_of(tmp_path / "two") == figures_of(tmp_path / "one")
        assert [one["scored"] for one in figures_of(tmp_path / "two")["recordings"]] == [20, 9]

    def test_wrong_use_is_named(self, drive: Path, bundle: Path, tmp_path: Path) -> None:
        for more, expected in (
            ([], "labels: expected either a topic (--truth-topic) or a folder (--labels)"),
            (["--truth-topic", "/nosuch"], "has no topic /nosuch"),
            (
                ["--truth-topic", "/sim/rgb/image"],
                "/sim/rgb/image: expected class ids (8 bit, one channel), got colours",
            ),
            (["--labels", str(tmp_path)], "holds no labels: expected PNG files of class ids whose names are stamps"),
            (["--truth-topic", "/sim/truth", "--protocol", "nonsense"], "protocol 'nonsense' is unknown"),
        ):
            assert expected in run("bag", "evaluate", drive, "--bundle", bundle, *more, status=1)
        assert "have the same name" in run(
            "bag", "evaluate", drive, drive, "--bundle", bundle, "--truth-topic", "/sim/truth", status=1
        )


class TestExtract:
    def test_frames_are_registered_measurements(self, drive: Path, extracted: Path) -> None:
        recording = FrameFolder(extracted)
        rig = load_rig("simrobot")
        frames = recording.frames("val")
        assert [instant_of(frame.id) for frame in frames] == [START_NS + (i + 1) * 200_000_000 for i in range(20)]
        assert all(int(frame.id) == instant_of(frame.id) for frame in frames[:12])  # led by RGB
        assert frames[0].modalities == rig.names
        assert frames[-1].modalities == ("thermal", "depth", "lidar", "event")
        assert frames[0].tags["condition"] == "day"
        rgb = next(m for m in messages_of(drive)["/sim/rgb/image"] if stamp_ns(m) == int(frames[3].id))
        assert np.array_equal(recording.image(frames[3], "rgb"), raw_array(rgb))
        for name in rig.names:
            planes = encode(rig.modality(name), recording.image(frames[3], name), rig.dtype)
            assert planes.shape == (3, 256, 320)
        truth = next(m for m in messages_of(drive)["/sim/truth"] if stamp_ns(m) == int(frames[3].id))
        assert np.array_equal(recording.truth(frames[3]), raw_array(truth))

    def test_deep_images_stay_deep(self, extracted: Path) -> None:
        frame = FrameFolder(extracted).frames("val")[0]
        files = {name: FrameFolder(extracted).path(frame, name).suffix for name in frame.modalities}
        assert files == {"rgb": ".png", "thermal": ".png", "depth": ".png", "lidar": ".npz", "event": ".npz"}
        assert FrameFolder(extracted).image(frame, "thermal").dtype == np.uint16

    def test_calibration_is_told(self, extracted: Path) -> None:
        content = json.loads((extracted / "camera_info.json").read_text())
        assert content["frame_id"] == "sim_rgb_optical"
        assert content["camera_info"]["k"][0] == 247.0
        assert content["registered_with"]["thermal"]["intrinsics"]["fx"] == 190.0

    def test_empty_labels_every_so_often(self, drive: Path, tmp_path: Path) -> None:
        out = tmp_path / "frames"
        told = run("bag", "extract", drive, "--rig", "simrobot", "--every", "0.5", "--val", "0.5", "--out", out)
        assert "labels empty" in told
        recording = FrameFolder(out)
        stamps = sorted(int(frame.id) for frame in recording.frames())
        assert np.diff([instant_of(str(stamp)) for stamp in stamps]).tolist() == [600_000_000] * (len(stamps) - 1)
        assert {frame.split for frame in recording.frames()} == {"train", "val"}
        assert all((recording.truth(frame) == 255).all() for frame in recording.frames())
        checked = run("data", "check", out)
        assert "label images are empty (255): not labelled yet" in checked

    def test_complete_and_limit(self, drive: Path, tmp_path: Path) -> None:
        command = ["bag", "extract", drive, "--rig", "simrobot", "--every", "0"]
        run(*command, "--complete", "--out", tmp_path / "complete")
        assert len(FrameFolder(tmp_path / "complete").frames()) == 12
        run(*command, "--limit", "3", "--out", tmp_path / "three")
        assert len(FrameFolder(tmp_path / "three").frames()) == 3

    def test_nothing_is_overwritten_or_left_behind(self, drive: Path, tmp_path: Path) -> None:
        (tmp_path / "there").mkdir()
        command = ["bag", "extract", drive, "--rig", "simrobot", "--out"]
        assert "already exists" in run(*command, tmp_path / "there", status=1)
        assert "has no topic /nosuch" in run(*command, tmp_path / "x", "--truth-topic", "/nosuch", status=1)
        assert [path.name for path in tmp_path.iterdir()] == ["there"]

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.4, 0.5, 1.0])
    def test_the_share_of_validation(self, share: float) -> None:
        splits = [split_at((i + 0.5) / 1000, share) for i in range(1000)]
        assert splits.count("val") / 1000 == pytest.approx(share, abs=0.01)

    def test_a_recording_is_no_data_set_yet(self, drive: Path) -> None:
        assert f"sartm bag extract {drive} --rig RIG" in run("data", "check", drive, status=1).replace("\n", " ")

    def test_names_of_stamps(self) -> None:
        at = 1_700_000_000_200_000_000
        assert stamp_of_name("1700000000200000000") == at
        assert stamp_of_name("1700000000.200000000") == at
        assert stamp_of_name("1700000000_200000000") == at
        assert stamp_of_name("frame_12") is None

    def test_labels_of_another_view_are_refused(self, drive: Path, tmp_path: Path) -> None:
        """Cropped by whoever made them; stretched they would be learned from."""
        cropped = tmp_path / "cropped"
        with open_bag(drive) as bag, BagWriter(cropped) as writer:
            for name, topic in bag.topics.items():
                writer.add_topic(name, topic.message_type, topic.latched, bag.typestore)
            for message in bag.messages():
                if message.topic == "/sim/truth":
                    label = bag.deserialize(message)
                    stamped = header(bag_message, stamp_ns(label), "camera")
                    part = np.ascontiguousarray(raw_array(label)[:, 40:])
                    writer.write_message(
                        message.topic, message.time_ns, image_message(bag_message, part, "mono8", stamped)
                    )
                else:
                    writer.write(message.topic, message.time_ns, message.data)
        command = [
            "bag",
            "extract",
            cropped,
            "--rig",
            "simrobot",
            "--truth-topic",
            "/sim/truth",
            "--out",
            tmp_path / "out",
        ]
        assert "is 256x280 (height x width), but its image of 'rgb' is 256x320" in run(*command, status=1)
        assert not (tmp_path / "out").exists()
