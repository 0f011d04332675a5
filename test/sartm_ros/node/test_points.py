"""Labelled points and outputs of the node of the test's own process, over real DDS."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image, PointCloud2

from sartm_core.deploy.bundle import read_bundle
from sartm_core.resources import resolve_bundle
from sartm_core.rig import Rig
from sartm_core.segmentation import Segmentation
from sartm_ros.decoding.images import header, raw_array
from sartm_ros.decoding.message_types import live_message
from sartm_ros.labelled_cloud import POINT
from sartm_ros.node import session
from sartm_ros.node.lifecycle import PerceptionNode
from sartm_sim.messages import camera_info
from sartm_sim.simulation import SimulatedFrame, SimulatedRig

ALL = ("rgb", "thermal", "depth")


class Knowing:
    """A segmenter that answers the truth at once."""

    def __init__(self, truth: np.ndarray) -> None:
        self.bundle, self.backend = read_bundle(resolve_bundle("any_sensor_simrig5")), "knowing"
        routing = np.full((3, len(self.bundle.rig.names)), 0.2, np.float32)
        self.answer = Segmentation(truth, np.full(truth.shape, 0.9, np.float32), routing)

    def segment(self, planes: dict[str, Any], size: tuple[int, int] | None = None) -> Segmentation:
        return self.answer


@pytest.fixture
def configured(host, day_frame: SimulatedFrame) -> Iterator[PerceptionNode]:
    node = PerceptionNode(load=lambda *_, **__: Knowing(day_frame.truth))
    node.set_parameters([Parameter("rig", value="sim")])
    host.executor.add_node(node)
    yield node
    node.stop()
    host.executor.remove_node(node)
    node.destroy_node()


def test_points_and_outputs_come_to_whoever_listens(
    host, configured, feed, sim_rig: Rig, day_frame: SimulatedFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bool] = []
    labelled_cloud = session.labelled_cloud
    monkeypatch.setattr(session, "labelled_cloud", lambda *a, **o: made.append(True) or labelled_cloud(*a, **o))
    for name, value in {
        "roads.as": "points",
        "roads.classes": ["road"],
        "cars.as": "mask",
        "cars.classes": ["car"],
    }.items():
        configured.declare_parameter(f"outputs.{name}", value)
    assert configured.trigger_configure() == configured.trigger_activate() == TransitionCallbackReturn.SUCCESS
    refused = configured.set_parameters([Parameter("outputs.cars.as", value="ids")])[0]
    assert not refused.successful
    intrinsics = SimulatedRig(sim_rig, seed=3).intrinsics("rgb")
    info = camera_info(live_message, intrinsics, (256, 320), header(live_message, host.now(), "camera_optical"))
    host.send("/sim/rgb/camera_info", info)
    feed(4, *ALL)
    assert host.heard["/perception/mask"]
    assert made == []  # nobody listened
    for topic, kind in (("points", PointCloud2), ("outputs/roads", PointCloud2), ("outputs/cars", Image)):
        host.listen(f"/perception/{topic}", kind, 10)
    topics = [f"/perception/{topic}" for topic in ("points", "outputs/roads", "outputs/cars")]
    for _ in range(10):  # on a busy machine the newest sets replace the others
        feed(4, *ALL)
        if all(host.heard[topic] for topic in topics):
            break
    cloud, roads, cars = (host.heard[topic][-1] for topic in topics)
    points = np.frombuffer(cloud.data, POINT).reshape(cloud.height, cloud.width)
    np.testing.assert_array_equal(points["label"], day_frame.truth)
    depth = day_frame.raw["depth"] / 1000
    measured = (depth > 0) & (depth <= 80)
    np.testing.assert_allclose(points["z"][measured], depth[measured], rtol=1e-6)
    assert np.isnan(points["z"][~measured]).all()
    assert cloud.header.frame_id == "camera_optical"
    assert set(np.frombuffer(roads.data, POINT)["label"].tolist()) == {sim_rig.class_names.index("road")}
    assert roads.width == (measured & (day_frame.truth == sim_rig.class_names.index("road"))).sum()
    np.testing.assert_array_equal(raw_array(cars) > 0, day_frame.truth == sim_rig.class_names.index("car"))
    without = len(host.heard["/perception/points"])
    feed(6, "rgb", "thermal")  # the depth camera is dead, and there is no LiDAR: masks go on, points do not
    before = len(host.heard["/perception/mask"])
    feed(8, "rgb", "thermal")
    assert host.until(lambda: len(host.heard["/perception/mask"]) > before, 5)
    assert len(host.heard["/perception/points"]) <= without + 6


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("classes", ["boat"], "parameter 'outputs.mine.classes': the model has no class 'boat'"),
        ("size", "640x480", "parameter 'outputs.mine.size': 640x480 has another aspect than the mask, 256x320"),
    ],
)
def test_an_output_that_cannot_be_fails_at_configure(configured, capfd, field: str, value: Any, expected: str) -> None:
    configured.declare_parameter("outputs.mine.as", "mask")
    configured.declare_parameter(f"outputs.mine.{field}", value)
    assert configured.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert expected in capfd.readouterr().err
    configured.set_parameters([Parameter(f"outputs.mine.{field}", value={"classes": ["car"], "size": "depth"}[field])])
    assert configured.trigger_configure() == TransitionCallbackReturn.SUCCESS
