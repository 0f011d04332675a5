"""Where a camera's image lies in the reference's, and how late it is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from sartm_core.calibrate import models
from sartm_core.calibrate.coarse import Guess, guesses
from sartm_core.calibrate.edges import Field, edge_field
from sartm_core.calibrate.estimate import Estimate, Refusal
from sartm_core.calibrate.fit import Rendered, Step, fit
from sartm_core.calibrate.judgement import LEAST_SCORE, grid, is_moving, judged, too_little, too_small
from sartm_core.calibrate.models import Matrix, Model
from sartm_core.calibrate.moments import Moment

WIDTH = 320
"""Pixels of the images at which it is estimated: bring larger ones to this size first."""
ROUGH = (Step(2.0, 18, (3, 1.5)),)
MIDDLE = (Step(2.0, 14, (3, 1.5)),)
FINE = (Step(1.5, 10, (2, 1), timed=True), Step(1.0, 7, (1.5, 1), timed=True), Step(1.0, 6, (1,), timed=True))

SCALES = tuple(2 ** (k / 6) for k in range(-5, 6))
TURNS_DEG = (-4.0, 0.0, 4.0)
CANDIDATES = 3
SEARCHED = 12
"""Frames of which the coarse search makes do."""
DIFFERENT_PX = 10.0
"""Two coarse answers that lie farther apart, in the median, are different ones."""

AMBIGUOUS = 0.9
"""A different answer whose score comes so near to the best makes both worthless."""
FEW = 4
"""Moments below which a homography has more freedom than its frames have edges: a similarity is fitted."""


@dataclass(frozen=True, slots=True)
class Optics:
    """What is known of two cameras beforehand.

    Attributes:
        k_reference, k_sensor: float64 [3, 3], as `Intrinsics.matrix`, for the images' size.
        turn: float64 [3, 3], the sensor's rotation as it is assumed.
        position_m: float64 [3], of the sensor in the reference's frame: taken as it is.
        plane_m: for which images are warped.
    """

    k_reference: Matrix
    k_sensor: Matrix
    turn: Matrix
    position_m: NDArray[np.float64]
    plane_m: float

    def model(self) -> Model:
        """The rotation around the assumed one."""
        return models.rotation(self.k_reference, self.k_sensor, self.turn, self.position_m, self.plane_m)


def align(
    moments: Sequence[Moment],
    images: Sequence[NDArray[np.float32]],
    optics: Optics | None = None,
    start: Matrix | None = None,
) -> Estimate:
    """Finds how a camera lies to the reference, from what both see of one scene.

    Args:
        moments: the reference's frames around each of the images.
        images: of the sensor, grey, float32 [h, w].
        optics: with it, the rotation is estimated; else a homography, or of few images a similarity.
        start: [3, 3], a matrix to search around; by default the images show about the same view.
    """
    size = (moments[0].frames[0].shape[0], moments[0].frames[0].shape[1])
    if (small := too_small(size) or too_small(images[0].shape)) is not None:
        return small
    render = _Renderer(images, size)
    begun = _begin(moments, images, optics, start, render)
    if isinstance(begun, Refusal):
        return begun
    model, p = begun
    if optics is None and len(images) >= FEW:
        model, p = models.homography(model.matrix(p), size), np.zeros(8)
    timed = is_moving(moments)
    fine = FINE if timed else tuple(replace(step, timed=False) for step in FINE)
    found = fit(moments, render.by(model), model, MIDDLE + fine, p, 0.0)
    matrix = model.matrix(found.p)
    rotation = None if optics is None else models.turned(found.p, optics.k_reference, optics.turn)
    return judged(moments, model, found, timed, matrix / matrix[2, 2], rotation)


def _begin(
    moments: Sequence[Moment],
    images: Sequence[NDArray[np.float32]],
    optics: Optics | None,
    start: Matrix | None,
    render: "_Renderer",
) -> tuple[Model, NDArray[np.float64]] | Refusal:
    """The best of several coarse answers, registered roughly, if it is clearly the best."""
    size, (height, width) = render.size, images[0].shape
    base = np.diag([size[1] / width, size[0] / height, 1.0]) if start is None else start
    if optics is not None:
        base = optics.model().matrix(np.zeros(3))
    some = range(0, len(images), max(len(images) // SEARCHED, 1))
    scales = SCALES if optics is None else (1.0,)
    found = guesses([moments[i].nearest(0.0) for i in some], [images[i] for i in some], base, scales, TURNS_DEG)
    tried: list[tuple[float, Model, NDArray[np.float64]]] = []
    for guess in _different(found, size):
        model = models.similarity(guess.matrix, size) if optics is None else optics.model()
        p = np.zeros(model.count) if optics is None else _nearest(model, guess.matrix, size)
        rough = fit(moments, render.by(model), model, ROUGH, p, 0.0)
        tried.append((rough.score, model, rough.p))
    tried.sort(key=lambda one: -one[0])
    score, model, p = tried[0]
    if score < LEAST_SCORE:
        return too_little(score)
    for its_score, other, its_p in tried[1:]:
        apart_px = _apart(other.matrix(its_p), model.matrix(p), size)
        if its_score > AMBIGUOUS * score and apart_px > DIFFERENT_PX:
            return Refusal(f"two answers, {apart_px:.0f} px apart, explain the edges equally well")
    return model, p


class _Renderer:
    """The edges of the sensor's images in the reference's geometry."""

    def __init__(self, images: Sequence[NDArray[np.float32]], size: tuple[int, int]) -> None:
        self._images, self.size = images, size

    def by(self, model: Model) -> Rendered:
        """For the parameters of a model."""

        def render(p: NDArray[np.float64], sigma_px: float) -> list[Field]:
            matrix, size = model.matrix(p), self.size[::-1]
            view = cv2.warpPerspective(np.ones(self._images[0].shape, np.uint8), matrix, size)
            inside = cv2.erode(view, np.ones((7, 7), np.uint8)) > 0
            return [edge_field(_warped(one, matrix, size), sigma_px, inside) for one in self._images]

        return render


def _warped(image: NDArray[np.float32], matrix: Matrix, size: tuple[int, int]) -> NDArray[np.float32]:
    """Continued beyond its border, which else would be an edge."""
    return np.asarray(cv2.warpPerspective(image, matrix, size, borderMode=cv2.BORDER_REPLICATE))


def _apart(one: Matrix, other: Matrix, size: tuple[int, int]) -> float:
    """How far two matrices send the same pixel of the sensor, the median over the reference's image."""
    return float(np.median(np.linalg.norm(models.displacement(one @ np.linalg.inv(other), grid(size)), axis=1)))


def _different(found: list[Guess], size: tuple[int, int]) -> list[Guess]:
    kept: list[Guess] = []
    for guess in found:
        if all(_apart(guess.matrix, one.matrix, size) > DIFFERENT_PX for one in kept):
            kept.append(guess)
        if len(kept) == CANDIDATES:
            break
    return kept


def _nearest(model: Model, matrix: Matrix, size: tuple[int, int]) -> NDArray[np.float64]:
    """The parameters whose matrix comes nearest to a given one."""
    back, points = np.linalg.inv(matrix), grid(size)
    solved = least_squares(lambda p: models.displacement(model.matrix(p) @ back, points).ravel(), np.zeros(model.count))
    return np.asarray(solved.x)
