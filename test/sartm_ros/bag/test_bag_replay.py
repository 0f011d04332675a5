"""A recording becomes the frame sets that the node would have seen, whatever order and clock it was recorded with."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartm_core.checked_yaml import check
from sartm_core.errors import SartmError
from sartm_core.rig import Rig, load_rig
from sartm_core.sensing import encode
from sartm_ros.bag.faults import BagFaults, parse_fault
from sartm_ros.bag.order import Sorter, header_of
from sartm_ros.bag.reader import open_bag
from sartm_ros.bag.replay import Replay, ReplayOptions
from sartm_ros.bag.types import TYPESTORE, bag_message
from sartm_ros.bag.writer import BagWriter
from sartm_ros.decoding.images import header, image_message, stamp_ns
from sartm_sim.record import START_NS
from sartm_sim.simulation import CONDITIONS, SimulatedRig

pytestmark = pytest.mark.slow

S = 1_000_000_000
MS = 1_000_000
T0 = 1_700_000_000 * S


def small_rig(**thermal: Any) -> Rig:
    content = {
        "name": "small",
        "reference": "rgb",
        "modalities": {
            "rgb": {"kind": "rgb", "size": [6, 8], "topic": "/rgb"},
            "thermal": {"kind": "thermal", "size": [6, 8], "topic": "/thermal", "tolerance_s": 0.02, **thermal},
        },
        "classes": [
            {"name": f"class {index}", "color": [index, 2, 3]} for index in range(200)
        ],  # pixels serve as labels
    }
    return check(content, Rig, "test")


def image(value: int, channels: int) -> np.ndarray:
    pixels = np.full((6, 8, 3) if channels == 3 else (6, 8), value % 256, np.uint8)
    pixels[-1, -1] ^= 1  # all equal would be empty
    return pixels


def write_bag(path: Path, messages: list[tuple[str, int, int, int]]) -> Path:
    """(topic, recorded, stamp, value), both times in nanoseconds after T0; a stamp of None is 0."""
    with BagWriter(path) as writer:
        for topic in ("/rgb", "/thermal"):
            writer.add_topic(topic, "sensor_msgs/msg/Image")
        for topic, recorded, stamp, value in messages:
            pixels = image(value, 3 if topic == "/rgb" else 1)
            stamped = header(bag_message, 0 if stamp is None else T0 + stamp, topic.strip("/"))
            message = image_message(bag_message, pixels, "rgb8" if pixels.ndim == 3 else "mono8", stamped)
            writer.write_message(topic, T0 + recorded, message)
    return path


def replayed(path: Path, rig: Rig, faults: tuple = (), **options: Any) -> tuple[list[Any], Replay]:
    with open_bag(path) as bag:
        replay = Replay(bag, rig, rig, ReplayOptions(**options), BagFaults(faults, rig.names))
        return list(replay), replay


def told(sets: list[Any]) -> list[tuple[int, dict[str, int]]]:
    """Milliseconds after T0 -> modality -> the value that was written."""
    return [
        (
            (found.frames.stamp_ns - T0) // MS,
            {name: int(found.frames.images[name].flat[0]) for name in sorted(found.frames.images)},
        )
        for found in sets
    ]


def pairs(count: int, period_ms: int = 100, thermal_late_ms: int = 3, lag_ms: int = 0) -> list[tuple]:
    messages = []
    for index in range(count):
        at = (1000 + index * period_ms) * MS
        messages.append(("/rgb", at + lag_ms * MS, at, index))
        messages.append(("/thermal", at + thermal_late_ms * MS, at + thermal_late_ms * MS, 100 + index))
    return sorted(messages, key=lambda entry: entry[1])


class TestOrder:
    @given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3000)), max_size=60))
    def test_disorder_within_the_window_is_sorted_and_nothing_is_lost(self, entries: list[tuple[int, int]]) -> None:
        """Recorded at most 400 ms after their stamps: a window of 500 ms sorts all of them."""
        recorded = sorted((stamp + lag, number, stamp) for number, (lag, stamp) in enumerate(entries))
        sorter: Sorter[int] = Sorter(500)
        out = [pair for time, number, stamp in recorded for pair in sorter.push(stamp, time, number)]
        out += sorter.flush()
        assert [key for key, _ in out] == sorted(stamp for _, stamp in entries)
        assert sorted(number for _, number in out) == list(range(len(entries)))

    @given(st.lists(st.integers(0, 10**6), min_size=1, max_size=200))
    def test_memory_is_that_of_the_window(self, keys: list[int]) -> None:
        sorter: Sorter[int] = Sorter(5)
        waiting = 0
        for time, key in enumerate(keys):
            waiting += 1 - len(list(sorter.push(key, time, 0)))
            assert waiting <= 5

    @pytest.mark.parametrize("frame", ["", "camera_optical", "kamera_ö"])
    def test_the_header_is_read_without_the_rest(self, frame: str) -> None:
        message = image_message(bag_message, image(3, 3), "rgb8", header(bag_message, T0 + 17, frame))
        data = bytes(TYPESTORE.serialize_cdr(message, "sensor_msgs/msg/Image"))
        assert header_of(data) == (T0 + 17, frame)
        big = bytes(TYPESTORE.serialize_cdr(message, "sensor_msgs/msg/Image", little_endian=False))
        assert header_of(big) == (T0 + 17, frame)
        with pytest.raises(SartmError, match="too short for a header"):
            header_of(data[:11])


class TestMatching:
    def test_sets_are_those_of_the_stamps(self, tmp_path: Path) -> None:
        path = write_bag(tmp_path / "bag", pairs(5))
        sets, replay = replayed(path, small_rig())
        assert told(sets) == [(1000 + 100 * i, {"rgb": i, "thermal": 100 + i}) for i in range(5)]
        assert [found.frames.states for found in sets] == [{"rgb": "present", "thermal": "present"}] * 5
        assert [round(found.time_s, 3) for found in sets] == [0.0, 0.1, 0.2, 0.3, 0.4]
        assert sets[0].frames.frame_id == "rgb"
        assert replay.remarks() == []

    @pytest.mark.parametrize("seed", range(5))
    def test_the_order_of_recording_does_not_matter(self, tmp_path: Path, seed: int) -> None:
        """Drivers stamp at the exposure; what is recorded up to 0.4 s later, in any order, finds the same partners."""
        rng = random.Random(seed)
        orderly, _ = replayed(write_bag(tmp_path / "orderly", pairs(12)), small_rig())
        late = [(topic, stamp + rng.randrange(400) * MS, stamp, value) for topic, _, stamp, value in pairs(12)]
        shuffled, _ = replayed(write_bag(tmp_path / "late", sorted(late, key=lambda e: e[1])), small_rig())
        assert told(shuffled) == told(orderly)

    def test_a_recording_that_was_joined_from_two_starts_anew(self, tmp_path: Path) -> None:
        """The robot's clock was set back by an hour between them."""
        first = pairs(4)
        second = [(topic, at + 2 * S, stamp - 3600 * S, value + 10) for topic, at, stamp, value in pairs(4)]
        sets, replay = replayed(write_bag(tmp_path / "bag", first + second), small_rig())
        assert [values for _, values in told(sets)] == [
            {"rgb": i, "thermal": 100 + i} for i in (0, 1, 2, 3, 10, 11, 12, 13)
        ]
        assert replay.report()["resets"] == 1

    def test_a_slower_sensor_is_absent_where_it_has_nothing(self, tmp_path: Path) -> None:
        messages = [entry for entry in pairs(6) if entry[0] == "/rgb" or entry[3] % 2 == 0]
        sets, replay = replayed(write_bag(tmp_path / "bag", messages), small_rig())
        assert [sorted(values) for _, values in told(sets)] == [["rgb", "thermal"], ["rgb"]] * 3
        assert replay.report()["incomplete"] == 3

    def test_a_wider_tolerance_takes_its_image_again_but_a_truth_only_once(self, tmp_path: Path) -> None:
        """/thermal at half of the pace, once as a sensor and once as the truth."""
        messages = [entry for entry in pairs(6) if entry[0] == "/rgb" or entry[3] % 2 == 0]
        bag = write_bag(tmp_path / "bag", messages)
        sets, _ = replayed(bag, small_rig(tolerance_s=0.101))
        assert [values["thermal"] for _, values in told(sets)] == [100, 100, 102, 102, 104, 104]
        sets, replay = replayed(bag, small_rig(tolerance_s=0.101, encoding="kelvin"))
        assert [list(found.frames.broken) for found in sets] == [["thermal"]] * 6
        assert list(replay.report()["modalities"]["thermal"]["broken"].values()) == [3]  # messages, not sets
        alone = small_rig().only(["rgb"])
        sets, _ = replayed(bag, alone, truth_topic="/thermal", truth_tolerance_s=0.101)
        assert [found.truth is not None for found in sets] == [True, False] * 3

    def test_another_sensor_takes_the_lead(self, drive: Path) -> None:
        sets, replay = replayed(drive, load_rig("simrobot"))
        assert len(sets) == 20
        assert [found.frames.states["rgb"] for found in sets[:12]] == ["present"] * 12
        assert "rgb" not in sets[-1].frames.images
        assert sets[-1].frames.states["rgb"] == "stale"
        assert replay.report()["modalities"]["thermal"]["matched"] == 20


