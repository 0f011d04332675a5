"""The QoS of played topics: what their publishers offered."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bag_files import STRING, T0, string
from foreign_files import (
    BEST_EFFORT,
    KEEP_ALL,
    RELIABLE,
    TRANSIENT_LOCAL,
    UNKNOWN,
    VOLATILE,
    Channel,
    profile,
    write_channels,
    write_database,
)
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from sartm_ros.bag.played_qos import qos_of
from sartm_ros.bag.reader import open_bag

TEXT = b"string data\n"
LATCHED = profile(RELIABLE, TRANSIENT_LOCAL, 3)
SENSOR = profile(BEST_EFFORT, VOLATILE, 5)
PLAIN = profile()

CASES: dict[str, tuple[str, list[dict[str, Any]], tuple[bool, bool, int]]] = {
    # topic, offered, (reliable, latched, depth)
    "nothing is known": ("/a", [], (True, False, 10)),
    "plain": ("/a", [PLAIN], (True, False, 10)),
    "a deeper queue": ("/a", [profile(depth=50)], (True, False, 50)),
    "as sensors' data": ("/a", [SENSOR], (False, False, 10)),
    "one of two is reliable": ("/a", [SENSOR, PLAIN], (True, False, 15)),
    "latched": ("/a", [LATCHED], (True, True, 3)),
    "latched by two": ("/a", [LATCHED, LATCHED], (True, True, 6)),
    "latched camera_info of a best-effort driver": ("/a", [SENSOR, LATCHED], (True, True, 8)),
    "latched, all kept": ("/a", [profile(RELIABLE, TRANSIENT_LOCAL, 0, KEEP_ALL)], (True, True, 4)),
    "latched, depth not discovered": ("/a", [profile(RELIABLE, TRANSIENT_LOCAL, 0, UNKNOWN)], (True, True, 4)),
    "tf_static, recorded with default QoS": ("/tf_static", [PLAIN], (True, True, 4)),
    "tf_static, QoS not recorded": ("/robot1/tf_static", [], (True, True, 4)),
    "robot_description": ("/robot_description", [PLAIN], (True, True, 4)),
}


@pytest.mark.parametrize("write", [write_channels, write_database])
@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_qos_is_that_of_the_recorded_publishers(
    tmp_path: Path, write: Callable[..., Path], cut: bool, case: str
) -> None:
    topic, offered, (reliable, latched, depth) = CASES[case]
    messages = [(T0 + n, string(str(n))) for n in range(4)]
    path = tmp_path / ("x.mcap" if write is write_channels else "x.db3")
    write(path, [Channel(topic, STRING, messages, schema=TEXT, qos=offered)])
    if cut and path.suffix == ".mcap":
        path.write_bytes(path.read_bytes()[:-9])
    elif cut:
        path.with_name("x.db3-wal").write_bytes(bytes(9))
    with open_bag(path) as bag:
        assert bool(bag.losses) == cut
        qos = qos_of(topic, bag.topics[topic])
    assert (qos.reliability == ReliabilityPolicy.RELIABLE) == reliable
    assert (qos.durability == DurabilityPolicy.TRANSIENT_LOCAL) == latched
    assert qos.depth == depth


def test_who_subscribes_late_receives_what_was_latched(host: Any, start: Callable[..., Any], tmp_path: Path) -> None:
    """And a best-effort topic is offered as such: a subscriber that asks for more gets nothing, as on the robot."""
    two = [(T0 + n, string(str(n))) for n in range(2)]
    many = [(T0 + n * 200_000_000, string(str(n))) for n in range(40)]
    path = write_channels(
        tmp_path / "x.mcap",
        [
            Channel("/tf_static", STRING, two, schema=TEXT, qos=[PLAIN]),
            Channel("/info", STRING, two, schema=TEXT, qos=[profile(RELIABLE, TRANSIENT_LOCAL, 1)]),
            Channel("/sensor", STRING, many, schema=TEXT, qos=[SENSOR]),
        ],
    )
    player = start("sartm_ros.cli", "bag", "play", str(path), "--wait-for", "0")
    best_effort = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
    host.listen("/sensor", String, best_effort)
    assert host.until(lambda: len(host.heard["/sensor"]) > 3, 15), player.log()
    for topic in ("/tf_static", "/info"):
        host.listen(topic, String, QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    assert host.until(lambda: len(host.heard["/tf_static"]) == 2 and host.heard["/info"] != [], 5), player.log()
    assert [message.data for message in host.heard["/info"]] == ["1"]
    (offered,) = host.node.get_publishers_info_by_topic("/sensor")
    assert offered.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
