"""What other systems read from our messages: the rules of their sources, written again in NumPy.

Each reader below takes the bytes as that system does and knows nothing of ours. The messages are those of the shipped
config/consumers/*.yaml, for one street of the simulator.
"""

from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from sartm_core.errors import SartmError
from sartm_core.rig import Rig, load_rig
from sartm_core.segmentation import Segmentation
from sartm_core.sensing import encode_frame
from sartm_ros.bag.types import bag_message
from sartm_ros.decoding.images import header
from sartm_ros.decoding.point_clouds import point_cloud_message
from sartm_ros.frame_sets import FrameSet
from sartm_ros.labelled_cloud import labelled_cloud
from sartm_ros.outputs import read_parameters, resolved_outputs
from sartm_ros.result_messages import confidence_message, mask_message, output_message
from sartm_sim.simulation import CONDITIONS, SimulatedRig

CONFIG = Path(__file__).parents[2] / "config"
CONSUMERS = sorted(path for path in (CONFIG / "consumers").glob("*.yaml") if path.stem != "hydra_label_space")
RIG = load_rig("simrig5").only(["rgb", "thermal", "depth", "lidar"])
STAMPED = header(bag_message, 1_500_000_000, "camera_optical")


@cache
def street() -> tuple[Rig, Segmentation, FrameSet]:
    """A frame with all sensors; its mask is the truth, its confidence .9 and .3 in stripes."""
    simulated = SimulatedRig(RIG, seed=5, size=(64, 80))
    frame, rig = simulated.capture(4.0, CONDITIONS["day"]), simulated.rig
    confidence = np.where(np.arange(64)[:, None] % 2, np.float32(0.3), np.float32(0.9)) + np.zeros((64, 80), np.float32)
    encoded = encode_frame(rig, frame.raw)
    frames = FrameSet(0, "", frame.raw, encoded.images, encoded.measured, {}, {}, {}, {})
    return rig, Segmentation(frame.truth, confidence, np.ones((3, 4), np.float32)), frames


def without(frames: FrameSet, *names: str) -> FrameSet:
    """The same instant after sensors have died."""
    planes = {name: planes for name, planes in frames.planes.items() if name not in names}
    return FrameSet(0, "", frames.raws, frames.images, planes, {}, {}, {}, {})


def published(consumer: str, name: str, *dead: str) -> Any:
    """The message of one output of config/consumers/<consumer>.yaml."""
    rig, segmentation, frames = street()
    parameters = read_parameters(CONFIG / "consumers" / f"{consumer}.yaml")
    output = next(one for one in resolved_outputs(parameters.outputs, rig, rig) if one.name == name)
    organised = output.size is not None
    cloud = labelled_cloud(rig, without(frames, *dead), segmentation, rig.palette, organised=organised)
    return output_message(bag_message, output, segmentation, cloud, STAMPED)


def points_message(*dead: str) -> Any:
    rig, segmentation, frames = street()
    cloud = labelled_cloud(rig, without(frames, *dead), segmentation, rig.palette)
    assert cloud is not None
    return point_cloud_message(bag_message, cloud, STAMPED)


def ids(*names: str) -> list[int]:
    return [RIG.class_names.index(name) for name in names]


def iterated(cloud: Any, field: str, kind: str = "<f4") -> np.ndarray:
    """sensor_msgs::PointCloud2ConstIterator: the field of that name, every point_step bytes over the whole buffer."""
    offset = next(one.offset for one in cloud.fields if one.name == field)
    rows = np.frombuffer(bytes(cloud.data), np.uint8).reshape(-1, cloud.point_step)
    return rows[:, offset : offset + np.dtype(kind).itemsize].copy().view(kind)[:, 0]


# kiwicampus/semantic_segmentation_layer@a70cf6e, src/segmentation_buffer.cpp and src/semantic_segmentation_layer.cpp


