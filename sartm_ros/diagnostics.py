"""/diagnostics: rates, ages, states and latencies, under the keys that greenwave_monitor reads."""

from collections import deque
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from sartm_core.rig import Modality
from sartm_ros.synchronizer import Synchronizer

WINDOW = 200
"""Number of frames over which rates and percentiles are taken."""

IMPLAUSIBLE_S = 3600.0
"""Beyond this a stamp is not of this clock: a recording that is played without use_sim_time. No latency then."""


class InputMonitor:
    """Rate, age and faults of one input."""

    def __init__(self) -> None:
        self.arrivals_ns: deque[int] = deque(maxlen=WINDOW)
        self.stamps_ns: deque[int] = deque(maxlen=WINDOW)
        self.broken = 0

    def arrived(self, stamp_ns: int, now_ns: int) -> None:
        """Notes one message."""
        self.arrivals_ns.append(now_ns)
        self.stamps_ns.append(stamp_ns)

    def values(self, now_ns: int) -> dict[str, float]:
        """The numbers for greenwave_monitor."""
        rates = {"frame_rate_node": _rate_hz(self.arrivals_ns), "frame_rate_msg": _rate_hz(self.stamps_ns)}
        age_s = (now_ns - self.stamps_ns[-1]) / 1e9 if self.stamps_ns else 0.0
        return rates | ({"current_delay_from_realtime_ms": age_s * 1e3} if abs(age_s) < IMPLAUSIBLE_S else {})


class PipelineMonitor:
    """Latencies of the stages, and what came out."""

    STAGES = ("wait", "prepare", "segment", "publish", "stamp_to_mask")

    def __init__(self) -> None:
        self.masks = 0
        self._milliseconds: dict[str, deque[float]] = {stage: deque(maxlen=WINDOW) for stage in self.STAGES}

    def finished(self, **seconds: float) -> None:
        """Notes one mask; seconds per stage."""
        self.masks += 1
        for stage, value in seconds.items():
            if abs(value) < IMPLAUSIBLE_S:
                self._milliseconds[stage].append(value * 1e3)

    def values(self) -> dict[str, float]:
        """p50 and p95 of every stage, milliseconds."""
        result = {}
        for stage, values in self._milliseconds.items():
            for percentile in (50, 95):
                key = f"{stage}_ms_p{percentile}"
                result[key] = float(np.percentile(list(values), percentile)) if values else 0.0
        return result


def diagnostic_array(
    node: Node,
    inputs: dict[str, InputMonitor],
    pipeline: PipelineMonitor,
    synchronizer: Synchronizer,
    dropped: int,
) -> DiagnosticArray:
    """The message: one status per input, one for the pipeline."""
    now_ns = node.get_clock().now().nanoseconds
    name = node.get_fully_qualified_name().lstrip("/")
    counts = synchronizer.statistics()
    message = DiagnosticArray()
    message.header.stamp = node.get_clock().now().to_msg()
    for modality, monitor in inputs.items():
        state = synchronizer.state(modality, now_ns)
        values = {"state": state, **monitor.values(now_ns), **counts["streams"][modality], "broken": monitor.broken}
        level = DiagnosticStatus.OK if state == "present" else DiagnosticStatus.WARN
        message.status.append(_status(f"{name}: input {modality}", level, state, values))
    values = {key: value for key, value in counts.items() if key != "streams"}
    values |= {"masks": pipeline.masks, "dropped": dropped, **pipeline.values()}
    present = any(status.message == "present" for status in message.status)
    level, text = (DiagnosticStatus.OK, "running") if present else (DiagnosticStatus.ERROR, "no input is alive")
    message.status.append(_status(f"{name}: pipeline", level, text, values))
    return message


def explain_silence(node: Node, modality: Modality) -> str:
    """Why a topic may have brought nothing yet: nobody publishes it, its type differs, or it is merely silent."""
    topic = node.resolve_topic_name(modality.topic)
    publishers = node.get_publishers_info_by_topic(topic)
    if not publishers:
        return f"Nothing publishes {topic}. Start its driver, or correct the topic in the rig file."
    wrong = sorted({info.topic_type for info in publishers if info.topic_type != modality.message})
    if wrong:
        return (
            f"{topic} is published as {wrong[0]}, the rig file expects {modality.message}. "
            "Set message: in the rig file, or remap the topic."
        )
    return (
        f"{topic} has {len(publishers)} publisher(s) but brought no message. The sensor is silent, or "
        "its QoS does not fit the parameter input_reliability."
    )


def _status(name: str, level: bytes, text: str, values: dict[str, Any]) -> DiagnosticStatus:
    shown = {key: f"{value:.3f}" if isinstance(value, float) else str(value) for key, value in values.items()}
    pairs = [KeyValue(key=key, value=value) for key, value in shown.items()]
    return DiagnosticStatus(name=name, level=level, message=text, values=pairs)


def _rate_hz(times_ns: deque[int]) -> float:
    if len(times_ns) < 2 or times_ns[-1] <= times_ns[0]:
        return 0.0
    return (len(times_ns) - 1) * 1e9 / (times_ns[-1] - times_ns[0])
