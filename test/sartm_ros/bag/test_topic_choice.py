"""`sartm rig init` on recordings with the topics of common drivers: the topic of each kind that an engineer takes."""

from pathlib import Path

import pytest
from sensor_bags import Topic, record
from typer.testing import CliRunner, Result

from sartm_core.rig import load_rig
from sartm_ros.bag.sensor_kinds import Content, possible_kinds, sensor_kinds
from sartm_ros.bag.unread_types import UNREAD_TYPES
from sartm_ros.cli import app

runner = CliRunner()
RGB, GREY, DEEP, DEPTH, FLOAT = Topic("rgb8"), Topic("mono8"), Topic("mono16"), Topic("16UC1"), Topic("32FC1")
POINTS = Topic("xyz intensity ring", frame="lidar")
COLOUR, OPTICAL = "camera_color_optical_frame", "camera_depth_optical_frame"
LEFT = "zed_left_camera_optical_frame"

# driver or situation -> its topics, and what a rig takes
RECORDINGS: dict[str, tuple[dict[str, Topic], dict[str, str]]] = {
    "spinnaker_camera_driver, ouster-ros": (
        {"/flir_camera/image_raw": RGB, "/ouster/points": POINTS},
        {"rgb": "/flir_camera/image_raw", "lidar": "/ouster/points"},
    ),
    "spinnaker_camera_driver, mosaic": (
        {"/flir_camera/image_raw": Topic("bayer_rggb8"), "/ouster/points": POINTS},
        {"rgb": "/flir_camera/image_raw", "lidar": "/ouster/points"},
    ),
    "spinnaker_camera_driver, flir_boson_usb": (
        {"/flir_camera/image_raw": RGB, "/flir_boson/image_raw": Topic("mono16", count=15)},
        {"rgb": "/flir_camera/image_raw", "thermal": "/flir_boson/image_raw"},
    ),
    "a namespace called perception": (
        {"/perception/front/color/image_raw": RGB, "/perception/ouster/points": POINTS},
        {"rgb": "/perception/front/color/image_raw", "lidar": "/perception/ouster/points"},
    ),
    "results beside sensors": (
        {
            "/camera/image_raw": RGB, "/perception/mask": GREY, "/perception/confidence": FLOAT,
            "/perception/overlay": RGB, "/semantic/image_raw": RGB, "/labels/image": GREY,
        },
        {"rgb": "/camera/image_raw"},
    ),
    "ouster-ros, its pictures": (
        {"/cam/image_raw": RGB, "/ouster/points": POINTS}
        | {f"/ouster/{name}_image": DEEP for name in ("nearir", "range", "reflec", "signal")},
        {"rgb": "/cam/image_raw", "lidar": "/ouster/points"},
    ),
    "a depth camera's cloud beside a LiDAR's": (
        {
            "/camera/camera/color/image_raw": RGB,
            "/camera/camera/depth/color/points": Topic("xyz intensity", count=30),
            "/ouster/points": Topic("xyz intensity", frame="os_lidar"),
        },
        {"rgb": "/camera/camera/color/image_raw", "lidar": "/ouster/points"},
    ),
    "a LiDAR that no name gives away": (
        {"/camera/image_raw": RGB, "/front/points": Topic("xyz rgb", count=30), "/top": POINTS},
        {"rgb": "/camera/image_raw", "lidar": "/top"},
    ),
    "realsense2_camera": (
        {
            "/camera/camera/color/image_raw": Topic("rgb8", COLOUR),
            "/camera/camera/aligned_depth_to_color/image_raw": Topic("16UC1", COLOUR, count=9),
            "/camera/camera/depth/image_rect_raw": Topic("16UC1", OPTICAL),
            "/camera/camera/depth/color/points": Topic("xyz rgb", OPTICAL),
            "/camera/camera/infra2/image_rect_raw": Topic("mono8", "camera_infra2_optical_frame", count=12),
            "/camera/camera/infra1/image_rect_raw": Topic("mono8", "camera_infra1_optical_frame"),
        },
        {
            "rgb": "/camera/camera/color/image_raw", "nir": "/camera/camera/infra1/image_rect_raw",
            "depth": "/camera/camera/aligned_depth_to_color/image_raw",
        },
    ),
    "zed-ros2-wrapper": (
        {
            "/zed/zed_node/right/image_rect_color": Topic("bgra8", "zed_right_camera_optical_frame", count=12),
            "/zed/zed_node/left_raw/image_raw_color": Topic("bgra8", LEFT, count=12),
            "/zed/zed_node/left_gray/image_rect_gray": Topic("mono8", LEFT, count=12),
            "/zed/zed_node/stereo/image_rect_color": Topic("bgra8", LEFT, count=12, size=(24, 64)),
            "/zed/zed_node/left/image_rect_color": Topic("bgra8", LEFT),
            "/zed/zed_node/confidence/confidence_map": Topic("32FC1", LEFT, count=12),
            "/zed/zed_node/disparity/disparity_image": Topic("32FC1", LEFT, count=12),
            "/zed/zed_node/depth/depth_registered": Topic("32FC1", LEFT, count=5),
            "/zed/zed_node/point_cloud/cloud_registered": Topic("xyz rgb", "zed_left_camera_frame"),
        },
        {"rgb": "/zed/zed_node/left/image_rect_color", "depth": "/zed/zed_node/depth/depth_registered"},
    ),
    "depthai-ros": (
        {
            "/oak/rgb/preview/image_raw": Topic("bgr8", count=12), "/oak/rgb/image_raw": Topic("bgr8", "oak_rgb"),
            "/oak/stereo/image_raw": Topic("16UC1", "oak_rgb"), "/oak/right/image_raw": Topic("mono8", "oak_right"),
            "/oak/left/image_raw": Topic("mono8", "oak_left"), "/oak/points": Topic("xyz rgb", "oak_rgb"),
        },
        {"rgb": "/oak/rgb/image_raw", "nir": "/oak/left/image_raw", "depth": "/oak/stereo/image_raw"},
    ),
    "OrbbecSDK_ROS2": (
        {
            "/camera/color/image_raw": Topic("rgb8", COLOUR), "/camera/depth/image_raw": Topic("16UC1", OPTICAL),
            "/camera/ir/image_raw": Topic("mono16", "camera_ir_optical_frame"),
            "/camera/depth/points": Topic("xyz", OPTICAL),
        },
        {"rgb": "/camera/color/image_raw", "nir": "/camera/ir/image_raw", "depth": "/camera/depth/image_raw"},
    ),
    "Azure_Kinect_ROS_Driver": (
        {
            "/rgb/image_raw": Topic("bgra8", "rgb_camera_link", size=(48, 64)),
            "/rgb_to_depth/image_raw": Topic("bgra8", "depth_camera_link", count=12),
            "/depth/image_raw": Topic("32FC1", "depth_camera_link", count=12),
            "/depth_to_rgb/image_raw": Topic("32FC1", "rgb_camera_link", size=(48, 64)),
            "/ir/image_raw": Topic("mono16", "depth_camera_link"), "/points2": Topic("xyz", "depth_camera_link"),
        },
        {"rgb": "/rgb/image_raw", "nir": "/ir/image_raw", "depth": "/depth_to_rgb/image_raw"},
    ),
    "a simulated depth camera": (
        {
            "/depth_camera/image_raw": RGB, "/depth_camera/depth/image_raw": FLOAT,
            "/depth_camera/points": Topic("xyz rgb"),
        },
        {"rgb": "/depth_camera/image_raw", "depth": "/depth_camera/depth/image_raw"},
    ),
    "image_proc": (
        {
            "/front/image_raw": Topic("rgb8", count=12), "/front/image_rect": RGB, "/front/image_mono": GREY,
            "/thermal/image_raw": GREY,
        },
        {"rgb": "/front/image_rect", "thermal": "/thermal/image_raw"},
    ),
    "usb_cam, velodyne, an infrared camera": (
        {"/image_raw": Topic("yuv422_yuy2"), "/velodyne_points": POINTS, "/ir/image_raw": DEEP},
        {"rgb": "/image_raw", "thermal": "/ir/image_raw", "lidar": "/velodyne_points"},
    ),
    "counts of a thermal camera as 16UC1": (
        {"/camera/image_raw": RGB, "/tau2/image_raw": DEPTH},
        {"rgb": "/camera/image_raw", "thermal": "/tau2/image_raw"},
    ),
    "a thermal camera's counts beside its picture": (
        {"/camera/image_raw": RGB, "/boson/image_agc": Topic("bgr8", count=12), "/boson/image_raw": DEEP},
        {"rgb": "/camera/image_raw", "thermal": "/boson/image_raw"},
    ),
    "cameras all around": (
        {f"/robot/{side}_camera/image_raw": Topic("rgb8", side, count=12) for side in ("back", "left", "rear", "right")}
        | {"/robot/front_camera/image_raw": RGB},
        {"rgb": "/robot/front_camera/image_raw"},
    ),
    "livox_ros_driver2 beside odometry's map": (
        {
            "/camera/image_raw": RGB, "/livox/lidar": Topic("xyz intensity tag line timestamp", "livox_frame"),
            "/cloud_registered": Topic("xyz intensity", "camera_init", count=30),
        },
        {"rgb": "/camera/image_raw", "lidar": "/livox/lidar"},
    ),
    "hesai, and what a filter leaves": (
        {
            "/camera/image_raw": RGB, "/hesai/pandar_points": POINTS,
            "/hesai/points_filtered": Topic("xyz intensity ring", "lidar", count=30),
        },
        {"rgb": "/camera/image_raw", "lidar": "/hesai/pandar_points"},
    ),
    "metavision_driver and event_camera_renderer": (
        {
            "/camera/image_raw": RGB, "/event_camera/image_raw": Topic("bgr8", count=30),
            "/event_camera/events": Topic("events mono", count=12),
        },
        {"rgb": "/camera/image_raw", "event": "/event_camera/events"},
    ),
    "a camera that died at once": (
        {"/front/image_rect": Topic("rgb8", count=1), "/front/image_raw": Topic("rgb8", count=40)},
        {"rgb": "/front/image_raw"},
    ),
    "image_transport": (
        {"/camera/image_raw/compressed": Topic("jpeg", count=12), "/camera/image_raw": RGB},
        {"rgb": "/camera/image_raw"},
    ),
}  # fmt: skip


