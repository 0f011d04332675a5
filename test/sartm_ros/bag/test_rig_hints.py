"""`sartm rig check --bag` names the better topic that stands in the recording, and what the replay knows."""

import json
from pathlib import Path
from typing import Any

import pytest
from sensor_bags import Topic, record
from typer.testing import CliRunner

from sartm_ros.cli import app

runner = CliRunner()
CLASSES = [{"name": "road", "color": [1, 2, 3]}, {"name": "car", "color": [4, 5, 6]}]
RGB, DEPTH, POINTS = Topic("rgb8"), Topic("16UC1"), Topic("xyz intensity ring", frame="lidar")
SCAN = {"message": "sensor_msgs/msg/Image", "encoding": "image"}


def checked(folder: Path, topics: dict[str, Topic], modalities: dict[str, dict[str, Any]], **infos: Any) -> Any:
    """Faults and remarks on a rig of these modalities; `infos` as `record` takes them."""
    bag = record(folder / "drive", topics, **infos)
    stated = {name: {"kind": name, "size": [24, 32], **fields} for name, fields in modalities.items()}
    rig = {"name": "mine", "reference": next(iter(stated)), "modalities": stated, "classes": CLASSES}
    (folder / "rig.yaml").write_text(json.dumps(rig))
    result = runner.invoke(app, ["rig", "check", str(folder / "rig.yaml"), "--bag", str(bag), "--json"])
    assert result.exit_code in (0, 1), result.output
    return json.loads(result.stdout)


# situation -> topics, the modality in question, the better topic, why
BETTER: dict[str, tuple[dict[str, Topic], dict[str, dict[str, Any]], str, str]] = {
    "a scan's picture for its points": (
        {"/cam/image_raw": RGB, "/ouster/nearir_image": Topic("mono16"), "/ouster/points": POINTS},
        {"lidar": {"topic": "/ouster/nearir_image", **SCAN}},
        "/ouster/points", "it holds points (sensor_msgs/msg/PointCloud2)",
    ),
    "a depth camera's cloud": (
        {
            "/cam/image_raw": RGB, "/camera/depth/color/points": Topic("xyz rgb", "camera_depth_optical_frame"),
            "/ouster/points": Topic("xyz intensity ring", "lidar", count=5),
        },
        {"lidar": {"topic": "/camera/depth/color/points"}},
        "/ouster/points", "it is a LiDAR's, not a depth camera's",
    ),
    "depth that is not aligned": (
        {
            "/cam/image_raw": RGB, "/camera/depth/image_rect_raw": Topic("16UC1", "depth"),
            "/camera/aligned_depth_to_color/image_raw": Topic("16UC1", count=9),
        },
        {"depth": {"topic": "/camera/depth/image_rect_raw"}},
        "/camera/aligned_depth_to_color/image_raw", "its images are aligned to the reference camera's",
    ),
    "depth of which only the name says that it is aligned": (
        {"/cam/image_raw": RGB, "/zed/depth/depth_raw": DEPTH, "/zed/depth/depth_registered": DEPTH},
        {"depth": {"topic": "/zed/depth/depth_raw"}},
        "/zed/depth/depth_registered", "it is registered to the colour camera",
    ),
    "disparity": (
        {"/cam/image_raw": RGB, "/zed/disparity/image": Topic("32FC1"), "/zed/depth/depth_registered": Topic("32FC1")},
        {"depth": {"topic": "/zed/disparity/image"}},
        "/zed/depth/depth_registered", "it is registered to the colour camera",
    ),
    "depth as a picture": (
        {"/cam/image_raw": RGB, "/camera/depth/image_colour": RGB, "/camera/depth/image_raw": DEPTH},
        {"depth": {"topic": "/camera/depth/image_colour", "encoding": "image"}},
        "/camera/depth/image_raw", "its pixels are ranges, not a picture of them",
    ),
}  # fmt: skip


