"""Layouts of RViz and Foxglove for a robot's own topics, made of the shipped ones, which are the simulated robot's."""

import copy
import json
from typing import Any

import yaml

from sartm_core.resources import find_config
from sartm_core.rig import Modality, Rig

SHIPPED_NODE = "/perception"
IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
CLOUD = "sensor_msgs/msg/PointCloud2"


def rviz(rig: Rig, node: str, frame: str) -> str:
    """A configuration of RViz: what the node publishes, and every sensor that RViz can show, switched off.

    Args:
        rig: gives the sensors' topics.
        node: the node's name with its namespace: `/perception`.
        frame: RViz's fixed frame.
    """
    content = yaml.safe_load(find_config("sartm.rviz").read_text(encoding="utf-8"))
    manager = content["Visualization Manager"]
    manager["Global Options"]["Fixed Frame"] = frame
    kept = [one for one in manager["Displays"] if one["Topic"]["Value"].startswith(f"{SHIPPED_NODE}/")]
    for display in kept:
        display["Topic"]["Value"] = _moved(display["Topic"]["Value"], node)
    sensors = [_display(one) for one in rig.modalities if one.message in (*IMAGES, CLOUD)]
    manager["Displays"] = [*kept, *sensors]
    windows = {name: value for name, value in content["Window Geometry"].items() if not isinstance(value, dict)}
    shown = {one["Name"]: {"collapsed": False} for one in manager["Displays"] if one["Class"].endswith("/Image")}
    content["Window Geometry"] = {**windows, "Displays": {"collapsed": False}, **shown}
    return yaml.safe_dump(content, sort_keys=False)


def _display(modality: Modality) -> dict[str, Any]:
    kind = "PointCloud2" if modality.message == CLOUD else "Image"
    topic = {
        "Depth": 5, "Durability Policy": "Volatile", "History Policy": "Keep Last",
        "Reliability Policy": "Best Effort", "Value": modality.topic,
    }  # fmt: skip
    display = {"Class": f"rviz_default_plugins/{kind}", "Enabled": False, "Name": modality.name, "Topic": topic}
    return {**display, "Value": False}


def foxglove(rig: Rig, node: str) -> str:
    """A layout of Foxglove: the shipped panels, and an image panel for each camera, in tabs of one.

    Args:
        rig, node: see `rviz`.
    """
    content = json.loads(_moved(find_config("foxglove.json").read_text(encoding="utf-8"), node))
    cameras = [one for one in rig.modalities if one.message in IMAGES]
    panels, tabs = content["configById"], []
    for modality in cameras:
        panel = f"Image!{modality.name}"
        panels[panel] = {"foxglovePanelTitle": modality.name, "imageMode": {"imageTopic": modality.topic}}
        tabs.append({"title": modality.name, "layout": panel})
    if tabs:
        panels["Tab!sensors"] = {"activeTabIdx": 0, "tabs": tabs}
        shipped = copy.deepcopy(content["layout"])
        content["layout"] = {"direction": "column", "first": shipped, "second": "Tab!sensors", "splitPercentage": 70}
    return json.dumps(content, indent=2) + "\n"


def _moved(text: str, node: str) -> str:
    """With the names of another node."""
    moved = text.replace(f"{SHIPPED_NODE}/", f"{node}/")
    return moved.replace('"perception: ', f'"{node.lstrip("/")}: ').replace(
        '"hardwareIdFilter": "perception"', f'"hardwareIdFilter": "{node.lstrip("/")}"'
    )
