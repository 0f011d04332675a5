"""A recording is replayed through the node, under a namespace, with parameters, remapped: run by `make test-ros`."""

import tempfile
import unittest
from pathlib import Path

import launch
import launch_testing.actions
import launch_testing.asserts
import pytest
import rclpy
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image

from sartm_core.resources import share_directories
from sartm_core.rig import load_rig
from sartm_ros.decoding.images import stamp_ns
from sartm_sim.record import START_NS, record
from sartm_sim.simulation.scenario import load_scenario

RATE_HZ = 4.0
TIMEOUT_S = 60.0


def launch_file(name: str) -> str:
    """The installed launch file, of the first prefix that has it; the checkout's where the package is not installed."""
    checkout, *installed = share_directories()
    candidates = [folder / "launch" / name for folder in (*installed, checkout)]
    return str(next(path for path in candidates if path.is_file()))


@pytest.mark.launch_test
def generate_test_description() -> launch.LaunchDescription:
    bag = Path(tempfile.mkdtemp()) / "drive"
    record(load_rig("sim"), load_scenario("short"), 7, RATE_HZ, bag, lambda seconds: None)
    arguments = {
        "bag": str(bag),
        "namespace": "robot",
        "remap": "/robot/perception/mask:=/seen",
        "rig": "sim",
        "log_level": "debug",
    }
    replay = PythonLaunchDescriptionSource(launch_file("replay.launch.py"))
    return launch.LaunchDescription(
        [
            IncludeLaunchDescription(replay, launch_arguments=arguments.items()),
            launch_testing.actions.ReadyToTest(),
        ]
    )


class TheRecordingIsSegmented(unittest.TestCase):
    def test_masks_have_the_recordings_stamps(self) -> None:
        rclpy.init()
        node = rclpy.create_node("mask_listener")
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        masks: list[Image] = []
        node.create_subscription(Image, "/seen", masks.append, 10)
        deadline = node.get_clock().now().nanoseconds + TIMEOUT_S * 1e9
        while len(masks) < 5 and node.get_clock().now().nanoseconds < deadline:
            executor.spin_once(timeout_sec=0.2)
        node.destroy_node()
        rclpy.shutdown()
        assert len(masks) >= 5, f"only {len(masks)} masks in {TIMEOUT_S:.0f} s"
        assert all(START_NS < stamp_ns(mask) < START_NS + 60 * 10**9 for mask in masks)


@launch_testing.post_shutdown_test()
class NodesEndCleanly(unittest.TestCase):
    def test_exit_codes(self, proc_info: launch_testing.ProcInfoHandler) -> None:
        launch_testing.asserts.assertExitCodes(proc_info)
