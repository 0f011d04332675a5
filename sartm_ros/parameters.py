"""The node's parameters: one table that declares, checks and documents them."""

from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.node import Node

from sartm_core.errors import SartmError


@dataclass(frozen=True, slots=True)
class Spec:
    """One parameter.

    Attributes:
        name, default, doc: as `ros2 param describe` shows them.
        low, high: range of a float.
        choices: the only values of a string.
    """

    name: str
    default: bool | float | str
    doc: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()


TABLE = (
    Spec("bundle", "first_light", "Folder written by `sartm export`, or the name of a shipped bundle."),
    Spec("rig", "", "Rig file or name of a shipped rig; empty: the rig that the bundle was trained with."),
    Spec("backend", "auto", "What runs the network.", choices=("auto", "torch")),
    Spec("device", "auto", "Where the network runs.", choices=("auto", "cpu", "cuda")),
    Spec("autostart", True, "Configure and activate without waiting for a lifecycle manager."),
    Spec("input_reliability", "best_effort", "QoS of the subscriptions.", choices=("best_effort", "reliable")),
    Spec("overlay_alpha", 0.5, "Opacity of the mask in ~/overlay.", low=0.0, high=1.0),
    Spec("silence_warning_s", 5.0, "Warn about topics without data after this many seconds.", low=0.5, high=3600.0),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """The parameters, read once when the node is configured; fields as in `TABLE`."""

    bundle: str
    rig: str
    backend: str
    device: str
    autostart: bool
    input_reliability: str
    overlay_alpha: float
    silence_warning_s: float


def declare(node: Node) -> None:
    """Declares every parameter of the table."""
    for spec in TABLE:
        descriptor = ParameterDescriptor(description=spec.doc, additional_constraints=_constraint(spec))
        if spec.low is not None and spec.high is not None:
            descriptor.floating_point_range = [FloatingPointRange(from_value=spec.low, to_value=spec.high)]
        node.declare_parameter(spec.name, spec.default, descriptor)


def read(node: Node) -> Settings:
    """Reads and checks every parameter.

    Raises:
        SartmError: a string that is none of the choices.
    """
    values: dict[str, Any] = {spec.name: node.get_parameter(spec.name).value for spec in TABLE}
    for spec in TABLE:
        if spec.choices and values[spec.name] not in spec.choices:
            raise SartmError(f"parameter '{spec.name}': {_constraint(spec)}, got '{values[spec.name]}'.")
    return Settings(**values)


def _constraint(spec: Spec) -> str:
    return f"expected one of {', '.join(spec.choices)}" if spec.choices else ""
