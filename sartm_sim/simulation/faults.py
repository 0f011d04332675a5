"""How sensors fail: the faults of DELIVER, and others met on robots."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Image = NDArray[Any]

CAMERAS = frozenset({"rgb", "thermal"})
ALL = frozenset({"rgb", "thermal", "depth", "lidar", "event"})

FAULTS: dict[str, frozenset[str]] = {
    "motion_blur": CAMERAS,
    "over_exposure": frozenset({"rgb"}),
    "under_exposure": frozenset({"rgb"}),
    "lidar_jitter": frozenset({"lidar"}),
    "event_low_resolution": frozenset({"event"}),
    "dead": ALL,
    "frozen": ALL,
    "noisy": ALL,
    "misaligned": ALL,
    "dirty_lens": CAMERAS,
    "shutter": frozenset({"thermal"}),
}
"""Known faults, and the kinds of modality they apply to. `dead` delivers blank data (a silent sensor is `unplugged`),
`frozen` repeats its last measurement before the fault, `misaligned` was knocked out of its calibration by some degrees,
`shutter` looks at its own shutter while it recalibrates."""

OVER_EXPOSED, UNDER_EXPOSED = 7.0, 0.06
MISALIGNED_RAD = (0.05, 0.10)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of one modality.

    Attributes:
        name: one of `FAULTS`.
        since_s: when it began, seconds since the start of the drive.
    """

    name: str
    since_s: float


def refuse_unknown(name: str, kind: str) -> None:
    """Raises ValueError for an unknown fault, or one that does not apply to this kind of modality."""
    if name not in FAULTS:
        raise ValueError(f"expected one of {', '.join(FAULTS)}, got '{name}'")
    if kind not in FAULTS[name]:
        known = ", ".join(fault for fault, kinds in FAULTS.items() if kind in kinds)
        raise ValueError(f"'{name}' does not apply to a modality of kind {kind}; those that do are {known}")


def knock(seed: int) -> NDArray[np.float64]:
    """Rotation vector [3] of a sensor that was knocked, radians; the same over a recording."""
    rng = np.random.default_rng((seed, 0x40C4))
    axis = rng.standard_normal(3)
    return axis / np.linalg.norm(axis) * rng.uniform(*MISALIGNED_RAD)


def blur_by_motion(image: Image, rng: Generator) -> Image:
    """The camera shook during the exposure: a line of random direction, a twelfth to a sixth of the width long."""
    length = max(int(image.shape[1] * rng.uniform(1 / 20, 1 / 10)), 3)
    angle = rng.uniform(0, np.pi)
    kernel = np.zeros((length, length), np.float32)
    middle, reach = (length - 1) / 2, (length - 1) / 2 * np.array([np.cos(angle), np.sin(angle)])
    start, end = (tuple(np.round(middle + sign * reach).astype(int).tolist()) for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0, 1)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE))


def soil(image: Image, seed: int) -> Image:
    """Mud on the lens: blotches at fixed positions, behind which the image is dull and out of focus."""
    height, width = image.shape[:2]
    own = np.random.default_rng((seed, 0xD127))
    dirt = np.zeros((height, width), np.float32)
    for _ in range(own.integers(5, 11)):
        centre = own.uniform(0, (width, height)).astype(int).tolist()
        axes = (own.uniform(0.05, 0.18, 2) * width).astype(int).tolist()
        cv2.ellipse(dirt, centre, axes, own.uniform(0, 180), 0, 360, own.uniform(0.7, 1.0), -1)
    dirt = cv2.GaussianBlur(dirt, (0, 0), width / 40)
    weight = dirt if image.ndim == 2 else dirt[..., None]
    picture = image.astype(np.float32)
    hazy = cv2.GaussianBlur(picture, (0, 0), width / 16)
    dull = 0.45 * hazy + 0.45 * float(np.median(picture))
    return (picture * (1 - weight) + dull * weight).astype(image.dtype)


def add_noise(image: Image, rng: Generator) -> Image:
    """Failing electronics: strong noise in units of the image's own spread, and rows that are shifted in value."""
    picture = image.astype(np.float32)
    spread = float(np.std(picture)) + 1e-3
    rows = rng.standard_normal((picture.shape[0], *(1,) * (picture.ndim - 1))).astype(np.float32)
    noisy = picture + spread * (1.3 * rng.standard_normal(picture.shape).astype(np.float32) + 0.7 * rows)
    top = np.iinfo(image.dtype).max if np.issubdtype(image.dtype, np.integer) else np.inf
    return np.clip(noisy, 0, top).astype(image.dtype)


def jitter_points(points: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """A mount that shakes: each beam is turned by up to some degrees of its own, and ranges jump."""
    result = points.copy()
    offsets = np.radians(rng.normal(0, 2.0, (64, 2)))[points[:, 4].astype(int)]
    ahead, left, up = points[:, 0], points[:, 1], points[:, 2]
    result[:, 1] = left + ahead * offsets[:, 0]
    result[:, 2] = up + ahead * offsets[:, 1]
    result[:, :3] *= (1 + rng.normal(0, 0.03, (len(points), 1))).astype(np.float32)
    return result


def scatter_points(points: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """A LiDAR with failing electronics: half of the echoes have random ranges."""
    result = points.copy()
    chosen = rng.random(len(points)) < 0.5
    result[chosen, :3] *= rng.uniform(0.05, 1.5, (int(chosen.sum()), 1)).astype(np.float32)
    result[chosen, 3] = rng.integers(0, 255, int(chosen.sum()))
    return result


def coarsen_events(events: NDArray[np.void], cell: int = 4) -> NDArray[np.void]:
    """A sensor that reads out blocks of cell x cell pixels: their events all carry the block's first pixel, one in
    `cell` of them is reported.
    """
    result = events[::cell].copy()
    result["x"] = result["x"] // cell * cell
    result["y"] = result["y"] // cell * cell
    return result


def add_spurious_events(
    events: NDArray[np.void], shape: tuple[int, int], start_us: int, end_us: int, rng: Generator
) -> NDArray[np.void]:
    """A sensor with failing electronics: one random event per pixel in 30 ms."""
    count = rng.poisson(shape[0] * shape[1] * (end_us - start_us) / 30_000)
    extra = np.empty(count, events.dtype)
    extra["x"], extra["y"] = rng.integers(0, shape[1], count), rng.integers(0, shape[0], count)
    extra["t"], extra["p"] = rng.integers(start_us, end_us, count), rng.integers(0, 2, count)
    both = np.concatenate([events, extra])
    return both[np.argsort(both["t"], kind="stable")]
