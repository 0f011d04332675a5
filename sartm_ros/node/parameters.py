"""The node's parameters: one table that declares, checks and documents them.

`python -m sartm_ros.node.parameters` prints the table of docs/node.md.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node

from sartm_core.errors import SartmError
from sartm_core.rig import Rig
from sartm_ros.labelled_cloud import Unseen
from sartm_ros.node.watch import Limits
from sartm_ros.outputs import ConfidenceEncoding
from sartm_ros.streams import Stream


@dataclass(frozen=True, slots=True)
class Spec:
    """One parameter.

    Attributes:
        name: `<modality>.` at its beginning stands for one parameter of each modality.
        default: None: the rig file's value; such parameters exist once the node is configured.
        doc: as `ros2 param describe` shows it.
        low, high: range of a number.
        choices: the only values of a string.
        live: whether it takes effect immediately; the others are read when the node is configured.
        reloaded: whether it may be set at any time, and takes effect with ~/reload.
    """

    name: str
    default: bool | int | float | str | None
    doc: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False
    reloaded: bool = False

    @property
    def kind(self) -> type:
        """Type of its values; those from the rig file are numbers."""
        return float if self.default is None else type(self.default)

    def allows(self, value: Any) -> bool:
        """Whether this value is allowed; an integer is accepted as a number."""
        if type(value) is not self.kind and (type(value), self.kind) != (int, float):
            return False
        if self.low is not None and self.high is not None and not self.low <= value <= self.high:
            return False
        return not self.choices or value in self.choices

    @property
    def expected(self) -> str:
        """The allowed values, for error messages."""
        if self.choices:
            return f"expected one of {', '.join(self.choices)}"
        name = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}[self.kind]
        return f"expected {name}" + ("" if self.low is None else f" from {self.low:g} to {self.high:g}")


TABLE = (
    Spec(
        "bundle",
        "any_sensor_simrig5",
        "Folder written by `sartm export`, or the name of a shipped bundle.",
        reloaded=True,
    ),
    Spec(
        "rig", "", "Rig file or name of a shipped rig; empty: the bundle's, as far as its message types are installed."
    ),
    Spec("backend", "auto", "What runs the network.", choices=("auto", "torch", "onnx", "tensorrt")),
    Spec("device", "auto", "Where the network runs.", choices=("auto", "cpu", "cuda", "tensorrt")),
    Spec("threads", 0, "CPU threads for the network; 0: all cores.", 0, 256),
    Spec("autostart", True, "Configure and activate without waiting for a lifecycle manager; read at startup."),
    Spec("input_reliability", "best_effort", "QoS of the inputs' subscriptions.", choices=("best_effort", "reliable")),
    Spec(
        "sync_policy",
        "anchor",
        "Matching of messages: anchor, sartm's own; or message_filters', which needs every sensor.",
        choices=("anchor", "exact", "approximate"),
    ),
    Spec("silence_warning_s", 5.0, "How often to explain topics that have no data or never match.", 0.5, 3600.0),
    Spec(
        "smoothing_s",
        0.0,
        "How long the last mask's classes are preferred, against flicker; 0: not at all.",
        0.0,
        10.0,
    ),
    Spec(
        "confidence_encoding",
        "mono8",
        "Of ~/confidence: mono8, 0 to 255, as costmaps read it; or 32FC1, 0 to 1.",
        choices=("mono8", "32FC1"),
    ),
    Spec("min_confidence", 0.0, "Pixels below it are unlabelled (255); LabelInfo.threshold says it.", 0.0, 1.0),
    Spec(
        "points_out_of_view",
        "leave_out",
        "What becomes of a LiDAR's points that the reference camera does not see: no points, or points of class 255.",
        choices=("leave_out", "unlabelled"),
    ),
    Spec("enabled", True, "Segment; false closes the inputs, the model stays loaded.", live=True),
    Spec(
        "max_latency_ms",
        1000.0,
        "/diagnostics warns when masks are older than this (p95, stamp to mask); 0: never.",
        0.0,
        1e6,
        live=True,
    ),
    Spec("min_rate_hz", 0.0, "/diagnostics warns when masks come more rarely; 0: never.", 0.0, 1000.0, live=True),
    Spec("overlay_alpha", 0.5, "Opacity of the mask in ~/overlay.", low=0.0, high=1.0, live=True),
    Spec("max_wait_s", None, "How long a set waits for late modalities.", 0.001, 60.0, live=True),
    Spec("stale_after_s", None, "A modality silent for this long is not waited for.", 0.01, 3600.0, live=True),
    Spec("<modality>.enabled", True, "Use this modality; false closes its input.", live=True),
    Spec("<modality>.tolerance_s", None, "Largest distance between its stamps and the anchor's.", 0.0, 60.0, live=True),
    Spec(
        "<modality>.offset_s",
        None,
        "Added to its stamps, to compensate for a delay in its driver.",
        -1e10,
        1e10,
        live=True,
    ),
)


OUTPUTS = "outputs."
"""Parameters that exist where they are given at startup: `outputs.<name>.<field>`, see `outputs.OutputSettings`."""
_OF_OUTPUTS = "A field of one of the outputs, see docs/node.md."
_WHEN_CONFIGURED = "it is read when the node is configured; deactivate and clean up first"


@dataclass(frozen=True, slots=True)
class Settings:
    """Parameters read once, when the node is configured; fields as in `TABLE`."""

    bundle: str
    rig: str
    backend: str
    device: str
    threads: int
    input_reliability: str
    sync_policy: str
    silence_warning_s: float
    smoothing_s: float
    confidence_encoding: ConfidenceEncoding
    min_confidence: float
    points_out_of_view: Unseen


@dataclass(frozen=True, slots=True)
class Tuning:
    """Parameters that can change while the node runs; `streams` in the order of the rig's modalities."""

    enabled: bool
    overlay_alpha: float
    max_wait_s: float
    stale_after_s: float
    limits: Limits
    streams: tuple[Stream, ...]


