"""What runs while the node is active: messages in, sets matched, masks out, faults reported."""

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo

from sartm_core.errors import shown
from sartm_core.segmentation import Segmentation
from sartm_core.sensing import reason_of
from sartm_ros.decoding.calibration import Calibrator
from sartm_ros.decoding.images import stamp_ns
from sartm_ros.explanations import NO_STAMP
from sartm_ros.filter_synchronizer import FilterSynchronizer
from sartm_ros.frame_sets import FrameSet, FrameSetProcessor
from sartm_ros.labelled_cloud import Cloud, labelled_cloud
from sartm_ros.node.inputs import Inputs
from sartm_ros.node.parameters import Settings, Tuning
from sartm_ros.node.publishers import Publishers
from sartm_ros.node.reports import Reports
from sartm_ros.node.usage import Usage
from sartm_ros.node.worker import STOP_S, NewestWins, Ticker
from sartm_ros.pipeline import Pipeline, Result
from sartm_ros.synchronizer import Synchronizer

TICK_S = 0.02
DIAGNOSTICS_S = 1.0
FAILURES_EVERY_S = 60.0

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
        self._min_confidence, self._points_out_of_view = settings.min_confidence, settings.points_out_of_view
        self._tuning = tuning
        self._calibrator = Calibrator(self._rig)
        self._reports = Reports(node, self._rig)
        self._camera_info: CameraInfo | None = None
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
            self._reports.broken,
            self._reports.warn_once,
        )
        self._usage = Usage()
        self._busy = threading.Lock()
        self._worker: NewestWins[Job] = NewestWins(self._process)
        self._ticker = Ticker(TICK_S, lambda: self._synchronizer.tick(self._now_ns()))

    @property
    def _processor(self) -> FrameSetProcessor:
        return self._pipeline.processor

    def start(self) -> None:
        """Opens the inputs."""
        self.apply(self._tuning)
        if self._calibrator.wants_transforms:
            self._inputs.open_transforms(self._on_transforms)
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
        self._reports.switched(self._tuning, tuning)
        changed = {s.name for s, before in zip(tuning.streams, self._tuning.streams, strict=True) if s != before}
        self._reports.forget(changed)
        self._tuning = tuning
        self._processor.stale_after_s = tuning.stale_after_s
        streams = [dataclasses.replace(s, enabled=s.enabled and tuning.enabled) for s in tuning.streams]
        for stream in streams:
            self._synchronizer.update(stream)
        self._synchronizer.set_waits(tuning.max_wait_s, tuning.stale_after_s)
        self._outputs.overlay_alpha = tuning.overlay_alpha
        self._inputs.set_open({stream.name for stream in streams if stream.enabled})

    def between_sets(self, call: Callable[[], None]) -> bool:
        """Runs a call while no set is segmented.

        Returns:
            False where the network has not answered in time; then the call is not run.
        """
        if not self._busy.acquire(timeout=STOP_S):
            return False
        try:
            call()
        finally:
            self._busy.release()
        return True

    def stop(self) -> bool:
        """Destroys timers and inputs, and stops the worker after its current job.

        Returns:
            False where the network has not answered in time: its thread is left behind.
        """
        for timer in self._timers:
            self._node.destroy_timer(timer)
        self._timers.clear()
        self._ticker.stop()
        self._inputs.close()
        return self._worker.stop()

    def hangs(self) -> bool:
        """Whether, after `stop`, the network is still at work."""
        return self._worker.hangs()

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _on_message(self, name: str, message: Any) -> None:
        now_ns, stamp = self._now_ns(), stamp_ns(message)
        self._reports.inputs[name].arrived(stamp, now_ns)
        if stamp <= 0:
            self._reports.warn_once(name, NO_STAMP)
        try:
            self._note_frame(name, message)
            self._synchronizer.add(name, stamp, message, now_ns)
        except Exception as error:  # whatever a message holds must not end the node
            self._reports.broken(name, reason_of(error))

    def _on_packets(self, name: str, packets: list[Any]) -> None:
        """Runs in the receiver's thread."""
        now_ns, stamps = self._now_ns(), [stamp_ns(packet) for packet in packets]
        for stamp in stamps:
            self._reports.inputs[name].arrived(stamp, now_ns)
        if min(stamps) <= 0:
            self._reports.warn_once(name, NO_STAMP)
        try:
            self._note_frame(name, packets[-1])
            if self._processor.gather(name, packets, stamps, now_ns):
                self._synchronizer.add(name, stamps[-1], packets[-1], now_ns)
        except Exception as error:  # whatever a message holds must not end the node
            self._reports.broken(name, reason_of(error))

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
            self._reports.warn_once(name, reason_of(error))
            return
        if remark is not None:
            self._reports.warn_once(name, remark)
        self._processor.rig = self._calibrator.rig

    def _on_transforms(self, message: Any) -> None:
        self._calibrator.transforms(message)
        self._processor.rig = self._calibrator.rig

    def _on_set(self, stamp: int, messages: dict[str, Any]) -> None:
        self._processor.rig = self._calibrator.rig
        self._worker.submit((stamp, self._now_ns(), messages))

    def _process(self, job: Job) -> None:
        """Runs in the worker's thread. A fault costs this set, never the node."""
        with self._busy:
            self._segment(*job)

    def _segment(self, stamp: int, submitted_ns: int, messages: dict[str, Any]) -> None:
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
                self._reports.broken(name, reason)
            for name, reason in result.frames.empty.items():
                self._reports.warn_once(name, f"its measurement is empty and counts as absent: {reason}")
            unusable = self._reports.unusable | dict.fromkeys(result.frames.broken, "broken")
            unusable |= dict.fromkeys(result.frames.empty, "empty")
            self._reports.unusable = {
                name: state for name, state in unusable.items() if name not in result.frames.planes
            }
            if self._worker.is_left_behind:
                return  # the publishers may be gone
            if result.segmentation is not None:
                self._publish(result, submitted_ns)
            else:
                self._reports.pipeline.without_mask(None)
            self._reports.changed(result.frames.states)
        except Exception as error:  # the next set may be fine
            self._reports.pipeline.without_mask(reason_of(error))
            self._node.get_logger().error(
                shown(f"a set of {', '.join(messages)} failed: {reason_of(error)}"),
                throttle_duration_sec=FAILURES_EVERY_S,
            )

    def _publish(self, result: Result, submitted_ns: int) -> None:
        assert result.segmentation is not None
        stamp = result.frames.stamp_ns
        started = time.perf_counter()
        segmentation = result.segmentation.at_least(self._min_confidence)
        self._outputs.publish(
            segmentation,
            stamp,
            result.frames.frame_id,
            lambda: self._pipeline.backdrop(result.frames.planes),
            lambda organised: self._cloud(result.frames, segmentation, organised),
            self._camera_info,
            result.frames.states,
        )
        self._reports.pipeline.reused += result.segmentation.reused
        self._reports.pipeline.finished(
            wait=(submitted_ns - stamp) / 1e9,
            prepare=result.prepare_s,
            segment=result.segment_s,
            publish=time.perf_counter() - started,
            stamp_to_mask=(self._now_ns() - stamp) / 1e9,
        )

    def _cloud(self, frames: FrameSet, segmentation: Segmentation, organised: bool) -> Cloud | None:
        """The labelled points; None where nothing measures them, or where it stands cannot be told."""
        try:
            palette = self._pipeline.segmenter.bundle.rig.palette
            rig = self._calibrator.rig
            return labelled_cloud(rig, frames, segmentation, palette, self._points_out_of_view, organised)
        except Exception as error:  # whatever was measured, it costs the points only
            self._reports.warn_once("points", reason_of(error))
            return None

    def _publish_diagnostics(self) -> None:
        states, counts = self._now()
        for name in self._processor.undecodable(self._now_ns()):
            if states[name] != "disabled":
                states[name] = "broken"
        worker, about = self._worker, {**self._pipeline.provenance.as_dict(), **self._usage.values()}
        self._outputs.publish_diagnostics(
            self._reports.diagnostics(states, counts, self._tuning, worker.dropped, worker.busy_s(), about)
        )

    def _explain_what_is_missing(self) -> None:
        self._reports.explain(*self._now(), self._tuning, self._now_ns())

    def _now(self) -> tuple[dict[str, str], dict[str, Any]]:
        """The state of each modality, and the counts of all."""
        counts, now_ns = self._synchronizer.statistics(), self._now_ns()
        for name, losses in self._processor.losses().items():
            counts["streams"][name] |= losses
        return {name: self._synchronizer.state(name, now_ns) for name in self._rig.names}, counts
