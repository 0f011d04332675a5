"""Surface grain: one tile of 512 x 512 texels per material, another set for the streets kept for tests."""

from functools import cache

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from sartm_sim.simulation.scene import FOLIAGE, GRAVEL, MASONRY, PLAIN

SIDE = 512
TEXELS_PER_M = 24.0

Floats = NDArray[np.float32]


def grain(u_m: Floats, v_m: Floats, ahead_m: Floats, material: NDArray[np.floating], novel: bool) -> Floats:
    """The tiles at surface coordinates in metres; fades to its mean where a pixel covers many texels."""
    tiles = _tiles(novel)
    column, row = ((w * np.float32(TEXELS_PER_M)).astype(np.int32) & (SIDE - 1) for w in (u_m, v_m))
    texel = tiles[material.astype(np.int32), row, column]
    sharp = np.clip(np.float32(14.0) / np.maximum(ahead_m, np.float32(1e-3)), 0.2, 1.0)
    return np.float32(0.5) + (texel - np.float32(0.5)) * sharp


@cache
def _tiles(novel: bool) -> Floats:
    """float32 [materials, 512, 512], 0 to 1, each with mean 0.5; the same in every process."""
    rng = np.random.default_rng(int(novel))
    drawn = {
        PLAIN: 0.5 + 0.35 * (_clouds(rng, 3, 0.8) - 0.5),
        MASONRY: _siding(rng) if novel else _bricks(rng),
        FOLIAGE: _clouds(rng, 6, 1.0, low=4) if novel else _clouds(rng, 5, 1.1, low=5),
        GRAVEL: _slabs(rng) if novel else _clouds(rng, 7, 0.75),
    }
    tiles = np.stack([drawn[material] for material in sorted(drawn)])
    return np.clip(tiles - tiles.mean(axis=(1, 2), keepdims=True) + 0.5, 0, 1).astype(np.float32)


def _clouds(rng: Generator, octaves: int, gain: float, low: int = 3) -> Floats:
    """Value noise: a sum of octaves from 2^low cells, each weighted by `gain` to its number."""
    tile = np.zeros((SIDE, SIDE), np.float32)
    for octave in range(low, min(low + octaves, 10)):
        coarse = np.pad(rng.random((2**octave, 2**octave), np.float32), ((0, 1), (0, 1)), mode="wrap")
        tile += cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) * gain ** (octave - low)
    return np.asarray((tile - tile.min()) / (tile.max() - tile.min()))


def _bricks(rng: Generator) -> Floats:
    """Rows of bricks, every second one shifted, each brick of its own grey."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    course = rows // 8
    brick = (columns + course % 2 * 16) // 32 % (SIDE // 32)
    grey = rng.random((SIDE // 8, SIDE // 32), np.float32)[course, brick]
    joint = (rows % 8 == 0) | ((columns + course % 2 * 16) % 32 == 0)
    return np.asarray(np.where(joint, 0.2, 0.35 + 0.4 * grey) + 0.2 * (_clouds(rng, 3, 0.8) - 0.5), np.float32)


def _siding(rng: Generator) -> Floats:
    """Upright boards."""
    columns = np.arange(SIDE)
    grey = rng.random(SIDE // 16, np.float32)[columns // 16]
    board = np.where(columns % 16 < 2, 0.15, 0.4 + 0.35 * grey)
    return np.asarray(board[None, :] + 0.25 * (_clouds(rng, 4, 0.9) - 0.5), np.float32)


def _slabs(rng: Generator) -> Floats:
    """Concrete slabs with joints, and stains."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    grey = rng.random((SIDE // 64, SIDE // 64), np.float32)[rows // 64, columns // 64]
    joint = (rows % 64 < 2) | (columns % 64 < 2)
    return np.asarray(np.where(joint, 0.2, 0.4 + 0.25 * grey) + 0.4 * (_clouds(rng, 4, 0.7) - 0.5), np.float32)
