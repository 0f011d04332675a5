"""From coarse class scores to a mask at camera size: bilinear interpolation before the argmax, where it matters.

Between four cells whose best class is the same, so is every interpolated pixel's: a convex combination keeps the order
of the scores. Only pixels between cells that differ are interpolated, which gives the same mask as interpolating all
of them, in a fraction of the time.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Axis(NamedTuple):
    """Where each pixel of one axis lies between the cells of a coarser grid.

    Attributes:
        low, high: the cells on either side, intp [n].
        share: float32 [n], of `high`.
    """

    low: NDArray[np.intp]
    high: NDArray[np.intp]
    share: NDArray[np.float32]

    @classmethod
    def sampled(cls, pixels: int, step: float, start: float, cells: int) -> "Axis":
        """The centres of pixels, `step` cells apart, on an axis that begins `start` cells behind the grid's edge.

        Cells end at the edge: beyond the centre of the last one nothing is extrapolated.
        """
        centre = np.clip((np.arange(pixels) + 0.5) * step + start - 0.5, 0, cells - 1)
        low = np.floor(centre).astype(np.intp)
        return cls(low, np.minimum(low + 1, cells - 1), (centre - low).astype(np.float32))


def segment_scores(
    scores: NDArray[np.float32], rows: Axis, columns: Axis
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Mask and confidence at the pixels of two axes.

    Args:
        scores: float32 [C, h, w].
        rows, columns: where the H x W pixels lie between the cells.

    Returns:
        mask uint8 [H, W], the argmax of the interpolated scores; confidence float32 [H, W], their softmax at the chosen
        class (where all four cells agree: the interpolated softmax of the cells).
    """
    best = scores.argmax(axis=0)
    mask = best.astype(np.uint8)[rows.low][:, columns.low]
    confidence = _interpolated(_softmax_of_best(scores.reshape(len(scores), -1)).reshape(best.shape), rows, columns)
    padded = np.pad(best, ((0, 1), (0, 1)), mode="edge")
    mixed = (best != padded[:-1, 1:]) | (best != padded[1:, :-1]) | (best != padded[1:, 1:])
    y, x = np.nonzero(mixed[rows.low][:, columns.low])
    if len(y):
        exact = _gathered(scores, rows, columns, y, x)
        mask[y, x] = exact.argmax(axis=0)
        confidence[y, x] = _softmax_of_best(exact)
    return mask, confidence


def _gathered(
    scores: NDArray[np.float32], rows: Axis, columns: Axis, y: NDArray[np.intp], x: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Scores interpolated at some pixels, [C, N]."""
    flat, width = scores.reshape(len(scores), -1), scores.shape[2]
    down, across = rows.share[y], columns.share[x]
    result = np.zeros((len(scores), len(y)), np.float32)
    for row, weight_y in ((rows.low[y], 1 - down), (rows.high[y], down)):
        for column, weight_x in ((columns.low[x], 1 - across), (columns.high[x], across)):
            result += flat[:, row * width + column] * (weight_y * weight_x)
    return result


def _interpolated(values: NDArray[np.float32], rows: Axis, columns: Axis) -> NDArray[np.float32]:
    """[h, w] -> [H, W], bilinear."""
    tall = values[rows.low] * (1 - rows.share)[:, None] + values[rows.high] * rows.share[:, None]
    wide = tall[:, columns.low] * (1 - columns.share) + tall[:, columns.high] * columns.share
    return wide.astype(np.float32)


def _softmax_of_best(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """[C, N] -> float32 [N]: the softmax probability of the largest score."""
    return 1 / np.exp(scores - scores.max(axis=0)).sum(axis=0)