class Parameters:
    """The parameters of one node.

    Args:
        node: owns them.
        on_tuning: called with each change that takes effect immediately.
    """

    def __init__(self, node: Node, on_tuning: Callable[[Tuning], None]) -> None:
        self._node = node
        self._on_tuning = on_tuning
        self._rig: Rig | None = None
        self._of_rig: dict[str, Spec] = {}
        self._specs: dict[str, Spec] = {}
        for spec in TABLE:
            if spec.default is not None and "<" not in spec.name:
                self._declare(spec.name, spec, spec.default)
        for name, given in getattr(node, "_parameter_overrides", {}).items():
            if name.startswith(OUTPUTS):
                node.declare_parameter(
                    name, given.value, ParameterDescriptor(description=_OF_OUTPUTS, dynamic_typing=True)
                )
        node.add_on_set_parameters_callback(self._on_set)

    def settings(self) -> Settings:
        """Reads the parameters needed to configure the node."""
        return Settings(**{name: self._node.get_parameter(name).value for name in Settings.__dataclass_fields__})

    def outputs(self) -> dict[str, dict[str, Any]]:
        """Reads `outputs.<name>.<field>`: name -> fields of `OutputSettings`, not yet checked."""
        outputs: dict[str, dict[str, Any]] = {}
        for path, parameter in self._node.get_parameters_by_prefix(OUTPUTS.removesuffix(".")).items():
            name, _, field = path.partition(".")
            field, _, key = field.partition(".")
            fields = outputs.setdefault(name, {})
            if key:
                fields.setdefault(field, {})[key] = parameter.value
            else:
                fields[field] = parameter.value
        return outputs

    def declare_for(self, rig: Rig) -> Tuning:
        """Declares the rig's parameters; values given at startup override the rig file's.

        Returns:
            The parameters that can change while the node runs.

        Raises:
            SartmError: a value given at startup is not allowed.
        """
        self._rig = rig
        for spec in TABLE:
            if "<modality>" in spec.name:
                for modality in rig.modalities:
                    field = spec.name.removeprefix("<modality>.")
                    default = getattr(modality, field) if spec.default is None else spec.default
                    self._declare(f"{modality.name}.{field}", spec, default, of_rig=True)
            elif spec.default is None:
                self._declare(spec.name, spec, getattr(rig.synchronizer, spec.name), of_rig=True)
        return self._tuning({})

    def undeclare(self) -> None:
        """Undeclares the rig's parameters."""
        for name in self._of_rig:
            self._node.undeclare_parameter(name)
            del self._specs[name]
        self._of_rig.clear()
        self._rig = None

    def unknown(self) -> list[str]:
        """Lines about parameters given at startup that ROS ignores: what may be mistyped, and one for all others.

        A file for several nodes (`/**:`) gives each of them the parameters of all.
        """
        given = set(getattr(self._node, "_parameter_overrides", {}))
        lines, foreign = [], []
        for name in sorted(given - set(self._specs) - {"use_sim_time", "start_type_description_service"}):
            close = difflib.get_close_matches(name, self._specs, n=1)
            if close:
                lines.append(f"parameter '{name}': unknown, ignored. Did you mean '{close[0]}'?")
            elif not name.startswith(("qos_overrides.", OUTPUTS)):
                foreign.append(f"'{name}'")
        if foreign:
            named = ", ".join(foreign[:3]) + (f" and {len(foreign) - 3} more" if len(foreign) > 3 else "")
            lines.append(f"ignored, since they are not parameters of this node (see docs/node.md): {named}")
        return lines

    def _declare(self, name: str, spec: Spec, default: Any, of_rig: bool = False) -> None:
        given = getattr(self._node, "_parameter_overrides", {})
        if name in given and not spec.allows(given[name].value):
            raise SartmError(f"parameter '{name}': {spec.expected}, got '{given[name].value}'.")
        # A static type would refuse `1` for a number of seconds, with a cryptic message.
        descriptor = ParameterDescriptor(
            description=spec.doc, additional_constraints=spec.expected, dynamic_typing=True
        )
        if spec.low is not None and spec.high is not None:
            if spec.kind is int:
                descriptor.integer_range = [IntegerRange(from_value=int(spec.low), to_value=int(spec.high), step=1)]
            else:
                descriptor.floating_point_range = [FloatingPointRange(from_value=spec.low, to_value=spec.high)]
        self._node.declare_parameter(name, default, descriptor)
        self._specs[name] = spec
        if of_rig:
            self._of_rig[name] = spec

    def _on_set(self, changes: Sequence[Any]) -> SetParametersResult:
        """Rejects invalid values, and passes on changes that take effect while the node runs."""
        values = {change.name: change.value for change in changes if change.name in self._specs}
        if self._rig is not None and any(change.name.startswith(OUTPUTS) for change in changes):
            return SetParametersResult(successful=False, reason=_WHEN_CONFIGURED)
        for name, value in values.items():
            spec = self._specs[name]
            if not spec.allows(value):
                return SetParametersResult(successful=False, reason=f"{spec.expected}, got '{value}'")
            if self._rig is not None and not (spec.live or spec.reloaded):
                return SetParametersResult(successful=False, reason=_WHEN_CONFIGURED)
        live = {name: value for name, value in values.items() if self._specs[name].live}
        if live and self._rig is not None:
            self._on_tuning(self._tuning(live))
        return SetParametersResult(successful=True)

    def _tuning(self, changes: dict[str, Any]) -> Tuning:
        assert self._rig is not None

        def value(name: str) -> Any:
            return changes[name] if name in changes else self._node.get_parameter(name).value

        streams = tuple(
            Stream(
                name=modality.name,
                tolerance_s=value(f"{modality.name}.tolerance_s"),
                offset_s=value(f"{modality.name}.offset_s"),
                required=modality.required,
                enabled=value(f"{modality.name}.enabled"),
                gathered=modality.delivers_packets,
            )
            for modality in self._rig.modalities
        )
        limits = Limits(value("max_latency_ms"), value("min_rate_hz"))
        waits = value("max_wait_s"), value("stale_after_s")
        return Tuning(value("enabled"), value("overlay_alpha"), *waits, limits, streams)


def markdown() -> str:
    """The table of docs/node.md."""
    lines = ["| name | default | values | changes | meaning |", "|---|---|---|---|---|"]
    for spec in TABLE:
        default = "the rig file's" if spec.default is None else f"`{spec.default}`"
        ranged = "" if spec.low is None else f"{spec.low:g} to {spec.high:g}"
        values = ", ".join(spec.choices) or ranged
        changes = "live" if spec.live else "~/reload" if spec.reloaded else ""
        lines.append(f"| `{spec.name}` | {default} | {values} | {changes} | {spec.doc} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(markdown())
