"""Edges over the reference: where a sensor sees one, and nowhere else."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sartm_core.datasets.edge_sheet import INK, edge_sheet, over
from sartm_core.datasets.layouts import open_data
from sartm_core.errors import SartmError
from sartm_core.rig import load_rig


def inked(picture: np.ndarray) -> np.ndarray:
    return (picture == INK).all(axis=2)


def test_an_edge_lies_where_the_sensor_sees_it() -> None:
    rig = load_rig("sim")
    warm = np.full((60, 80), 29000, np.uint16)
    warm[:, 40:] = 30000
    sheet = inked(over(np.full((120, 160, 3), 128, np.uint8), rig.modality("thermal"), warm))  # twice the size
    columns = np.flatnonzero(sheet.any(axis=0))
    assert columns.min() >= 76
    assert columns.max() <= 84
    assert sheet.sum() > 100


def test_points_are_drawn_as_they_are() -> None:
    lidar = load_rig("simrig5").modality("lidar")
    points = np.zeros((60, 80, 3), np.float32)
    points[30, 20] = 10.0, 0.5, 0.0
    sheet = over(np.zeros((60, 80, 3), np.uint8), lidar, points)
    rows, columns = np.nonzero((sheet != sheet[..., :1]).any(axis=2))  # all else is grey
    assert abs(rows.mean() - 30) < 2
    assert abs(columns.mean() - 20) < 2


def test_a_sheet_has_a_row_for_each_frame(small_recording: Path, tmp_path: Path) -> None:
    data = open_data(small_recording)
    frames = list(data.frames("val"))[:2]
    edge_sheet(data, frames, tmp_path / "edges.png")
    with Image.open(tmp_path / "edges.png") as sheet:
        assert sheet.size == (600 * (len(data.rig.names) - 1), 1000)
    with pytest.raises(SartmError, match="none of the frames has rgb and another sensor"):
        edge_sheet(data, [], tmp_path / "none.png")