def semantic_layer(mask: Any, confidence: Any, cloud: Any) -> list[tuple[int, float, float, int, int]]:
    """Its observations: pixel, x, y, class id, confidence; nothing where it would not buffer."""
    if mask.width * mask.height != cloud.width * cloud.height or len(mask.data) < mask.width * mask.height:
        return []
    x, y, z = (iterated(cloud, axis) for axis in "xyz")
    return [
        (pixel, float(x[pixel]), float(y[pixel]), int(mask.data[pixel]), int(confidence.data[pixel]))
        for pixel in range(mask.width * mask.height)
        if np.isfinite(z[pixel])
    ]


@pytest.mark.parametrize("dead", [(), ("depth",)])
def test_nav2s_semantic_layer_reads_class_and_confidence_of_each_point(dead: tuple[str, ...]) -> None:
    rig, segmentation, _ = street()
    mask = mask_message(bag_message, segmentation, STAMPED)
    confidence = confidence_message(bag_message, segmentation, STAMPED)
    cloud = published("nav2_semantic_layer", "costmap", *dead)
    assert mask.header.stamp == confidence.header.stamp == cloud.header.stamp
    observed = semantic_layer(mask, confidence, cloud)
    assert len(observed) > (500 if dead else 3000)
    intrinsics = rig.modality("rgb").intrinsics
    assert intrinsics is not None
    z = iterated(cloud, "z")
    for pixel, x, _, class_id, sure in observed:
        row, column = divmod(pixel, 80)
        assert class_id == segmentation.mask[row, column]
        assert sure == (76 if row % 2 else 230)  # .3 and .9 of 255
        assert abs((column + 0.5 - intrinsics.cx) / intrinsics.fx * z[pixel] - x) < 0.02 * z[pixel]


def test_nav2s_semantic_layer_knows_every_class() -> None:
    """SegmentationBuffer::createSegmentationCostMultimap ignores, as a critical error, names that no type lists."""
    content = yaml.safe_load((CONFIG / "consumers" / "nav2_semantic_layer.yaml").read_text())
    camera = content["local_costmap"]["local_costmap"]["ros__parameters"]["semantic_layer"]["camera"]
    listed = [name for kind in camera["class_types"] for name in camera[kind]["classes"]]
    assert sorted(listed) == sorted(RIG.class_names)


# ros-navigation/navigation2@6794f00 and @00c5fdd, nav2_collision_monitor/src/pointcloud.cpp


def collision_monitor(cloud: Any, min_height: float, max_height: float) -> np.ndarray:
    """PointCloud::getData: [N, 3] in the cloud's frame; its heights are compared with z of the cloud's own frame."""
    points = np.stack([iterated(cloud, axis) for axis in "xyz"], axis=1)
    return points[(points[:, 2] >= min_height) & (points[:, 2] <= max_height)]


def test_the_collision_monitor_sees_obstacles_and_no_ground() -> None:
    content = yaml.safe_load((CONFIG / "consumers" / "nav2_collision_monitor.yaml").read_text())
    semantic = content["collision_monitor"]["ros__parameters"]["semantic"]
    for dead in ((), ("depth",)):
        cloud = published("nav2_collision_monitor", "obstacles", *dead)
        seen = collision_monitor(cloud, semantic["min_height"], semantic["max_height"])
        assert len(seen) == cloud.width > 100
        ground = {*ids("road", "marking", "sidewalk", "terrain", "sky"), 255}
        assert not ground & set(iterated(cloud, "label", "u1").tolist())


# SteveMacenski/spatio_temporal_voxel_layer@403d9ed, src/measurement_buffer.cpp: tf2::doTransform of the whole cloud,
# then pcl::PassThrough over z, which drops what is not finite unless the cloud says that it is dense


def test_stvl_gets_a_cloud_that_is_as_dense_as_it_says() -> None:
    cloud = published("nav2_collision_monitor", "obstacles")
    assert cloud.is_dense
    assert np.isfinite([iterated(cloud, axis) for axis in "xyz"]).all()
    assert cloud.row_step * cloud.height == len(cloud.data) == cloud.point_step * cloud.width


