"""The environment in which processes of ours meet: this host only, nobody else's robot, enough shared memory."""

import os
import random
import shutil
from pathlib import Path

from sartm_core.resources import find_config

SEGMENT_BYTES = 64 * 2**20
"""Shared-memory segment of one participant, as in config/fastdds_shm.xml."""


def private_environment(participants: int) -> tuple[dict[str, str], str]:
    """Environment variables for processes that must meet each other and nobody else.

    Args:
        participants: number of processes; each gets a shared-memory segment.

    Returns:
        The whole environment for the child processes, and one line that says what was chosen.
    """
    # 0 is everybody's default; above 101 the ports collide with the ephemeral ones of Linux.
    domain = random.randint(1, 101)  # noqa: S311 (no secret)
    environment = os.environ | {
        "ROS_DOMAIN_ID": str(domain),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_LOCALHOST_ONLY": "1",  # the same for ROS 2 Humble
        "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp",
        "PYTHONUNBUFFERED": "1",
    }
    environment.pop("ROS_STATIC_PEERS", None)
    free = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else 0
    if free < participants * SEGMENT_BYTES:
        environment.pop("FASTDDS_DEFAULT_PROFILES_FILE", None)
        transport = (
            f"default transport, because /dev/shm has only {free >> 20} MB of {participants * SEGMENT_BYTES >> 20} MB "
            "(in Docker: --shm-size=1g); large images may get lost"
        )
    else:
        # The name that Fast DDS 2.6 of ROS 2 Humble knows makes newer ones complain.
        vendor = "FASTRTPS" if environment.get("ROS_DISTRO") == "humble" else "FASTDDS"
        environment[f"{vendor}_DEFAULT_PROFILES_FILE"] = str(find_config("fastdds_shm.xml"))
        transport = "shared memory"
    return environment, f"ROS domain {domain}, this host only, {transport}"