def init(bag: Path, *options: str) -> Result:
    out = bag.with_suffix(".yaml")
    return runner.invoke(app, ["rig", "init", "--from-bag", str(bag), "--out", str(out), "--force", *options])


def drafted(bag: Path, *options: str) -> dict[str, str]:
    """Kind -> topic, the reference first."""
    result = init(bag, *options)
    assert result.exit_code == 0, result.output
    rig = load_rig(bag.with_suffix(".yaml"))
    order = sorted(rig.modalities, key=lambda one: one.name != rig.reference)
    return {one.kind: one.topic for one in order}


class TestChoice:
    @pytest.mark.parametrize("name", RECORDINGS)
    def test_of_common_drivers(self, name: str, tmp_path: Path) -> None:
        topics, expected = RECORDINGS[name]
        found = drafted(record(tmp_path / "drive", topics))
        assert found == expected
        assert next(iter(found)) == next(iter(expected))

    def test_is_explained(self, tmp_path: Path) -> None:
        bag = record(tmp_path / "drive", RECORDINGS["realsense2_camera"][0])
        told = init(bag).output
        aligned, raw = "/camera/camera/aligned_depth_to_color/image_raw", "/camera/camera/depth/image_rect_raw"
        assert (
            f"depth: chose {aligned} over {raw}: its images are aligned to the reference camera's. "
            f"--topic depth={raw} takes the other." in told
        )
        assert "/camera/camera/depth/color/points is left out: it repeats what the depth camera measures; --" in told
        text = bag.with_suffix(".yaml").read_text()
        assert f"# chosen over {raw}: its images are aligned to the reference camera's" in text
        assert f"# {raw} (sensor_msgs/msg/Image) could be depth or thermal." in text

    def test_of_the_reference_is_explained_unless_the_user_names_it(self, tmp_path: Path) -> None:
        bag = record(tmp_path / "drive", {"/front/image_raw": RGB, "/rear/image_raw": Topic("rgb8", count=12)})
        assert "rgb: chose /front/image_raw over /rear/image_raw: it looks ahead." in init(bag).output
        assert drafted(bag, "--reference", "/rear/image_raw") == {"rgb": "/rear/image_raw"}
        for reference in ("/front/image_raw", "/rear/image_raw"):
            assert "chose" not in init(bag, "--reference", reference).output

    def test_of_a_stream_over_its_own_compression_is_no_news(self, tmp_path: Path) -> None:
        assert "chose" not in init(record(tmp_path / "drive", RECORDINGS["image_transport"][0])).output

    def test_leaves_out_events_that_cannot_be_decoded(self, tmp_path: Path) -> None:
        bag = record(tmp_path / "drive", {"/camera/image_raw": RGB, "/dvs/events": Topic("events libcaer_cmp")})
        told = init(bag).output
        assert "/dvs/events is left out: its first message cannot be read" in told
        assert "libcaer_cmp" in told
        assert list(drafted(bag)) == ["rgb"]

    def test_the_others_are_matched_with_the_reference_of_the_chosen_kinds(self, tmp_path: Path) -> None:
        topics = {"/camera/image_raw": RGB, "/boson/image_raw": DEEP, "/depth/image_raw": DEPTH}
        bag = record(tmp_path / "drive", topics)
        assert list(drafted(bag, "--kinds", "thermal,depth")) == ["thermal", "depth"]
        assert "ms of /boson/image_raw" in bag.with_suffix(".yaml").read_text()


