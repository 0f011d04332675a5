"""Whether a fit can be trusted: what is uncertain is refused, with the figures that show it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sartm_core.calibrate import models
from sartm_core.calibrate.estimate import Alignment, Estimate, Refusal
from sartm_core.calibrate.fit import LONGEST_S, TIME_UNIT_S, Fitted
from sartm_core.calibrate.models import Model
from sartm_core.calibrate.moments import Moment
from sartm_core.calibrate.patches import PATCH_PX

LEAST_SCORE = 0.01
"""Mean correlation of the edges, over all patches, below which an optimum may be chance."""
LARGEST_PX, LARGEST_S = 1.5, 0.01
"""Uncertainties beyond which an estimate is refused."""
SPREADS, SPREADS_OF_TIME = 3.0, 4.0
"""Standard deviations in an uncertainty, to cover what edges of two spectra have in common neither in place."""
FLOOR_PX, FLOOR_S = 0.15, 0.002
"""However many frames agree, it is not known better: pixels are sampled, and motion between frames is interpolated."""
LEAST_SPEED = 5.0
"""Pixels per second that a scene must move for its time to be seen."""
NOTHING_MOVES = "nothing moves: record while driving"


def judged(
    moments: Sequence[Moment],
    model: Model,
    found: Fitted,
    timed: bool,
    matrix: NDArray[np.float64],
    rotation: NDArray[np.float64] | None,
) -> Estimate:
    """What was found, with its uncertainty, or why it is not good enough.

    Args:
        moments: that it was found with.
        model, found: the fit.
        timed: whether the time was fitted, too.
        matrix, rotation: see `Alignment`.
    """
    size = moments[0].frames[0].shape
    spread_px = float(np.hypot(SPREADS * _typical_px(model, found, (size[0], size[1])), FLOOR_PX))
    if found.score < LEAST_SCORE:
        return too_little(found.score)
    if not np.isfinite(spread_px):
        return Refusal("what both see fits many calibrations alike: record where there are edges of every direction")
    if not spread_px <= LARGEST_PX:
        return Refusal(
            f"it would be known to {spread_px:.1f} px only, needed {LARGEST_PX:g}. Record for longer, where there are "
            "more edges that both sensors see"
        )
    offset_s, spread_s, reason = None, 0.0, ""
    if timed:
        spread_s = SPREADS_OF_TIME * TIME_UNIT_S * float(np.sqrt(found.covariance[-1, -1]))
        spread_s = float(np.hypot(spread_s, FLOOR_S))
        reason = _no_offset(found, spread_s)
        offset_s = None if reason else found.offset_s
    elif not moments[0].is_still:
        reason = NOTHING_MOVES
    return Alignment(matrix, rotation, spread_px, len(moments), found.score, offset_s, spread_s, reason)


def grid(size: tuple[int, int]) -> NDArray[np.float64]:
    """Points spread over an image of (height, width), float64 [N, 2], x and y."""
    y, x = np.mgrid[16 : size[0] : 32, 16 : size[1] : 32]
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64)


def too_little(score: float) -> Refusal:
    """Of edges that agree."""
    return Refusal(
        f"the edges of both have too little in common: correlation {score:.3f}, needed {LEAST_SCORE:g}. It is too "
        "dark, or has too little texture, or they see different things"
    )


def too_small(size: tuple[int, ...]) -> Refusal | None:
    """Of images whose (height, width) hold too few patches; None of larger ones."""
    if min(size[:2]) >= 2 * PATCH_PX:
        return None
    return Refusal(f"images of {size[0]}x{size[1]} are too small, needed {2 * PATCH_PX} pixels in each direction")


def is_moving(moments: Sequence[Moment]) -> bool:
    """Whether the scene moves enough to tell the time by it."""
    if moments[0].is_still:
        return False
    some = moments[:: max(len(moments) // 6, 1)]
    return float(np.mean([np.abs(moment.seen(0.0)[1]).mean() for moment in some])) >= LEAST_SPEED


def _no_offset(found: Fitted, spread_s: float) -> str:
    """Why the time cannot be told; empty where it can."""
    if abs(found.offset_s) >= 0.95 * LONGEST_S:
        return f"it is longer than {LONGEST_S:g} s, the longest that is sought"
    if not spread_s <= LARGEST_S:
        return f"it would be known to {spread_s * 1e3:.0f} ms only, needed {LARGEST_S * 1e3:.0f} ms. Record for longer"
    return ""


def _typical_px(model: Model, found: Fitted, size: tuple[int, int]) -> float:
    """Median standard deviation over the reference's image."""
    moves = models.jacobian(model, found.p, grid(size))
    covariance = found.covariance[: model.count, : model.count]
    if not np.isfinite(covariance).all():
        return np.inf
    return float(np.median(np.sqrt(np.einsum("nik,kl,nil->n", moves, covariance, moves))))
