"""Message types that hold a sensor's data but are not read here, and what converts each into one that is."""

from dataclasses import dataclass

from sartm_ros.bag.sensor_kinds import without_transport


def _republish(package: str, transport: str) -> str:
    return (
        f"Install {package}, and decode it with `ros2 run image_transport republish --ros-args -p in_transport:="
        f"{transport} -p out_transport:=raw --remap in/{transport}:=TOPIC --remap out:=STREAM`."
    )


@dataclass(frozen=True, slots=True)
class UnreadType:
    """A message type.

    Attributes:
        kind: of the sensor; None for images of any camera.
        remedy: what makes a type of it that is read; TOPIC and STREAM stand for its topic, with and without transport.
    """

    kind: str | None
    remedy: str


_LIVOX = UnreadType(
    "lidar",
    "Set xfer_format to 0 in livox_ros_driver2's launch file: it then publishes sensor_msgs/msg/PointCloud2. For this "
    "recording: livox_to_pointcloud2 (its node livox_to_pointcloud2_node) while it is played.",
)
_VELODYNE = UnreadType(
    "lidar",
    "velodyne_pointcloud's velodyne_transform_node makes /velodyne_points (sensor_msgs/msg/PointCloud2) of it: record "
    "that topic.",
)
_OUSTER = UnreadType(
    "lidar",
    "`ros2 launch ouster_ros replay.launch.xml` makes /ouster/points (sensor_msgs/msg/PointCloud2) of the packets: "
    "record that topic.",
)
_NEBULA = UnreadType(
    "lidar",
    "nebula_ros, launched with launch_hw:=false, makes sensor_msgs/msg/PointCloud2 of the packets: record that topic.",
)
_FFMPEG = UnreadType(None, _republish("ffmpeg_image_transport", "ffmpeg"))
_FOXGLOVE = UnreadType(None, _republish("foxglove_compressed_video_transport", "foxglove"))
_FOXGLOVE_IMAGE = UnreadType(None, "Record the driver's own topic (sensor_msgs/msg/Image or CompressedImage) instead.")
_FOXGLOVE_CLOUD = UnreadType("lidar", "Record the driver's own topic (sensor_msgs/msg/PointCloud2) instead.")
_THEORA = UnreadType(None, _republish("theora_image_transport", "theora"))
_COMPRESSED_CLOUD = UnreadType(
    "lidar",
    "point_cloud_transport's node republish makes sensor_msgs/msg/PointCloud2 of it; its plugins are in "
    "point_cloud_transport_plugins.",
)
_EVENT_ARRAY = UnreadType(
    "event",
    "It is event_camera_msgs' former name: `ros2 run event_camera_convert_rosbag convert -i BAG -o CONVERTED` makes "
    "event_camera_msgs/msg/EventPacket of it.",
)
_PROPHESEE = UnreadType(
    "event",
    "`ros2 run event_camera_legacy_tools legacy_to_bag -b BAG -o CONVERTED -t TOPIC` makes "
    "event_camera_msgs/msg/EventPacket of it.",
)
_DISPARITY = UnreadType(
    "depth",
    "Disparity is not depth: record the camera's depth image, or the cloud of stereo_image_proc's point_cloud_node.",
)

UNREAD_TYPES = {
    "livox_ros_driver2/msg/CustomMsg": _LIVOX,
    "livox_ros_driver/msg/CustomMsg": _LIVOX,
    "livox_interfaces/msg/CustomMsg": _LIVOX,
    "velodyne_msgs/msg/VelodyneScan": _VELODYNE,
    "ouster_sensor_msgs/msg/PacketMsg": _OUSTER,
    "ouster_msgs/msg/PacketMsg": _OUSTER,
    "pandar_msgs/msg/PandarScan": _NEBULA,
    "robosense_msgs/msg/RobosenseScan": _NEBULA,
    "nebula_msgs/msg/NebulaPackets": _NEBULA,
    "point_cloud_interfaces/msg/CompressedPointCloud2": _COMPRESSED_CLOUD,
    "foxglove_msgs/msg/PointCloud": _FOXGLOVE_CLOUD,
    "ffmpeg_image_transport_msgs/msg/FFMPEGPacket": _FFMPEG,
    "foxglove_msgs/msg/CompressedVideo": _FOXGLOVE,
    "foxglove_msgs/msg/CompressedImage": _FOXGLOVE_IMAGE,
    "foxglove_msgs/msg/RawImage": _FOXGLOVE_IMAGE,
    "theora_image_transport/msg/Packet": _THEORA,
    "event_array_msgs/msg/EventArray": _EVENT_ARRAY,
    "prophesee_event_msgs/msg/EventArray": _PROPHESEE,
    "stereo_msgs/msg/DisparityImage": _DISPARITY,
}


def unread(topic: str, message_type: str) -> str | None:
    """Says what such a topic holds and what converts it; None for any other type."""
    found = UNREAD_TYPES.get(message_type) if "imu" not in topic else None  # an Ouster's /ouster/imu_packets
    if found is None:
        return None
    remedy = found.remedy.replace("TOPIC", topic).replace("STREAM", without_transport(topic))
    return f"{topic} holds {message_type}, which is not read here. {remedy}"
