"""Real RGB-thermal frames: image files to a bag, the bag through rclpy, masks from the node."""

from pathlib import Path

import numpy as np
import pytest

from sartm_core.rig import load_rig
from sartm_ros.image_bag import FIRST_STAMP_NS, make_bag
from sartm_ros.messages import raw_array, stamp_ns


def test_real_pairs_are_played_and_segmented(host, start, tmp_path: Path, rgbt_pairs: Path) -> None:
    sources = {"rgb": str(rgbt_pairs / "*_vi.png"), "thermal": str(rgbt_pairs / "*_ir.png")}
    assert make_bag(load_rig("rgbt"), sources, tmp_path / "pairs", rate_hz=2.0) == 8
    node = start("sartm_ros.node", rig="rgbt")
    assert host.until(lambda: host.heard["/perception/labels"] != [], 40), node.log()
    player = start("sartm_ros.cli", "bag", "play", str(tmp_path / "pairs"))
    assert host.until(lambda: len(host.heard["/perception/mask"]) == 8, 30), node.log() + player.log()
    masks = host.heard["/perception/mask"]
    assert [stamp_ns(mask) for mask in masks] == [FIRST_STAMP_NS + index * 500_000_000 for index in range(8)]
    assert {(mask.height, mask.width) for mask in masks} == {(480, 640)}
    assert len(np.unique(raw_array(masks[0]))) > 1
    assert host.until(lambda: len(host.heard["/perception/routing_weights"]) == 8, 5)
    routing = host.routing()
    assert float(routing["depth"]) == 0.0  # trained with depth, driven without
    for index in range(8):  # nothing was lost, at 921 KB an image and 2 Hz
        assert host.routing(index)["rgb.state"] == host.routing(index)["thermal.state"] == "present"
    assert float(routing["rgb"]) + float(routing["thermal"]) == pytest.approx(1, abs=1e-4)
