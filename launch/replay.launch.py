"""A recording through the perception node: `ros2 launch sartm_ros replay.launch.py bag:=/path/to/bag`.

Ends when the recording does. To score a recording, use `sartm bag evaluate`, which runs as fast as it can.
"""

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PythonExpression, ThisLaunchFileDir
from launch_ros.substitutions import ExecutableInPackage


def generate_launch_description() -> LaunchDescription:
    """The node follows the recording's clock; arguments of perception.launch.py (bundle, rig, ...) can be given too."""
    loop = LaunchConfiguration("loop")
    player = ExecuteProcess(
        cmd=[
            ExecutableInPackage(package="sartm_ros", executable="sartm"),
            "bag",
            "play",
            LaunchConfiguration("bag"),
            "--clock",
            "--rate",
            LaunchConfiguration("rate"),
            "--wait-for",
            "1",
            PythonExpression(["'--loop' if '", loop, "'.lower() == 'true' else '--no-loop'"]),
        ],
        output="screen",
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="A rosbag2 folder."),
            DeclareLaunchArgument("rate", default_value="1.0", description="2 plays twice as fast."),
            DeclareLaunchArgument("loop", default_value="false", description="Start again at the end."),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource([ThisLaunchFileDir(), "/perception.launch.py"]),
                launch_arguments={"use_sim_time": "true"}.items(),
            ),
            player,
            RegisterEventHandler(
                OnProcessExit(target_action=player, on_exit=[Shutdown(reason="end of the recording")])
            ),
        ]
    )
