import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rclpy.qos import QoSProfile, ReliabilityPolicy

from sartm_core.errors import SartmError
from sartm_core.resources import cache_folder
from sartm_core.rig import load_rig
from sartm_ros.node.diagnostics import explain_silence
from sartm_ros.node.middleware import log_folder, private_environment, shared_memory

MB = 2**20


@pytest.mark.parametrize(
    ("free_mb", "profile"),
    [(1000, "fastdds_shm.xml"), (191, "fastdds_shm_small.xml"), (64, "fastdds_shm_small.xml"), (40, None)],
)
def test_segments_are_as_large_as_shared_memory_allows(
    monkeypatch: pytest.MonkeyPatch, free_mb: int, profile: str | None
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free_mb * MB))
    chosen = shared_memory({}, participants=3).get("FASTDDS_DEFAULT_PROFILES_FILE", "")
    assert chosen.endswith(f"/{profile}") if profile else chosen == ""
    _, description = private_environment(participants=3)
    assert ("--shm-size=1g" in description) == (profile is None)


@pytest.mark.parametrize(
    ("distribution", "name"), [("humble", "FASTRTPS"), ("jazzy", "FASTRTPS"), ("kilted", "FASTDDS")]
)
def test_a_users_profile_is_respected_and_older_ones_have_their_own_name(distribution: str, name: str) -> None:
    assert shared_memory({"FASTRTPS_DEFAULT_PROFILES_FILE": "/mine.xml"}, participants=1) == {}
    assert shared_memory({"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}, participants=1) == {}  # ours would replace it
    assert list(shared_memory({"ROS_DISTRO": distribution}, participants=1)) == [f"{name}_DEFAULT_PROFILES_FILE"]


def test_a_domain_in_use_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    free = []  # other tests' nodes have theirs
    for domain in range(1, 102):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
            probe.bind(("", 7400 + 250 * domain + 10))
            free.append(domain)
    one, other = random.Random(os.getpid()).sample(free, 2)
    monkeypatch.setattr(random, "sample", lambda domains, count: [one, other])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as robot:
        robot.bind(("", 7400 + 250 * one + 10))
        assert private_environment(participants=1)[0]["ROS_DOMAIN_ID"] == str(other)
    assert private_environment(participants=1)[0]["ROS_DOMAIN_ID"] == str(one)


def test_own_processes_discover_each_other_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_STATIC_PEERS", "robot.local")
    environment, _ = private_environment(participants=1)
    assert 1 <= int(environment["ROS_DOMAIN_ID"]) <= 101
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert "ROS_STATIC_PEERS" not in environment


def test_a_driver_of_another_user_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its shared memory cannot be opened: nothing arrives, and Fast DDS does not say why."""
    node = SimpleNamespace(
        resolve_topic_name=lambda name: name,
        get_publishers_info_by_topic=lambda topic: [SimpleNamespace(topic_type="sensor_msgs/msg/Image")],
        get_subscriptions_info_by_topic=lambda topic: [],
    )
    rgb = load_rig("sim").modality("rgb")
    monkeypatch.setattr(Path, "glob", lambda self, pattern: [Path("/dev/shm/fastdds_0123")])
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "set FASTDDS_BUILTIN_TRANSPORTS=UDPv4 for both" in explain_silence(node, rgb)
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    assert "delivered no message. The sensor is silent." in explain_silence(node, rgb)


def test_a_publisher_that_cannot_match_is_named_where_no_event_tells() -> None:
    """Packets of events have no QoS event handler: it would wake the executor with each of them."""

    def info(reliability: ReliabilityPolicy) -> SimpleNamespace:
        qos = QoSProfile(depth=5, reliability=reliability)
        return SimpleNamespace(topic_type="sensor_msgs/msg/Image", node_name="perception", qos_profile=qos)

    node = SimpleNamespace(
        resolve_topic_name=lambda name: name,
        get_name=lambda: "perception",
        get_publishers_info_by_topic=lambda topic: [info(ReliabilityPolicy.BEST_EFFORT)],
        get_subscriptions_info_by_topic=lambda topic: [info(ReliabilityPolicy.RELIABLE)],
    )
    told = explain_silence(node, load_rig("sim").modality("rgb"))  # type: ignore[arg-type]
    assert "offers an incompatible QoS (Best effort publisher and reliable subscription)" in told
    assert "qos_overrides./sim/rgb/image.subscription" in told


@pytest.mark.slow
@pytest.mark.parametrize("home", [None, "a file"])
def test_a_user_without_a_home_starts_all_the_same(tmp_path: Path, home: str | None) -> None:
    """ROS finds no place for its logs there and refuses to start: "Failed to get logging directory"."""
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "ROS_LOG_DIR", "ROS_HOME")}
    if home is not None:
        (tmp_path / home).touch()
        environment["HOME"] = str(tmp_path / home)
    program = (
        "import rclpy; from sartm_ros.node.process import ros_process\n"
        'with ros_process("test", ["test"]): print("started", rclpy.ok())'
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment | {"TMPDIR": str(tmp_path)}, capture_output=True, text=True
    )
    assert "started True" in done.stdout, done.stderr
    assert [path.name.startswith("ros-log-") for path in tmp_path.iterdir() if path.is_dir()] == [True]


def test_a_home_is_used_and_what_the_user_set_is_kept(tmp_path: Path) -> None:
    assert log_folder({"HOME": str(tmp_path)}) == {}
    assert log_folder({"ROS_LOG_DIR": "/mine"}) == log_folder({"ROS_HOME": "/mine"}) == {}


def test_a_cache_without_a_home_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "SARTM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", nobody)
    with pytest.raises(SartmError, match="has no home directory to keep downloads and engines in. Set SARTM_CACHE"):
        cache_folder()
