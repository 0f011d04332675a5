"""The environment in which sartm's processes discover each other: this host only, enough shared memory."""

import os
import random
import shutil
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sartm_core.resources import find_config

PROFILES = (("fastdds_shm.xml", 64 * 2**20), ("fastdds_shm_small.xml", 16 * 2**20))
"""Profiles in config/, the best first, and the shared-memory segment of one participant in each, bytes."""

OWN_SETTINGS = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_BUILTIN_TRANSPORTS")
"""A user's own settings of Fast DDS."""


def shared_memory(environment: Mapping[str, str], participants: int) -> dict[str, str]:
    """Variables that make Fast DDS's shared memory large enough for images; empty where nothing can be done.

    A profile or a choice of transports that is already set is respected, since ours would replace it; the segments are
    as large as /dev/shm allows.
    """
    if any(name in environment for name in OWN_SETTINGS):
        return {}
    free = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else 0
    fitting = [name for name, segment_bytes in PROFILES if participants * segment_bytes <= free]
    if not fitting:
        return {}
    # Fast DDS 2 of Humble and Jazzy knows the older name alone; newer ones complain about it.
    vendor = "FASTRTPS" if environment.get("ROS_DISTRO") in ("humble", "jazzy") else "FASTDDS"
    return {f"{vendor}_DEFAULT_PROFILES_FILE": str(find_config(fitting[0]))}


def log_folder(environment: Mapping[str, str]) -> dict[str, str]:
    """ROS_LOG_DIR, where ROS would find no place for its logs and refuse to start; else empty.

    That is so without HOME, or with one that is read-only: containers with a uid of their own.
    """
    if environment.get("ROS_LOG_DIR") or environment.get("ROS_HOME"):
        return {}
    try:
        folder = Path(environment["HOME"]) / ".ros" / "log"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return {}
    except (KeyError, OSError):
        pass
    return {"ROS_LOG_DIR": tempfile.mkdtemp(prefix="ros-log-")}


def private_environment(participants: int) -> tuple[dict[str, str], str]:
    """Environment variables for processes that must discover each other and nothing else.

    Args:
        participants: number of processes; each gets a shared-memory segment.

    Returns:
        The whole environment for the child processes, and a line that describes what was chosen.
    """
    domain = _unused_domain()
    environment = os.environ | {
        "ROS_DOMAIN_ID": str(domain),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp",
        "PYTHONUNBUFFERED": "1",
    }
    if environment.get("ROS_DISTRO") == "humble":  # newer ones would complain, and replace the profile's transports
        environment["ROS_LOCALHOST_ONLY"] = "1"
    for name in ("ROS_STATIC_PEERS", *OWN_SETTINGS):
        environment.pop(name, None)
    profile = shared_memory(environment, participants)
    transport = "shared memory"
    if not profile:
        needed = participants * PROFILES[-1][1] >> 20
        transport = (
            f"default transport, because /dev/shm has less than {needed} MB free (in Docker: --shm-size=1g); "
            "large images may get lost"
        )
    return environment | profile | log_folder(environment), f"ROS domain {domain}, this host only, {transport}"


def another_users_segments() -> bool:
    """Whether Fast DDS of another user has shared memory on this host that this process may not open.

    Between the two nothing arrives, and Fast DDS does not say so (eProsima/Fast-DDS#5265).
    """
    segments = Path("/dev/shm").glob("fast*") if Path("/dev/shm").is_dir() else iter(())
    return any(not os.access(segment, os.R_OK | os.W_OK) for segment in segments)


def _unused_domain() -> int:
    # 0 is the default of every ROS process; above 101 the ports collide with the ephemeral ones of Linux.
    domains = random.sample(range(1, 102), 101)
    return next(filter(_is_unused, domains), domains[0])


def _is_unused(domain: int) -> bool:
    """Whether no participant of this host has the port that the first one of a domain takes (RTPS 2.5, 9.6.2.3)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", 7400 + 250 * domain + 10))
        except OSError:
            return False
    return True