class TestTopicOption:
    def test_takes_the_named_topics(self, tmp_path: Path) -> None:
        bag = record(tmp_path / "drive", RECORDINGS["a depth camera's cloud beside a LiDAR's"][0])
        cloud = "/camera/camera/depth/color/points"
        assert drafted(bag, "--topic", f"lidar={cloud}")["lidar"] == cloud
        assert drafted(bag, "--kinds", "rgb", "--topic", f"lidar={cloud}")["lidar"] == cloud

    def test_decides_what_else_a_topic_could_be(self, tmp_path: Path) -> None:
        bag = record(tmp_path / "drive", RECORDINGS["usb_cam, velodyne, an infrared camera"][0])
        found = drafted(bag, "--topic", "nir=/ir/image_raw", "--topic", "rgb=/image_raw")
        assert found == {"rgb": "/image_raw", "nir": "/ir/image_raw", "lidar": "/velodyne_points"}

    def test_a_grey_camera_may_stand_for_colour(self, tmp_path: Path) -> None:
        bag = record(tmp_path / "drive", {"/cam0/image_raw": GREY, "/cam1/image_raw": GREY})
        assert drafted(bag, "--topic", "rgb=/cam1/image_raw") == {"rgb": "/cam1/image_raw", "nir": "/cam0/image_raw"}

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (["lidar:/ouster/points"], "--topic 'lidar:/ouster/points': expected KIND=TOPIC, such as lidar=/ouster/"),
            (["radar=/ouster/points"], "'radar' is unknown; expected one of rgb, thermal, nir, depth, polarization"),
            (["lidar=/points"], "has no topic /points. Its sensors: /cam/image_raw (rgb), /ouster/points (lidar)."),
            (
                ["depth=/ouster/points"],
                "holds sensor_msgs/msg/PointCloud2 (20 points), which can be lidar, not depth.",
            ),
            (
                ["lidar=/ouster/nearir_image"],
                "(24x32 mono16 1 x uint16), which can be thermal or nir or depth, not lidar.",
            ),
            (["rgb=/cam/image_raw", "rgb=/other"], "rgb is already given by --topic rgb=/cam/image_raw"),
            (["rgb=/cam/image_raw", "nir=/cam/image_raw"], "/cam/image_raw is already given by --topic rgb="),
            (["lidar=/livox/lidar"], "livox_ros_driver2/msg/CustomMsg, which is not read here. Set xfer_format to 0"),
            (["event=/chatter"], "/chatter holds some_msgs/msg/Text, which is no sensor's message"),
        ],
    )
    def test_says_what_is_wrong(self, options: list[str], expected: str, tmp_path: Path) -> None:
        bag = record(
            tmp_path / "drive",
            {
                "/cam/image_raw": RGB, "/ouster/points": POINTS, "/ouster/nearir_image": DEEP,
                "/livox/lidar": Topic("livox_ros_driver2/msg/CustomMsg"), "/chatter": Topic("some_msgs/msg/Text"),
            },
        )  # fmt: skip
        result = init(bag, *(part for option in options for part in ("--topic", option)))
        assert result.exit_code == 1
        assert expected in " ".join(result.output.split())

    def test_contradicts_the_reference(self, tmp_path: Path) -> None:
        bag = record(tmp_path / "drive", {"/front/image_raw": RGB, "/rear/image_raw": RGB})
        result = init(bag, "--topic", "rgb=/front/image_raw", "--reference", "/rear/image_raw")
        assert result.exit_code == 1
        assert "it would be the rgb camera, but --topic rgb=/front/image_raw names another" in result.output


