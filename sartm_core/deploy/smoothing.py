"""Temporal calm: the class that a place had in the last mask is preferred, the less the longer ago that was.

Averaging scores over time would smear whatever moves. A preference costs nothing where the network is sure: there the
new class wins at once. Measured: docs/node.md, `python bench/smoothing.py`.
"""

import math

import numpy as np
from numpy.typing import NDArray

from sartm_core.deploy.bundle import Bundle
from sartm_core.errors import SartmError

PREFERENCE = 1.5
"""Added to the score of the class that the last mask had, if it were of this very moment. Scores are logarithms: it is
as if the class were 4.5 times as likely."""
LONGEST = 3.0
"""Times `smoothing_s` after which a mask counts no more."""
CUT_SHARE = 0.5
"""Where more of the image changes its class from one mask to the next, it is another scene."""


class Smoother:
    """Smooths the scores of one camera's masks, one after the other.

    Args:
        smoothing_s: time constant of the preference's decay, seconds; more than 0.
    """

    def __init__(self, smoothing_s: float) -> None:
        self._smoothing_s = smoothing_s
        self._last: NDArray[np.intp] | None = None  # class of each cell
        self._stamp_ns = 0

    def smooth(self, scores: NDArray[np.float32], stamp_ns: int) -> NDArray[np.float32]:
        """Scores [C, h, w] of a frame -> the same with the preference.

        What was before is forgotten when stamps jump, the scene or its size changes, or scores are not finite.
        """
        if not np.isfinite(scores).all():
            self._last = None
            return scores
        best = scores.argmax(axis=0)
        age_s = (stamp_ns - self._stamp_ns) / 1e9
        last, self._stamp_ns = self._last, stamp_ns
        follows = last is not None and last.shape == best.shape and 0 < age_s <= LONGEST * self._smoothing_s
        if last is None or not follows or last.max() >= len(scores) or (last != best).mean() > CUT_SHARE:
            self._last = best
            return scores
        rows, columns = np.indices(last.shape)
        smoothed = scores.copy()
        smoothed[last, rows, columns] += PREFERENCE * math.exp(-age_s / self._smoothing_s)
        self._last = smoothed.argmax(axis=0)
        return smoothed


def smoother_for(bundle: Bundle, smoothing_s: float) -> Smoother | None:
    """None for 0.

    Raises:
        SartmError: the bundle's network answers no scores, or one answer for each of several windows.
    """
    if smoothing_s == 0:
        return None
    if bundle.fit == "window":
        raise SartmError(
            f"smoothing_s: bundle '{bundle.name}' slides windows (fit: window), which are not smoothed. Set it to 0, "
            "or export the bundle with another --fit."
        )
    if bundle.argmax != "frame":
        raise SartmError(
            f"smoothing_s: the network of bundle '{bundle.name}' answers classes (argmax: network), which have no "
            "scores to smooth. Set it to 0, or export the bundle with --argmax frame."
        )
    return Smoother(smoothing_s)