class TestClocksAndStamps:
    def test_stamps_of_zero_are_named_with_the_remedy(self, tmp_path: Path) -> None:
        messages = [(topic, at, None if topic == "/thermal" else stamp, value) for topic, at, stamp, value in pairs(5)]
        path = write_bag(tmp_path / "bag", messages)
        sets, replay = replayed(path, small_rig())
        assert [sorted(values) for _, values in told(sets)] == [["rgb"]] * 5
        (remark,) = replay.remarks()
        assert "thermal: its messages have no time stamp (0)" in remark
        assert "--stamps recorded" in remark
        sets, replay = replayed(path, small_rig(), stamps="recorded")
        assert [values for _, values in told(sets)] == [{"rgb": i, "thermal": 100 + i} for i in range(5)]

    def test_another_clock_is_named_and_its_offset_mends_it(self, tmp_path: Path) -> None:
        uptime = 1_699_990_000 * S  # thermal counts from the start of its computer
        messages = [
            (topic, at, stamp - (uptime if topic == "/thermal" else 0), value) for topic, at, stamp, value in pairs(40)
        ]
        path = write_bag(tmp_path / "bag", messages)
        sets, replay = replayed(path, small_rig())
        assert all("thermal" not in found.frames.images for found in sets)
        (remark,) = replay.remarks()
        assert "thermal: " in remark
        assert "none matched" in remark
        offset = float(remark.split("thermal.offset_s: ")[1].split(". For")[0])
        assert offset == pytest.approx(uptime / S, abs=5)
        sets, replay = replayed(path, small_rig(offset_s=uptime / S))
        assert [values for _, values in told(sets)] == [{"rgb": i, "thermal": 100 + i} for i in range(40)]

    @pytest.mark.parametrize(("every", "seconds"), [(2, -5), (10, 10), (3, -(10**9)), (2, 600)])
    def test_a_sensor_with_bad_stamps_costs_its_own_images_alone(
        self, tmp_path: Path, every: int, seconds: int
    ) -> None:
        """Unplugged, it would cost no set; a node that is fed the same loses none either."""
        messages = pairs(40)
        bad = {100 + index for index in range(5, 40, every)}
        leaping = [(t, at, stamp + seconds * S if value in bad else stamp, value) for t, at, stamp, value in messages]
        sets, _ = replayed(write_bag(tmp_path / "bag", leaping), small_rig())
        assert told(sets) == [
            (1000 + index * 100, {"rgb": index} | ({} if 100 + index in bad else {"thermal": 100 + index}))
            for index in range(40)
        ]

    def test_a_clock_that_is_set_once_is_followed(self, tmp_path: Path) -> None:
        """The driver's clock jumps by an hour, in both sensors: three seconds go on as three seconds."""
        leaping = [(t, at, stamp + (3600 * S if at >= 3 * S else 0), value) for t, at, stamp, value in pairs(50)]
        sets, _ = replayed(write_bag(tmp_path / "bag", leaping), small_rig())
        assert [images for _, images in told(sets)] == [{"rgb": i, "thermal": 100 + i} for i in range(50)]

    def test_nothing_of_the_rig_is_there(self, tmp_path: Path, drive: Path) -> None:
        with pytest.raises(SartmError, match=r"has no topic of rig 'small' \(/rgb, /thermal\).*rig init"):
            replayed(drive, small_rig())

    def test_a_topic_of_another_type(self, drive: Path) -> None:
        rig = load_rig("simrobot")
        moved = (m.model_copy(update={"topic": f"/sim/{m.name}/camera_info"}) for m in rig.modalities)
        wrong = rig.model_copy(update={"modalities": tuple(moved)})
        with pytest.raises(SartmError, match=r"/sim/rgb/camera_info holds sensor_msgs/msg/CameraInfo; rig .* expects"):
            replayed(drive, wrong)


