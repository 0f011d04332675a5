"""The perception node: synchronise, segment, publish. A managed node that can also start itself."""

from typing import Any

import rclpy
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool, Trigger

from sartm_core.deploy import Segmenter, free_gpu_memory, load_segmenter
from sartm_core.deploy.bundle import check_serves, read_description
from sartm_core.errors import SartmError, shown
from sartm_core.resources import resolve_bundle
from sartm_core.rig import Rig
from sartm_core.sensing import reason_of
from sartm_ros.labelled_cloud import check_points
from sartm_ros.node.bond import ManagerBond
from sartm_ros.node.model import Load, Reloader, checked_rig, load_warm
from sartm_ros.node.parameters import Parameters, Settings, Tuning
from sartm_ros.node.process import catch_signals, end_at_once, ros_process
from sartm_ros.node.publishers import Publishers
from sartm_ros.node.session import Session
from sartm_ros.node.worker import STOP_S
from sartm_ros.outputs import resolved_outputs
from sartm_ros.pipeline import Pipeline

REFUSALS_EVERY_S = 10.0


class PerceptionNode(LifecycleNode):
    """Configure loads the bundle, activate subscribes, deactivate stops, cleanup frees.

    Inputs, outputs, parameters, services and diagnostics: docs/node.md.

    Args:
        load: makes the segmenter.
    """

    def __init__(self, load: Load = load_segmenter) -> None:
        super().__init__("perception")
        self._load = load
        self._pipeline: Pipeline | None = None
        self._reloader = Reloader(self, self._load_again)
        # A group of its own: what waits in the node's keeps all that is in it from running.
        group = ReentrantCallbackGroup()
        self._reload_service = self.create_service(Trigger, "~/reload", self._reload, callback_group=group)
        self._settable = Parameters(self, self._tune)
        self._session: Session | None = None
        self._left_behind: Session | None = None
        self._offered: list[Any] = []
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
        rig, served = checked_rig(settings, self.get_logger().warning)
        outputs = resolved_outputs(self._settable.outputs(), rig, served)
        has_points = self._can_give_points(rig)
        self._tuning = self._settable.declare_for(rig)
        segmenter = load_warm(self._load, settings, rig, self.get_logger().info)
        self._settings = settings
        self._pipeline = Pipeline(rig, segmenter, settings.smoothing_s)
        about = segmenter.bundle.rig, self._pipeline.provenance
        self._outputs = Publishers(self, *about, settings, outputs, has_points)
        self._offer_services(rig)
        self.get_logger().info(f"rig '{rig.name}': {', '.join(rig.names)}")

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
            assert self._pipeline is not None
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
        for service in self._offered:
            self.destroy_service(service)
        self._offered.clear()
        self._settable.undeclare()
        self._pipeline = None
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

    def is_loading(self) -> bool:
        """Whether a model is being loaded beside the one that runs."""
        return self._reloader.is_loading()

    def _load_again(self, rig: Rig) -> Segmenter:
        """Runs in a thread of its own."""
        settings = self._settable.settings()
        check_serves(read_description(resolve_bundle(settings.bundle)).rig, rig)
        return load_warm(self._load, settings, rig, self.get_logger().info)

    async def _reload(self, request: Any, response: Any) -> Any:
        """Answers ~/reload when the new model runs, or when it is known that it will not."""
        try:
            response.success, response.message = True, f"{await self._exchanged()} runs"
            self.get_logger().info(response.message)
        except Exception as error:  # whatever loading raises, the model before it runs on
            response.success, response.message = False, f"the model is not exchanged: {reason_of(error)}"
            self.get_logger().error(shown(response.message))
        return response

    async def _exchanged(self) -> str:
        """Loads the bundle that the parameter names, and has it take over; returns which it is.

        Raises:
            SartmError: it cannot be loaded or does not serve the rig, or the node is not configured; nothing changes.
        """
        pipeline = self._pipeline
        if pipeline is None:
            raise SartmError("the node is not configured; configuring it loads the bundle.")
        segmenter = await self._reloader.load(pipeline.configured_rig)
        if self._pipeline is not pipeline:
            raise SartmError("the node was cleaned up meanwhile.")

        def take() -> None:
            pipeline.replace(segmenter)
            self._outputs.describe(segmenter.bundle.rig, pipeline.provenance)

        if self._session is None:
            take()
        elif self._session.between_sets(take):
            self._outputs.publish_labels()
        else:
            raise SartmError(f"the network has not answered for {STOP_S:.0f} s. Restart the node.")
        free_gpu_memory()
        of = pipeline.provenance
        return f"bundle '{of.bundle}' ({of.sha256[:12]}), {of.backend},"

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

            self._offered.append(self.create_service(SetBool, service, answer))


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
        if node.is_loading():  # nobody waits for the model any more
            end_at_once(0)


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
