"""What can change while the node runs, over real DDS: parameters, services, QoS."""

import pytest
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool

MASKS = "/perception/mask"
ALL = ("rgb", "thermal", "depth")


def test_a_modality_is_switched_off_and_on(host, node, feed, sim_rig) -> None:
    feed(5, *ALL)
    assert host.until(lambda: host.heard[MASKS] != [], 10), node.log()
    answer = host.call(SetBool, "/perception/thermal/enable", SetBool.Request(data=False))
    assert (answer.success, answer.message) == (True, "thermal.enabled: false")
    feed(8, *ALL)
    host.spin(1.2)
    assert float(host.routing()["thermal"]) == 0.0
    assert host.routing()["thermal.state"] == "absent"
    assert host.diagnostics()["perception: input thermal"]["state"] == "disabled"
    assert host.listeners(sim_rig.modality("thermal").topic) == 0  # the sensor's bandwidth is saved as well
    assert "thermal.enabled is switched off" in node.log()
    assert "segmenting without it" not in node.log()  # what was wanted is no fault
    assert host.set_parameter("thermal.enabled", True).successful

    def is_used() -> bool:
        feed(4, *ALL)
        return float(host.routing()["thermal"]) > 0

    assert host.until(is_used, 20), node.log()


def test_the_whole_node_pauses(host, node, feed) -> None:
    feed(5, *ALL)
    assert host.call(SetBool, "/perception/enable", SetBool.Request(data=False)).success
    masks = -1
    while masks != len(host.heard[MASKS]):  # those under way
        masks = len(host.heard[MASKS])
        host.spin(1.0)
    assert masks > 0
    feed(5, *ALL)
    host.spin(1.2)
    assert len(host.heard[MASKS]) == masks
    assert "enabled is switched off" in node.log()
    assert "no input is alive" not in node.log()
    assert host.call(SetBool, "/perception/enable", SetBool.Request(data=True)).success
    for _ in range(5):
        feed(8, *ALL)
        if len(host.heard[MASKS]) > masks:
            break
    assert len(host.heard[MASKS]) > masks


def test_stamps_that_never_match_are_explained_and_fixed_live(host, node, feed) -> None:
    """The most asked question about synchronisers: nothing arrives, without an explanation."""
    early = {"thermal": -400_000_000}
    feed(30, *ALL, shift_ns=early)
    assert host.until(lambda: "none matched" in node.log(), 5), node.log()
    line = next(line for line in node.log().splitlines() if "none matched" in line)
    assert "thermal: " in line
    suggestion = float(line.split("set thermal.offset_s: ")[1].rstrip("."))
    assert suggestion == pytest.approx(0.4, abs=0.11)  # to the nearest frame
    assert float(host.routing()["thermal"]) == 0.0
    assert host.set_parameter("thermal.offset_s", 0.4).successful
    for _ in range(10):
        feed(8, *ALL, shift_ns=early)
        if float(host.routing()["thermal"]) > 0:
            break
    assert float(host.routing()["thermal"]) > 0


def test_changes_that_cannot_work_are_refused_with_the_reason(host, node) -> None:
    refused = host.set_parameter("backend", "onnx")
    assert not refused.successful
    assert refused.reason == "it is read when the node is configured; deactivate and clean up first"
    assert not host.set_parameter("overlay_alpha", 1.5).successful
    assert not host.set_parameter("thermal.tolerance_s", -1.0).successful
    wide = host.set_parameter("thermal.tolerance_s", "wide")
    assert (wide.successful, wide.reason) == (False, "expected a number from 0 to 60, got 'wide'")
    assert host.set_parameter("overlay_alpha", 0.25).successful


def test_a_whole_number_is_a_number(host, start) -> None:
    process = start("sartm_ros.node", max_wait_s=1, overlay_alpha=1)
    assert host.until(lambda: host.heard["/perception/labels"] != [], 40), process.log()
    assert host.set_parameter("thermal.offset_s", -1).successful
    refused = host.set_parameter("max_wait_s", 100)
    assert (refused.successful, refused.reason) == (False, "expected a number from 0.001 to 60, got '100'")


def test_values_at_the_start_replace_the_rig_files_and_wrong_names_are_named(host, start, feed) -> None:
    process = start("sartm_ros.node", **{"thermal.tolerance_s": 0.3, "bundel": "x", "max_wait_s": 0.05})
    assert host.until(lambda: host.heard["/perception/labels"] != [], 40), process.log()
    feed(6, "rgb", "thermal", shift_ns={"thermal": 60_000_000})  # the rig file allows 50 ms
    assert host.until(lambda: host.heard["/perception/routing_weights"] != [], 5), process.log()
    assert float(host.routing()["thermal"]) > 0
    expected = "parameter 'bundel': unknown, ignored. Did you mean 'bundle'?"
    assert expected in process.log()


def test_a_publisher_whose_qos_does_not_fit_is_named(host, start, sim_rig, day_frame) -> None:
    process = start("sartm_ros.node", input_reliability="reliable")
    assert host.until(lambda: host.heard["/perception/labels"] != [], 40), process.log()
    topic = sim_rig.modality("thermal").topic
    host.node.create_publisher(Image, topic, QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT))
    expected = f"thermal: a publisher of {topic} offers an incompatible QoS (RELIABILITY)"
    assert host.until(lambda: expected in process.log(), 10), process.log()


def test_qos_of_a_single_topic_can_be_overridden(host, start, sim_rig) -> None:
    topic = sim_rig.modality("thermal").topic
    process = start("sartm_ros.node", **{f"qos_overrides.{topic}.subscription.reliability": "reliable"})
    assert host.until(lambda: host.heard["/perception/labels"] != [], 40), process.log()

    def asked(name: str) -> list[str]:
        infos = host.node.get_subscriptions_info_by_topic(sim_rig.modality(name).topic)
        return [info.qos_profile.reliability.name for info in infos]

    assert host.until(lambda: asked("thermal") == ["RELIABLE"], 5)
    assert asked("rgb") == ["BEST_EFFORT"]


def test_simulated_time_without_a_clock_is_explained(host, start, feed) -> None:
    process = start("sartm_ros.node", use_sim_time=True, silence_warning_s=1.0)
    assert host.until(lambda: "nothing publishes /clock" in process.log(), 40), process.log()
