"""Looks up the Python classes of ROS message types, if their packages are installed."""

import array
import importlib
from typing import Any

from sartm_core.errors import SartmError


def message_class(message_type: str) -> Any | None:
    """The class of a type such as `sensor_msgs/msg/Image`; None if its package is not installed."""
    package, _, name = message_type.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError):
        return None


def required_message_class(message_type: str, reason: str) -> Any:
    """Like `message_class`, but a missing package is an error.

    Args:
        reason: what needs it, for the error message.

    Raises:
        SartmError: its package is not installed.
    """
    kind = message_class(message_type)
    if kind is None:
        package = message_type.split("/")[0]
        raise SartmError(
            f"{reason} needs {message_type}, which is not installed: apt install "
            f"ros-$ROS_DISTRO-{package.replace('_', '-')}, and source ROS; or remove the modality from the rig file."
        )
    return kind


def live_message(message_type: str, **fields: Any) -> Any:
    """Builds an rclpy message; bytes become an array.array, which rclpy accepts without checking each element."""
    arrays = {name: array.array("B", value) if isinstance(value, bytes) else value for name, value in fields.items()}
    return required_message_class(message_type, "a message")(**arrays)
