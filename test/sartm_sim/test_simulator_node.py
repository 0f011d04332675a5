"""The simulated rig as a process: what it publishes, how it ends."""

import importlib.util
import json

import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import String

from sartm_ros.decoding.images import stamp_ns
from sartm_ros.decoding.point_clouds import cloud_points

TOPICS = {"rgb": "rgb8", "thermal": "mono16", "depth": "16UC1"}


def test_it_publishes_its_sensors_each_by_its_own_clock_and_says_the_phase(host, start) -> None:
    for name in TOPICS:
        host.listen(f"/sim/{name}/image", Image, 50)
        host.listen(f"/sim/{name}/camera_info", CameraInfo, 50)
    host.listen("/sim/truth", Image, 50)
    host.listen("/sim/phase", String, QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    simulator = start("sartm_sim.simulator_node", scenario="short", rate_hz=4.0, wait_for_subscribers=1)
    assert simulator.popen.wait(timeout=60) == 0, simulator.log()
    host.spin(0.5)
    assert len(host.heard["/sim/truth"]) == 20  # 5 s at 4 Hz
    stamps = {stamp_ns(message) for message in host.heard["/sim/truth"]}
    for name, encoding in TOPICS.items():
        images = host.heard[f"/sim/{name}/image"]
        assert {message.encoding for message in images} == {encoding}
        apart_ms = [min((stamp_ns(image) - stamp) / 1e6 for stamp in stamps if abs(stamp_ns(image) - stamp) < 10**8)
                    for image in images]  # fmt: skip
        low, high = {"rgb": (0, 0), "thermal": (8, 14), "depth": (3.5, 6.5)}[name]
        assert all(low <= apart <= high for apart in apart_ms), apart_ms
        assert len(images) == (10 if name == "rgb" else 20)
    info = host.heard["/sim/rgb/camera_info"][0]
    assert (info.height, info.width, info.k[2], info.k[5]) == (256, 320, 159.5, 127.5)  # centres of pixels
    phases = [json.loads(message.data) for message in host.heard["/sim/phase"]]
    assert [phase["name"] for phase in phases] == ["day", "day, RGB unplugged"]
    assert phases[1]["unplugged"] == ["rgb"]
    first_without = min(stamps - {stamp_ns(message) for message in host.heard["/sim/rgb/image"]})
    assert phases[1]["start_ns"] == first_without


def test_an_interrupted_drive_ends_cleanly(host, start) -> None:
    simulator = start("sartm_sim.simulator_node", rate_hz=4, loop=True)
    host.listen("/sim/truth", Image, 50)
    assert host.until(lambda: host.heard["/sim/truth"] != [], 30), simulator.log()
    assert simulator.interrupt() == 0
    assert "Traceback" not in simulator.log()


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"rig": "deliver"}, "for the simulator 'depth' needs encoding 'metres', not 'image'"),
        ({"scenario": "nosuch"}, "no scenario is called 'nosuch'. Known: demo, faults, short"),
        ({"rate_hz": -1.0}, "parameter 'rate_hz': expected a number greater than 0, got -1.0"),
        ({"rate_hz": "fast"}, "parameter 'rate_hz': expected a number greater than 0, got fast"),
        ({"seed": 0.5}, "'seed' to '0.5' of type 'DOUBLE', expecting type 'INTEGER'"),
    ],
)
def test_wrong_parameters_are_named(start, parameters: dict, expected: str) -> None:
    simulator = start("sartm_sim.simulator_node", **parameters)
    assert simulator.popen.wait(timeout=30) == 1
    assert expected in simulator.log()
    assert "Traceback" not in simulator.log()


def test_a_lidar_is_published_as_a_cloud_and_what_is_not_installed_is_named(host, start) -> None:
    host.listen("/sim/lidar/points", PointCloud2, 50)
    host.listen("/sim/thermal/camera_info", CameraInfo, 50)
    simulator = start("sartm_sim.simulator_node", rig="simrobot", rate_hz=2.0, loop=True)
    assert host.until(lambda: len(host.heard["/sim/lidar/points"]) > 1, 30), simulator.log()
    cloud = host.heard["/sim/lidar/points"][-1]
    assert cloud.header.frame_id == "sim_lidar"
    points = cloud_points(cloud)
    assert len(points) > 5000
    assert points[:, 2].min() < -1.5  # the ground, from 1.85 m above it
    assert host.heard["/sim/thermal/camera_info"][0].k[0] == 190.0
    if importlib.util.find_spec("event_camera_msgs") is None:
        assert "'event' is not published: event_camera_msgs is not installed" in simulator.log()
    assert simulator.interrupt() == 0
