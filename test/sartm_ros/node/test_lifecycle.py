"""The real node in a process of its own, over real DDS."""

import json
import signal
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from safetensors.torch import save_file
from std_msgs.msg import String

from sartm_core.deploy import load_segmenter
from sartm_core.deploy.bundle import WEIGHTS_FILE, NetworkShape
from sartm_core.files import sha256
from sartm_core.learning.export import describe
from sartm_core.model.presets import build_network, preset_for_rig
from sartm_core.rig import Rig
from sartm_ros.decoding.images import raw_array, stamp_ns
from sartm_sim.simulation import SimulatedFrame

MASKS = "/perception/mask"


def change_state(host, transition: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return host.call(ChangeState, "/perception/change_state", request).success


def masks_come(host, feed) -> bool:
    """Feeds until three masks have come; a busy machine drops sets, so their number is not asked for."""
    for _ in range(20):
        feed(3, "rgb", "thermal", "depth")
        if len(host.heard[MASKS]) >= 3:
            return True
    return False


def state(host) -> str:
    return host.call(GetState, "/perception/get_state", GetState.Request()).current_state.label


def test_a_set_becomes_a_mask_with_everything_beside_it(
    host, node, feed, sim_rig: Rig, day_frame: SimulatedFrame
) -> None:
    stamps = feed(15, "rgb", "thermal", "depth")
    assert host.until(lambda: len(host.heard[MASKS]) >= 3, 10), node.log()
    host.spin(1.5)
    mask = host.heard[MASKS][-1]
    assert stamp_ns(mask) in stamps
    assert (mask.encoding, mask.height, mask.width, mask.header.frame_id) == ("mono8", 256, 320, "camera_optical")
    assert (raw_array(mask) == day_frame.truth).mean() > 0.8
    confidence = raw_array(host.heard["/perception/confidence"][-1])
    assert confidence.dtype == np.uint8  # mono8, what costmaps read
    assert 0 < confidence.mean() <= 255
    overlay = host.heard["/perception/overlay"][-1]
    assert (overlay.encoding, overlay.height, overlay.width) == ("rgb8", 256, 320)
    levels = [status.name for status in host.heard["/perception/routing_weights"][-1].status]
    assert levels == [f"perception: routing {level}" for level in ("FFP", "IFP", "SFM")]
    routing = host.routing()
    assert sum(float(routing[name]) for name in sim_rig.names) == pytest.approx(1, abs=1e-4)
    assert {routing[f"{name}.state"] for name in sim_rig.names} == {"present"}
    labels = json.loads(host.heard["/perception/labels"][0].data)
    assert [entry["name"] for entry in labels["classes"]] == list(sim_rig.class_names)
    diagnostics = host.diagnostics()
    assert float(diagnostics["perception: input rgb"]["frame_rate_msg"]) == pytest.approx(10, abs=4)
    assert host.until(lambda: int(host.diagnostics()["perception: pipeline"]["masks"]) == len(host.heard[MASKS]), 5)
    assert float(diagnostics["perception: pipeline"]["stamp_to_mask_ms_p50"]) > 0


def test_the_camera_dies_and_masks_go_on(host, node, feed) -> None:
    feed(5, "rgb", "thermal", "depth")
    feed(1, "thermal", "depth")
    masks_before = len(host.heard[MASKS])
    without: list[int] = []
    for _ in range(10):  # on a busy machine the newest sets replace the others
        without += feed(12, "thermal", "depth")
        host.spin(0.5)
        if len(host.heard[MASKS]) > masks_before + 3:
            break
    assert len(host.heard[MASKS]) > masks_before + 3, node.log()
    assert stamp_ns(host.heard[MASKS][-1]) in without
    routing = host.routing()
    assert float(routing["rgb"]) == 0.0
    assert routing["rgb.state"] == "stale"
    assert float(routing["thermal"]) > 0
    assert (host.heard[MASKS][-1].height, host.heard[MASKS][-1].width) == (256, 320)
    assert "rgb is stale: segmenting without it" in node.log()
    back = feed(5, "rgb", "thermal", "depth")
    host.spin(0.5)
    assert stamp_ns(host.heard[MASKS][-1]) in back
    assert float(host.routing()["rgb"]) > 0
    assert node.log().count("rgb is back") == 1
    assert "no input is alive" not in node.log()
    assert host.until(lambda: "no input is alive: no masks until one returns" in node.log(), 5)  # all fell silent
    feed(15, "depth")
    assert host.until(lambda: "inputs are back" in node.log(), 5), node.log()


def test_broken_messages_count_as_absent_and_kill_nothing(host, node, feed) -> None:
    for fault, reported in (({"step": 5}, "got step 5"), ({"encoding": "nonsense"}, "encoding 'nonsense'")):
        for _ in range(10):  # on a busy machine the newest sets replace the others
            feed(4, "rgb", "thermal", "depth", thermal=fault)
            if reported in node.log():
                break
    host.spin(1.5)
    assert host.heard[MASKS], node.log()
    routing = host.routing()
    assert float(routing["thermal"]) == 0.0
    assert routing["thermal.state"] == "broken"
    assert float(routing["rgb"]) > 0
    assert int(host.diagnostics()["perception: input thermal"]["broken"]) >= 2
    assert "got step 5" in node.log()
    assert "encoding 'nonsense'" in node.log()
    assert node.log().count("got step 5") == 1  # once, not every frame
    for _ in range(10):
        feed(3, "rgb", "thermal", "depth")
        if float(host.routing()["thermal"]) > 0:
            break
    assert float(host.routing()["thermal"]) > 0


def test_messages_without_a_stamp_are_named(host, node, sim_rig: Rig, day_frame: SimulatedFrame) -> None:
    for _ in range(3):
        host.publish(sim_rig.modality("rgb").topic, day_frame.raw["rgb"], "rgb8", 0)
        host.spin(0.1)
    assert host.until(lambda: "rgb: its messages have no time stamp" in node.log(), 5), node.log()
    assert not host.heard[MASKS]


def test_silence_and_wrong_types_are_explained(host, node) -> None:
    publisher = host.node.create_publisher(String, "/sim/thermal/image", 10)
    publisher.publish(String(data="no image"))
    wanted = "/sim/thermal/image is published as std_msgs/msg/String, the rig file expects sensor_msgs/msg/Image"
    assert host.until(lambda: wanted in node.log(), 10), node.log()
    assert "Nothing publishes /sim/rgb/image. Start its driver, or correct the topic in the rig file." in node.log()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly_in_the_middle_of_its_work(host, start, feed, number: signal.Signals) -> None:
    node = start("sartm_ros.node", own_interpreter=True)
    assert host.until(lambda: host.heard["/perception/labels"] != [], 40), node.log()
    feed(5, "rgb", "thermal", "depth")
    for _ in range(3):  # the worker is inside the network when the signal comes
        feed(1, "rgb", "thermal", "depth")
    node.popen.send_signal(number)
    node.popen.send_signal(number)  # launch and the terminal both send one
    assert node.popen.wait(timeout=15) == 0, node.log()
    assert "Traceback" not in node.log()
    assert "terminate called" not in node.log()


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (["--help"], 0, "usage: perception --ros-args -p NAME:=VALUE"),
        (["-p", "rig:=rgbt"], 2, "unknown arguments: -p"),
        (["--ros-args", "-p", "rig=rgbt"], 2, "usage: perception --ros-args -p NAME:=VALUE"),
    ],
)
def test_wrong_arguments_are_not_ignored(start, arguments: list[str], status: int, expected: str) -> None:
    process = start("sartm_ros.node", *arguments)
    assert process.popen.wait(timeout=30) == status
    assert expected in process.log()
    assert "Traceback" not in process.log()


