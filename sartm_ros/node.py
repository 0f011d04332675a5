"""The perception node: synchronise, segment, publish. A managed node that can also start itself."""

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from sartm_core.deploy import load_segmenter
from sartm_core.errors import SartmError
from sartm_core.rig import COMPRESSED_IMAGE, IMAGE, POINT_CLOUD, Rig, check_serves, load_rig
from sartm_ros import parameters
from sartm_ros.diagnostics import InputMonitor, PipelineMonitor, diagnostic_array, explain_silence
from sartm_ros.messages import stamp_ns
from sartm_ros.pipeline import Pipeline, Result
from sartm_ros.process import catch_signals, ros_process
from sartm_ros.publishers import Publishers
from sartm_ros.synchronizer import Stream, Synchronizer
from sartm_ros.worker import NewestWins

TICK_S = 0.02
DIAGNOSTICS_S = 1.0
MESSAGE_TYPES = {IMAGE: Image, COMPRESSED_IMAGE: CompressedImage, POINT_CLOUD: PointCloud2}


class PerceptionNode(LifecycleNode):
    """Configure loads the bundle, activate subscribes, deactivate stops, cleanup frees.

    Outputs, parameters and diagnostics: docs/node.md.
    """

    def __init__(self) -> None:
        super().__init__("perception")
        parameters.declare(self)
        self._warned: set[tuple[str, str]] = set()
        self._worker: NewestWins[tuple[int, int, dict[str, Any]]] | None = None

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads and warms up; on failure the node stays unconfigured and says why."""
        try:
            self._settings = parameters.read(self)
            segmenter = load_segmenter(self._settings.bundle, self._settings.backend, self._settings.device)
            bundle_rig = segmenter.bundle.rig
            self._rig: Rig = load_rig(self._settings.rig) if self._settings.rig else bundle_rig
            check_serves(bundle_rig, self._rig)
            check_messages(self._rig)
            started = time.perf_counter()
            for _ in range(2):
                blank = {m.name: np.zeros((3, *m.size), bundle_rig.dtype) for m in self._rig.modalities}
                segmenter.segment(blank)
        except SartmError as error:
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        self._pipeline = Pipeline(self._rig, segmenter)
        self._outputs = Publishers(self, bundle_rig, self._settings.overlay_alpha)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.get_logger().info(
            f"bundle '{segmenter.bundle.name}' is loaded and warm ({time.perf_counter() - started:.1f} s); "
            f"rig '{self._rig.name}': {', '.join(self._rig.names)}"
        )
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribes and starts the worker; on failure the node stays inactive and says why."""
        super().on_activate(state)
        try:
            self._start()
        except Exception as error:  # rclpy would swallow it
            self.get_logger().error(f"cannot subscribe: {error}")
            self.stop()
            return TransitionCallbackReturn.FAILURE
        self._outputs.publish_labels()
        return TransitionCallbackReturn.SUCCESS

    def _start(self) -> None:
        self._states: dict[str, str] = {}
        self._camera_info: CameraInfo | None = None
        self._frame_id = ""
        self._inputs = {name: InputMonitor() for name in self._rig.names}
        self._monitor = PipelineMonitor()
        self._open_timers: list[Any] = []
        self._open_subscriptions: list[Any] = []
        self._worker = NewestWins(self._process)
        waits = self._rig.synchronizer
        streams = [Stream(m.name, m.tolerance_s, m.offset_s, m.required) for m in self._rig.modalities]
        self._synchronizer = Synchronizer(
            streams, self._rig.reference, waits.max_wait_s, waits.stale_after_s, self._on_set
        )
        self._subscribe()
        for period_s, callback in (
            (TICK_S, lambda: self._synchronizer.tick(self._now_ns())),
            (DIAGNOSTICS_S, self._publish_diagnostics),
            (self._settings.silence_warning_s, self._warn_of_silence),
        ):
            # Not the node's clock: when /clock jumps to a recording's time, every timer of it is due at once.
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._open_timers.append(self.create_timer(period_s, callback, clock=steady))

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops; the outputs stay."""
        self.stop()
        return super().on_deactivate(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops: the final state is silent."""
        self.stop()
        return super().on_shutdown(state)

    def stop(self) -> None:
        """Takes timers and subscriptions away and ends the worker, after what is running; idle, does nothing."""
        if self._worker is None:
            return
        for timer in self._open_timers:
            self.destroy_timer(timer)
        for subscription in self._open_subscriptions:
            self.destroy_subscription(subscription)
        self._worker.stop()
        self._worker = None

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees the model and takes the outputs away."""
        self._outputs.destroy()
        self.destroy_publisher(self._diagnostics)
        del self._pipeline
        return TransitionCallbackReturn.SUCCESS

    def _subscribe(self) -> None:
        reliability = {"best_effort": ReliabilityPolicy.BEST_EFFORT, "reliable": ReliabilityPolicy.RELIABLE}
        qos = QoSProfile(depth=5, reliability=reliability[self._settings.input_reliability])
        wanted: list[tuple[Any, str, Callable[[Any], None]]] = [
            (MESSAGE_TYPES[modality.message], modality.topic, functools.partial(self._on_message, modality.name))
            for modality in self._rig.modalities
        ]
        camera_info = self._rig.modality(self._rig.reference).camera_info
        if camera_info is not None:
            wanted.append((CameraInfo, camera_info, self._on_camera_info))
        for message_type, topic, callback in wanted:
            self._open_subscriptions.append(self.create_subscription(message_type, topic, callback, qos))

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._camera_info = message

    def _on_message(self, name: str, message: Any) -> None:
        now_ns, stamp = self._now_ns(), stamp_ns(message)
        if stamp <= 0:
            self._warn_once(name, "its messages have no time stamp (0) and are refused. Let the driver stamp them.")
        if name == self._rig.reference:
            self._frame_id = message.header.frame_id
        self._inputs[name].arrived(stamp, now_ns)
        self._synchronizer.add(name, stamp, message, now_ns)

    def _on_set(self, stamp: int, messages: dict[str, Any]) -> None:
        assert self._worker is not None
        self._worker.submit((stamp, self._now_ns(), messages))

    def _process(self, job: tuple[int, int, dict[str, Any]]) -> None:
        """In the worker's thread. A fault costs this set, never the node."""
        stamp, submitted_ns, messages = job
        try:
            result = self._pipeline.run(stamp, messages)
            for name, reason in result.broken.items():
                self._inputs[name].broken += 1
                self._warn_once(name, f"a message cannot be used and counts as absent: {reason}")
            if result.segmentation is not None:
                self._publish(result, messages, submitted_ns)
        except Exception as error:  # whatever it is, the next set may be fine
            self.get_logger().error(f"a set of {', '.join(messages)} failed: {error!r}", throttle_duration_sec=5.0)

    def _publish(self, result: Result, messages: dict[str, Any], submitted_ns: int) -> None:
        assert result.segmentation is not None
        stamp = result.frames.stamp_ns
        started = time.perf_counter()
        states = self._states_of(result, messages)
        frame_id = self._frame_id or next(iter(messages.values())).header.frame_id
        backdrop = self._pipeline.backdrop(result.frames)
        self._outputs.publish(result.segmentation, stamp, frame_id, backdrop, self._camera_info, states)
        self._report_changes(states)
        self._monitor.finished(
            wait=(submitted_ns - stamp) / 1e9,
            prepare=result.prepare_s,
            segment=result.segment_s,
            publish=time.perf_counter() - started,
            stamp_to_mask=(self._now_ns() - stamp) / 1e9,
        )

    def _states_of(self, result: Result, messages: dict[str, Any]) -> dict[str, str]:
        """State of every modality of the bundle in this set: present, absent, stale (silent for long) or broken."""
        states = dict.fromkeys(self._pipeline.segmenter.bundle.rig.names, "absent")
        for name in self._rig.names:
            if name in result.broken:
                states[name] = "broken"
            elif name in messages:
                states[name] = "present"
            elif self._synchronizer.state(name, self._now_ns()) == "stale":
                states[name] = "stale"
        return states

    def _report_changes(self, states: dict[str, str]) -> None:
        """One line when a modality fails or returns; a slow one that merely misses a set is no news."""
        for name in self._rig.names:
            before, now = self._states.get(name, "present"), states[name]
            if now == before or now == "absent":
                continue
            self._states[name] = now
            if now == "present":
                self.get_logger().info(f"{name} is back")
            else:
                self.get_logger().warning(f"{name} is {now}: masks go on without it")

    def _publish_diagnostics(self) -> None:
        assert self._worker is not None
        self._diagnostics.publish(
            diagnostic_array(self, self._inputs, self._monitor, self._synchronizer, self._worker.dropped)
        )

    def _warn_of_silence(self) -> None:
        for modality in self._rig.modalities:
            if self._synchronizer.state(modality.name, self._now_ns()) == "absent":
                self._warn_once(modality.name, f"no data so far. {explain_silence(self, modality)}")

    def _warn_once(self, name: str, text: str) -> None:
        if (name, text) not in self._warned:
            self._warned.add((name, text))
            self.get_logger().warning(f"{name}: {text}")


def check_messages(rig: Rig) -> None:
    """Raises SartmError for a modality whose message type the node does not read."""
    for modality in rig.modalities:
        if modality.message not in MESSAGE_TYPES:
            raise SartmError(
                f"rig '{rig.name}', modality '{modality.name}': the node does not read {modality.message}; it reads "
                f"{', '.join(MESSAGE_TYPES)}. Leave the modality out of the rig file, or publish rendered images and "
                "train with encoding: image."
            )


def main(arguments: list[str] | None = None) -> None:
    """Entry point: spins until interrupted; exits with status 1 when the automatic start fails."""
    with ros_process("perception", arguments):
        node = PerceptionNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        autostart = node.get_parameter("autostart").value
        if autostart and node.trigger_configure() != TransitionCallbackReturn.SUCCESS:
            raise SartmError("the automatic start failed; see the message above")
        interrupted = catch_signals()
        if autostart and node.trigger_activate() != TransitionCallbackReturn.SUCCESS:
            raise SartmError("the automatic start failed; see the message above")
        try:
            while not interrupted.is_set():
                executor.spin_once(timeout_sec=0.1)
        finally:
            node.stop()


if __name__ == "__main__":
    main()