class TestUnreadTypes:
    @pytest.mark.parametrize("message_type", UNREAD_TYPES)
    def test_are_named_with_what_converts_them(self, message_type: str, tmp_path: Path) -> None:
        bag = record(tmp_path / "drive", {"/camera/image_raw": RGB, "/other": Topic(message_type)})
        told = " ".join(init(bag).output.split())
        begin = UNREAD_TYPES[message_type].remedy.split("TOPIC")[0]
        assert f"/other holds {message_type}, which is not read here. {begin}" in told
        assert "TOPIC" not in told

    def test_of_video_come_with_the_whole_command(self, tmp_path: Path) -> None:
        topics = {
            "/camera/image_raw": RGB,
            "/b/image_raw/ffmpeg": Topic("ffmpeg_image_transport_msgs/msg/FFMPEGPacket"),
        }
        told = " ".join(init(record(tmp_path / "drive", topics)).output.split())
        assert (
            "ros2 run image_transport republish --ros-args -p in_transport:=ffmpeg -p out_transport:=raw "
            "--remap in/ffmpeg:=/b/image_raw/ffmpeg --remap out:=/b/image_raw`" in told
        )

    def test_a_recording_of_nothing_else(self, tmp_path: Path) -> None:
        result = init(record(tmp_path / "drive", {"/packets": Topic("velodyne_msgs/msg/VelodyneScan")}))
        assert result.exit_code == 1
        assert "has no sensor topic. It has: /packets. /packets holds velodyne_msgs/msg/VelodyneScan" in result.output
        assert "velodyne_transform_node" in result.output

    def test_are_passed_over_where_the_sensor_is_read(self, tmp_path: Path) -> None:
        topics = {
            "/camera/image_raw": RGB, "/camera/image_raw/ffmpeg": Topic("ffmpeg_image_transport_msgs/msg/FFMPEGPacket"),
            "/ouster/points": POINTS, "/ouster/lidar_packets": Topic("ouster_sensor_msgs/msg/PacketMsg"),
        }  # fmt: skip
        assert "not read" not in init(record(tmp_path / "drive", topics)).output


