"""The Python classes of ROS message types, where their packages are installed."""

import array
import importlib
from typing import Any

from sartm_core.errors import SartmError


def message_class(message_type: str) -> Any | None:
    """The class of a type such as `sensor_msgs/msg/Image`; None where its package is not installed."""
    package, _, name = message_type.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError):
        return None


def required_message_class(message_type: str, reason: str) -> Any:
    """As `message_class`.

    Args:
        reason: who needs it, for the error.

    Raises:
        SartmError: its package is not installed.
    """
    kind = message_class(message_type)
    if kind is None:
        package = message_type.split("/")[0]
        raise SartmError(
            f"{reason} needs {message_type}, which is not installed: apt install "
            f"ros-$ROS_DISTRO-{package.replace('_', '-')}, and source ROS; or take the modality out of the rig file."
        )
    return kind


def live_message(message_type: str, **fields: Any) -> Any:
    """A message of rclpy's types; bytes become an array.array, which it takes without looking at each element."""
    arrays = {name: array.array("B", value) if isinstance(value, bytes) else value for name, value in fields.items()}
    return required_message_class(message_type, "a message")(**arrays)
