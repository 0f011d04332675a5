"""What others may ask of the node, or send to it, that rclpy itself cannot read."""

import pytest
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rosgraph_msgs.msg import Clock


@pytest.fixture
def ask(host, node):
    """Sends a request whose answer is not waited for: there may be none."""

    def send(kind, service: str, request) -> None:
        client = host.node.create_client(kind, f"/perception/{service}")
        assert host.until(client.service_is_ready, 20)
        client.call_async(request)
        host.spin(0.3)

    return send


def test_a_request_that_rclpy_cannot_read_does_not_end_the_node(host, node, ask) -> None:
    unknown = Parameter(name="overlay_alpha", value=ParameterValue(type=42))
    ask(SetParameters, "set_parameters", SetParameters.Request(parameters=[unknown]))
    ask(SetParametersAtomically, "set_parameters_atomically", SetParametersAtomically.Request(parameters=[unknown]))
    nonsense = Parameter(name="a b\x1b[31m\n..", value=ParameterValue(type=4, string_value="x"))
    ask(SetParameters, "set_parameters", SetParameters.Request(parameters=[nonsense]))
    assert node.popen.poll() is None, node.log()
    assert host.set_parameter("overlay_alpha", 0.3).successful  # it still answers
    assert "refused: " in node.log()
    assert "\x1b[31m" not in node.log()


def test_a_clock_before_zero_does_not_end_the_node(host, start) -> None:
    process = start("sartm_ros.node", use_sim_time=True)
    assert host.until(lambda: host.heard["/perception/labels"] != [], 40), process.log()
    message = Clock()
    message.clock.sec = -5
    for _ in range(3):
        host.send("/clock", message)
        host.spin(0.1)
    assert process.popen.poll() is None, process.log()
    assert host.set_parameter("overlay_alpha", 0.3).successful
