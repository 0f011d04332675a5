"""An event camera: each pixel reports when its brightness has changed by a certain ratio."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from sartm_core.sensing.events import EVENT
from sartm_sim.simulation.conditions import Condition

Floats = NDArray[np.float32]

CONTRAST = 0.22
"""Mean threshold on the change of log brightness; it differs by 3 % from pixel to pixel."""
NOISE_HZ = {True: 1.2, False: 0.25}
"""Spontaneous events per pixel and second, in the dark and by day."""
DARK_CURRENT = 0.004
"""Added to the brightness (white in the sun = 1): below it nothing is felt."""


def log_brightness(radiance: Floats) -> Floats:
    """float32 [H, W] out of linear radiance [H, W, 3]."""
    return np.log(radiance.mean(axis=2) + np.float32(DARK_CURRENT))


def events_between(
    frames: list[Floats], times_us: list[int], condition: Condition, rng: Generator, threshold_seed: int
) -> NDArray[np.void]:
    """Events while the log brightness moves through a series of frames.

    Between two frames brightness is taken to change linearly (ESIM, Rebecq et al. 2018); each pixel begins at a random
    distance from its threshold, as it would in the middle of a recording.

    Args:
        frames: log brightness [H, W] each.
        times_us: when, microseconds, rising.
        condition: dark ones are noisier.
        threshold_seed: of the pixels' own thresholds, which stay the same over a recording.

    Returns:
        Structured array of `sensing.events.EVENT`, sorted by time, t within [first, last time).
    """
    height, width = frames[0].shape
    own = np.random.default_rng((threshold_seed, 0xE7E27)).standard_normal((height, width), np.float32)
    threshold = CONTRAST * (1 + 0.03 * own)
    level = frames[0] + threshold * rng.uniform(-0.5, 0.5, frames[0].shape).astype(np.float32)
    parts = []
    for before, after, start, end in zip(frames, frames[1:], times_us, times_us[1:], strict=False):
        crossings = np.trunc((after - level) / threshold).astype(np.int32)
        parts += _crossings(crossings, level, threshold, before, after, start, end)
        level = level + crossings * threshold
    parts.append(_spontaneous(height, width, times_us[0], times_us[-1], condition, rng))
    events = np.concatenate(parts)
    return events[np.argsort(events["t"], kind="stable")]


def _crossings(
    crossings: NDArray[np.int32], level: Floats, threshold: Floats, before: Floats, after: Floats, start: int, end: int
) -> list[NDArray[np.void]]:
    """One array per n: the pixels that cross their n-th threshold between two frames."""
    parts = []
    for number in range(1, int(np.abs(crossings).max(initial=0)) + 1):
        y, x = np.nonzero(np.abs(crossings) >= number)
        sign = np.sign(crossings[y, x])
        target = level[y, x] + sign * number * threshold[y, x]
        change = after[y, x] - before[y, x]
        share = np.clip((target - before[y, x]) / np.where(change == 0, 1, change), 0, 1)
        parts.append(_pack(x, y, start + np.minimum(share * (end - start), end - start - 1), sign > 0))
    return parts


def _spontaneous(
    height: int, width: int, start: int, end: int, condition: Condition, rng: Generator
) -> NDArray[np.void]:
    rate = NOISE_HZ[condition.ambient < 0.05] * (1 + 3 * condition.rain)
    count = rng.poisson(height * width * rate * (end - start) * 1e-6)
    x, y = rng.integers(0, width, count), rng.integers(0, height, count)
    return _pack(x, y, rng.integers(start, end, count), rng.random(count) < 0.5)


def _pack(
    x: NDArray[np.integer], y: NDArray[np.integer], t: NDArray[np.number], p: NDArray[np.bool_]
) -> NDArray[np.void]:
    events = np.empty(len(x), EVENT)
    events["x"], events["y"], events["t"], events["p"] = x, y, t, p
    return events
