"""Minutes of work: `make soak`."""

from pathlib import Path

import numpy as np
import pytest

FRAMES = 3000
RATE_HZ = 12.0


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {pid} has no VmRSS")


@pytest.mark.soak
def test_memory_stays_where_it_is(host, start) -> None:
    node = start("sartm_ros.node", rig="rgbt")
    assert host.until(lambda: host.heard["/perception/labels"] != [], 40), node.log()
    rng = np.random.default_rng(0)
    rgb, thermal = rng.integers(0, 256, (480, 640, 3), np.uint8), rng.integers(0, 256, (480, 640), np.uint8)
    settled = 0.0
    for frame in range(FRAMES):
        stamp = host.now()
        host.publish("/camera/image_raw", rgb, "rgb8", stamp)
        host.publish("/thermal/image_raw", thermal, "mono8", stamp)
        host.spin(1 / RATE_HZ)
        if frame == FRAMES // 5:
            settled = resident_mb(node.popen.pid)
    assert len(host.heard["/perception/mask"]) > 0.5 * FRAMES
    assert resident_mb(node.popen.pid) - settled < 10
