"""The bird's-eye grid: against counting by hand, and on a simulated drive while sensors die."""

import numpy as np
import pytest

from sartm_core.deploy import load_segmenter
from sartm_core.rig import load_rig
from sartm_core.sensing import encode_frame
from sartm_ros.frame_sets import FrameSet
from sartm_ros.labelled_cloud import POINT, labelled_cloud
from sartm_sim.demo.analysis import Drive, Phase
from sartm_sim.demo.birds_eye import compare_grids
from sartm_sim.demo.grid import SIZE, GridPair, grid_figures, grid_of, true_grid
from sartm_sim.simulation import CONDITIONS, SimulatedRig


def cloud_of(*points: tuple[float, float, float, int]) -> np.ndarray:
    """x right, y down, z ahead, label."""
    cloud = np.zeros(len(points), POINT)
    for index, (x, y, z, label) in enumerate(points):
        cloud["x"][index], cloud["y"][index], cloud["z"][index], cloud["label"][index] = x, y, z, label
    return cloud


def test_a_cell_is_what_most_of_its_points_are() -> None:
    near, ahead = (0.05, 1.4, 0.1), (-7.95, 1.4, 19.9)  # at the camera's feet; far ahead on the left
    grid = grid_of(cloud_of((*near, 3), (*near, 3), (*near, 5), (*ahead, 7)))
    assert grid.shape == SIZE == (100, 80)
    assert grid[99, 40] == 3
    assert grid[0, 0] == 7
    assert (grid != 255).sum() == 2


def test_what_is_outside_high_up_unlabelled_or_unmeasured_fills_no_cell() -> None:
    beside, behind, far = (9.0, 1.0, 5.0), (0.0, 1.0, -0.5), (0.0, 1.0, 20.5)
    branch, nothing = (0.0, -0.7, 5.0), (np.nan, np.nan, np.nan)
    points = [(*place, 2) for place in (beside, behind, far, branch, nothing)]
    assert (grid_of(cloud_of(*points, (0.0, 1.0, 5.0, 255))) == 255).all()


def test_figures_count_cells_that_both_know() -> None:
    seen, true = np.full(SIZE, 255, np.uint8), np.full(SIZE, 255, np.uint8)
    true[0, :10], seen[0, :4], seen[5, 5] = 1, (1, 1, 1, 2), 1
    assert grid_figures([GridPair(seen, true)]) == {"right": 0.75, "known": 0.4}
    assert grid_figures([]) == {"right": None, "known": None}


def test_the_truth_is_only_taken_from_the_instant_that_was_recorded() -> None:
    """The first two truths were lost on the way: stamps alone would compare other streets."""
    rig = load_rig("simdemo")
    simulated = SimulatedRig(rig, 7)
    drive = Drive(phases=[Phase(0, "day", "day", (), {})])
    for frame in (2, 3):
        truth, depth_m = simulated.exact(frame / 5)
        drive.truths[frame] = truth
        drive.grids[frame] = true_grid(depth_m, truth, simulated.intrinsics("rgb"))
    pairs = compare_grids(drive, rig, 7, 5.0)
    assert set(pairs) == {2, 3}
    assert grid_figures(list(pairs.values())) == {"right": 1.0, "known": 1.0}
    assert compare_grids(drive, rig, 8, 5.0) == {}  # another street


@pytest.mark.slow
def test_the_grid_stays_right_while_sensors_die() -> None:
    """At night RGB, then RGB and depth: at least 95 % of the share of right cells that all sensors give."""
    rig, segmenter = load_rig("simdemo"), load_segmenter("any_sensor_simrig5")
    simulated = SimulatedRig(rig, 7)
    right = {}
    for dead in ((), ("rgb",), ("rgb", "depth")):
        pairs = []
        for time_s in (4.5, 9.0, 13.5):
            frame = simulated.capture(time_s, CONDITIONS["night"])
            raws = {name: raw for name, raw in frame.raw.items() if name not in dead}
            encoded = encode_frame(rig, raws)
            segmentation = segmenter.segment(encoded.measured, rig.modality("rgb").size)
            frames = FrameSet(0, "", raws, encoded.images, encoded.measured, {}, {}, {}, {})
            cloud = labelled_cloud(simulated.rig, frames, segmentation, rig.palette)
            assert cloud is not None
            truth, depth_m = simulated.exact(time_s)
            pairs.append(GridPair(grid_of(cloud), true_grid(depth_m, truth, simulated.intrinsics("rgb"))))
        right[dead] = grid_figures(pairs)["right"]
    everything = right[()]
    assert everything is not None
    assert everything > 0.85
    for share in right.values():
        assert share is not None
        assert share >= 0.95 * everything, right
