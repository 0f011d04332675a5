"""Registration of images of different spectra: known moves are found, and what cannot be seen is refused."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sartm_core.calibrate.cameras import Optics, align
from sartm_core.calibrate.estimate import Alignment, Refusal
from sartm_core.calibrate.models import displacement
from sartm_core.calibrate.moments import Moment

SIZE = (160, 200)
GRID = np.stack(np.meshgrid(np.arange(10, 200, 20), np.arange(10, 160, 20)), axis=-1).reshape(-1, 2).astype(float)


def scene(seed: int, size: tuple[int, int] = SIZE) -> NDArray[np.float32]:
    """Overlapping shapes of random brightness."""
    rng = np.random.default_rng(seed)
    image = np.full(size, 0.5, np.float32)
    for _ in range(size[0] * size[1] // 500):
        x, y = (int(rng.integers(length)) for length in size[::-1])
        shape = cv2.boxPoints(((x, y), tuple(rng.uniform(8, 40, 2)), rng.uniform(0, 90))).astype(int)
        cv2.fillPoly(image, [shape], float(rng.uniform(0, 1)))
    return cv2.GaussianBlur(image, (0, 0), 0.8)


def other_spectrum(image: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Brightness that agrees with the first in nothing but its edges."""
    levels = np.random.default_rng(seed).permutation(np.linspace(0, 1, 12)).astype(np.float32)
    return np.interp(image, np.linspace(0, 1, 12), levels).astype(np.float32)


def moved(angle_deg: float, scale: float, shift: tuple[float, float]) -> NDArray[np.float64]:
    matrix = np.eye(3)
    matrix[:2] = cv2.getRotationMatrix2D((SIZE[1] / 2, SIZE[0] / 2), angle_deg, scale)
    matrix[:2, 2] += shift
    return matrix


def error_px(found: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    return float(np.median(np.linalg.norm(displacement(found @ np.linalg.inv(true), GRID), axis=1)))


def still(images: list[NDArray[np.float32]]) -> list[Moment]:
    return [Moment([image], np.zeros(1)) for image in images]


@pytest.mark.parametrize(("angle_deg", "scale", "shift"), [(3.0, 1.1, (14, -9)), (-2.0, 0.9, (-18, 6))])
def test_a_known_move_between_spectra_is_found_in_one_pair(
    angle_deg: float, scale: float, shift: tuple[float, float]
) -> None:
    reference = scene(1)
    to_sensor = moved(angle_deg, scale, shift)
    sensor = cv2.warpPerspective(other_spectrum(reference, 5), to_sensor, SIZE[::-1], borderMode=cv2.BORDER_REPLICATE)
    found = align(still([reference]), [sensor])
    assert isinstance(found, Alignment), found
    assert error_px(found.matrix, np.linalg.inv(to_sensor)) < min(0.5, found.uncertainty_px + 0.2)
    assert found.offset_s is None


def test_images_of_different_scenes_are_refused() -> None:
    answers = [align(still([scene(seed)]), [other_spectrum(scene(seed + 50), 5)]) for seed in (0, 1)]
    assert [type(answer) for answer in answers] == [Refusal, Refusal]


def test_an_image_without_edges_is_refused() -> None:
    found = align(still([scene(1)]), [np.full(SIZE, 0.5, np.float32)])
    assert isinstance(found, Refusal)
    assert "too little in common" in found.reason


K = np.array([[200.0, 0, 100], [0, 200, 80], [0, 0, 1]])


def panning(late_s: float, speeds: list[float]) -> tuple[list[Moment], list[NDArray[np.float32]]]:
    """A reference that turns to and fro, at a speed (pixels per second) in each moment; the sensor is late."""
    wide = scene(3, (SIZE[0] + 60, 700))
    other = other_spectrum(wide, 5)
    k_wide = np.array([[200.0, 0, 350], [0, 200, 110], [0, 0, 1]])
    times_s = np.array([-0.2, -0.1, 0.0, 0.1, 0.2])

    def view(image: NDArray[np.float32], yaw_px: float) -> NDArray[np.float32]:
        turn = cv2.Rodrigues(np.array([0, yaw_px / 200, 0]))[0]
        return cv2.warpPerspective(image, K @ turn.T @ np.linalg.inv(k_wide), SIZE[::-1])

    starts = np.linspace(-60, 60, len(speeds))
    moments = [Moment([view(wide, x + v * t) for t in times_s], times_s) for x, v in zip(starts, speeds, strict=True)]
    return moments, [view(other, x - v * late_s) for x, v in zip(starts, speeds, strict=True)]


def optics(yaw_deg: float) -> Optics:
    turn = cv2.Rodrigues(np.array([0, np.radians(yaw_deg), 0]))[0]
    return Optics(K, K, turn, np.zeros(3), 1e6)


def test_rotation_and_time_are_found_together() -> None:
    moments, images = panning(0.037, [60, -60, 40, -40])
    found = align(moments, images, optics(yaw_deg=2.0))
    assert isinstance(found, Alignment), found
    assert found.rotation is not None
    assert np.degrees(np.linalg.norm(cv2.Rodrigues(found.rotation)[0])) < 0.1  # both look the same way
    assert found.offset_s == pytest.approx(-0.037, abs=0.003)


def test_time_without_motion_is_refused_and_the_rotation_is_not() -> None:
    moments, images = panning(0.037, [0, 0, 0])
    found = align(moments, images, optics(yaw_deg=2.0))
    assert isinstance(found, Alignment), found
    assert found.offset_s is None
    assert "nothing moves" in found.no_offset


def test_a_steady_pan_confounds_time_and_rotation() -> None:
    """A sensor that is late looks like one that is turned: neither may be stated with confidence."""
    moments, images = panning(0.1, [50, 50, 50, 50])
    found = align(moments, images, optics(yaw_deg=0.0))
    assert isinstance(found, Refusal), found