@pytest.mark.parametrize(
    ("topic", "encoding", "detail", "expected"),
    [
        ("/thermal/image_color", "rgb8", "3 x uint8", ("thermal", "rgb")),
        ("/depth_camera/rgb/image_raw", "rgb8", "3 x uint8", ("rgb",)),
        ("/camera/depth/image_raw", "bgr8", "3 x uint8", ("depth", "rgb")),
        ("/lidar_camera/image_raw", "rgb8", "3 x uint8", ("rgb",)),
        ("/flir_camera/image_raw", "mono8", "1 x uint8", ("nir", "thermal")),
        ("/camera/left_ir/image_raw", "mono8", "1 x uint8", ("nir", "thermal")),
        ("/segmentation/front_camera/image_raw", "rgb8", "3 x uint8", ("rgb",)),
        ("/camera/segmentation/image_raw/compressed", "rgb8", "3 x uint8", ()),
        ("/stereo/disparity", "32FC1", "1 x float32", ()),
        ("/lwir/image_raw/compressed", "mono16; png compressed", "1 x uint16", ("thermal", "nir", "depth")),
    ],
)
def test_content_comes_before_names(topic: str, encoding: str, detail: str, expected: tuple[str, ...]) -> None:
    assert sensor_kinds(topic, Content("sensor_msgs/msg/Image", (480, 640), encoding, detail)) == expected


def test_what_pixels_can_be() -> None:
    for detail, impossible in (("1 x uint8", "lidar"), ("1 x float32", "rgb"), ("3 x float32", "depth")):
        assert impossible not in possible_kinds(Content("sensor_msgs/msg/Image", (480, 640), "", detail))
