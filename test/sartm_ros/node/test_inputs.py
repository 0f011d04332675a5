"""Messages as drivers really send them, over real DDS: compressed, looping, calibrated by CameraInfo."""

import json
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage

from sartm_core.resources import resolve_config
from sartm_ros.decoding.images import set_stamp, stamp_ns

MASKS = "/perception/mask"
ALL = ("rgb", "thermal", "depth")
NS = 1_000_000_000


@pytest.fixture
def start_with(host, start, tmp_path: Path):
    """Starts the node with the shipped simulated rig, changed: `start_with(depth={"plane_m": 3.0})`."""

    def begin(**changes: dict):
        rig = yaml.safe_load(resolve_config("sim", "rigs").read_text())
        for name, fields in changes.items():
            rig["modalities"][name] |= fields
        path = tmp_path / "rig.yaml"
        path.write_text(yaml.safe_dump(rig, sort_keys=False))
        process = start("sartm_ros.node", rig=str(path))
        assert host.until(lambda: host.heard["/perception/labels"] != [], 40), process.log()
        return process

    return begin


def test_compressed_colour_and_depth_and_a_file_cut_off(host, start_with, feed, sim_rig, day_frame) -> None:
    compressed = "sensor_msgs/msg/CompressedImage"
    node = start_with(
        rgb={"message": compressed, "topic": "/rgb/compressed"},
        depth={"message": compressed, "topic": "/depth/compressedDepth"},
    )
    jpeg = cv2.imencode(".jpg", day_frame.raw["rgb"][..., ::-1])[1].tobytes()
    png = cv2.imencode(".png", day_frame.raw["depth"])[1].tobytes()

    def send(data: bytes) -> None:
        stamp = host.now()
        for topic, form, content in (
            ("/rgb/compressed", "rgb8; jpeg compressed bgr8", data),
            ("/depth/compressedDepth", "16UC1; compressedDepth png", struct.pack("<iff", 0, 0, 0) + png),
        ):
            message = CompressedImage(format=form, data=content)
            set_stamp(message, stamp)
            host.send(topic, message)
        host.spin(0.15)

    for _ in range(8):
        send(jpeg)
    assert host.until(lambda: host.heard["/perception/routing_weights"] != [], 5), node.log()
    assert float(host.routing()["rgb"]) > 0
    assert float(host.routing()["depth"]) > 0
    for _ in range(4):
        send(jpeg[: len(jpeg) // 2])
    host.spin(0.3)
    assert host.routing()["rgb.state"] == "broken"
    assert float(host.routing()["depth"]) > 0
    assert "the end-of-file marker is missing" in node.log()


def test_a_recording_that_loops_starts_anew(host, node, feed) -> None:
    shift = dict.fromkeys(ALL, -1000 * NS)
    feed(8, *ALL)
    feed(8, *ALL, shift_ns=shift)
    host.spin(1.2)
    assert stamp_ns(host.heard[MASKS][-1]) < host.now() - 900 * NS
    assert int(host.diagnostics()["perception: pipeline"]["resets"]) == 1
    assert "stamps jumped back" in node.log()


def test_a_calibration_out_of_camera_info(host, start_with, feed, sim_rig) -> None:
    ros = {"calibration": "ros", "extrinsics": {"translation_m": [0.05, 0, 0]}}
    node = start_with(
        rgb={"intrinsics": {"fx": 247.0, "fy": 247.0, "cx": 160.0, "cy": 128.0}},
        depth={**ros, "camera_info": "/sim/depth/camera_info", "depth_from": "depth"},
    )
    feed(6, *ALL)
    host.spin(0.5)
    assert host.routing()["depth.state"] == "broken"
    expected = "depth: its calibration comes from ROS, and no CameraInfo arrived on /sim/depth/camera_info"
    assert expected in node.log()
    info = CameraInfo(height=256, width=320, k=[247.0, 0, 160, 0, 247, 128, 0, 0, 1])
    for _ in range(10):
        set_stamp(info, host.now())
        host.send("/sim/depth/camera_info", info)
        feed(3, *ALL)
        if host.routing()["depth.state"] == "present":
            break
    assert host.routing()["depth.state"] == "present"
    assert float(host.routing()["depth"]) > 0


def test_camera_info_comes_out_with_the_masks_stamp(host, node, feed) -> None:
    heard: list[CameraInfo] = []
    host.node.create_subscription(CameraInfo, "/perception/camera_info", heard.append, 10)
    info = CameraInfo(height=256, width=320, k=[247.0, 0, 160, 0, 247, 128, 0, 0, 1])
    for _ in range(20):  # a busy machine drops sets, and what is sent before the node has found the publisher
        host.send("/sim/rgb/camera_info", info)
        feed(3, *ALL)
        if len(heard) > 2:
            break
    assert len(heard) > 2, node.log()
    host.spin(0.5)  # the masks of the last ones
    assert {stamp_ns(one) for one in heard} <= {stamp_ns(mask) for mask in host.heard[MASKS]}
    assert np.allclose(heard[-1].k, info.k)
    assert json.loads(host.heard["/perception/labels"][0].data)["unlabelled"] == 255


def test_masks_have_the_reference_cameras_frame_before_it_has_sent_an_image(host, node, feed) -> None:
    info = CameraInfo(height=256, width=320, k=[247.0, 0, 160, 0, 247, 128, 0, 0, 1])
    info.header.frame_id = "front_camera"
    for _ in range(20):  # as above; and the first sets may overtake it
        host.send("/sim/rgb/camera_info", info)
        feed(3, "thermal", "depth")
        if host.heard[MASKS] and host.heard[MASKS][-1].header.frame_id == "front_camera":
            break
    assert host.heard[MASKS], node.log()
    assert host.heard[MASKS][-1].header.frame_id == "front_camera"


def test_camera_info_that_was_published_once_before_the_node(host, start_with, feed) -> None:
    """ouster-ros#550: latched and never repeated; a volatile subscription would not get it."""
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = host.node.create_publisher(CameraInfo, "/sim/depth/camera_info", latched)
    publisher.publish(CameraInfo(height=256, width=320, k=[247.0, 0, 160, 0, 247, 128, 0, 0, 1]))
    start_with(
        rgb={"intrinsics": {"fx": 247.0, "fy": 247.0, "cx": 160.0, "cy": 128.0}},
        depth={
            "calibration": "ros",
            "extrinsics": {"translation_m": [0.05, 0, 0]},
            "camera_info": "/sim/depth/camera_info",
            "depth_from": "depth",
        },
    )
    for _ in range(10):
        feed(3, *ALL)
        if host.heard["/perception/routing_weights"] and host.routing()["depth.state"] == "present":
            break
    assert host.routing()["depth.state"] == "present"


def test_a_sensor_that_delivers_nothing_is_empty(host, node, feed, sim_rig, day_frame) -> None:
    """A constant image arrives in time and decodes well: it is not a measurement."""
    blank = np.full_like(day_frame.raw["thermal"], 29000)
    for _ in range(40):
        stamp = host.now()
        for name, encoding in (("rgb", "rgb8"), ("depth", "16UC1")):
            host.publish(sim_rig.modality(name).topic, day_frame.raw[name], encoding, stamp)
        host.publish(sim_rig.modality("thermal").topic, blank, "mono16", stamp)
        host.spin(0.2)
        if "empty" in host.told("perception: input thermal"):
            break
    assert "empty" in host.told("perception: input thermal")
    assert host.routing()["thermal.state"] == "empty"
    assert float(host.routing()["thermal"]) == 0.0
    assert "thermal: its measurement is empty and counts as absent: every pixel is 29000" in node.log()