# dfki-ric/nav2_ground_consistency_costmap_plugin@41cec62, src/ground_consistency_layer.cpp


def ground_cells(
    cloud: Any, turn: np.ndarray, maximum_height: float, resolution: float
) -> dict[tuple[int, int], float]:
    """groundCloudCallback, nongroundCloudCallback: floor(x / resolution), floor(y / resolution) -> greatest height."""
    points = np.stack([iterated(cloud, axis) for axis in "xyz"], axis=1)
    points = points[~(points[:, 2] > maximum_height)] @ turn.T
    cells: dict[tuple[int, int], float] = {}
    for x, y, z in points:
        key = (int(np.floor(x / resolution)), int(np.floor(y / resolution)))  # raises for NaN, as C++ does not
        cells[key] = max(cells.get(key, -np.inf), z)
    return cells


def test_the_ground_consistency_layer_tells_ground_from_obstacles_by_our_classes() -> None:
    level = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # optical axes to x ahead, y left, z up
    ground = ground_cells(published("nav2_collision_monitor", "ground"), level, 1000.0, 0.2)
    obstacles = ground_cells(published("nav2_collision_monitor", "obstacles"), level, 1000.0, 0.2)
    assert len(ground) > 300
    assert abs(np.median(list(ground.values())) + 1.5) < 0.2  # the camera sits 1.5 m above the street
    assert max(obstacles.values()) > 0.5


# MIT-SPARK/Hydra-ROS@16aa691, hydra_ros/src/input/pointcloud_adaptor.cpp


