"""The real launch files start the real nodes: run by `make test-ros` on a machine with ROS and the built package.

The simulated rig drives; a mask must come, stamped as a frame of the rig, and the node must end cleanly.
"""

import threading
import unittest

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

MASKS_WANTED = 5
TIMEOUT_S = 60.0


def launch_file(name: str) -> str:
    """The installed launch file, of the first prefix that has it; the checkout's where the package is not installed."""
    checkout, *installed = share_directories()
    candidates = [folder / "launch" / name for folder in (*installed, checkout)]
    return str(next(path for path in candidates if path.is_file()))


@pytest.mark.launch_test
def generate_test_description() -> launch.LaunchDescription:
    demo = PythonLaunchDescriptionSource(launch_file("demo.launch.py"))
    return launch.LaunchDescription(
        [
            IncludeLaunchDescription(demo, launch_arguments={"rate_hz": "4.0"}.items()),
            launch_testing.actions.ReadyToTest(),
        ]
    )


class MasksArrive(unittest.TestCase):
    def test_masks_arrive(self) -> None:
        rclpy.init()
        node = rclpy.create_node("mask_listener")
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        masks: list[Image] = []
        enough = threading.Event()

        def take(mask: Image) -> None:
            masks.append(mask)
            if len(masks) >= MASKS_WANTED:
                enough.set()

        node.create_subscription(Image, "/perception/mask", take, 10)
        deadline = node.get_clock().now().nanoseconds + TIMEOUT_S * 1e9
        while not enough.is_set() and node.get_clock().now().nanoseconds < deadline:
            executor.spin_once(timeout_sec=0.2)
        node.destroy_node()
        rclpy.shutdown()
        assert len(masks) >= MASKS_WANTED, f"only {len(masks)} masks in {TIMEOUT_S:.0f} s"
        assert (masks[0].height, masks[0].width, masks[0].encoding) == (256, 320, "mono8")
        assert masks[0].header.frame_id == "sim_rgb_optical"


@launch_testing.post_shutdown_test()
class NodesEndCleanly(unittest.TestCase):
    def test_exit_codes(self, proc_info: launch_testing.ProcInfoHandler) -> None:
        launch_testing.asserts.assertExitCodes(proc_info)
