"""Rectified images: a dot lands where OpenCV's `undistortPoints`, which inverts the model point by point, puts it."""

import cv2
import numpy as np
import pytest

from sartm_core.calibration import Intrinsics, Lens
from sartm_core.errors import SartmError
from sartm_core.kinds import DepthModality, RgbModality
from sartm_core.sensing.undistortion import undistorted

SIZE = (120, 160)
RAW = Intrinsics(fx=130, fy=128, cx=82.5, cy=58.5)
TARGET = Intrinsics(fx=110, fy=110, cx=80.5, cy=60.5)
TURN = cv2.Rodrigues(np.array([0.01, -0.02, 0.005]))[0]
LENSES = {
    "plumb_bob": (-0.28, 0.08, 0.001, -0.002, 0.01),
    "rational_polynomial": (0.4, -0.2, 0.001, 0.0005, 0.02, 0.6, -0.1, 0.01),
    "equidistant": (0.05, -0.02, 0.003, -0.001),
}


def camera(model: str) -> RgbModality:
    lens = Lens(model=model, camera=RAW, coefficients=LENSES[model], rotation=tuple(map(tuple, TURN.tolist())))
    return RgbModality(name="rgb", kind="rgb", size=SIZE, topic="/rgb", intrinsics=TARGET, lens=lens)


@pytest.mark.parametrize("model", LENSES)
def test_dots_land_where_opencv_puts_the_points(model: str) -> None:
    half = np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    k, p = RAW.matrix - half, TARGET.matrix - half
    for x, y in ((20, 20), (80, 60), (140, 25), (25, 100), (130, 100)):
        image = np.zeros((*SIZE, 3), np.float32)
        cv2.circle(image, (x, y), 2, (1, 1, 1), -1)
        image = cv2.GaussianBlur(image, (0, 0), 1.5)
        moments = cv2.moments(undistorted(camera(model), image)[..., 0])
        found = np.array([moments["m10"], moments["m01"]]) / moments["m00"]
        point, d = np.array([[[x, y]]], np.float64), np.array(LENSES[model])
        if model == "equidistant":
            expected = cv2.fisheye.undistortPoints(point, k, d, R=TURN, P=p)
        else:
            expected = cv2.undistortPoints(point, k, d, R=TURN, P=p)
        assert np.abs(found - expected.ravel()).max() < 0.3


def test_depths_are_not_mixed_and_what_is_not_seen_is_empty() -> None:
    lens = Lens(model="plumb_bob", camera=RAW, coefficients=(0.5, 0.0, 0.0, 0.0))
    depth = DepthModality(name="depth", kind="depth", size=SIZE, topic="/d", encoding="metres", lens=lens)
    raw = np.full(SIZE, 1000, np.uint16)
    raw[:, 80:] = 5000
    image = undistorted(depth, raw)
    assert set(np.unique(image)) == {0, 1000, 5000}
    assert image[0, 0] == 0


def test_an_image_of_another_size_is_an_error() -> None:
    with pytest.raises(SartmError, match=r"rgb: its lens is known for images of 120x160.*got 240x320"):
        undistorted(camera("plumb_bob"), np.zeros((240, 320, 3), np.uint8))


def test_a_wrong_number_of_coefficients_is_an_error() -> None:
    with pytest.raises(ValueError, match="equidistant has 4, got 5"):
        Lens(model="equidistant", camera=RAW, coefficients=(0, 0, 0, 0, 0))
