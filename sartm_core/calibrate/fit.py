"""Sub-pixel registration: the parameters under which the edges of all patches of all frames agree best."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from sartm_core.calibrate.edges import Field, edge_field
from sartm_core.calibrate.models import Model, jacobian
from sartm_core.calibrate.moments import Moment
from sartm_core.calibrate.patches import PATCH_PX, Stack, correlate, look_up, smoothed

TIME_UNIT_S = 0.01
"""The parameter of time counts these, so that one of it moves the image about as far as one of the others."""
DEGENERATE = 1e-5
"""Curvature, relative to the largest, below which a combination of parameters cannot be told from none."""
LONGEST_S = 0.3
"""Offsets in time are sought up to here."""

Rendered = Callable[[NDArray[np.float64], float], list[Field]]
"""Parameters of the model, and the smoothing in pixels, to the sensor's edges in the reference's image, by frame."""


@dataclass(frozen=True, slots=True)
class Step:
    """One pass: edges smoothed by `sigma_px`, shifts up to `reach_px`, surfaces smoothed by `blurs_px` in turn."""

    sigma_px: float
    reach_px: int
    blurs_px: tuple[float, ...]
    timed: bool = False


@dataclass(frozen=True, slots=True)
class Fitted:
    """Attributes:
    p: float64 [count], the model's parameters.
    offset_s: time between the sensor's stamp and the reference's that shows the same.
    covariance: float64 [count (+ 1 for time, in `TIME_UNIT_S`)] squared.
    score: mean correlation of the patches, at most 1.
    """

    p: NDArray[np.float64]
    offset_s: float
    covariance: NDArray[np.float64]
    score: float


def fit(
    moments: Sequence[Moment],
    render: Rendered,
    model: Model,
    steps: Sequence[Step],
    p: NDArray[np.float64],
    at_s: float,
) -> Fitted:
    """Registers by passes, each of which starts where the one before it ended.

    Args:
        moments: the reference's frames.
        render: gives the sensor's edges.
        model: what its parameters mean.
        steps: the passes, from coarse to fine.
        p, at_s: where to begin.
    """
    fields: dict[tuple[float, float], list[Field]] = {}
    for step in steps:
        seen = [(m.nearest(at_s), None) if m.is_still or not step.timed else m.seen(at_s) for m in moments]
        if (step.sigma_px, at_s) not in fields or step.timed:
            fields[step.sigma_px, at_s] = [edge_field(image, step.sigma_px) for image, _ in seen]
        references = fields[step.sigma_px, at_s]
        stack = correlate(references, render(p, step.sigma_px), step.reach_px)
        moves = -jacobian(model, p, stack.centres)
        surfaces = stack.surfaces.sum(axis=0)
        if step.timed:
            speeds = [_speeds(flow, edges, stack.centres) for (_, flow), edges in zip(seen, references, strict=True)]
            moves = _with_time(moves, np.stack(speeds))
            surfaces = stack.surfaces.reshape(-1, *stack.surfaces.shape[2:])
        change, surfaces, value = _climb(surfaces, moves, step.blurs_px)
        p = p + change[: model.count]
        if step.timed:
            at_s = float(np.clip(at_s + TIME_UNIT_S * change[-1], -LONGEST_S, LONGEST_S))
    return Fitted(p, at_s, _covariance(surfaces, moves, change, stack), value / len(stack.centres))


def _climb(
    surfaces: NDArray[np.float32], moves: NDArray[np.float64], blurs_px: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float32], float]:
    """The parameters [n] with the largest sum over surfaces [N, D, D] at shifts moves [N, 2, n] @ parameters."""
    p = np.zeros(moves.shape[2])
    for blur_px in blurs_px:
        smooth = smoothed(surfaces, blur_px)

        def loss(p: NDArray[np.float64], smooth: NDArray[np.float32] = smooth) -> tuple[float, NDArray[np.float64]]:
            values, gradients = look_up(smooth, moves @ p)
            return -float(values.sum()), -np.einsum("ni,nik->k", gradients, moves)

        found = minimize(loss, p, jac=True, method="BFGS", options={"maxiter": 60, "gtol": 1e-4})
        p = found.x
    return p, smooth, -float(found.fun)


def _covariance(
    surfaces: NDArray[np.float32], moves: NDArray[np.float64], p: NDArray[np.float64], stack: Stack
) -> NDArray[np.float64]:
    """By how much the gradients of frames and of patches disagree at the optimum (a sandwich, clustered both ways)."""
    count = len(p)

    def gradients(at: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.einsum("ni,nik->nk", look_up(surfaces, moves @ at)[1], moves))

    steps = np.eye(count) * 0.25
    curvature = np.stack([(gradients(p + step) - gradients(p - step)).sum(0) / 0.5 for step in steps])
    own = gradients(p).reshape(-1, len(stack.centres), count)
    by_patch, by_frame = own.sum(0), own.sum(1)
    spread = by_patch.T @ by_patch + (by_frame.T @ by_frame if len(own) > 1 else 0)
    values, axes = np.linalg.eigh(-(curvature + curvature.T) / 2)
    if values.min() <= DEGENERATE * max(values.max(), 0.0):
        return np.full((count, count), np.inf)
    inverse = (axes / values) @ axes.T
    return np.asarray(inverse @ spread @ inverse)


def _with_time(moves: NDArray[np.float64], speeds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Moves [P, 2, n] of the patches, for each frame, with those of time: [F * P, 2, n + 1]."""
    frames, patches = speeds.shape[:2]
    every = np.broadcast_to(moves, (frames, *moves.shape))
    both = np.concatenate([every, TIME_UNIT_S * speeds[..., None]], axis=3)
    return both.reshape(frames * patches, 2, -1)


def _speeds(flow: NDArray[np.float32] | None, edges: Field, centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pixels per second of the edges in each patch, float64 [P, 2]."""
    if flow is None:
        return np.zeros((len(centres), 2))
    weight = np.abs(edges) + np.float32(1e-3)
    side = (PATCH_PX // 2, PATCH_PX // 2)
    mean = cv2.boxFilter(flow * weight[..., None], -1, side) / cv2.boxFilter(weight, -1, side)[..., None]
    columns, rows = centres.astype(int).T
    return np.asarray(mean[np.minimum(rows, flow.shape[0] - 1), np.minimum(columns, flow.shape[1] - 1)], np.float64)
