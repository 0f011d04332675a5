"""What a session says about itself: /diagnostics once a second, and the log when something fails or returns."""

import re
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from sartm_core.errors import shown
from sartm_core.rig import Rig
from sartm_ros.explanations import explain_mismatch, explain_missing
from sartm_ros.node.diagnostics import (
    InputMonitor,
    PipelineMonitor,
    diagnostic_array,
    explain_no_clock,
    explain_silence,
)
from sartm_ros.node.parameters import Tuning
from sartm_ros.node.watch import ChangeLog, Fault, Limits, MaskWatch
from sartm_ros.streams import Stream

MOST_WARNINGS = 1000
RESETS_EVERY_S = 10.0


class Reports:
    """Watches one session.

    Args:
        node: gives time and the logger.
        rig: whose modalities are the inputs.

    Attributes:
        inputs, pipeline: what was measured.
        unusable: modality -> `broken` or `empty`, as of its last message in a set.
    """

    def __init__(self, node: Node, rig: Rig) -> None:
        self._node, self._rig = node, rig
        self.inputs = {m.name: InputMonitor(m.rate_hz) for m in rig.modalities}
        self.pipeline = PipelineMonitor()
        self.unusable: dict[str, str] = {}
        self._watch = MaskWatch()
        self._changes = ChangeLog("present")
        self._faults = ChangeLog("")
        self._states: dict[str, str] = {}
        self._warned: set[tuple[str, str]] = set()
        self._alive: bool | None = None
        self._resets = 0

    def warn_once(self, name: str, text: str) -> None:
        """Logs a fault of a modality, unless it has been reported already."""
        key = (name, re.sub(r"\d[\d.]*", "#", text))  # the same fault with other numbers is not reported again
        if key not in self._warned and len(self._warned) < MOST_WARNINGS:
            self._warned.add(key)
            self._node.get_logger().warning(shown(f"{name}: {text}"))
            if len(self._warned) == MOST_WARNINGS:
                self._node.get_logger().warning("further faults are only counted in /diagnostics")

    def broken(self, name: str, reason: str) -> None:
        """Counts a message that cannot be used."""
        self.inputs[name].broken += 1
        self.warn_once(name, f"a message is unusable and counts as absent: {reason}")

    def forget(self, names: set[str]) -> None:
        """Faults of these modalities may be reported again: their settings have changed."""
        self._warned = {key for key in tuple(self._warned) if key[0] not in names}

    def switched(self, before: Tuning, now: Tuning) -> None:
        """Logs what was switched: whoever reads the log may not have done it."""
        switches = {"enabled": (before.enabled, now.enabled)} | {
            f"{old.name}.enabled": (old.enabled, new.enabled)
            for old, new in zip(before.streams, now.streams, strict=True)
        }
        for parameter, (old, new) in switches.items():
            if new != old:
                self._node.get_logger().info(f"{parameter} is switched {'on' if new else 'off'}")

    def changed(self, states: dict[str, str]) -> None:
        """Logs when a modality fails or returns, not when a slow one merely misses a set; of one that flaps a few."""
        for name in self._rig.names:
            if states[name] != "absent":
                self._states[name] = states[name]
            state = self._states.get(name, "present")
            more = self._changes.note(name, state)
            if more is None:
                continue
            if state == "present":
                self._node.get_logger().info(f"{name} is back{more}")
            else:
                self._node.get_logger().warning(f"{name} is {state}: segmenting without it{more}")

    def diagnostics(
        self,
        states: dict[str, str],
        counts: dict[str, Any],
        tuning: Tuning,
        dropped: int,
        busy_s: float,
        about: dict[str, Any],
    ) -> DiagnosticArray:
        """The message; logs what it says, too.

        Args:
            states: of each modality: present, absent, stale, broken or disabled.
            counts: of `Synchronizer.statistics`, with the losses of packets.
            tuning: of the moment.
            dropped: sets skipped because the network was busy.
            busy_s: how long the network has worked on its present set.
            about: see `diagnostic_array`.
        """
        if counts["resets"] != self._resets:
            self._resets = counts["resets"]
            self._node.get_logger().warning(
                "stamps jumped back (a recording that loops, a clock that was set): matching starts again",
                throttle_duration_sec=RESETS_EVERY_S,
            )
        reasons = self._reasons(states, counts, tuning)
        unusable = self.unusable  # the worker's thread replaces it
        states = states | {name: state for name, state in unusable.items() if states[name] == "present"}
        self._silence(states)
        fault = self._fault(states, counts, dropped, busy_s, tuning.limits)
        return diagnostic_array(self._node, states, self.inputs, self.pipeline, counts, dropped, reasons, fault, about)

    def _reasons(self, states: dict[str, str], counts: dict[str, Any], tuning: Tuning) -> dict[str, str]:
        """Modality -> why it is in no set, or in few, though it sends."""
        reasons = {}
        for stream in tuning.streams:
            name, of_stream = stream.name, counts["streams"][stream.name]
            refused = self.inputs[name].refused(of_stream)
            if refused is not None and states[name] != "disabled":
                self.warn_once(name, refused)
            mismatch = _explain_match(of_stream, stream, counts["anchor"]) if states[name] == "present" else None
            reason = refused or mismatch
            if reason is not None and states[name] in ("present", "stale", "absent"):
                reasons[name] = reason
        return reasons

    def _fault(
        self, states: dict[str, str], counts: dict[str, Any], dropped: int, busy_s: float, limits: Limits
    ) -> Fault | None:
        """Looks for one and logs it when it comes and when it has gone."""
        if set(states.values()) == {"disabled"}:
            self._watch.pause()
            return None
        now_s, pipeline = time.monotonic(), self.pipeline
        fault = self._watch.look(
            now_s, counts, pipeline.masks, dropped, busy_s, pipeline.usual_s(), pipeline.latency(now_s), limits
        )
        more = self._faults.note("masks", "" if fault is None else re.sub(r"\d[\d.]*", "#", fault.text))
        if more is None:
            return fault
        if fault is None:
            self._node.get_logger().info(f"masks come as they should again{more}")
        elif fault.is_error:  # each call of rclpy's logger has one severity
            self._node.get_logger().error(f"{fault.text}{more}")
        else:
            self._node.get_logger().warning(f"{fault.text}{more}")
        return fault

    def _silence(self, states: dict[str, str]) -> None:
        """Logs when the last input dies, which no further set would report, and when inputs return."""
        if set(states.values()) == {"disabled"}:
            self._alive = None
            return
        alive = "present" in states.values()
        if not alive and self._alive is None:
            return  # before the first message nothing can have died
        self._alive = alive
        more = self._faults.note("inputs", "" if alive else "dead")
        if more is not None and alive:
            self._node.get_logger().info(f"inputs are back{more}")
        elif more is not None:
            self._node.get_logger().warning(f"no input is alive: no masks until one returns{more}")

    def explain(self, states: dict[str, str], counts: dict[str, Any], tuning: Tuning, now_ns: int) -> None:
        """Logs why modalities are missing, and what helps.

        Args:
            states, counts: as of `diagnostics`.
            tuning: of the moment.
            now_ns: of the node's clock.
        """
        if now_ns == 0:
            self.warn_once("clock", explain_no_clock())
            return
        for modality, stream in zip(self._rig.modalities, tuning.streams, strict=True):
            name, of_stream = modality.name, counts["streams"][modality.name]
            self._explain_losses(name, of_stream)
            if states[name] == "present":
                reason = _explain_match(of_stream, stream, counts["anchor"])
            elif states[name] == "absent":
                silent = not self.inputs[name].arrivals_ns
                reason = f"no data so far. {explain_silence(self._node, modality)}" if silent else None
            else:
                reason = explain_mismatch(of_stream, stream, counts["anchor"])
            if reason is not None:
                self.warn_once(name, reason)

    def _explain_losses(self, name: str, counts: dict[str, Any]) -> None:
        """Of packets of events."""
        if counts.get("lost"):
            self.warn_once(
                name,
                f"{counts['lost']} of its packets never came, by their sequence numbers. Set input_reliability or "
                "qos_overrides, see docs/node.md, or relieve this machine.",
            )
        if counts.get("skipped"):
            self.warn_once(
                name,
                f"{counts['skipped']} of its packets were skipped: they come faster than this machine decodes "
                "them. Limit the camera's event rate, or relieve this machine.",
            )


def _explain_match(counts: dict[str, Any], stream: Stream, anchor: str) -> str | None:
    return explain_mismatch(counts, stream, anchor) or explain_missing(counts, stream, anchor)
