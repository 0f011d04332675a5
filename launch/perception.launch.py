"""The perception node on a robot: `ros2 launch sartm_ros perception.launch.py rig:=/path/to/rig.yaml`."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

# name, default, description, type; each is a parameter of the node (`ros2 param describe`)
ARGUMENTS = (
    ("bundle", "first_light", "Folder written by `sartm export`, or the name of a shipped bundle.", str),
    ("rig", "", "Rig file or name of a shipped rig; empty: the rig of the bundle.", str),
    ("backend", "auto", "What runs the network: auto or torch.", str),
    ("device", "auto", "Where the network runs: auto, cpu or cuda.", str),
    ("input_reliability", "best_effort", "QoS of the subscriptions: best_effort or reliable.", str),
    ("autostart", "true", "Configure and activate at once; false: a lifecycle manager does.", bool),
    ("use_sim_time", "false", "Follow /clock, for recordings.", bool),
)


def generate_launch_description() -> LaunchDescription:
    """Declares the arguments and starts the node under the namespace and name given."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text) for name, default, text, _ in ARGUMENTS
    ]
    declared.append(DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node."))
    node = Node(
        package="sartm_ros",
        executable="perception_node",
        name="perception",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        emulate_tty=True,
        parameters=[
            # Without a type, launch reads "123" as a number and the node refuses it.
            {name: ParameterValue(LaunchConfiguration(name), value_type=kind) for name, _, _, kind in ARGUMENTS}
        ],
    )
    return LaunchDescription([*declared, node])
