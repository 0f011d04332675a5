"""Whether two forms of one model answer alike on real frames: the gate that a graph or an engine has to pass.

Runs on the robot too, hence without torch.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sartm_core.datasets.dataset import TRUTH, DataSet, Frame, read_frame, seen_by
from sartm_core.datasets.files import is_labelled
from sartm_core.datasets.layouts import open_data
from sartm_core.deploy import Segmenter
from sartm_core.deploy.bundle import check_inputs
from sartm_core.deploy.host import Planes
from sartm_core.errors import SartmError
from sartm_core.evaluation.metrics import SegmentationScore
from sartm_core.evaluation.modalities import common_modalities
from sartm_core.evaluation.variations import subsets
from sartm_core.rig import Rig
from sartm_core.sensing import encode_frame

Pair = tuple[Planes, NDArray[np.uint8] | None]
"""What the network sees of a frame, and its truth [H, W] where it is known."""

UNSEEN_SEED = 2_000_000_000

BOUNDS = {"fp32": (0.9999, 0.001), "fp16": (0.995, 0.01), "int8": (0.99, 0.01)}
"""By precision: the least share of equal pixels, and the largest loss of mean IoU, on every subset."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the candidate is from the reference on one subset of the modalities.

    Attributes:
        agreement: share of the pixels whose class is the same.
        confidence, routing: largest absolute difference; NaN where an answer was not finite.
        miou, candidate_miou: against the truth; None without labels.
    """

    subset: str
    agreement: float
    confidence: float
    routing: float
    miou: float | None
    candidate_miou: float | None

    def passes(self, precision: str) -> bool:
        """Whether it is finite and within `BOUNDS`."""
        agreement, loss = BOUNDS[precision]
        lost = 0.0 if self.miou is None or self.candidate_miou is None else self.miou - self.candidate_miou
        return self.is_finite and self.agreement >= agreement and lost <= loss

    @property
    def is_finite(self) -> bool:
        """Whether all confidences and weights of both were numbers."""
        return bool(np.isfinite([self.confidence, self.routing]).all())


def frames_of(where: str, rig: Rig, count: int) -> Iterator[Pair]:
    """Frames to compare on.

    Args:
        where: a data set's folder, its test split (val, where it has none); or `simulated`: streets that no
            training has seen.
        rig: the model's.
        count: maximum number of frames.

    Raises:
        SartmError: no such data, or a rig that the simulator does not serve.
    """
    if where == "simulated":
        from sartm_sim.simulation import SimulatedRig  # a robot that compares on its own frames needs no simulator

        SimulatedRig(rig, UNSEEN_SEED)  # says at once what it does not serve
        return _simulated(rig, count)
    data = seen_by(open_data(Path(where)), rig)
    shared = common_modalities(rig, data.rig)
    check_inputs(rig, data.rig.only(shared))
    splits = {frame.split for frame in data.frames()}
    return _recorded(data, data.frames("test" if "test" in splits else "val")[:count], shared, rig)


def _simulated(rig: Rig, count: int) -> Iterator[Pair]:
    from sartm_sim.simulation import CONDITIONS, SimulatedRig

    for index in range(count):
        condition = list(CONDITIONS.values())[index % len(CONDITIONS)]
        simulated = SimulatedRig(rig, UNSEEN_SEED + index)
        captured = simulated.capture(3.0, condition)
        yield encode_frame(simulated.rig, captured.raw).planes, captured.truth


def _recorded(data: DataSet, frames: Sequence[Frame], shared: tuple[str, ...], rig: Rig) -> Iterator[Pair]:
    for frame in frames:
        planes = read_frame(data, frame, shared, rig.dtype).planes
        yield planes, data.truth(frame) if is_labelled(data.path(frame, TRUTH)) else None


def compare(
    reference: Segmenter,
    candidate: Segmenter,
    frames: Iterable[Pair],
    progress: Callable[[int], None] = lambda done: None,
) -> list[Parity]:
    """Segments every frame with both, on every subset of its modalities.

    Args:
        frames: planes, and the truth [H, W] where it is known.
        progress: called with the number of frames done.
    """
    sums: dict[str, _Sums] = {}
    for done, (planes, truth) in enumerate(frames, start=1):
        for subset in subsets(tuple(planes)):
            chosen = {name: planes[name] for name in subset}
            classes = len(reference.bundle.rig.classes)
            sums.setdefault("+".join(subset), _Sums(classes)).add(reference, candidate, chosen, truth)
        progress(done)
    if not sums:
        raise SartmError("parity: expected frames to compare on, got none.")
    return [one.parity(name) for name, one in sums.items()]


def check(results: list[Parity], precision: str, consequence: str = "the bundle is not written") -> None:
    """Raises SartmError that names the worst subset, and the consequence, when a bound is broken."""
    for one in results:
        if not one.is_finite:
            raise SartmError(
                f"parity: with {one.subset} answers in {precision} are not finite: {consequence}. Try another "
                "precision."
            )
    failed = [one for one in results if not one.passes(precision)]
    if failed:
        worst = min(failed, key=lambda one: one.agreement)
        agreement, loss = BOUNDS[precision]
        raise SartmError(
            f"parity: with {worst.subset} {worst.agreement:.4%} of the pixels agree (expected {agreement:.2%} in "
            f"{precision}; mean IoU may fall by {loss}): {consequence}. Try another precision or opset."
        )


class _Sums:
    def __init__(self, classes: int) -> None:
        self.equal = self.pixels = 0
        self.confidence = self.routing = 0.0
        self.scores = [SegmentationScore(classes) for _ in range(2)]
        self.labelled = False

    def add(self, reference: Segmenter, candidate: Segmenter, planes: Planes, truth: NDArray[np.uint8] | None) -> None:
        one, other = reference.segment(planes), candidate.segment(planes)
        self.equal += int((one.mask == other.mask).sum())
        self.pixels += one.mask.size
        self.confidence = _larger(self.confidence, one.confidence - other.confidence)
        self.routing = _larger(self.routing, one.routing - other.routing)
        if truth is not None and truth.shape == one.mask.shape:
            self.labelled = True
            for score, answer in zip(self.scores, (one, other), strict=True):
                score.update(answer.mask, truth)

    def parity(self, subset: str) -> Parity:
        ious = [score.mean_iou() if self.labelled else None for score in self.scores]
        return Parity(subset, self.equal / self.pixels, self.confidence, self.routing, ious[0], ious[1])


def _larger(before: float, difference: NDArray[np.float32]) -> float:
    """The largest absolute difference so far; once NaN, always NaN, which Python's `max` would drop."""
    return float(np.maximum(before, np.abs(difference).max()))
