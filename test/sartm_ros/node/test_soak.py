"""Minutes of work: `make soak`. Short forms of the same run in every `make test`."""

import random
from pathlib import Path

import numpy as np
import pytest

FRAMES = 10_000
RATE_HZ = 60.0
TOPICS = {"rgb": "/sim/rgb/image", "thermal": "/sim/thermal/image", "depth": "/sim/depth/image"}
ENCODINGS = (
    "rgb8",
    "bgr8",
    "mono8",
    "mono16",
    "16UC1",
    "32FC1",
    "bayer_rggb8",
    "yuv422",
    "8UC4",
    "",
    "nonsense",
    "\U0001f916",
)


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {pid} has no VmRSS")


@pytest.mark.soak
def test_memory_stays_where_it_is(host, start) -> None:
    """The real node, with a segmenter that answers at once (bench/node.py): 10,000 sets of 640x480."""
    node = start("bench.node", "serve")
    assert host.until(lambda: host.heard["/perception/labels"] != [], 40), node.log()
    rng = np.random.default_rng(0)
    rgb, thermal = rng.integers(0, 256, (480, 640, 3), np.uint8), rng.integers(0, 2**14, (480, 640), np.uint16)
    settled, masks = 0.0, 0
    for frame in range(FRAMES):
        stamp = host.now()
        host.publish("/camera/image_raw", rgb, "rgb8", stamp)
        host.publish("/thermal/image_raw", thermal, "mono16", stamp)
        host.spin(1 / RATE_HZ)
        masks += len(host.heard["/perception/mask"])
        for heard in host.heard.values():
            heard.clear()
        if frame == FRAMES // 10:
            settled = resident_mb(node.popen.pid)
    assert masks > 0.95 * FRAMES
    assert resident_mb(node.popen.pid) - settled < 10


def nonsense(rng: random.Random) -> dict[str, object]:
    """Fields of an Image that contradict each other."""
    return {
        "height": rng.choice((0, 1, 7, 256, 2**31, 2**32 - 1)),
        "width": rng.choice((0, 1, 7, 320, 2**31, 2**32 - 1)),
        "step": rng.choice((0, 1, 960, 2**32 - 1)),
        "encoding": rng.choice(ENCODINGS),
        "is_bigendian": rng.choice((0, 1, 255)),
        "data": rng.randbytes(rng.choice((0, 1, 100, 5000))),
    }


@pytest.mark.parametrize("count", [1500, pytest.param(100_000, marks=pytest.mark.soak)])
def test_no_message_ends_the_node(host, node, feed, count: int) -> None:
    rng, image = random.Random(0), np.zeros((4, 4), np.uint8)
    for number in range(count):
        name = rng.choice(list(TOPICS))
        stamp = rng.choice((host.now(), host.now(), 0, 1, 2**31 * 10**9 - 1))
        host.publish(TOPICS[name], image, "mono8", stamp, nonsense(rng))
        if number % 10 == 0:
            host.spin(0.01)
    host.spin(1.5)
    diagnostics = host.diagnostics()
    received = sum(int(diagnostics[f"perception: input {name}"]["received"]) for name in TOPICS)
    assert received > 0.2 * count, "they never arrived"
    assert sum(int(diagnostics[f"perception: input {name}"]["broken"]) for name in TOPICS) > 10
    assert node.popen.poll() is None, node.log()
    stamps = feed(15, "rgb", "thermal", "depth")
    host.spin(1.0)
    heard = [message.header.stamp.sec for message in host.heard["/perception/mask"]]
    assert stamps[-5] // 10**9 in heard, "no mask after the storm"
    assert {float(host.routing()[name]) > 0 for name in TOPICS} == {True}
