"""/diagnostics: rates, ages, states and latencies, under the keys that greenwave_monitor reads."""

import time
from collections import deque
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, qos_check_compatible

from sartm_core.rig import Modality
from sartm_ros.explanations import explain_refused
from sartm_ros.node.middleware import another_users_segments
from sartm_ros.node.watch import Fault, Latency

LOOKS = 6
"""Messages are `lately` refused when they came since so many looks, of one second each."""
WINDOW = 200
"""Number of frames over which rates and percentiles are taken."""

SLOW_PERCENT = 20.0
"""How far below the rig file's rate_hz a sensor may be: greenwave_monitor's `tolerance`."""

OUTAGE_NS = 2_000_000_000
"""A silence of this long (or of 5 periods, if they are longer) is left out of the rate."""

LATELY_S, LEAST_MASKS = 10.0, 5
"""Latency is judged over so many seconds, and at least so many masks."""

IMPLAUSIBLE_S = 3600.0
"""Beyond this a stamp comes from another clock (a recording played without use_sim_time): no latency then."""


class InputMonitor:
    """Rate, age and faults of one input; `rate_hz` is the rate the rig file expects."""

    def __init__(self, rate_hz: float | None) -> None:
        self.rate_hz = rate_hz
        self.arrivals_ns: deque[int] = deque(maxlen=WINDOW)
        self.stamps_ns: deque[int] = deque(maxlen=WINDOW)
        self.broken = 0
        self._looks: deque[tuple[int, int, int]] = deque(maxlen=LOOKS)

    def arrived(self, stamp_ns: int, now_ns: int) -> None:
        """Notes one message. After an outage, or a jump back, the rate is that of what follows."""
        if self.arrivals_ns:
            gap_ns = max(now_ns - self.arrivals_ns[-1], stamp_ns - self.stamps_ns[-1])
            if stamp_ns < self.stamps_ns[-1] - OUTAGE_NS or gap_ns > self._longest_gap_ns():
                self.arrivals_ns.clear()
                self.stamps_ns.clear()
        self.arrivals_ns.append(now_ns)
        self.stamps_ns.append(stamp_ns)

    def _longest_gap_ns(self) -> float:
        rate = _rate_hz(self.arrivals_ns)
        return max(OUTAGE_NS, 5e9 / rate if rate else 0.0)

    def values(self, now_ns: int) -> dict[str, float]:
        """The values for greenwave_monitor; a silent sensor has no rate."""
        silent = not self.arrivals_ns or now_ns - self.arrivals_ns[-1] > self._longest_gap_ns()
        rates = {
            "frame_rate_node": 0.0 if silent else _rate_hz(self.arrivals_ns),
            "frame_rate_msg": 0.0 if silent else _rate_hz(self.stamps_ns),
        }
        if self.rate_hz is not None:
            rates |= {"expected_frequency": self.rate_hz, "tolerance": SLOW_PERCENT}
        age_s = (now_ns - self.stamps_ns[-1]) / 1e9 if self.stamps_ns else 0.0
        return rates | ({"current_delay_from_realtime_ms": age_s * 1e3} if abs(age_s) < IMPLAUSIBLE_S else {})

    def refused(self, counts: dict[str, Any]) -> str | None:
        """Why messages were refused for their stamps lately; to be called once a second.

        Args:
            counts: of its stream, see `Synchronizer.statistics`.
        """
        self._looks.append((counts["received"], counts.get("strayed", 0), counts.get("repeated", 0)))
        received, strayed, repeated = (
            now - before for before, now in zip(self._looks[0], self._looks[-1], strict=True)
        )
        return explain_refused(received, strayed, repeated, counts.get("stray_s"))

    def slow(self) -> str | None:
        """Describes a sensor slower than the rig file says; None if it is not."""
        rate = _rate_hz(self.stamps_ns)
        if self.rate_hz is None or len(self.stamps_ns) < 2 or rate >= self.rate_hz * (1 - SLOW_PERCENT / 100):
            return None
        return f"slow: {rate:.1f} Hz, the rig file says {self.rate_hz:g}"