def hydra_points(cloud: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """fillPointcloudPacket: positions, colours (memcpy of the float, bytes 2, 1, 0), labels of any integer type."""
    kinds = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4"}
    fields = {field.name: field for field in cloud.fields}
    assert all(fields[axis].datatype == 7 for axis in "xyz")
    labels = iterated(cloud, "label", kinds[fields["label"].datatype]).astype(np.uint32)
    colours = iterated(cloud, "rgb", "<u4").view(np.uint8).reshape(-1, 4)[:, [2, 1, 0]]
    return np.stack([iterated(cloud, axis) for axis in "xyz"], axis=1), colours, labels


@pytest.mark.parametrize("dead", [(), ("depth",)])
def test_hydra_reads_labels_and_colours_of_points(dead: tuple[str, ...]) -> None:
    positions, colours, labels = hydra_points(points_message(*dead))
    assert len(positions) > 500
    np.testing.assert_array_equal(colours, RIG.palette[labels])


# MIT-SPARK/Hydra-ROS@08e5620, hydra_ros/src/input/image_receiver.cpp: cv_bridge::toCvCopy(img)->image, which must have
# the depth image's size; MIT-SPARK/Hydra@0a39cb4, config/label_spaces: label_names of every id


def test_hydra_finds_every_id_of_the_label_image_in_its_label_space() -> None:
    _, segmentation, frames = street()
    message = published("hydra", "hydra")
    assert (message.height, message.width) == frames.raws["depth"].shape
    space = yaml.safe_load((CONFIG / "consumers" / "hydra_label_space.yaml").read_text())
    names = {entry["label"]: entry["name"] for entry in space["label_names"]}
    assert names == dict(enumerate(RIG.class_names)) | {255: "unlabelled"}
    assert max(names) < space["total_semantic_labels"]
    assert set(bytes(message.data)) <= set(names)
    np.testing.assert_array_equal(np.frombuffer(bytes(message.data), np.uint8).reshape(64, 80), segmentation.mask)


# MIT-SPARK/semantic_inference@96ba19e, semantic_inference_ros/src/pointcloud_projection.cpp


def test_semantic_inference_projects_points_onto_our_mask() -> None:
    """projectSemanticImage: u = round(x / z fx + cx) with the CameraInfo's K, whose first pixel's centre is 0."""
    rig, segmentation, _ = street()
    intrinsics = rig.modality("rgb").intrinsics
    assert intrinsics is not None
    mask = mask_message(bag_message, segmentation, STAMPED)
    image = np.frombuffer(bytes(mask.data), np.uint8).reshape(mask.height, mask.width)  # CV_8UC1
    positions, _, ours = hydra_points(points_message("depth"))
    x, y, z = positions.T.astype(float)
    u = np.round(x / z * intrinsics.fx + intrinsics.cx - 0.5).astype(int)
    v = np.round(y / z * intrinsics.fy + intrinsics.cy - 0.5).astype(int)
    inside = (u >= 0) & (u < mask.width) & (v >= 0) & (v < mask.height)
    assert (image[v[inside], u[inside]] == ours[inside]).mean() > 0.995  # a half is rounded otherwise


# ros-perception/image_pipeline@30b982a, depth_image_proc/src/point_cloud_xyzi.cpp


def xyzi_intensities(depth: np.ndarray, intensity: np.ndarray) -> np.ndarray:
    """imageCb: another size is resized by cv::resize, linearly; then the pixels are the points' intensities."""
    if intensity.shape != depth.shape:
        ratio = depth.shape[1] / intensity.shape[1]
        intensity = cv2.resize(intensity[: int(depth.shape[0] / ratio)], depth.shape[::-1])
    return intensity.astype(np.float32)


def test_depth_image_proc_keeps_our_ids_at_the_depth_cameras_size() -> None:
    rig, segmentation, _ = street()
    half = rig.calibrated("depth", size=(32, 40))  # type: ignore[arg-type]
    parameters = read_parameters(CONFIG / "consumers" / "depth_image_proc.yaml")
    (output,) = resolved_outputs(parameters.outputs, half, half)
    message = output_message(bag_message, output, segmentation, None, STAMPED)
    assert message is not None
    image = np.frombuffer(bytes(message.data), np.uint8).reshape(message.height, message.width)
    depth = np.zeros((32, 40), np.uint16)
    ours = set(segmentation.mask.ravel().tolist())
    assert set(xyzi_intensities(depth, image).ravel().tolist()) <= ours
    blended = set(xyzi_intensities(depth, segmentation.mask).ravel().tolist())
    assert not blended <= ours  # what the mask of another size would have come to


# leggedrobotics/elevation_mapping_cupy@24d4f93, elevation_mapping_cupy/elevation_mapping_node.py


def elevation_channels(message: Any, channels: list[str]) -> dict[str, np.ndarray]:
    """image_callback: imgmsg_to_cv2 passthrough, [:, :, i] is channels[i]."""
    kind, count = message.encoding.split("C")
    assert (kind, message.is_bigendian) == ("32F", 0)
    image = np.frombuffer(bytes(message.data), "<f4").reshape(message.height, message.width, int(count))
    assert message.step == message.width * int(count) * 4
    assert len(channels) == int(count)
    return {name: image[:, :, index] for index, name in enumerate(channels)}


def test_elevation_mapping_gets_a_channel_for_each_class() -> None:
    _, segmentation, _ = street()
    content = yaml.safe_load((CONFIG / "consumers" / "elevation_mapping_cupy.yaml").read_text())
    names = content["elevation_mapping_node"]["ros__parameters"]["subscribers"]["semantic_camera"]["channels"]
    for name, layer in elevation_channels(published("elevation_mapping_cupy", "traversability"), names).items():
        wanted = np.where(segmentation.mask == ids(name)[0], segmentation.confidence, 0)
        np.testing.assert_array_equal(layer, wanted)


def test_elevation_mapping_reads_positions_of_our_points() -> None:
    """_pointcloud2_xyz_f32: FLOAT32 x, y, z; what is not finite is dropped unless is_dense."""
    cloud = points_message()
    assert [next(f.datatype for f in cloud.fields if f.name == axis) for axis in "xyz"] == [7, 7, 7]
    points = np.stack([iterated(cloud, axis) for axis in "xyz"], axis=-1)
    points = points if cloud.is_dense else points[np.isfinite(points).all(axis=1)]
    assert len(points) > 1000
    assert np.isfinite(points).all()


# NVIDIA-ISAAC-ROS/isaac_ros_nvblox@26e229d, nvblox_ros/src/lib/conversions/image_conversions.cpp (mono8 or nothing),
# and nvblox's image_masker.cu (the colour image must have the mask's size; a pixel that is not 0 is masked)


def test_nvblox_masks_people_and_nothing_else() -> None:
    _, segmentation, frames = street()
    message = published("nvblox", "people")
    assert message.encoding == "mono8"
    assert (message.height, message.width) == frames.raws["rgb"].shape[:2]
    masked = np.frombuffer(bytes(message.data), np.uint8).reshape(message.height, message.width) != 0
    np.testing.assert_array_equal(masked, np.isin(segmentation.mask, ids("person", "cyclist")))
    assert 0 < masked.mean() < 0.5


# autowarefoundation/autoware.universe@0d16ab3, segmentation_pointcloud_fusion/node.cpp, and perception_utils'
# run_length_encoder.cpp


AUTOWARE = [
    "UNKNOWN", "BUILDING", "WALL", "OBSTACLE", "TRAFFIC_LIGHT", "TRAFFIC_SIGN", "PERSON", "VEHICLE", "BIKE", "ROAD",
    "SIDEWALK", "ROAD_PAINT", "CURBSTONE", "CROSSWALK", "VEGETATION", "SKY",
]  # fmt: skip
"""filter_semantic_label_target_list_."""


def run_length_decoder(data: bytes, rows: int, columns: int) -> np.ndarray:
    mask, index = np.zeros(rows * columns, np.uint8), 0
    for start in range(0, len(data), 5):
        length = int.from_bytes(data[start + 1 : start + 5], "little", signed=True)
        mask[index : index + length] = data[start]
        index += length
    assert index == rows * columns
    return mask.reshape(rows, columns)


def test_autoware_decodes_our_runs_into_its_own_ids() -> None:
    _, segmentation, _ = street()
    message = published("autoware", "autoware")
    decoded = run_length_decoder(bytes(message.data), message.height, message.width)
    assert len(message.data) < decoded.size
    names = {
        "road": "ROAD", "marking": "ROAD_PAINT", "sidewalk": "SIDEWALK", "terrain": "UNKNOWN", "building": "BUILDING",
        "vegetation": "VEGETATION", "pole": "OBSTACLE", "sign": "TRAFFIC_SIGN", "car": "VEHICLE", "person": "PERSON",
        "cyclist": "BIKE", "animal": "OBSTACLE", "cone": "OBSTACLE", "sky": "SKY",
    }  # fmt: skip
    wanted = np.array([AUTOWARE.index(names[name]) for name in RIG.class_names], np.uint8)[segmentation.mask]
    np.testing.assert_array_equal(decoded, wanted)


# What every example has in common


@pytest.mark.parametrize("path", CONSUMERS, ids=lambda path: path.stem)
def test_examples_fit_the_rig_that_they_name(path: Path) -> None:
    rig = load_rig(yaml.safe_load(path.read_text())["perception"]["ros__parameters"]["rig"])
    assert resolved_outputs(read_parameters(path).outputs, rig, rig)


def test_the_label_space_is_autowares_list() -> None:
    entries = yaml.safe_load((CONFIG / "label_spaces" / "autoware.yaml").read_text())["label_names"]
    assert entries == [{"label": index, "name": name} for index, name in enumerate(AUTOWARE)]


def test_a_sensor_that_measures_no_position_gives_no_cloud() -> None:
    assert published("nav2_collision_monitor", "obstacles", "depth", "lidar") is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"as": "masks"}, "as: Input should be 'mask', 'points', 'channels' or 'ids'"),
        ({"as": "mask", "class": ["car"]}, "class: unknown field. Did you mean 'classes'?"),
        ({"as": "mask", "classes": ["persn"]}, "the model has no class 'persn'. Did you mean 'person'? It has: road"),
        ({"as": "ids", "ids": {"boat": 3}}, "parameter 'outputs.mine.ids': the model has no class 'boat'"),
        ({"as": "ids", "ids": {"car": 300}}, "outputs.mine.ids.car': expected an id from 0 to 255, got 300"),
        ({"as": "ids", "ids": {"car": "VEHICLE"}}, "'VEHICLE' is a name: set outputs.*.label_space"),
        (
            {"as": "ids", "ids": {"car": "BOAT"}, "label_space": "autoware"},
            "autoware.yaml has no 'BOAT'. It has: UNKNOWN",
        ),
        ({"as": "ids", "label_space": "nosuch"}, "no label_space is called 'nosuch'. Known: autoware"),
        ({"as": "mask", "run_lengths": True}, "outputs.mine.run_lengths': only for as: ids, not for as: mask"),
        (
            {"as": "mask", "size": "big"},
            "size: expected reference, depth, or height x width such as 480x640, got 'big'",
        ),
        ({"as": "mask", "size": "25600x32000"}, "outputs.mine.size': 25600x32000: at most 8,388,608 pixels"),
        ({"as": "mask", "size": "100x100"}, "100x100 has another aspect than the mask, 256x320 (height x width)"),
    ],
)
def test_what_cannot_be_is_named_with_the_remedy(fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(SartmError) as caught:
        resolved_outputs({"mine": fields}, RIG, RIG)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("rig", "fields", "expected"),
    [
        ("rgbt", {"as": "points"}, "rig 'rgbt': labelled points need a depth camera with encoding metres"),
        ("rgbt", {"as": "mask", "size": "depth"}, "rig 'rgbt' has no depth camera; give height x width"),
        ("simrobot", {"as": "mask", "size": "depth"}, "'depth' looks from another place than 'rgb'"),
    ],
)
def test_a_robot_that_lacks_what_an_output_needs_is_told(rig: str, fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(SartmError) as caught:
        resolved_outputs({"mine": fields}, load_rig(rig), RIG)
    assert expected in str(caught.value)


def test_ids_without_a_place_in_the_label_space_are_told_apart(tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("total: 3\nlabel_names: [{label: 4, name: Car}, {label: 8, name: road}, {label: 9, name: Road}]\n")
    (output,) = resolved_outputs(
        {"mine": {"as": "ids", "classes": ["car", "sky"], "label_space": str(space), "otherwise": 0}}, RIG, RIG
    )
    assert output.table[ids("car", "sky", "road")].tolist() == [4, 0, 0]
    with pytest.raises(SartmError, match="has 'road' 2 times. Give the id, not the name"):
        resolved_outputs({"mine": {"as": "ids", "label_space": str(space)}}, RIG, RIG)


def test_doubtful_pixels_are_unlabelled_in_all_that_is_published() -> None:
    _, segmentation, _ = street()
    sure = segmentation.at_least(0.5)
    assert (sure.mask[1::2] == 255).all()
    np.testing.assert_array_equal(sure.mask[::2], segmentation.mask[::2])
    assert segmentation.at_least(0) is segmentation


def test_float_confidence_is_there_for_who_asks() -> None:
    _, segmentation, _ = street()
    message = confidence_message(bag_message, segmentation, STAMPED, "32FC1")
    assert message.encoding == "32FC1"
    np.testing.assert_array_equal(np.frombuffer(bytes(message.data), "<f4"), segmentation.confidence.ravel())


def test_a_parameter_file_of_another_node_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nav2.yaml"
    path.write_text("controller_server: {ros__parameters: {a: 1}}\n")
    with pytest.raises(SartmError, match="nav2.yaml: expected ros__parameters: .* under perception:, the node's name"):
        read_parameters(path)
    path.write_text("/**: {ros__parameters: {confidence_encoding: mono16}}\n")
    with pytest.raises(SartmError, match="confidence_encoding: Input should be 'mono8' or '32FC1', got 'mono16'"):
        read_parameters(path)
