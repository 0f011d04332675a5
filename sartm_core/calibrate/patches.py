"""How far each part of an image lies from its counterpart: correlation of edges over small shifts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from sartm_core.calibrate.edges import Field

PATCH_PX, STRIDE_PX = 40, 20
WEAK = 0.2
"""Patches with a smaller share of the mean energy count less: what little they show may be noise."""

_HANNING = np.hanning(PATCH_PX + 2)[1:-1]
_WINDOW = np.outer(_HANNING, _HANNING).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Stack:
    """Correlations of every patch of every frame.

    Attributes:
        centres: float64 [P, 2], x, y of each patch in the reference.
        surfaces: float32 [F, P, D, D], by shift of the sensor's image, rows down; summed over the frames at most 1.
    """

    centres: NDArray[np.float64]
    surfaces: NDArray[np.float32]


def centres_of(size: tuple[int, int]) -> NDArray[np.float64]:
    """Patches on a grid, float64 [P, 2] (x, y)."""
    half = PATCH_PX // 2
    rows, columns = (np.arange(half, length - half + 1, STRIDE_PX) for length in size)
    return np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2).astype(np.float64)


def correlate(references: Sequence[Field], sensors: Sequence[Field], reach_px: int) -> Stack:
    """Correlates each patch of the reference with the sensor's image around it.

    Args:
        references, sensors: edges of the frames, already roughly registered, of one size.
        reach_px: the largest shift.
    """
    height, width = references[0].shape
    centres = centres_of((height, width))
    side, extent = 2 * reach_px + 1, PATCH_PX + 2 * reach_px
    length = fft.next_fast_len(extent)
    corners = centres.astype(int) - PATCH_PX // 2
    surfaces = np.zeros((len(references), len(centres), side, side), np.float32)
    energies = np.zeros((len(references), len(centres)), np.float32)
    share = float((_WINDOW**2).sum()) / extent**2
    for number, (reference, sensor) in enumerate(zip(references, sensors, strict=True)):
        padded = np.pad(sensor, reach_px)
        own = np.stack([reference[y : y + PATCH_PX, x : x + PATCH_PX] * _WINDOW for x, y in corners])
        other = np.stack([padded[y : y + extent, x : x + extent] for x, y in corners])
        product = np.conj(fft.fft2(own, (length, length))) * fft.fft2(other, (length, length))
        surfaces[number] = fft.ifft2(product).real[:, :side, :side]
        energies[number] = np.sqrt((np.abs(own) ** 2).sum((1, 2)) * (np.abs(other) ** 2).sum((1, 2)) * share)
    energy = energies.mean(axis=0)
    surfaces /= (energy + WEAK * energy.mean() + 1e-9)[:, None, None] * len(references)
    return Stack(centres, surfaces)


def smoothed(surfaces: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    """Surfaces [N, D, D], blurred over the shifts, and relative to the mean of all shifts, which is chance."""
    result = np.asarray(ndimage.gaussian_filter(surfaces, (0, sigma_px, sigma_px), mode="nearest"))
    return np.asarray(result - result.mean(axis=(1, 2), keepdims=True))


def look_up(
    surfaces: NDArray[np.float32], shifts: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values float64 [N] and gradients [N, 2] of surfaces [N, D, D] at a shift (x, y) each, by Catmull-Rom splines."""
    count, side = surfaces.shape[:2]
    reach = side // 2
    at = np.clip(shifts[:, ::-1] + reach, 1.0, side - 2.001)
    first = np.floor(at).astype(int)
    (by_row, row_slope), (by_column, column_slope) = (_catmull_rom(at[:, axis] - first[:, axis]) for axis in (0, 1))
    corner = (first[:, 0] - 1) * side + first[:, 1] - 1
    around = (np.arange(4)[:, None] * side + np.arange(4)).ravel()
    near = np.take_along_axis(surfaces.reshape(count, -1), corner[:, None] + around, 1).reshape(-1, 4, 4)
    across = (near * by_column[:, None, :]).sum(2)
    slopes = (((near * column_slope[:, None, :]).sum(2) * by_row).sum(1), (across * row_slope).sum(1))
    gradient = np.stack(slopes, axis=1)
    gradient[np.abs(shifts).max(axis=1) > reach - 1.5] = 0
    return (across * by_row).sum(1), gradient


def _catmull_rom(t: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights of four neighbours [N, 4] and their derivatives, at the share `t` of the way between the middle two."""
    basis = np.array([[0, -0.5, 1, -0.5], [1, 0, -2.5, 1.5], [0, 0.5, 2, -1.5], [0, 0, -0.5, 0.5]])
    powers = np.stack([np.ones_like(t), t, t**2, t**3])
    slopes = np.stack([np.zeros_like(t), np.ones_like(t), 2 * t, 3 * t**2])
    return (basis @ powers).T, (basis @ slopes).T