class PipelineMonitor:
    """Latencies of the stages, and the masks produced."""

    STAGES = ("wait", "prepare", "segment", "publish", "stamp_to_mask")

    def __init__(self) -> None:
        self.masks = 0
        self.failed = 0
        self.reused = 0
        """Measurements in those sets whose features were kept from the set before."""
        self.unusable = 0
        """Sets without a mask since the last one with a mask."""
        self.reason: str | None = None
        """Why the last of those failed."""
        self._milliseconds: dict[str, deque[float]] = {stage: deque(maxlen=WINDOW) for stage in self.STAGES}
        self._at_s: deque[float] = deque(maxlen=WINDOW)

    def finished(self, **seconds: float) -> None:
        """Notes one mask; seconds per stage."""
        self.masks += 1
        self.unusable, self.reason = 0, None
        self._at_s.append(time.monotonic())
        for stage, value in seconds.items():
            if abs(value) < IMPLAUSIBLE_S:
                self._milliseconds[stage].append(value * 1e3)

    def without_mask(self, reason: str | None) -> None:
        """Notes one set that gave none; `reason`: if it failed, None if nothing of it could be used."""
        self.failed += reason is not None
        self.unusable += 1
        self.reason = reason

    def stuck(self) -> bool:
        """Whether several sets in a row gave no mask."""
        return self.unusable >= 3

    def usual_s(self) -> float:
        """How long the network takes for a set, seconds; 0 before the first."""
        return self.values()["segment_ms_p95"] / 1e3

    def latency(self, now_s: float) -> Latency:
        """Of the masks of the last seconds, not of all that the percentiles of `values` are taken of."""
        count = sum(now_s - at_s <= LATELY_S for at_s in tuple(self._at_s))
        lately = {stage: list(values)[-count:] for stage, values in self._milliseconds.items()}
        whole = lately.pop("stamp_to_mask")
        if count < LEAST_MASKS or len(whole) < LEAST_MASKS:
            return Latency(0.0, "")
        return Latency(float(np.percentile(whole, 95)), max(lately, key=lambda stage: sum(lately[stage])))

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
    states: dict[str, str],
    inputs: dict[str, InputMonitor],
    pipeline: PipelineMonitor,
    counts: dict[str, Any],
    dropped: int,
    reasons: dict[str, str],
    fault: Fault | None,
    about: dict[str, Any],
) -> DiagnosticArray:
    """The message: one status per input, one for the pipeline.

    Args:
        node: gives name and time.
        states: of each modality: present, absent, stale, broken, empty or disabled.
        inputs, pipeline: what was measured.
        counts: of `Synchronizer.statistics`.
        dropped: sets skipped because the network was busy.
        reasons: modality -> why it is not as it should be, though it sends.
        fault: of the masks, see `MaskWatch`.
        about: further values of the pipeline's status: which model runs, and what it costs.
    """
    now_ns = node.get_clock().now().nanoseconds
    name = node.get_fully_qualified_name().lstrip("/")
    message = DiagnosticArray()
    message.header.stamp = node.get_clock().now().to_msg()
    for modality, monitor in inputs.items():
        state = states[modality]
        values = {"state": state, **monitor.values(now_ns), **counts["streams"][modality], "broken": monitor.broken}
        text = reasons.get(modality) or (monitor.slow() if state == "present" else None)
        level = DiagnosticStatus.OK if state in ("present", "disabled") and not text else DiagnosticStatus.WARN
        message.status.append(_status(f"{name}: input {modality}", level, text or state, values))
    values = {key: value for key, value in counts.items() if key != "streams"}
    values |= {"masks": pipeline.masks, "dropped": dropped, "failed": pipeline.failed}
    values |= {"reused": pipeline.reused, **pipeline.values(), **about}
    found = set(states.values())
    if found == {"disabled"}:
        level, text = DiagnosticStatus.OK, "disabled"
    elif not found & {"present", "broken", "empty"}:
        level, text = DiagnosticStatus.ERROR, "no input is alive"
    elif pipeline.stuck() or "present" not in found:
        level, text = DiagnosticStatus.ERROR, pipeline.reason or "messages arrive, but none are usable"
    elif fault is not None:
        level, text = DiagnosticStatus.ERROR if fault.is_error else DiagnosticStatus.WARN, fault.text
    else:
        level, text = DiagnosticStatus.OK, "running"
    message.status.append(_status(f"{name}: pipeline", level, text, values))
    return message


def explain_silence(node: Node, modality: Modality) -> str:
    """Why a topic may have delivered nothing yet: it has no publisher, its type differs, or it is merely silent."""
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
    if another_users_segments():
        return (
            f"{topic} has {len(publishers)} publisher(s) but delivered no message. Another user's processes use shared "
            "memory that this one may not open: run both as one user, or set FASTDDS_BUILTIN_TRANSPORTS=UDPv4 for both."
        )
    incompatible = _incompatible_qos(node, topic)
    if incompatible:
        return (
            f"A publisher of {topic} offers an incompatible QoS ({incompatible}): none of its messages arrive. Set the "
            f"parameter input_reliability or qos_overrides.{topic}.subscription.*, see docs/node.md."
        )
    return f"{topic} has {len(publishers)} publisher(s) but delivered no message. The sensor is silent."


def _incompatible_qos(node: Node, topic: str) -> str:
    """Why a publisher does not match this node's subscription; empty where each does."""
    ours = [info for info in node.get_subscriptions_info_by_topic(topic) if info.node_name == node.get_name()]
    for publisher in node.get_publishers_info_by_topic(topic):
        for subscription in ours:
            found, reason = qos_check_compatible(publisher.qos_profile, subscription.qos_profile)
            if found == QoSCompatibility.ERROR:
                return str(reason).removeprefix("ERROR: ").rstrip(";. ")
    return ""


def explain_no_clock() -> str:
    """Explains a missing /clock."""
    return (
        "use_sim_time is set and nothing publishes /clock: sets that lack a sensor are never emitted. Play "
        "the recording with --clock, or unset use_sim_time."
    )


def _status(name: str, level: bytes, text: str, values: dict[str, Any]) -> DiagnosticStatus:
    shown = {key: f"{value:.3f}" if isinstance(value, float) else str(value) for key, value in values.items()}
    pairs = [KeyValue(key=key, value=value) for key, value in shown.items() if value != "None"]
    return DiagnosticStatus(name=name, level=level, message=text, hardware_id=name.split(":")[0], values=pairs)


def _rate_hz(times_ns: deque[int]) -> float:
    if len(times_ns) < 2 or times_ns[-1] <= times_ns[0]:
        return 0.0
    return (len(times_ns) - 1) * 1e9 / (times_ns[-1] - times_ns[0])
