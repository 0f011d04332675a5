"""Sources of Python message packages that are not in the package index, from the generators that are in it.

Usage: message_packages.py VENV FOLDER    leaves FOLDER/<package>, Python modules and what they are compiled from,
    and FOLDER/introspection/<package>, sources whose names some of those have too
"""

import sys
from pathlib import Path

from rosidl_adapter.msg import convert_msg_to_idl
from rosidl_generator_c.cli import GenerateC
from rosidl_generator_py.cli import GeneratePython
from rosidl_typesupport_c.cli import GenerateCTypesupport
from rosidl_typesupport_fastrtps_c.cli import GenerateFastRTPSCTypesupport
from rosidl_typesupport_introspection_c.cli import GenerateIntrospectionCTypesupport

from sartm_ros.bag.types import EVENT_PACKET_DEFINITION

IMPLEMENTATIONS = ["rosidl_typesupport_fastrtps_c", "rosidl_typesupport_introspection_c"]
DEFINITIONS = {
    "tf2_msgs/msg/TFMessage": "geometry_msgs/TransformStamped[] transforms",
    "event_camera_msgs/msg/EventPacket": EVENT_PACKET_DEFINITION,
    "dvs_msgs/msg/Event": """
uint16 x
uint16 y
builtin_interfaces/Time ts
bool polarity
""",
    "dvs_msgs/msg/EventArray": """
std_msgs/Header header
uint32 height
uint32 width
dvs_msgs/Event[] events
""",
    "vision_msgs/msg/VisionClass": """
uint16 class_id
string class_name
""",
    "vision_msgs/msg/LabelInfo": """
std_msgs/Header header
vision_msgs/VisionClass[] class_map
float32 threshold
""",
}


def main(venv: Path, folder: Path) -> None:
    """Writes what CMake's rosidl_generate_interfaces would, without what only C++ nodes use."""
    packages: dict[str, list[Path]] = {}
    for name, definition in DEFINITIONS.items():
        package, kind = name.split("/", 1)
        message = folder / package / f"{kind}.msg"
        message.parent.mkdir(parents=True, exist_ok=True)
        message.write_text(definition)
        packages.setdefault(package, []).append(message.relative_to(folder / package))
    for package, messages in packages.items():
        output = (folder / package).absolute()
        (output / "__init__.py").touch()
        for message in messages:
            convert_msg_to_idl(output, package, message, output / "msg")
        files = [f"{output}:{message.with_suffix('.idl')}" for message in messages]
        for generator, path in (
            (GenerateC("c"), output),
            (GenerateFastRTPSCTypesupport("fastrtps_c"), output),
            (GenerateIntrospectionCTypesupport("introspection_c"), folder.absolute() / "introspection" / package),
            (GenerateCTypesupport("c", typesupport_implementations=IMPLEMENTATIONS), output),
            (GeneratePython("py", typesupport_implementations=["rosidl_typesupport_c"]), output),
        ):
            generator.generate(package, files, [str(venv / "share")], output_path=path)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
