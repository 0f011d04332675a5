"""The perception node: synchronise, segment, publish. A managed node that can also start itself."""

import time
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool

from sartm_core.deploy import Segmenter, free_gpu_memory, load_segmenter, warm_up
from sartm_core.errors import SartmError, shown
from sartm_core.rig import Rig, load_rig
from sartm_ros.labelled_cloud import check_points
from sartm_ros.node.bond import ManagerBond
from sartm_ros.node.inputs import check_installed, installed_part
from sartm_ros.node.parameters import Parameters, Settings, Tuning
from sartm_ros.node.process import catch_signals, end_at_once, ros_process
from sartm_ros.node.publishers import Publishers
from sartm_ros.node.session import Session
from sartm_ros.node.worker import STOP_S
from sartm_ros.outputs import resolved_outputs
from sartm_ros.pipeline import Pipeline

REFUSALS_EVERY_S = 10.0

Load = Callable[..., Segmenter]


class PerceptionNode(LifecycleNode):
    """Configure loads the bundle, activate subscribes, deactivate stops, cleanup frees.

    Inputs, outputs, parameters, services and diagnostics: docs/node.md.

    Args:
        load: makes a segmenter of the parameters bundle, backend, device and threads, as `load_segmenter` does.
    """

    def __init__(self, load: Load = load_segmenter) -> None:
        super().__init__("perception")
        self._load = load
        self._settable = Parameters(self, self._tune)
        self._session: Session | None = None
        self._left_behind: Session | None = None
        self._enable_services: list[Any] = []
        self._bond = ManagerBond(self)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads and warms up; on failure the node stays unconfigured and says why."""
        try:
            self._configure(self._settable.settings())
        except Exception as error:  # rclpy would swallow it
            known = isinstance(error, SartmError | ParameterException)
            self.get_logger().error(str(error) if known else f"cannot be configured: {error!r}")
            self._settable.undeclare()
            return TransitionCallbackReturn.FAILURE
        for line in self._settable.unknown():
            self.get_logger().warning(line)
        return TransitionCallbackReturn.SUCCESS

    def _configure(self, settings: Settings) -> None:
        started = time.perf_counter()
        say = self.get_logger().info
        segmenter = self._load(settings.bundle, settings.backend, settings.device, settings.threads, say=say)
        bundle_rig = segmenter.bundle.rig
        # The bundle's own rig is what it can serve; a chosen rig is what the robot has.
        rig = load_rig(settings.rig) if settings.rig else installed_part(bundle_rig, self.get_logger().warning)
        pipeline = Pipeline(rig, segmenter)
        check_installed(rig)
        outputs = resolved_outputs(self._settable.outputs(), rig, bundle_rig)
        has_points = self._can_give_points(rig)
        self._tuning = self._settable.declare_for(rig)
        loaded = time.perf_counter()
        warm_up(segmenter, rig.names)
        warm = time.perf_counter()
        self._settings = settings
        self._pipeline = pipeline
        self._outputs = Publishers(self, bundle_rig, settings, outputs, has_points)
        self._offer_services(rig)
        self.get_logger().info(
            f"bundle '{segmenter.bundle.name}', {segmenter.backend}, is loaded ({loaded - started:.1f} s) and warm "
            f"({warm - loaded:.1f} s); rig '{rig.name}': {', '.join(rig.names)}"
        )

    def _can_give_points(self, rig: Rig) -> bool:
        try:
            check_points(rig)
        except SartmError as error:
            self.get_logger().info(f"~/points is not offered: {error}")
            return False
        return True

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribes and starts the worker; on failure the node stays inactive and says why."""
        super().on_activate(state)
        try:
            if self._left_behind is not None and self._left_behind.hangs():
                raise SartmError("the network still works on a set of the last session. Restart the node.")
            self._session = Session(self, self._pipeline, self._outputs, self._settings, self._tuning)
            self._session.start()
        except Exception as error:  # rclpy would swallow it
            self.get_logger().error(f"cannot be activated: {error}")
            self.stop()
            return TransitionCallbackReturn.FAILURE
        self._outputs.publish_labels()
        if not self.get_parameter("autostart").value:  # somebody manages it
            self._bond.form()
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops; the outputs stay."""
        self.stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees the model and takes the outputs away."""
        self._outputs.destroy()
        for service in self._enable_services:
            self.destroy_service(service)
        self._enable_services.clear()
        self._settable.undeclare()
        del self._pipeline
        free_gpu_memory()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops; nothing is published in the final state."""
        self.stop()
        return super().on_shutdown(state)

    def stop(self) -> bool:
        """Stops the session, if one is running.

        Returns:
            False where the network hangs. What it was at work on is left behind, and so is its thread.
        """
        self._bond.dissolve()
        session, self._session = self._session, None
        if session is not None and not session.stop():
            self._left_behind = session
            self.get_logger().error(
                f"the network has not answered for {STOP_S:.0f} s: it is left behind. Restart the node; if it happens "
                "again, look at the driver of the accelerator (`dmesg`, `nvidia-smi`)."
            )
        return self._left_behind is None or not self._left_behind.hangs()

    def _tune(self, tuning: Tuning) -> None:
        self._tuning = tuning
        if self._session is not None:
            self._session.apply(tuning)

    def _offer_services(self, rig: Rig) -> None:
        """~/enable and ~/<modality>/enable set the parameters of the same names."""
        for service, parameter in {
            "~/enable": "enabled",
            **{f"~/{name}/enable": f"{name}.enabled" for name in rig.names},
        }.items():

            def answer(request: Any, response: Any, parameter: str = parameter) -> Any:
                result = self.set_parameters([Parameter(parameter, value=request.data)])[0]
                response.success = result.successful
                response.message = result.reason or f"{parameter}: {'true' if request.data else 'false'}"
                return response

            self._enable_services.append(self.create_service(SetBool, service, answer))


def main(arguments: list[str] | None = None) -> None:
    """Entry point: spins until interrupted; exits with status 1 when the automatic start fails."""
    with ros_process("perception", arguments):
        run(PerceptionNode())


def run(node: PerceptionNode) -> None:
    """Starts a node, if it is to start itself, and spins it until SIGINT or SIGTERM.

    A network that hangs is not waited for: the process ends with status 1.

    Raises:
        SartmError: the automatic start failed.
    """
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
            _spin_once(executor, node)
    finally:
        is_stopped = node.stop()
        node.destroy_node()
        if not is_stopped:
            end_at_once(1)


def _spin_once(executor: SingleThreadedExecutor, node: PerceptionNode) -> None:
    """What rclpy cannot read it raises here: a request with a parameter type that does not exist, a /clock before 0."""
    try:
        executor.spin_once(timeout_sec=0.1)
    except Exception as error:  # whatever others send must not end the node
        if not rclpy.ok():
            raise
        node.get_logger().error(shown(f"refused: {error!r}"), throttle_duration_sec=REFUSALS_EVERY_S)


if __name__ == "__main__":
    main()