def test_an_interrupt_while_it_loads_ends_it_at_once(host, start) -> None:
    assert host.until(lambda: "perception" not in host.node.get_node_names(), 30)  # that of the test before is gone
    process = start("sartm_ros.node")
    assert host.until(lambda: "perception" in host.node.get_node_names(), 30), process.log()
    assert process.interrupt() == 0
    assert "Traceback" not in process.log()
    assert "terminate called" not in process.log()


def test_after_shutdown_it_is_silent(host, node, feed) -> None:
    feed(5, "rgb", "thermal", "depth")
    assert change_state(host, Transition.TRANSITION_ACTIVE_SHUTDOWN)
    host.spin(0.5)
    masks = len(host.heard[MASKS])
    assert masks > 0
    feed(5, "rgb", "thermal", "depth")
    assert len(host.heard[MASKS]) == masks
    assert node.interrupt() == 0


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"bundle": "nosuch"}, "bundle 'nosuch' was not found"),
        ({"rig": "nosuch"}, "no rig is called 'nosuch'"),
        ({"rig": "mfnet"}, "the bundle was trained for the classes road"),
        ({"backend": "magic"}, "parameter 'backend': expected one of auto, torch, onnx, tensorrt, got 'magic'"),
        ({"threads": "many"}, "parameter 'threads': expected an integer from 0 to 256, got 'many'"),
        ({"max_wait_s": "soon"}, "parameter 'max_wait_s': expected a number from 0.001 to 60, got 'soon'"),
    ],
)
def test_a_start_that_cannot_work_says_why(start, parameters: dict[str, str], expected: str) -> None:
    process = start("sartm_ros.node", **parameters)
    assert process.popen.wait(timeout=40) == 1
    assert expected in process.log()
    assert "Traceback" not in process.log()


def test_a_lifecycle_manager_can_take_it_through_its_states(host, start) -> None:
    process = start("sartm_ros.node", autostart=False)
    states = []
    for transition in (
        Transition.TRANSITION_CONFIGURE,
        Transition.TRANSITION_ACTIVATE,
        Transition.TRANSITION_DEACTIVATE,
        Transition.TRANSITION_ACTIVATE,
        Transition.TRANSITION_DEACTIVATE,
        Transition.TRANSITION_CLEANUP,
        Transition.TRANSITION_CONFIGURE,
        Transition.TRANSITION_ACTIVATE,
    ):
        assert change_state(host, transition), process.log()
        states.append(state(host))
    assert states == ["inactive", "active", "inactive", "active", "inactive", "unconfigured", "inactive", "active"]
    assert process.interrupt() == 0


