"""Flicker, accuracy and lag of masks on simulated drives, with and without `smoothing_s`. Not part of `make bench`.

Flicker is the share of pixels, of those whose truth stays what it is for four frames, that change their class and have
it back within three. Lag: how many frames after the truth a mask changes, mean over pixels whose truth changes and then
stays for `STAYS` frames, of those that follow within them.
"""

import argparse
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from sartm_core.deploy import StagedSegmenter, load_segmenter
from sartm_core.deploy.smoothing import Smoother
from sartm_core.rig import load_rig
from sartm_core.sensing import encode_frame
from sartm_sim.simulation import SimulatedRig
from sartm_sim.simulation.scenario import load_scenario

SMOOTHING_S = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
STAYS = 5


class Frame(NamedTuple):
    """What the network answered, and the truth."""

    stamp_ns: int
    answer: dict[str, NDArray[Any]]
    planes: dict[str, NDArray[Any]]
    truth: NDArray[np.uint8]


def drive(segmenter: StagedSegmenter, scenario_name: str, seed: int, rate_hz: float, most: int) -> Iterator[Frame]:
    """Frames of a drive of the simulated robot, segmented one by one."""
    rig, scenario = load_rig("simrobot"), load_scenario(scenario_name)
    simulated = SimulatedRig(rig, seed)
    for index in range(min(round(scenario.seconds * rate_hz), most)):
        begin_s, at_s = index / rate_hz, (index + 1) / rate_hz
        number = scenario.index_at(begin_s)
        assert number is not None
        phase = scenario.phases[number]
        frame = simulated.capture(at_s, phase.weather, scenario.broken_at(begin_s), events_since_s=begin_s)
        raws = {name: raw for name, raw in frame.raw.items() if name not in phase.unplugged}
        planes = encode_frame(rig, raws, dtype=segmenter.bundle.rig.dtype).measured
        answer = segmenter.run_network(*segmenter.prepare(planes))
        kept = {name: np.zeros((3, 1, 1), np.uint8) for name in planes}  # their names are all that `finish` reads
        yield Frame(round(at_s * 1e9), answer, kept, frame.truth)


def masks(segmenter: StagedSegmenter, frames: list[Frame], smoothing_s: float) -> NDArray[np.uint8]:
    """uint8 [N, H, W]."""
    smoother = Smoother(smoothing_s) if smoothing_s else None
    found = []
    for frame in frames:
        answer = dict(frame.answer)
        if smoother is not None:
            answer["scores"] = smoother.smooth(answer["scores"], frame.stamp_ns)
        found.append(segmenter.finish(frame.planes, frame.truth.shape, answer).mask)
    return np.stack(found)


def confusion(found: NDArray[np.uint8], truth: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Rows: truth."""
    known = truth < classes
    pairs = truth[known].astype(np.int64) * classes + found[known]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def miou(matrix: NDArray[np.int64]) -> float:
    """Mean over the classes that occur."""
    hits = np.diag(matrix)
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - hits
    return float((hits[union > 0] / union[union > 0]).mean())


def flicker(found: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """See the module's docstring."""
    shares = []
    for first in range(len(found) - 3):
        before, changed, *later = found[first : first + 4]
        still = (truth[first : first + 4] == truth[first]).all(axis=0)
        flickers = (changed != before) & ((later[0] == before) | (later[1] == before))
        shares.append((flickers & still).sum() / max(still.sum(), 1))
    return float(np.mean(shares))


def lag(found: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """See the module's docstring; frames."""
    frames: list[NDArray[np.intp]] = []
    for first in range(1, len(found) - STAYS):
        after = truth[first : first + STAYS]
        turned = (after[0] != truth[first - 1]) & (after == after[0]).all(axis=0) & (found[first - 1] != after[0])
        right = (found[first : first + STAYS] == after[0])[:, turned]
        frames.append(right.argmax(axis=0)[right.any(axis=0)])
    return float(np.concatenate(frames).mean())


def main() -> None:
    """Drives, smooths, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drives", nargs="+", default=["demo:11", "faults:12", "demo:13"], metavar="SCENARIO:SEED")
    parser.add_argument("--rate", type=float, default=10.0, help="frames per second")
    parser.add_argument("--frames", type=int, default=10**6, help="of each drive, at most")
    arguments = parser.parse_args()
    segmenter = load_segmenter("any_sensor_simrig5", device="cpu")
    assert isinstance(segmenter, StagedSegmenter)
    classes = len(segmenter.bundle.rig.classes)
    drives = [
        list(drive(segmenter, name, int(seed), arguments.rate, arguments.frames))
        for name, seed in (one.split(":") for one in arguments.drives)
    ]
    count = sum(len(frames) for frames in drives)
    table = Table(title=f"{count} frames at {arguments.rate:g} Hz, {segmenter.bundle.name}")
    for column in ("smoothing_s", "mIoU, %", "flicker, %", "of that without", "lag, frames"):
        table.add_column(column, justify="right")
    truths = [np.stack([frame.truth for frame in frames]) for frames in drives]
    without = 0.0
    for smoothing_s in SMOOTHING_S:
        found = [masks(segmenter, frames, smoothing_s) for frames in drives]
        pairs = list(zip(found, truths, strict=True))
        score = miou(sum((confusion(*pair, classes) for pair in pairs), np.zeros((classes, classes), np.int64)))
        flickers = float(np.mean([flicker(*pair) for pair in pairs]))
        without = without or flickers
        late = float(np.mean([lag(*pair) for pair in pairs]))
        share = f"{flickers / without:.2f}"
        table.add_row(f"{smoothing_s:g}", f"{100 * score:.2f}", f"{100 * flickers:.3f}", share, f"{late:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
