"""What a calibration can say: a value with its uncertainty, or why there is none."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Alignment:
    """How a sensor lies to the reference camera.

    Attributes:
        matrix: float64 [3, 3], pixels of the sensor's image to those of the reference (centres at integers); of a LiDAR
            the identity.
        rotation: float64 [3, 3], turns the sensor's axes into the reference's; None where only the matrix is known.
        uncertainty_px: how far a typical pixel of the reference may be off; see `judgement` for what it covers.
        frames: how many were used.
        score: mean correlation of the edges, at most 1.
        offset_s: what to add to the sensor's stamps; None where it was not asked for or cannot be seen.
        offset_uncertainty_s: the same of it, seconds.
        no_offset: why there is no `offset_s`; empty where there is one, or none was asked for.
    """

    matrix: NDArray[np.float64]
    rotation: NDArray[np.float64] | None
    uncertainty_px: float
    frames: int
    score: float
    offset_s: float | None = None
    offset_uncertainty_s: float = 0.0
    no_offset: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Attributes:
    reason: why nothing can be said, with the figures that show it.
    """

    reason: str


Estimate = Alignment | Refusal
