"""Real RGB-thermal frames: image files to a bag, the bag through rclpy, masks from the node."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from sartm_core.rig import load_rig
from sartm_ros.bag.from_images import FIRST_STAMP_NS, make_bag
from sartm_ros.decoding.images import raw_array, stamp_ns
from sartm_sim.record import record
from sartm_sim.simulation.scenario import load_scenario

MASKS = "/perception/mask"


def test_real_pairs_are_played_and_segmented(host, start, tmp_path: Path, rgbt_pairs: Path) -> None:
    sources = {"rgb": str(rgbt_pairs / "*_vi.png"), "thermal": str(rgbt_pairs / "*_ir.png")}
    assert make_bag(load_rig("rgbt"), sources, tmp_path / "pairs", rate_hz=1.0) == 8
    node = start("sartm_ros.node", rig="rgbt")
    assert host.until(lambda: host.heard["/perception/labels"] != [], 40), node.log()
    player = start("sartm_ros.cli", "bag", "play", str(tmp_path / "pairs"))
    assert host.until(lambda: len(host.heard["/perception/mask"]) == 8, 30), node.log() + player.log()
    masks = host.heard["/perception/mask"]
    assert [stamp_ns(mask) for mask in masks] == [FIRST_STAMP_NS + index * 1_000_000_000 for index in range(8)]
    assert {(mask.height, mask.width) for mask in masks} == {(480, 640)}
    assert len(np.unique(raw_array(masks[0]))) > 1
    assert host.until(lambda: len(host.heard["/perception/routing_weights"]) == 8, 5)
    routing = host.routing()
    assert float(routing["depth"]) == 0.0  # trained with depth, driven without
    for index in range(8):  # nothing was lost, at 921 KB an image and 1 Hz
        assert host.routing(index)["rgb.state"] == host.routing(index)["thermal.state"] == "present"
    assert float(routing["rgb"]) + float(routing["thermal"]) == pytest.approx(1, abs=1e-4)


def test_a_recording_in_a_loop_with_its_clock(host, start, tmp_path: Path) -> None:
    """/clock and stamps jump back at each turn, and the node goes on; what cannot be played is named."""
    bag = tmp_path / "drive"
    record(load_rig("sim"), load_scenario("short"), 7, 4.0, bag, lambda seconds: None)
    node = start("sartm_ros.node", rig="sim", use_sim_time=True)
    assert host.until(lambda: host.heard[MASKS] != [] or host.heard["/perception/labels"] != [], 40), node.log()
    player = start("sartm_ros.cli", "bag", "play", str(bag), "--loop", "--clock", "--rate", "4", "--wait-for", "3")

    def turns() -> int:
        stamps = [stamp_ns(mask) for mask in host.heard[MASKS]]
        return sum(now < before for before, now in pairwise(stamps))

    assert host.until(lambda: turns() >= 2, 30), node.log() + player.log()
    assert "stamps jumped back" in node.log()
    assert "/tf_static is left out: tf2_msgs/msg/TFMessage is not installed" in player.log().replace("\n", " ")
    assert player.interrupt() == 0
    assert node.interrupt() == 0
