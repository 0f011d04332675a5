"""Message packages that are not in the package index, live over DDS: /tf_static, packets of events, dvs, LabelInfo.

`make test-messages` builds the packages from their definitions; on a robot they are installed.
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, PointCloud2

from sartm_core.resources import resolve_config
from sartm_core.sensing.events import EVENT
from sartm_core.sensing.evt3 import encode_evt3
from sartm_ros.bag.types import TYPESTORE
from sartm_ros.decoding.images import set_stamp
from sartm_ros.decoding.message_types import live_message, required_message_class
from sartm_ros.decoding.point_clouds import cloud_fields

PACKAGES = ("tf2_msgs", "event_camera_msgs", "dvs_msgs", "vision_msgs")
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)}: make test-messages builds them")
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
MS = 1_000_000
EVENT_SIZE = (180, 240)


@pytest.fixture
def start_with(host, start, tmp_path: Path):
    """Starts the node with RGB of the simulated rig and another sensor."""

    def begin(name: str, rgb: dict[str, Any] | None = None, **fields: Any) -> Any:
        rig = yaml.safe_load(resolve_config("sim", "rigs").read_text())
        camera = rig["modalities"]["rgb"] | (rgb or {})
        rig["modalities"] = {"rgb": camera, name: {"kind": name, **fields}}
        path = tmp_path / "rig.yaml"
        path.write_text(yaml.safe_dump(rig, sort_keys=False))
        process = start("sartm_ros.node", rig=str(path), silence_warning_s=1.0)
        assert host.until(lambda: host.heard["/perception/labels"] != [], 40), process.log()
        return process

    return begin


def some_events(count: int, span_ms: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    events = np.zeros(count, EVENT)
    events["t"] = np.sort(rng.integers(0, span_ms * 1000, count))
    events["x"], events["y"] = rng.integers(0, EVENT_SIZE[1], count), rng.integers(0, EVENT_SIZE[0], count)
    return events


def drive_with(host: Any, day_frame: Any, send: Any, sets: int = 12) -> None:
    """RGB at 10 Hz; before each image `send(begin)` publishes the ten packets of the 100 ms up to it."""
    for _ in range(sets):
        now = host.now()
        send(now - 100 * MS)
        host.publish("/sim/rgb/image", day_frame.raw["rgb"], "rgb8", now)
        host.spin(0.1)
    host.spin(1.2)  # diagnostics


def test_packets_of_events_are_gathered_and_losses_counted(host, start_with, day_frame) -> None:
    node = start_with("event", encoding="counts", size=list(EVENT_SIZE), topic="/events")
    sent = 0
    data = encode_evt3(some_events(500, 10))

    def send(begin: int, lost: int = 0) -> None:
        nonlocal sent
        sent += lost
        for number in range(10):
            packet = live_message(
                "event_camera_msgs/msg/EventPacket", height=EVENT_SIZE[0], width=EVENT_SIZE[1], seq=sent,
                encoding="evt3", events=data,
            )  # fmt: skip
            set_stamp(packet, begin + number * 10 * MS)
            host.send("/events", packet)
            sent += 1

    drive_with(host, day_frame, send)
    assert host.routing()["event.state"] == "present", node.log()
    assert float(host.routing()["event"]) > 0
    assert host.diagnostics()["perception: input event"]["lost"] == "0"
    send(host.now(), lost=7)
    host.spin(2.5)
    assert host.diagnostics()["perception: input event"]["lost"] == "7"
    assert "event: 7 of its packets never came" in node.log()
    assert node.interrupt() == 0


def test_dvs_event_arrays(host, start_with, day_frame) -> None:
    node = start_with(
        "event", encoding="counts", size=list(EVENT_SIZE), topic="/dvs", message="dvs_msgs/msg/EventArray"
    )
    event, time = (
        required_message_class("dvs_msgs/msg/Event", "a test"),
        required_message_class("builtin_interfaces/msg/Time", "a test"),
    )

    def send(begin: int) -> None:
        for number in range(10):
            stamp = begin + number * 10 * MS
            rows = some_events(50, 10).tolist()
            events = [
                event(x=x, y=y, polarity=bool(p), ts=stamp_message(time, stamp + t * 1000)) for x, y, t, p in rows
            ]
            array = live_message("dvs_msgs/msg/EventArray", height=EVENT_SIZE[0], width=EVENT_SIZE[1], events=events)
            set_stamp(array, stamp)
            host.send("/dvs", array)

    drive_with(host, day_frame, send)
    assert host.routing()["event.state"] == "present", node.log()
    assert "unusable" not in node.log()


def stamp_message(kind: Any, stamp: int) -> Any:
    return kind(sec=stamp // 10**9, nanosec=stamp % 10**9)


def test_extrinsics_out_of_tf_static(host, start_with, day_frame) -> None:
    """A LiDAR two metres above the camera: until its transform comes nothing can be projected."""
    node = start_with(
        "lidar", rgb={"intrinsics": {"fx": 247.0, "fy": 247.0, "cx": 160.0, "cy": 128.0}}, size=[256, 320],
        topic="/points", calibration="ros",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    columns = [rng.uniform(3, 20, 3000), rng.uniform(-5, 5, 3000), rng.uniform(-2, 2, 3000)]
    points = np.column_stack([*columns, np.ones((3000, 2))])  # intensity and ring

    def send(begin: int) -> None:
        cloud = PointCloud2(**cloud_fields(points.astype(np.float32), live_field))
        cloud.header.frame_id = "lidar"
        set_stamp(cloud, begin + 100 * MS)
        host.send("/points", cloud)

    drive_with(host, day_frame, send, sets=5)
    assert host.routing()["lidar.state"] == "broken", node.log()
    assert "/tf_static does not connect its frame" in node.log()
    host.send("/tf_static", transform("camera_optical", "lidar", (0.0, -2.0, 0.0), (0.5, -0.5, 0.5, 0.5)), LATCHED)
    drive_with(host, day_frame, send, sets=8)
    assert host.routing()["lidar.state"] == "present", node.log()


def live_field(**fields: Any) -> Any:
    from sensor_msgs.msg import PointField

    return PointField(**fields)


def transform(parent: str, child: str, move: tuple[float, ...], turn: tuple[float, ...]) -> Any:
    from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3

    stamped = TransformStamped(child_frame_id=child)
    stamped.header.frame_id = parent
    stamped.transform = Transform(
        translation=Vector3(**dict(zip("xyz", move, strict=True))),
        rotation=Quaternion(**dict(zip("xyzw", turn, strict=True))),
    )
    return live_message("tf2_msgs/msg/TFMessage", transforms=[stamped])


def test_label_info_tells_late_subscribers_the_classes_and_the_threshold(host, start, sim_rig) -> None:
    node = start("sartm_ros.node", min_confidence=0.25)
    host.listen("/perception/label_info", required_message_class("vision_msgs/msg/LabelInfo", "a test"), LATCHED)
    assert host.until(lambda: host.heard["/perception/label_info"] != [], 40), node.log()
    (info,) = host.heard["/perception/label_info"]
    assert {entry.class_id: entry.class_name for entry in info.class_map} == dict(enumerate(sim_rig.class_names))
    assert info.threshold == 0.25


@pytest.mark.parametrize("kind", ["tf2_msgs/msg/TFMessage", "event_camera_msgs/msg/EventPacket"])
def test_what_was_built_is_what_recordings_hold(kind: str) -> None:
    """The same fields and types, by the definitions of another library."""
    fields = required_message_class(kind, "a test").get_fields_and_field_types()
    assert list(fields) == [name for name, _ in TYPESTORE.fielddefs[kind][1]]


def test_camera_info_and_transforms_of_the_simulator(host, start, tmp_path) -> None:
    """What `sartm sim` publishes live where the packages are installed."""
    host.listen("/tf_static", required_message_class("tf2_msgs/msg/TFMessage", "a test"), LATCHED)
    host.listen("/sim/event/packets", required_message_class("event_camera_msgs/msg/EventPacket", "a test"), 1000)
    host.listen("/sim/event/camera_info", CameraInfo, 10)
    simulator = start("sartm_sim.simulator_node", rig="simrobot", scenario="short", rate_hz=0.5)
    assert host.until(lambda: len(host.heard["/sim/event/packets"]) > 150, 60), simulator.log()
    numbers = [packet.seq for packet in host.heard["/sim/event/packets"]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))  # 100 of an instant at once, none lost
    frames = {one.child_frame_id for message in host.heard["/tf_static"] for one in message.transforms}
    assert {"sim_lidar", "sim_event_optical"} <= frames
    assert simulator.interrupt() == 0
