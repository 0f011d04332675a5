"""A simulated robot whose sensors die, and the perception node: `ros2 launch sartm_ros demo.launch.py`.

Watch /perception/overlay and /perception/routing_weights, with config/sartm.rviz or config/foxglove.json.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, ThisLaunchFileDir
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue


def generate_launch_description() -> LaunchDescription:
    """The scenario runs in a loop until interrupted."""
    perception = PythonLaunchDescriptionSource([ThisLaunchFileDir(), "/perception.launch.py"])
    simulator = Node(
        package="sartm_ros",
        executable="simulator_node",
        name="simulator",
        output="screen",
        emulate_tty=True,
        parameters=[
            {
                "scenario": ParameterValue(LaunchConfiguration("scenario"), value_type=str),
                "rate_hz": ParameterValue(LaunchConfiguration("rate_hz"), value_type=float),
                "loop": True,
            }
        ],
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "scenario", default_value="demo", description="Scenario file, or name of a shipped one."
            ),
            DeclareLaunchArgument("rate_hz", default_value="8.0", description="Frames per second of every sensor."),
            IncludeLaunchDescription(perception, launch_arguments={"rig": "sim"}.items()),
            simulator,
        ]
    )