class TestFaults:
    def test_a_sensor_is_left_out_for_a_while(self, tmp_path: Path) -> None:
        path = write_bag(tmp_path / "bag", pairs(6))
        sets, _ = replayed(path, small_rig(), (parse_fault("drop", "thermal@0.15:0.35"),))
        assert [sorted(values) for _, values in told(sets)] == [
            ["rgb", "thermal"], ["rgb", "thermal"], ["rgb"], ["rgb"], ["rgb", "thermal"], ["rgb", "thermal"],
        ]  # fmt: skip

    def test_seconds_count_on_one_clock_whatever_a_sensors_own_says(self, tmp_path: Path) -> None:
        uptime = 1_699_990_000 * S
        messages = [
            (topic, at, stamp - (uptime if topic == "/thermal" else 0), value) for topic, at, stamp, value in pairs(6)
        ]
        path = write_bag(tmp_path / "thermal_first", sorted(messages, key=lambda one: one[0] != "/thermal"))
        rig = small_rig(offset_s=uptime / S)
        sets, _ = replayed(path, rig, (parse_fault("drop", "thermal@0.15:0.35"),))
        assert [sorted(values) for _, values in told(sets)] == [
            ["rgb", "thermal"], ["rgb", "thermal"], ["rgb"], ["rgb"], ["rgb", "thermal"], ["rgb", "thermal"],
        ]  # fmt: skip
        assert [found.time_s for found in sets] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5], abs=0.01)
        sets, _ = replayed(path, rig, (parse_fault("drop", "thermal"),))
        assert {*map(tuple, (found.frames.images for found in sets))} == {("rgb",)}

    def test_a_delay_shorter_than_max_wait_costs_nothing_a_longer_one_the_sensor(self, tmp_path: Path) -> None:
        path = write_bag(tmp_path / "bag", pairs(8))  # max_wait_s 0.1
        short, _ = replayed(path, small_rig(), (parse_fault("delay", "thermal=0.05"),))
        assert [sorted(values) for _, values in told(short)] == [["rgb", "thermal"]] * 8
        late, _ = replayed(path, small_rig(), (parse_fault("delay", "thermal=0.3"),))
        assert sum("thermal" in values for _, values in told(late)) == 0

    def test_noise_is_as_strong_as_asked_and_the_same_every_time(self, tmp_path: Path) -> None:
        path = write_bag(tmp_path / "bag", [(t, a, s, 128) for t, a, s, _ in pairs(30)])
        fault = (parse_fault("noise", "rgb=20@1:2"),)
        (first, _), (second, _) = (replayed(path, small_rig(), fault) for _ in range(2))
        assert np.array_equal(first[0].frames.images["rgb"], image(128, 3))
        noisy = np.stack([found.frames.images["rgb"] for found in first[10:20]]).astype(float)
        assert noisy.std() == pytest.approx(20, rel=0.1)
        assert np.array_equal(first[25].frames.images["rgb"], image(128, 3))
        for one, two in zip(first, second, strict=True):
            assert np.array_equal(one.frames.images["rgb"], two.frames.images["rgb"])

    @pytest.mark.parametrize(
        ("kind", "text"),
        [("drop", "thermal=3"), ("drop", "thermal@5:2"), ("delay", "thermal"), ("noise", "rgb=x"), ("drop", "")],
    )
    def test_wrong_texts_are_explained(self, kind: Any, text: str) -> None:
        with pytest.raises(SartmError, match=f"--{kind} .*: expected NAME"):
            parse_fault(kind, text)

    def test_an_unknown_sensor(self) -> None:
        with pytest.raises(SartmError, match="--drop lidar: the rig has no such modality; it has rgb, thermal"):
            BagFaults((parse_fault("drop", "lidar"),), ("rgb", "thermal"))


