"""Scores one trained entrant on the study's test frames: subsets, blanks, noise, faults, and what its routing does.

Every modality passes the encoder once per variant (sound, blank, noisy); subsets only decode anew.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from frames import FAULTY, MENDED, SOUND
from torch import Tensor

from sartm_core.datasets.dataset import Frame, read_frame
from sartm_core.datasets.frame_folder import FrameFolder
from sartm_core.evaluation.metrics import SegmentationScore
from sartm_core.evaluation.variations import Planes, subsets, variations
from sartm_core.learning.checkpoints import load_network
from sartm_core.model.contract import Network
from sartm_core.model.info import describe
from sartm_core.rig import Rig

NIGHT = "night"
GFLOP_SIZE = (448, 640)

Falls = dict[str, list[tuple[float, float]]]
"""`<modality>: <fault>` -> its weight without and with the fault, per frame."""


class Answer(NamedTuple):
    """Attributes: mask int64 [N, H, W]; routing float32 [N, M], mean over the levels."""

    mask: Tensor
    routing: Tensor


@torch.inference_mode()
def score(checkpoint: Path, data: Path, limit: int | None = None) -> dict[str, Any]:
    """Figures of one entrant.

    Args:
        checkpoint: its best one.
        data: the recording of `frames.render`.
        limit: only so many sound and so many faulty frames.

    Returns:
        miou: group (`clean`, `drop`, `zero`, `noise`, `condition`, `night_drop`, `corrupted`, `fault`) -> name -> mean
            IoU, 0 to 1.
        routing: group (`clean`, `drop`, `condition`) -> name -> mean weight of each modality.
        falls: `<modality>: <fault>` -> how often the weight fell, its mean before and after, number of frames.
        gflop: of the whole at `GFLOP_SIZE`, with the first 1 to M modalities.
    """
    network, rig, _ = load_network(checkpoint)
    network.merge_experts()
    network.eval()
    recording = FrameFolder(data)
    board = _Board(len(rig.classes))
    for frame in recording.frames(SOUND)[:limit]:
        _score_sound(network, rig, recording, frame, board)
    faulty, mended = recording.frames(FAULTY)[:limit], recording.frames(MENDED)[:limit]
    falls: Falls = {}
    for broken, sound in zip(faulty, mended, strict=True):
        assert broken.id == sound.id
        _score_faulty(network, rig, recording, broken, sound, board, falls)
    return {
        "miou": board.miou(),
        "routing": board.mean_routing(rig.names),
        "falls": {
            key: {
                "fell": float(np.mean([after < before for before, after in weights])),
                "before": float(np.mean([before for before, _ in weights])),
                "after": float(np.mean([after for _, after in weights])),
                "frames": len(weights),
            }
            for key, weights in sorted(falls.items())
        },
        "gflop": describe(network.config, GFLOP_SIZE)["gflop"]["whole"],
    }


def _score_sound(network: Network, rig: Rig, recording: FrameFolder, frame: Frame, board: "_Board") -> None:
    planes, truth = _planes(rig, recording, frame), _truth(recording, frame)
    eight_bit = frozenset(m.name for m in rig.modalities if m.eight_bit)
    ways = variations(rig.names, ("subsets", "noise"), eight_bit)
    noisy = [way for way in ways if way.group == "noise"]
    rng = np.random.default_rng([7, *frame.id.encode()])
    names = list(rig.names)
    rows = [(index, planes[name]) for index, name in enumerate(names)]
    rows += [(index, np.zeros_like(planes[name])) for index, name in enumerate(names)]
    for way in noisy:
        noised = way.name.split()[0]
        rows.append((names.index(noised), way.change(planes, rng)[noised]))
    count = len(names)
    whole = tuple(range(count))
    asked = [("clean", "all", whole)]
    for kept in subsets(rig.names)[:-1]:
        asked.append(("drop", "+".join(kept), tuple(names.index(name) for name in kept)))
        blank = tuple(index if names[index] in kept else count + index for index in whole)
        asked.append(("zero", "+".join(kept), blank))
    for number, way in enumerate(noisy):
        target = names.index(way.name.split()[0])
        asked.append(("noise", way.name, tuple(2 * count + number if i == target else i for i in whole)))
    answers = _answers(network, rows, [picked for _, _, picked in asked], truth.shape)
    condition = frame.tags["condition"]
    for (group, name, _), mask, routing in zip(asked, answers.mask, answers.routing, strict=True):
        board.add(group, name, mask, truth, routing)
        if group == "clean":
            board.add("condition", condition, mask, truth, routing)
        if group == "drop" and condition == NIGHT:
            board.add("night_drop", name, mask, truth, routing)


def _score_faulty(
    network: Network,
    rig: Rig,
    recording: FrameFolder,
    broken: Frame,
    sound: Frame,
    board: "_Board",
    falls: Falls,
) -> None:
    truth, names = _truth(recording, broken), list(rig.names)
    faulty, fault = broken.tags["faulty"], broken.tags["fault"]
    before, after = _planes(rig, recording, sound), _planes(rig, recording, broken)
    target, count = names.index(faulty), len(names)
    rows = [(index, before[name]) for index, name in enumerate(names)] + [(target, after[faulty])]
    whole = tuple(range(count))
    spoilt = tuple(count if index == target else index for index in whole)
    without = tuple(index for index in whole if index != target)
    answers = _answers(network, rows, [whole, spoilt, without], truth.shape)
    for group, mask, routing in zip(("mended", "corrupted", "unplugged"), answers.mask, answers.routing, strict=True):
        board.add("corrupted", group, mask, truth, routing)
    board.add("fault", f"{faulty}: {fault}", answers.mask[1], truth, answers.routing[1])
    sound_weight, faulty_weight = answers.routing[:2, target].tolist()
    falls.setdefault(f"{faulty}: {fault}", []).append((sound_weight, faulty_weight))


def _answers(
    network: Network, rows: list[tuple[int, Any]], asked: list[tuple[int, ...]], size: tuple[int, ...]
) -> Answer:
    """Encodes rows (modality, planes) once; decodes each choice of rows."""
    modality = torch.tensor([index for index, _ in rows])
    features = network.encode(torch.from_numpy(np.stack([planes for _, planes in rows])), modality)
    picked = torch.tensor([row for choice in asked for row in sorted(choice, key=lambda row: int(modality[row]))])
    sample = torch.tensor([number for number, choice in enumerate(asked) for _ in choice])
    availability = torch.zeros(len(asked), len(network.config.modalities), dtype=torch.bool)
    availability[sample, modality[picked]] = True
    output = network.decode([level[picked] for level in features], sample, modality[picked], availability)
    scores = torch.nn.functional.interpolate(output.logits, size=size, mode="bilinear", align_corners=False)
    return Answer(scores.argmax(dim=1), output.routing.mean(dim=1))


def _planes(rig: Rig, recording: FrameFolder, frame: Frame) -> Planes:
    return read_frame(recording, frame, rig.names, rig.dtype).planes


def _truth(recording: FrameFolder, frame: Frame) -> Tensor:
    return torch.from_numpy(recording.truth(frame).astype(np.int64))


class _Board:
    """What is counted: confusion and routing of every (group, name)."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._scores: dict[str, dict[str, SegmentationScore]] = {}
        self._routing: dict[str, dict[str, list[Tensor]]] = {}

    def add(self, group: str, name: str, mask: Tensor, truth: Tensor, routing: Tensor) -> None:
        scores = self._scores.setdefault(group, {})
        scores.setdefault(name, SegmentationScore(self._classes)).update(mask, truth)
        self._routing.setdefault(group, {}).setdefault(name, []).append(routing)

    def miou(self) -> dict[str, dict[str, float]]:
        return {
            group: {name: score.mean_iou() for name, score in scores.items()} for group, scores in self._scores.items()
        }

    def mean_routing(self, names: tuple[str, ...]) -> dict[str, dict[str, dict[str, float]]]:
        return {
            group: {
                name: dict(zip(names, torch.stack(rows).mean(dim=0).tolist(), strict=True))
                for name, rows in self._routing[group].items()
            }
            for group in ("clean", "drop", "condition")
        }
