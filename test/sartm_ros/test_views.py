"""Layouts of RViz and Foxglove: every topic is one that the node or the rig's drivers publish."""

import json
import re

import pytest
import yaml

from sartm_core.rig import load_rig
from sartm_ros.result_messages import OUTPUT_TYPES
from sartm_ros.views import foxglove, rviz


@pytest.mark.parametrize("name", ["simrobot", "rgbt"])
def test_rviz_shows_the_nodes_topics_and_the_rigs_sensors(name: str) -> None:
    rig = load_rig(name)
    manager = yaml.safe_load(rviz(rig, "/front/perception", "my_camera"))["Visualization Manager"]
    assert manager["Global Options"]["Fixed Frame"] == "my_camera"
    topics = {one["Name"]: one["Topic"]["Value"] for one in manager["Displays"]}
    assert topics["overlay"] == "/front/perception/overlay"
    kinds = {one["Topic"]["Value"]: one["Class"] for one in manager["Displays"]}
    for modality in rig.modalities:
        expected = {"rgb": "Image", "thermal": "Image", "depth": "Image", "lidar": "PointCloud2"}.get(modality.kind)
        assert kinds.get(modality.topic) == (expected and f"rviz_default_plugins/{expected}")
    sensors = {modality.topic for modality in rig.modalities}
    assert {topic for topic in kinds if not topic.startswith("/front/perception/")} <= sensors


def test_foxglove_shows_the_nodes_topics_and_the_rigs_cameras() -> None:
    rig = load_rig("rgbt")
    text = foxglove(rig, "/front/perception")
    content = json.loads(text)
    panels = content["configById"]
    assert panels["Image!overlay"]["imageMode"]["imageTopic"] == "/front/perception/overlay"
    assert panels["Image!thermal"]["imageMode"]["imageTopic"] == rig.modality("thermal").topic
    assert 'name=="front/perception: routing SFM"' in panels["RawMessages!routing"]["topicPath"]
    assert not re.search(r'"/?perception\b', text)
    placed = set(re.findall(r'"(?:first|second|layout)": "([^"]+)"', text))
    assert placed <= set(panels)
    assert {panel for panel in panels if panel != "Tab!sensors"} <= placed


def test_the_shipped_layouts_name_topics_that_exist() -> None:
    named = re.findall(r"/perception/([a-z_]+)", foxglove(load_rig("sim"), "/perception"))
    assert named
    assert set(named) <= {*OUTPUT_TYPES, "points"}