class TestContent:
    def test_images_are_what_training_sees(self, drive: Path) -> None:
        rig = load_rig("simrobot")
        simulated = SimulatedRig(rig, seed=7)
        frame = simulated.capture(1.0, CONDITIONS["day"], events_since_s=0.8)
        sets, _ = replayed(drive, rig, truth_topic="/sim/truth", tags_topic="/sim/phase")
        found = next(one for one in sets if one.frames.stamp_ns == START_NS + S)
        for name, expected in simulated.registered(frame).items():
            if name == "event":
                continue
            assert np.array_equal(found.frames.images[name], expected), name
            assert np.array_equal(found.frames.planes[name], encode(rig.modality(name), expected, rig.dtype))
        window = simulated.capture(1.0, CONDITIONS["day"], events_since_s=0.97)
        assert found.frames.images["event"].sum() == pytest.approx(simulated.registered(window)["event"].sum(), rel=0.1)
        assert np.array_equal(found.truth, frame.truth)
        assert found.tags["condition"] == "day"

    def test_tags_hold_from_their_stamp_on(self, drive: Path) -> None:
        sets, _ = replayed(drive, load_rig("simrobot"), tags_topic="/sim/phase")
        assert [found.tags["name"] for found in sets] == (
            ["day"] * 8 + ["night, thermal frozen"] * 4 + ["night, RGB unplugged"] * 8
        )
        assert sets[9].tags["fault"] == "frozen"
        assert sets[9].tags["faulty"] == "thermal"

    def test_calibration_comes_from_the_recording(self, drive: Path) -> None:
        """With `calibration: ros` the very first set is registered as with the calibration in the rig file."""
        rig = load_rig("simrobot")
        modalities = tuple(
            m.model_copy(update={"intrinsics": None, "extrinsics": None, "calibration": "ros"}) for m in rig.modalities
        )
        learnt = rig.model_copy(update={"modalities": modalities})
        expected, _ = replayed(drive, rig)
        found, _ = replayed(drive, learnt)
        for name in rig.names:
            if name == "event":
                continue
            difference = np.abs(
                found[0].frames.images[name].astype(float) - expected[0].frames.images[name].astype(float)
            )
            assert (difference > 1).mean() < 0.001, name

    def test_zeros_and_distortion_are_told(self, drive: Path, tmp_path: Path) -> None:
        """A camera that was not calibrated, and one whose images are not rectified."""
        rig = load_rig("simrobot")
        with open_bag(drive) as bag, BagWriter(tmp_path / "bag") as writer:
            for name, topic in bag.topics.items():
                writer.add_topic(name, topic.message_type, topic.latched)
            for message in bag.messages():
                data = message.data
                if message.topic in ("/sim/rgb/camera_info", "/sim/thermal/camera_info"):
                    info = bag.deserialize(message)
                    if "rgb" in message.topic:
                        info.d = np.full(5, 0.1)
                    else:
                        info.k, info.p = np.zeros(9), np.zeros(12)
                    data = bytes(TYPESTORE.serialize_cdr(info, "sensor_msgs/msg/CameraInfo"))
                writer.write(message.topic, message.time_ns, data)
        modalities = tuple(m.model_copy(update={"intrinsics": None, "calibration": "ros"}) for m in rig.modalities)
        sets, replay = replayed(tmp_path / "bag", rig.model_copy(update={"modalities": modalities}))
        assert sets[0].frames.states["thermal"] == "broken"
        assert sets[0].frames.states["depth"] == "present"
        told = "\n".join(replay.remarks())
        assert "rgb: its CameraInfo reports lens distortion" in told
        assert "thermal: its CameraInfo is not a calibration (fx 0, fy 0)" in told

    def test_camera_info_comes_along(self, drive: Path) -> None:
        sets, _ = replayed(drive, load_rig("simrobot"))
        assert int(sets[0].camera_info.height) == 256
        assert stamp_ns(sets[0].camera_info) > 0

    def test_a_message_that_cannot_be_used_costs_its_modality_alone(self, tmp_path: Path) -> None:
        with BagWriter(tmp_path / "bag") as writer:
            for topic in ("/rgb", "/thermal"):
                writer.add_topic(topic, "sensor_msgs/msg/Image")
            for index in range(4):
                stamped = header(bag_message, T0 + index * S // 10, "f")
                rgb = image_message(bag_message, image(index, 3), "rgb8", stamped)
                thermal = image_message(bag_message, image(index, 1), "mono8", stamped)
                if index == 1:
                    thermal.encoding = "nonsense"
                if index == 2:
                    rgb.height = 4000
                writer.write_message("/rgb", T0 + index * S // 10, rgb)
                writer.write_message("/thermal", T0 + index * S // 10, thermal)
            writer.write("/rgb", T0 + S, b"\x00\x01\x00\x00broken")
        sets, replay = replayed(tmp_path / "bag", small_rig())
        assert [sorted(found.frames.planes) for found in sets] == [
            ["rgb", "thermal"], ["rgb"], ["thermal"], ["rgb", "thermal"],
        ]  # fmt: skip
        assert sets[1].frames.states == {"rgb": "present", "thermal": "broken"}
        assert "encoding 'nonsense'" in sets[1].frames.broken["thermal"]
        remarks = "\n".join(replay.remarks())
        assert "thermal: 1 messages are unusable: encoding 'nonsense'" in remarks
        assert "rgb: 1 messages are unusable: a message of 10 bytes is too short for a header" in remarks
        again, _ = replayed(tmp_path / "bag", small_rig(), stamps="recorded")
        assert [sorted(found.frames.planes) for found in again] == [sorted(found.frames.planes) for found in sets]

    @settings(max_examples=15, deadline=None)
    @given(st.data())
    def test_bytes_of_any_kind_end_no_replay(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        path = tmp_path_factory.mktemp("any") / "bag"
        message = image_message(bag_message, image(5, 3), "rgb8", header(bag_message, T0, "f"))
        whole = bytes(TYPESTORE.serialize_cdr(message, "sensor_msgs/msg/Image"))
        with BagWriter(path) as writer:
            writer.add_topic("/rgb", "sensor_msgs/msg/Image")
            for index in range(5):
                spoilt = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
                for place in data.draw(st.lists(st.integers(0, max(len(spoilt) - 1, 0)), max_size=5)):
                    if spoilt:
                        spoilt[place] = data.draw(st.integers(0, 255))
                writer.write("/rgb", T0 + index * S, bytes(spoilt))
        replayed(path, small_rig())
