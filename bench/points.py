"""Labelled points and outputs: time on one core for 640x480 pixels and for 131,072 points. `python bench/points.py`."""

import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from sartm_core.calibration import LIDAR_LOOKS_AHEAD, Intrinsics
from sartm_core.rig import load_rig
from sartm_core.segmentation import Segmentation
from sartm_ros.bag.types import bag_message
from sartm_ros.decoding.images import header
from sartm_ros.decoding.point_clouds import point_cloud_message
from sartm_ros.labelled_cloud import Unseen, cloud_of_depth, cloud_of_points
from sartm_ros.outputs import image_of, points_of, resolved_outputs, run_lengths

REPETITIONS = 50
SIZE, POINTS = (480, 640), 131_072


def median_ms(function: Callable[[], object]) -> float:
    """Median time that a call keeps its core busy, after three warm-up calls, milliseconds."""
    times = []
    for _ in range(REPETITIONS + 3):
        started = time.thread_time()
        function()
        times.append(time.thread_time() - started)
    return float(np.median(times[3:])) * 1e3


def main() -> None:
    """Prints the table."""
    cv2.setNumThreads(1)
    rng, rig = np.random.default_rng(0), load_rig("simrig5")
    of = Segmentation(
        rng.integers(0, len(rig.classes), SIZE).astype(np.uint8),
        rng.random(SIZE, np.float32),
        np.ones((3, 5), np.float32),
    )
    camera = Intrinsics(fx=500, fy=500, cx=320, cy=240)
    depth = rng.uniform(0.5, 20, SIZE).astype(np.float32)
    directions = rng.normal(size=(POINTS, 3))
    around = (directions * rng.uniform(1, 60, (POINTS, 1))).astype(np.float32)
    ahead = np.abs(around) * [1, 0.3, 0.2] * np.where(rng.random((POINTS, 3)) < 0.5, -1, 1)
    ahead[:, 0] = np.abs(ahead[:, 0])
    pose = LIDAR_LOOKS_AHEAD.matrix

    def lidar(points: np.ndarray, unseen: Unseen = "leave_out", organised: bool = False) -> np.ndarray:
        return cloud_of_points(points, of, camera, pose, rig.palette, unseen, organised)

    cloud = cloud_of_depth(depth, of, camera, rig.palette)
    given: dict[str, dict[str, Any]] = {
        "obstacles": {"as": "points", "classes": ["car", "person", "pole"]},
        "mask": {"as": "mask", "classes": ["person"]},
        "channels": {"as": "channels", "classes": ["road", "terrain", "sidewalk"]},
        "ids": {"as": "ids", "label_space": "autoware", "otherwise": 0},
    }
    obstacles, mask, channels, ids = resolved_outputs(given, rig, rig)
    stamped = header(bag_message, 0, "camera")
    rows = {
        "depth camera, 640x480 points": lambda: cloud_of_depth(depth, of, camera, rig.palette),
        "LiDAR around the robot, what the camera sees": lambda: lidar(around),
        "the same, other points as 255": lambda: lidar(around, "unlabelled"),
        "LiDAR all ahead, what the camera sees": lambda: lidar(ahead.astype(np.float32)),
        "LiDAR around the robot, as an image": lambda: lidar(around, organised=True),
        "points into a message": lambda: point_cloud_message(bag_message, cloud, stamped),
        "outputs: points of three classes": lambda: points_of(obstacles, cloud),
        "outputs: mask": lambda: image_of(mask, of),
        "outputs: three channels": lambda: image_of(channels, of),
        "outputs: ids, as runs (noise: the longest)": lambda: run_lengths(image_of(ids, of)),
    }
    table = Table(title=f"median of {REPETITIONS}, one core")
    table.add_column("step", overflow="fold")
    table.add_column("ms", justify="right")
    for name, function in rows.items():
        table.add_row(name, f"{median_ms(function):.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