class TestBetterTopics:
    @pytest.mark.parametrize("situation", BETTER)
    def test_are_named(self, situation: str, tmp_path: Path) -> None:
        topics, modality, better, why = BETTER[situation]
        ((name, fields),) = modality.items()
        found = checked(tmp_path, topics, {"rgb": {"topic": "/cam/image_raw"}, **modality})
        assert (
            f"{name}: {better} stands in the recording, too, and is better than {fields['topic']}: {why}. "
            f"Set topic: {better}." in found["remarks"]
        )

    def test_rectified_images_before_distorted_ones_of_the_same_camera(self, tmp_path: Path) -> None:
        topics = {"/front/image_raw": RGB, "/front/image_rect": Topic("rgb8", count=9), "/rear/image_rect": RGB}
        rig = {"rgb": {"topic": "/front/image_raw", "calibration": "ros", "camera_info": "/front/camera_info"}}
        found = checked(tmp_path, topics, rig, front=("cam", [-0.3, 0.1, 0.0, 0.0, 0.0]))
        assert any("rgb: /front/image_rect stands in the recording" in line for line in found["remarks"])
        assert any("lens distortion" in line for line in found["remarks"])

    @pytest.mark.parametrize(
        ("topics", "modality"),
        [
            ({"/rear/image_raw": RGB, "/front/image_rect": RGB}, {"rgb": {"topic": "/rear/image_raw"}}),
            ({"/right/image_rect": RGB, "/left/image_rect": RGB}, {"rgb": {"topic": "/right/image_rect"}}),
            ({"/cam/image_raw/compressed": Topic("jpeg"), "/cam/image_raw": RGB},
             {"rgb": {"topic": "/cam/image_raw/compressed", "message": "sensor_msgs/msg/CompressedImage"}}),
            ({"/cam/image_raw": RGB, "/boson/image_agc": Topic("mono8"), "/boson/image_raw": Topic("mono16")},
             {"rgb": {"topic": "/cam/image_raw"}, "thermal": {"topic": "/boson/image_agc", "encoding": "image"}}),
            ({"/cam/image_raw": RGB, "/depth/image_raw": DEPTH, "/aligned_depth_to_color/image_raw": DEPTH},
             {"rgb": {"topic": "/cam/image_raw"}, "depth": {"topic": "/aligned_depth_to_color/image_raw"}}),
        ],
        ids=["another camera", "a stereo pair", "compression", "a thermal camera's own picture", "the best"],
    )  # fmt: skip
    def test_choices_that_may_be_meant_are_left_alone(
        self, topics: dict[str, Topic], modality: dict[str, dict[str, Any]], tmp_path: Path
    ) -> None:
        found = checked(tmp_path, topics, modality)
        assert not [line for line in found["remarks"] if "stands in the recording" in line]

    def test_a_topic_that_another_modality_takes_is_none(self, tmp_path: Path) -> None:
        topics = {"/cam/image_raw": RGB, "/raw/depth": DEPTH, "/cam/depth_registered": DEPTH}
        registered = {"kind": "depth", "topic": "/cam/depth_registered"}
        rig = {"rgb": {"topic": "/cam/image_raw"}, "depth": {"topic": "/raw/depth"}, "second": registered}
        assert not [line for line in checked(tmp_path, topics, rig)["remarks"] if "stands in" in line]


def test_a_sensor_without_content_is_a_fault_with_its_reason(tmp_path: Path) -> None:
    topics = {"/cam/image_raw": RGB, "/depth/image_raw": Topic("32FC1")}  # hundreds of metres
    rig = {"rgb": {"topic": "/cam/image_raw"}, "depth": {"topic": "/depth/image_raw"}}
    (fault,) = checked(tmp_path, topics, rig)["faults"]
    assert fault.startswith("depth: in 10 of 10 frame sets it is empty and counts as absent: no pixel of the reference")


class TestWhatIsNotRead:
    def test_a_type_with_a_converter(self, tmp_path: Path) -> None:
        topics = {"/cam/image_raw": RGB, "/livox/lidar": Topic("livox_ros_driver2/msg/CustomMsg")}
        rig = {"rgb": {"topic": "/cam/image_raw"}, "lidar": {"topic": "/livox/lidar"}}
        (fault,) = checked(tmp_path, topics, rig)["faults"]
        assert fault.startswith("lidar: /livox/lidar holds livox_ros_driver2/msg/CustomMsg, which is not read here.")
        assert "Set xfer_format to 0" in fault
        assert "Set message" not in fault

    def test_a_missing_topic_that_could_be_converted(self, tmp_path: Path) -> None:
        topics = {"/cam/image_raw": RGB, "/velodyne_packets": Topic("velodyne_msgs/msg/VelodyneScan")}
        rig = {"rgb": {"topic": "/cam/image_raw"}, "lidar": {"topic": "/velodyne_points"}}
        (fault,) = checked(tmp_path, topics, rig)["faults"]
        assert "no topic /velodyne_points. /velodyne_packets holds velodyne_msgs/msg/VelodyneScan" in fault
        assert "velodyne_transform_node makes /velodyne_points" in fault

    def test_events_that_cannot_be_decoded_are_no_matter_of_tolerance(self, tmp_path: Path) -> None:
        topics = {"/cam/image_raw": RGB, "/dvs/events": Topic("events libcaer_cmp")}
        rig = {
            "rgb": {"topic": "/cam/image_raw"},
            "event": {
                "topic": "/dvs/events", "encoding": "counts", "message": "event_camera_msgs/msg/EventPacket",
            },
        }  # fmt: skip
        faults = checked(tmp_path, topics, rig)["faults"]
        assert any("messages are unusable" in fault and "libcaer_cmp" in fault for fault in faults), faults
        assert not [fault for fault in faults if "tolerance" in fault or "gaps" in fault]