def test_a_configuration_that_fails_can_be_fixed_and_tried_again(host, start) -> None:
    process = start("sartm_ros.node", autostart=False, bundle="nosuch", rig="sim")
    assert not change_state(host, Transition.TRANSITION_CONFIGURE)
    assert "bundle 'nosuch' was not found" in process.log()
    assert state(host) == "unconfigured"
    assert host.set_parameter("bundle", "any_sensor_simrig5").successful
    assert change_state(host, Transition.TRANSITION_CONFIGURE), process.log()
    assert change_state(host, Transition.TRANSITION_ACTIVATE), process.log()
    assert host.until(lambda: host.heard["/perception/labels"] != [], 10)
    assert process.interrupt() == 0
    assert "Traceback" not in process.log()


def test_graphs_run_without_torch_and_it_says_what_was_chosen(host, start, feed, shipped_graphs: Path) -> None:
    process = start("sartm_ros.node", own_interpreter=True, bundle=str(shipped_graphs), rig="sim")
    assert host.until(lambda: host.heard["/perception/labels"] != [], 40), process.log()
    assert masks_come(host, feed), process.log()
    assert (host.heard[MASKS][-1].height, host.heard[MASKS][-1].width) == (256, 320)
    assert "backend onnx: TensorRT's Python package is not installed" in process.log()
    assert "bundle 'any_sensor_simrig5', onnx on CPU, is loaded" in process.log()
    libraries = Path(f"/proc/{process.popen.pid}/maps").read_text()
    assert "onnxruntime" in libraries
    assert "libtorch" not in libraries


def test_without_a_rig_the_bundles_serves_as_far_as_messages_are_installed(host, start, feed) -> None:
    process = start("sartm_ros.node", bundle="any_sensor_simrig5")
    assert host.until(lambda: host.heard["/perception/labels"] != [], 40), process.log()
    assert masks_come(host, feed), process.log()
    if find_spec("event_camera_msgs") is None:
        assert "left out: rig 'simrig5', modality 'event': needs event_camera_msgs/msg/EventPacket" in process.log()
        assert "rig 'simrig5': rgb, thermal, depth, lidar" in process.log()


def test_mm_sam_adapter_runs_with_what_is_there(host, start, feed, tmp_path: Path) -> None:
    shipped, folder, size = load_segmenter("any_sensor_simrig5").bundle, tmp_path / "adapter", (64, 96)
    network = build_network(preset_for_rig("mm_sam_adapter", "nano", shipped.rig, 4, {}), "inference")
    folder.mkdir()
    save_file(network.state_dict(), folder / WEIGHTS_FILE)
    files = {WEIGHTS_FILE: sha256(folder / WEIGHTS_FILE)}
    shape = NetworkShape(preset="mm_sam_adapter", backbone="nano", lora_rank=4, changes={})
    describe(folder, shipped.model_copy(update={"files": files, "size": size, "network": shape, "graphs": None}))
    process = start("sartm_ros.node", bundle=str(folder), rig="sim")
    assert host.until(lambda: host.heard["/perception/labels"] != [], 40), process.log()
    assert masks_come(host, feed), process.log()
    complete = len(host.heard[MASKS])
    feed(20, "thermal", "depth")
    assert host.until(lambda: len(host.heard[MASKS]) >= complete + 5, 10), process.log()
    routing = host.routing()
    assert float(routing["rgb"]) == 0
    assert float(routing["thermal"]) + float(routing["depth"]) == pytest.approx(1, abs=1e-4)


def test_sensors_that_speak_nonsense_are_no_running_node(host, node, feed) -> None:
    nonsense = {name: {"encoding": "nonsense"} for name in ("rgb", "thermal", "depth")}
    feed(25, "rgb", "thermal", "depth", **nonsense)
    assert "messages arrive, but none are usable" in host.told("perception: pipeline")
    assert "broken" in host.told("perception: input rgb")
    assert "rgb is broken: segmenting without it" in node.log()
    for height in range(4000, 4010):  # the same fault, in other words each time
        feed(1, "rgb", "thermal", "depth", thermal={"height": height})
    assert node.log().count("thermal: a message is unusable and counts as absent: ") == 2
    feed(5, "rgb", "thermal", "depth", **nonsense)
    assert host.set_parameter("enabled", False).successful
    host.spin(1.5)
    pipeline = [s.message for m in host.heard["/diagnostics"] for s in m.status if s.name == "perception: pipeline"]
    assert pipeline[-1] == "disabled"


def test_a_parameter_of_the_wrong_type_is_named_and_nothing_is_left_behind(host, start) -> None:
    process = start("sartm_ros.node", autostart=False, **{"thermal.tolerance_s": "wide"})
    for _ in range(2):
        assert not change_state(host, Transition.TRANSITION_CONFIGURE)
        assert state(host) == "unconfigured"
    assert "thermal.tolerance_s" in process.log()
    assert host.set_parameter("bundle", "any_sensor_simrig5").successful
    assert "undeclared" not in process.log()
    assert process.interrupt() == 0
