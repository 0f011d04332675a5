"""The perception node on a robot: `ros2 launch sartm_ros perception.launch.py rig:=/path/to/rig.yaml`."""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

DEFAULTS = Path(__file__).parents[1] / "config" / "node.yaml"

# Parameters often given on the command line: name, description, type. Empty: as in the parameter file.
PARAMETERS = (
    ("bundle", "Folder written by `sartm export`, or the name of a shipped bundle.", str),
    ("rig", "Rig file or name of a shipped rig; by default the rig of the bundle.", str),
    ("backend", "What runs the network: auto, torch, onnx or tensorrt.", str),
    ("device", "Where the network runs: auto, cpu, cuda or tensorrt.", str),
    ("input_reliability", "QoS of the subscriptions: best_effort or reliable.", str),
    ("autostart", "Configure and activate at startup; false: leave it to a lifecycle manager.", bool),
    ("use_sim_time", "Follow /clock, for recordings.", bool),
)
OTHERS = (
    ("params_file", str(DEFAULTS), "Parameter file; the command line overrides it."),
    ("namespace", "", "Namespace of the node and of relative topics."),
    ("name", "perception", "Name of the node."),
    ("remap", "", "Remappings, such as '/camera/image_raw:=/front/image_raw,/thermal:=/front/thermal'."),
    ("log_level", "info", "debug, info, warn, error or fatal."),
)


def generate_launch_description() -> LaunchDescription:
    """Declares the arguments and starts the node."""
    declared = [DeclareLaunchArgument(name, default_value="", description=text) for name, text, _ in PARAMETERS]
    declared += [DeclareLaunchArgument(name, default_value=value, description=text) for name, value, text in OTHERS]
    return LaunchDescription([*declared, OpaqueFunction(function=_node)])


def _node(context: LaunchContext) -> list[Node]:
    def given(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    parameters = {
        # Without a type, launch reads "123" as a number and the node rejects it.
        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
        for name, _, kind in PARAMETERS
        if given(name)
    }
    return [
        Node(
            package="sartm_ros",
            executable="perception_node",
            name=given("name"),
            namespace=given("namespace"),
            output="screen",
            emulate_tty=True,
            parameters=[given("params_file"), parameters],
            remappings=_remappings(given("remap")),
            ros_arguments=["--log-level", given("log_level")],
        )
    ]


def _remappings(text: str) -> list[tuple[str, str]]:
    pairs = [pair.strip().partition(":=") for pair in text.split(",") if pair.strip()]
    for source, _, target in pairs:
        if not source or not target:
            raise ValueError(f"remap: expected from:=to, several separated by commas, got '{text}'")
    return [(source, target) for source, _, target in pairs]
