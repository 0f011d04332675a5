"""What runs while the node is active: messages in, sets matched, masks out, faults reported."""

import dataclasses
import re
import time
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo

from sartm_core.errors import SartmError
from sartm_core.sensing import reason_of
from sartm_ros.decoding.calibration import Calibrator
from sartm_ros.decoding.images import stamp_ns
from sartm_ros.explanations import NO_STAMP, explain_mismatch, explain_missing
from sartm_ros.filter_synchronizer import FilterSynchronizer
from sartm_ros.frame_sets import FrameSetProcessor
from sartm_ros.node.diagnostics import (
    InputMonitor,
    PipelineMonitor,
    diagnostic_array,
    explain_no_clock,
    explain_silence,
)
from sartm_ros.node.inputs import Inputs
from sartm_ros.node.parameters import Settings, Tuning
from sartm_ros.node.publishers import Publishers
from sartm_ros.node.worker import NewestWins, Ticker
from sartm_ros.pipeline import Pipeline, Result
from sartm_ros.synchronizer import Synchronizer

TICK_S = 0.02
DIAGNOSTICS_S = 1.0
MOST_WARNINGS = 1000

Job = tuple[int, int, dict[str, Any]]
"""Stamp of a set, when it was complete (both nanoseconds), its messages."""


class Session:
    """From `start` to `stop`.

    The executor's thread receives and matches, one of its own receives packets of events (`PacketReceiver`), a worker's
    thread segments and publishes.

    Args:
        node: owns subscriptions, timers and the logger.
        pipeline: with the loaded bundle.
        outputs: where results go.
        settings: as configured.
        tuning: what `apply` may change later.

    Raises:
        SartmError: a policy of message_filters, which is not installed.
    """

    def __init__(
        self, node: LifecycleNode, pipeline: Pipeline, outputs: Publishers, settings: Settings, tuning: Tuning
    ) -> None:
        self._node, self._pipeline, self._outputs = node, pipeline, outputs
        # The calibration learnt in an earlier session may have been corrected since.
        pipeline.forget()
        self._rig = pipeline.configured_rig
        self._silence_warning_s = settings.silence_warning_s
        self._tuning = tuning
        self._calibrator = Calibrator(self._rig)
        self._warned: set[tuple[str, str]] = set()
        self._states: dict[str, str] = {}
        self._alive: bool | None = None
        self._unusable: dict[str, str] = {}
        self._resets = 0
        self._camera_info: CameraInfo | None = None
        self._monitors = {m.name: InputMonitor(m.rate_hz) for m in self._rig.modalities}
        self._monitor = PipelineMonitor()
        self._timers: list[Any] = []
        arguments = (
            list(tuning.streams), self._rig.reference, tuning.max_wait_s, tuning.stale_after_s, self._on_set,
        )  # fmt: skip
        self._synchronizer: Synchronizer | FilterSynchronizer = (
            Synchronizer(*arguments)
            if settings.sync_policy == "anchor"
            else FilterSynchronizer(*arguments, policy=settings.sync_policy)
        )
        self._inputs = Inputs(
            node,
            self._rig,
            settings.input_reliability,
            self._on_message,
            self._on_packets,
            self._on_camera_info,
            self._count_broken,
            self._warn_once,
        )
        self._worker: NewestWins[Job] = NewestWins(self._process)
        self._ticker = Ticker(TICK_S, lambda: self._synchronizer.tick(self._now_ns()))

    @property
    def _processor(self) -> FrameSetProcessor:
        return self._pipeline.processor

    def start(self) -> None:
        """Opens the inputs."""
        self.apply(self._tuning)
        if self._calibrator.wants_transforms and not self._inputs.open_transforms(self._on_transforms):
            raise SartmError(
                "calibration: ros needs tf2_msgs, which is not installed: apt install ros-$ROS_DISTRO-tf2-ros"
            )
        for period_s, callback in (
            (DIAGNOSTICS_S, self._publish_diagnostics),
            (self._silence_warning_s, self._explain_what_is_missing),
        ):
            # Not the node's clock: when /clock jumps to a recording's time, every timer of it is due at once.
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._timers.append(self._node.create_timer(period_s, callback, clock=steady))
        self._ticker.start()

    def apply(self, tuning: Tuning) -> None:
        """Applies the parameters that can change while it runs."""
        self._report_switches(tuning)
        changed = {s.name for s, before in zip(tuning.streams, self._tuning.streams, strict=True) if s != before}
        self._warned = {key for key in tuple(self._warned) if key[0] not in changed}  # may be reported again
        self._tuning = tuning
        self._processor.stale_after_s = tuning.stale_after_s
        streams = [dataclasses.replace(s, enabled=s.enabled and tuning.enabled) for s in tuning.streams]
        for stream in streams:
            self._synchronizer.update(stream)
        self._synchronizer.set_waits(tuning.max_wait_s, tuning.stale_after_s)
        self._outputs.overlay_alpha = tuning.overlay_alpha
        self._inputs.set_open({stream.name for stream in streams if stream.enabled})

    def stop(self) -> None:
        """Destroys timers and inputs, and stops the worker after its current job."""
        for timer in self._timers:
            self._node.destroy_timer(timer)
        self._timers.clear()
        self._ticker.stop()
        self._inputs.close()
        self._worker.stop()

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _on_message(self, name: str, message: Any) -> None:
        now_ns, stamp = self._now_ns(), stamp_ns(message)
        self._monitors[name].arrived(stamp, now_ns)
        if stamp <= 0:
            self._warn_once(name, NO_STAMP)
        try:
            self._note_frame(name, message)
            self._synchronizer.add(name, stamp, message, now_ns)
        except Exception as error:  # whatever a message holds must not end the node
            self._count_broken(name, reason_of(error))

    def _on_packets(self, name: str, packets: list[Any]) -> None:
        """Runs in the receiver's thread."""
        now_ns, stamps = self._now_ns(), [stamp_ns(packet) for packet in packets]
        for stamp in stamps:
            self._monitors[name].arrived(stamp, now_ns)
        if min(stamps) <= 0:
            self._warn_once(name, NO_STAMP)
        try:
            self._note_frame(name, packets[-1])
            if self._processor.gather(name, packets, stamps, now_ns):
                self._synchronizer.add(name, stamps[-1], packets[-1], now_ns)
        except Exception as error:  # whatever a message holds must not end the node
            self._count_broken(name, reason_of(error))

    def _note_frame(self, name: str, message: Any) -> None:
        self._calibrator.frame(name, message.header.frame_id)
        self._processor.note_frame_id(name, message.header.frame_id)

    def _on_camera_info(self, name: str, message: CameraInfo) -> None:
        if name == self._rig.reference:
            self._camera_info = message
            self._processor.note_camera_info(message)
        try:
            remark = self._calibrator.camera_info(name, message)
        except Exception as error:
            self._warn_once(name, reason_of(error))
            return
        if remark is not None:
            self._warn_once(name, remark)
        self._processor.rig = self._calibrator.rig

    def _on_transforms(self, message: Any) -> None:
        self._calibrator.transforms(message)
        self._processor.rig = self._calibrator.rig

    def _on_set(self, stamp: int, messages: dict[str, Any]) -> None:
        self._processor.rig = self._calibrator.rig
        self._worker.submit((stamp, self._now_ns(), messages))

    def _process(self, job: Job) -> None:
        """Runs in the worker's thread. A fault costs this set, never the node."""
        stamp, submitted_ns, messages = job
        try:
            now_ns = self._now_ns()
            result = self._pipeline.run(
                stamp,
                messages,
                offsets_s={s.name: s.offset_s for s in self._tuning.streams},
                stale={name for name in self._rig.names if self._synchronizer.state(name, now_ns) == "stale"},
                now_ns=now_ns,
            )
            for name, reason in result.frames.newly_broken.items():
                self._count_broken(name, reason)
            for name, reason in result.frames.empty.items():
                self._warn_once(name, f"its measurement is empty and counts as absent: {reason}")
            unusable = self._unusable | dict.fromkeys(result.frames.broken, "broken")
            unusable |= dict.fromkeys(result.frames.empty, "empty")
            self._unusable = {name: state for name, state in unusable.items() if name not in result.frames.planes}
            if result.segmentation is not None:
                self._publish(result, submitted_ns)
            else:
                self._monitor.unusable += 1
            self._report_changes(result.frames.states)
        except Exception as error:  # the next set may be fine
            self._monitor.failed += 1
            self._monitor.unusable += 1
            self._node.get_logger().error(
                f"a set of {', '.join(messages)} failed: {error!r}", throttle_duration_sec=5.0
            )

    def _publish(self, result: Result, submitted_ns: int) -> None:
        assert result.segmentation is not None
        stamp = result.frames.stamp_ns
        started = time.perf_counter()
        self._outputs.publish(
            result.segmentation,
            stamp,
            result.frames.frame_id,
            lambda: self._pipeline.backdrop(result.frames.planes),
            self._camera_info,
            result.frames.states,
        )
        self._monitor.finished(
            wait=(submitted_ns - stamp) / 1e9,
            prepare=result.prepare_s,
            segment=result.segment_s,
            publish=time.perf_counter() - started,
            stamp_to_mask=(self._now_ns() - stamp) / 1e9,
        )

    def _report_changes(self, states: dict[str, str]) -> None:
        """Logs when a modality fails or returns, not when a slow one merely misses a set."""
        for name in self._rig.names:
            before, now = self._states.get(name, "present"), states[name]
            if now == before or now == "absent":
                continue
            self._states[name] = now
            if now == "present":
                self._node.get_logger().info(f"{name} is back")
            else:
                self._node.get_logger().warning(f"{name} is {now}: segmenting without it")

    def _report_switches(self, tuning: Tuning) -> None:
        """Logs what was switched: whoever reads the log may not have done it."""
        switched = {"enabled": (self._tuning.enabled, tuning.enabled)} | {
            f"{before.name}.enabled": (before.enabled, now.enabled)
            for before, now in zip(self._tuning.streams, tuning.streams, strict=True)
        }
        for parameter, (before, now) in switched.items():
            if now != before:
                self._node.get_logger().info(f"{parameter} is switched {'on' if now else 'off'}")

    def _publish_diagnostics(self) -> None:
        counts = self._synchronizer.statistics()
        if counts["resets"] != self._resets:
            self._resets = counts["resets"]
            self._node.get_logger().warning(
                "stamps jumped back (a recording that loops, a clock that was set): matching starts again"
            )
        for name, losses in self._processor.losses().items():
            counts["streams"][name] |= losses
        now_ns = self._now_ns()
        states = {name: self._synchronizer.state(name, now_ns) for name in self._rig.names}
        undecodable = self._processor.undecodable(now_ns)
        for name, state in states.items():
            if state != "disabled" and name in undecodable:
                states[name] = "broken"
            elif state == "present" and name in self._unusable:
                states[name] = self._unusable[name]
        self._report_silence(states)
        message = diagnostic_array(self._node, states, self._monitors, self._monitor, counts, self._worker.dropped)
        self._outputs.publish_diagnostics(message)

    def _report_silence(self, states: dict[str, str]) -> None:
        """Logs when the last input dies, which no further set would report, and when inputs return."""
        if set(states.values()) == {"disabled"}:
            self._alive = None
            return
        alive = "present" in states.values()
        if self._alive and not alive:
            self._node.get_logger().warning("no input is alive: no masks until one returns")
        elif self._alive is False and alive:
            self._node.get_logger().info("inputs are back")
        if alive or self._alive is not None:  # before the first message nothing can have died
            self._alive = alive

    def _explain_what_is_missing(self) -> None:
        now_ns = self._now_ns()
        if now_ns == 0:
            self._warn_once("clock", explain_no_clock())
            return
        counts = self._synchronizer.statistics()
        for modality, stream in zip(self._rig.modalities, self._tuning.streams, strict=True):
            state, of_stream = self._synchronizer.state(modality.name, now_ns), counts["streams"][modality.name]
            if state == "absent":
                if not self._monitors[modality.name].arrivals_ns:
                    self._warn_once(modality.name, f"no data so far. {explain_silence(self._node, modality)}")
                continue
            reason = explain_mismatch(of_stream, stream, counts["anchor"])
            if reason is None and state == "present":
                reason = explain_missing(of_stream, stream, counts["anchor"])
            if reason is not None:
                self._warn_once(modality.name, reason)
        for name, losses in self._processor.losses().items():
            if losses["lost"]:
                self._warn_once(
                    name,
                    f"{losses['lost']} of its packets never came, by their sequence numbers. Set input_reliability or "
                    "qos_overrides, see docs/node.md, or relieve this machine.",
                )
            if losses["skipped"]:
                self._warn_once(
                    name,
                    f"{losses['skipped']} of its packets were skipped: they come faster than this machine decodes "
                    "them. Limit the camera's event rate, or relieve this machine.",
                )

    def _count_broken(self, name: str, reason: str) -> None:
        self._monitors[name].broken += 1
        self._warn_once(name, f"a message is unusable and counts as absent: {reason}")

    def _warn_once(self, name: str, text: str) -> None:
        key = (name, re.sub(r"\d[\d.]*", "#", text))  # the same fault with other numbers is not reported again
        if key not in self._warned and len(self._warned) < MOST_WARNINGS:
            self._warned.add(key)
            self._node.get_logger().warning(f"{name}: {text}")
            if len(self._warned) == MOST_WARNINGS:
                self._node.get_logger().warning("further faults are only counted in /diagnostics")
