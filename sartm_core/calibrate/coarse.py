"""Where one camera's view lies in the other's, over a wide range: every scale and turn, every shift by FFT."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from sartm_core.calibrate.edges import edge_field

WIDTH = 128
"""Pixels of the reference at which it is searched."""
LEAST_OVERLAP = 0.35
"""Of the reference's area."""
SIGMA_PX = 1.0


@dataclass(frozen=True, slots=True)
class Guess:
    """Attributes:
    matrix: float64 [3, 3], pixels of the sensor to those of the reference.
    score: correlation of the edges, 0 to 1.
    """

    matrix: NDArray[np.float64]
    score: float


def guesses(
    references: Sequence[NDArray[np.float32]],
    sensors: Sequence[NDArray[np.float32]],
    start: NDArray[np.float64],
    scales: Sequence[float],
    turns_deg: Sequence[float],
) -> list[Guess]:
    """The best shift for every scale and turn around `start`, the best of them first.

    Args:
        references, sensors: frames of one instant each, grey, float32 [H, W].
        start: [3, 3], a first matrix from the sensor's pixels to the reference's.
        scales, turns_deg: by which it is changed, about the centre.
    """
    height, width = references[0].shape
    shrink = WIDTH / width
    size = (round(height * shrink), WIDTH)
    searched = _Searched([cv2.resize(one, size[::-1], interpolation=cv2.INTER_AREA) for one in references])
    smaller = np.diag([shrink, shrink, 1.0])
    # Warping alone would skip pixels: images are brought to about the final scale before.
    own = min(shrink * float(np.sqrt(abs(np.linalg.det(start[:2, :2])))), 1.0)
    small = [cv2.resize(one, None, fx=own, fy=own, interpolation=cv2.INTER_AREA) for one in sensors]
    larger = np.diag([sensors[0].shape[1] / small[0].shape[1], sensors[0].shape[0] / small[0].shape[0], 1.0])
    found = []
    for scale in scales:
        for turn in turns_deg:
            about = np.eye(3)
            about[:2] = cv2.getRotationMatrix2D((size[1] / 2, size[0] / 2), turn, scale)
            matrix = about @ smaller @ start
            shift, score = searched.best(small, matrix @ larger)
            found.append(Guess(np.linalg.inv(smaller) @ shift @ matrix, score))
    return sorted(found, key=lambda one: -one.score)


class _Searched:
    """The spectra of the reference's edges."""

    def __init__(self, references: Sequence[NDArray[np.float32]]) -> None:
        self.size = references[0].shape
        self.canvas = (round(1.5 * self.size[0]), round(1.5 * self.size[1]))
        self.shape = tuple(fft.next_fast_len(a + b) for a, b in zip(self.size, self.canvas, strict=True))
        fields = [edge_field(one, SIGMA_PX) for one in references]
        self.spectra = [self._spectrum(one) for one in fields]
        self.energy = self._spectrum(np.sum([np.abs(one) ** 2 for one in fields], axis=0))
        self.ones = self._spectrum(np.ones(self.size, np.float32))
        middle = [(wide - own) / 2 for wide, own in zip(self.canvas, self.size, strict=True)]
        self.corner = np.array([[1, 0, middle[1]], [0, 1, middle[0]], [0, 0, 1.0]])

    def best(
        self, sensors: Sequence[NDArray[np.float32]], matrix: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float]:
        """The shift [3, 3] after `matrix` with the highest correlation, and that."""
        matrix = self.corner @ matrix
        view = cv2.warpPerspective(np.ones(sensors[0].shape, np.uint8), matrix, self.canvas[::-1])
        inside = cv2.erode(view, np.ones((5, 5), np.uint8)) > 0
        total, own = np.zeros(self.shape, np.complex64), np.zeros(self.canvas, np.float32)
        for image, spectrum in zip(sensors, self.spectra, strict=True):
            warped = cv2.warpPerspective(image, matrix, self.canvas[::-1], borderMode=cv2.BORDER_REPLICATE)
            field = edge_field(warped, SIGMA_PX, inside)
            own += np.abs(field) ** 2
            total += spectrum * np.conj(self._spectrum(field))
        seen = np.conj(self._spectrum(inside.astype(np.float32)))
        overlap = fft.ifft2(self.ones * seen).real
        energies = fft.ifft2(self.energy * seen).real * fft.ifft2(self.ones * np.conj(self._spectrum(own))).real
        correlation = fft.ifft2(total).real / np.sqrt(np.maximum(energies, 1e-6))
        correlation[overlap < LEAST_OVERLAP * self.size[0] * self.size[1]] = -1
        peak = np.unravel_index(int(correlation.argmax()), self.shape)
        down, across = ((int(at) + n // 2) % n - n // 2 for at, n in zip(peak, self.shape, strict=True))
        return np.array([[1, 0, across], [0, 1, down], [0, 0, 1.0]]) @ self.corner, float(correlation.max())

    def _spectrum(self, image: NDArray[np.generic]) -> NDArray[np.complex64]:
        return np.asarray(fft.fft2(image, self.shape), np.complex64)
