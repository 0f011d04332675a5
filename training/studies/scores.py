"""Scores one trained entrant on the study's test frames: subsets, blanks, noise, faults and routing.

Every modality is encoded once per variant (intact, blank, noisy); subsets only repeat the decoding.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from frames import FAULTY, REPAIRED, SOUND
from torch import Tensor

from sartm_core.datasets.dataset import Frame, read_frame
from sartm_core.datasets.frame_folder import FrameFolder
from sartm_core.evaluation.metrics import SegmentationScore
from sartm_core.evaluation.variations import Planes, subsets
from sartm_core.evaluation.variations import noisy as noisy_variations
from sartm_core.learning.checkpoints import load_network
from sartm_core.model.contract import Network
from sartm_core.model.info import describe
from sartm_core.rig import Rig

NIGHT = "night"
GFLOP_SIZE = (448, 640)

Falls = dict[str, list[tuple[float, float]]]
"""`<modality>: <fault>` -> its weight without and with the fault, per frame."""


class Prediction(NamedTuple):
    """Attributes: mask int64 [N, H, W]; routing float32 [N, M], mean over the levels."""

    mask: Tensor
    routing: Tensor


@torch.inference_mode()
def score(checkpoint: Path, data: Path, limit: int | None = None) -> dict[str, Any]:
    """Scores one entrant.

    Args:
        checkpoint: its best one.
        data: the frame folder of `frames.render`.
        limit: maximum number of intact and of faulty frames.

    Returns:
        miou: group (`clean`, `drop`, `zero`, `noise`, `condition`, `night_drop`, `corrupted`, `fault`) -> name -> mean
            IoU, 0 to 1.
        routing: group (`clean`, `drop`, `condition`) -> name -> mean weight of each modality.
        falls: `<modality>: <fault>` -> how often the weight fell, its mean before and after, number of frames.
        gflop: of the whole network at `GFLOP_SIZE`, with the first 1 to M modalities.
    """
    network, rig, _ = load_network(checkpoint)
    network.merge_experts()
    network.eval()
    folder = FrameFolder(data)
    board = _Board(len(rig.classes))
    for frame in folder.frames(SOUND)[:limit]:
        _score_sound(network, rig, folder, frame, board)
    faulty, repaired = folder.frames(FAULTY)[:limit], folder.frames(REPAIRED)[:limit]
    falls: Falls = {}
    for broken, sound in zip(faulty, repaired, strict=True):
        assert broken.id == sound.id
        _score_faulty(network, rig, folder, broken, sound, board, falls)
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


def _score_sound(network: Network, rig: Rig, folder: FrameFolder, frame: Frame, board: "_Board") -> None:
    planes, truth = _planes(rig, folder, frame), _truth(folder, frame)
    noisy = noisy_variations(folder.rig.only(rig.names).modalities)
    rng = np.random.default_rng([7, *frame.id.encode()])
    names = list(rig.names)
    rows = [(index, planes[name]) for index, name in enumerate(names)]
    rows += [(index, np.zeros_like(planes[name])) for index, name in enumerate(names)]
    for variation in noisy:
        noised = variation.name.split()[0]
        rows.append((names.index(noised), variation.change(planes, rng)[noised]))
    count = len(names)
    whole = tuple(range(count))
    requests = [("clean", "all", whole)]
    for kept in subsets(rig.names)[:-1]:
        requests.append(("drop", "+".join(kept), tuple(names.index(name) for name in kept)))
        blank = tuple(index if names[index] in kept else count + index for index in whole)
        requests.append(("zero", "+".join(kept), blank))
    for number, variation in enumerate(noisy):
        target = names.index(variation.name.split()[0])
        requests.append(("noise", variation.name, tuple(2 * count + number if i == target else i for i in whole)))
    predictions = _predict(network, rows, [picked for _, _, picked in requests], truth.shape)
    condition = frame.tags["condition"]
    for (group, name, _), mask, routing in zip(requests, predictions.mask, predictions.routing, strict=True):
        board.add(group, name, mask, truth, routing)
        if group == "clean":
            board.add("condition", condition, mask, truth, routing)
        if group == "drop" and condition == NIGHT:
            board.add("night_drop", name, mask, truth, routing)


def _score_faulty(
    network: Network,
    rig: Rig,
    folder: FrameFolder,
    broken: Frame,
    sound: Frame,
    board: "_Board",
    falls: Falls,
) -> None:
    truth, names = _truth(folder, broken), list(rig.names)
    faulty, fault = broken.tags["faulty"], broken.tags["fault"]
    before, after = _planes(rig, folder, sound), _planes(rig, folder, broken)
    target, count = names.index(faulty), len(names)
    rows = [(index, before[name]) for index, name in enumerate(names)] + [(target, after[faulty])]
    whole = tuple(range(count))
    corrupted = tuple(count if index == target else index for index in whole)
    without = tuple(index for index in whole if index != target)
    predictions = _predict(network, rows, [whole, corrupted, without], truth.shape)
    for group, mask, routing in zip(
        ("repaired", "corrupted", "unplugged"), predictions.mask, predictions.routing, strict=True
    ):
        board.add("corrupted", group, mask, truth, routing)
    board.add("fault", f"{faulty}: {fault}", predictions.mask[1], truth, predictions.routing[1])
    sound_weight, faulty_weight = predictions.routing[:2, target].tolist()
    falls.setdefault(f"{faulty}: {fault}", []).append((sound_weight, faulty_weight))


def _predict(
    network: Network, rows: list[tuple[int, Any]], requests: list[tuple[int, ...]], size: tuple[int, ...]
) -> Prediction:
    """Encodes rows (modality, planes) once; decodes each choice of rows."""
    modality = torch.tensor([index for index, _ in rows])
    features = network.encode(torch.from_numpy(np.stack([planes for _, planes in rows])), modality)
    picked = torch.tensor([row for choice in requests for row in sorted(choice, key=lambda row: int(modality[row]))])
    sample = torch.tensor([number for number, choice in enumerate(requests) for _ in choice])
    availability = torch.zeros(len(requests), len(network.config.modalities), dtype=torch.bool)
    availability[sample, modality[picked]] = True
    output = network.decode([level[picked] for level in features], sample, modality[picked], availability)
    scores = torch.nn.functional.interpolate(output.logits, size=size, mode="bilinear", align_corners=False)
    return Prediction(scores.argmax(dim=1), output.routing.mean(dim=1))


def _planes(rig: Rig, folder: FrameFolder, frame: Frame) -> Planes:
    return read_frame(folder, frame, rig.names, rig.dtype).planes


def _truth(folder: FrameFolder, frame: Frame) -> Tensor:
    return torch.from_numpy(folder.truth(frame).astype(np.int64))


class _Board:
    """Accumulates confusion and routing per (group, name)."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._scores: dict[str, dict[str, SegmentationScore]] = {}
        self._routing: dict[str, dict[str, list[Tensor]]] = {}

    def add(self, group: str, name: str, mask: Tensor, truth: Tensor, routing: Tensor) -> None:
        scores = self._scores.setdefault(group, {})
        scores.setdefault(name, SegmentationScore(self._classes)).update(mask.cpu().numpy(), truth.cpu().numpy())
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
