"""Runs a model over a data set under the chosen protocols. One process or many: the same figures to the last digit."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as distributed
from numpy.typing import NDArray

from sartm_core.datasets.frame import TRUTH, DataSet, Frame
from sartm_core.deploy import Segmenter, load_segmenter
from sartm_core.errors import SartmError
from sartm_core.evaluation.class_map import ClassMap
from sartm_core.evaluation.tally import Tally
from sartm_core.evaluation.variations import PROTOCOLS, Planes, Variation, variations
from sartm_core.frames import UNLABELLED
from sartm_core.rig import Rig
from sartm_core.sensing import encode

SHOWN_FRAMES = 3
"""Best and worst ones that the report shows."""


@dataclass(slots=True)
class Evaluation:
    """What was measured.

    Attributes:
        data, split, model: names.
        modalities: those that data and model share, in the model's order.
        class_names: of the data.
        protocols: that were asked for.
        variations: (group, name) -> tally.
        tags: (tag, value) -> tally of the clean variation.
        frame_scores: (frame id, mean IoU) of the clean variation, best first.
        latency_s: variation's (group, name) -> median seconds of a `segment` call.
    """

    data: str
    split: str
    model: str
    modalities: tuple[str, ...]
    model_modalities: tuple[str, ...]
    class_names: tuple[str, ...]
    protocols: tuple[str, ...]
    variations: dict[tuple[str, str], Tally]
    tags: dict[tuple[str, str], Tally]
    frame_scores: list[tuple[str, float]]
    latency_s: dict[tuple[str, str], float]


@contextmanager
def open_model(model: Path | str, backend: str = "auto", device: str = "auto") -> Iterator[Segmenter]:
    """A bundle, or a checkpoint of `sartm train`, as a segmenter."""
    if Path(model).suffix != ".ckpt":
        yield load_segmenter(model, backend, device)
        return
    from sartm_core.deploy.export import export

    with tempfile.TemporaryDirectory() as folder:
        export(Path(model), Path(folder) / "bundle")
        yield load_segmenter(Path(folder) / "bundle", backend, device)


def evaluate(
    segmenter: Segmenter,
    data: DataSet,
    split: str,
    protocols: Sequence[str] = ("clean",),
    class_map: ClassMap | None = None,
    limit: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Segments every labelled frame of a split once per variation.

    Under torchrun the frames are spread over the processes and the sums are added up.

    Args:
        segmenter: the model.
        data: the data set; modalities that it shares with the model (name, kind and encoding) are used.
        split: its name.
        protocols: of `variations.PROTOCOLS`.
        class_map: the model's classes in terms of the data's; by default they must be the same.
        limit: only the first frames.
        progress: called with frames done, frames in all (of this process).

    Raises:
        SartmError: unknown protocol, no labelled frames, no common modality, other classes.
    """
    unknown = [name for name in protocols if name not in PROTOCOLS]
    if unknown:
        raise SartmError(f"protocol '{unknown[0]}' is unknown. Known: {', '.join(PROTOCOLS)}, all.")
    rig = segmenter.bundle.rig
    shared = common_modalities(rig, data.rig)
    table = (class_map or ClassMap.same(rig, data.rig)).table(rig, data.rig)
    labelled = [frame for frame in data.frames(split) if data.path(frame, TRUTH).is_file()][:limit]
    if not labelled:
        raise SartmError(f"{data.name}: split '{split}' has no labelled frames to score.")
    eight_bit = frozenset(name for name in shared if rig.modality(name).eight_bit)
    run = _Run(segmenter, data, shared, table, variations(shared, protocols, eight_bit))
    with _process_group() as (rank, world):
        mine = labelled[rank::world]
        for done, frame in enumerate(mine, start=1):
            run.add(frame)
            progress(done, len(mine))
        run.reduce(world)
    chosen = {tag for tag, protocol in (("condition", "conditions"), ("fault", "faults")) if protocol in protocols}
    return Evaluation(
        data=data.name,
        split=split,
        model=segmenter.bundle.name,
        modalities=shared,
        model_modalities=rig.names,
        class_names=data.rig.class_names,
        protocols=tuple(protocols),
        variations=run.tallies,
        tags={key: tally for key, tally in sorted(run.tags.items()) if key[0] in chosen},
        frame_scores=sorted(run.frame_scores, key=lambda entry: (-entry[1], entry[0])),
        latency_s={key: float(np.median(times)) for key, times in run.times.items()},
    )


def common_modalities(model: Rig, data: Rig) -> tuple[str, ...]:
    """The modalities that both have under the same name, kind and encoding, in the model's order.

    Raises:
        SartmError: none.
    """
    shared = tuple(
        own.name
        for own in model.modalities
        for other in data.modalities
        if (own.name, own.kind, getattr(own, "encoding", None))
        == (other.name, other.kind, getattr(other, "encoding", None))
    )
    if not shared:
        raise SartmError(
            f"the model's modalities ({', '.join(model.names)}) and those of '{data.name}' ({', '.join(data.names)}) "
            "have none in common: name, kind and encoding must agree."
        )
    return shared


class _Run:
    """Args: segmenter, data; shared modalities; table, the model's class id -> the data's; the variations."""

    def __init__(
        self,
        segmenter: Segmenter,
        data: DataSet,
        shared: tuple[str, ...],
        table: NDArray[np.uint8],
        ways: list[Variation],
    ) -> None:
        self._segmenter, self._data, self._shared, self._table, self._ways = segmenter, data, shared, table, ways
        self.tallies = {(way.group, way.name): self._tally() for way in ways}
        self.times: dict[tuple[str, str], list[float]] = {(way.group, way.name): [] for way in ways}
        self.tags: dict[tuple[str, str], Tally] = {}
        self.frame_scores: list[tuple[str, float]] = []

    def _tally(self) -> Tally:
        return Tally(len(self._data.rig.classes), len(self._segmenter.bundle.rig.names))

    def add(self, frame: Frame) -> None:
        rig = self._segmenter.bundle.rig
        planes: Planes = {
            name: encode(rig.modality(name), self._data.image(frame, name), rig.dtype)
            for name in self._shared
            if name in frame.modalities
        }
        truth = self._data.truth(frame)
        for number, way in enumerate(self._ways):
            # The noise of a frame is a function of the frame alone, whichever process meets it.
            seed = [number, *frame.id.encode()]
            shown = way.change(planes, np.random.default_rng(seed))
            if not shown:  # the frame has none of the subset's sensors
                continue
            started = time.perf_counter()
            answer = self._segmenter.segment(shown, truth.shape)
            self.times[way.group, way.name].append(time.perf_counter() - started)
            mask = self._table[answer.mask]
            self.tallies[way.group, way.name].add(mask, truth, answer.confidence, answer.routing)
            if way.group == "clean":
                self._add_clean(frame, mask, truth, answer.confidence, answer.routing)

    def _add_clean(self, frame: Frame, mask: Any, truth: Any, confidence: Any, routing: Any) -> None:
        alone = self._tally()
        alone.add(mask, truth, confidence, routing)
        self.frame_scores.append((frame.id, alone.score.mean_iou()))
        for tag, value in _tags(frame).items():
            self.tags.setdefault((tag, value), self._tally()).add(mask, truth, confidence, routing)

    def reduce(self, world: int) -> None:
        if world == 1:
            return
        for tally in self.tallies.values():
            tally.reduce()
        everything: list[Any] = [None] * world
        distributed.all_gather_object(everything, (sorted(self.tags), self.frame_scores, self.times))
        for key in sorted({key for keys, _, _ in everything for key in keys}):
            self.tags.setdefault(key, self._tally()).reduce()
        self.frame_scores = [entry for _, scores, _ in everything for entry in scores]
        self.times = {key: [t for _, _, times in everything for t in times[key]] for key in self.times}


def _tags(frame: Frame) -> dict[str, str]:
    """The frame's tags; a fault is told with its modality."""
    tags = dict(frame.tags)
    if tags.get("fault", "none") != "none" and tags.get("faulty", "none") != "none":
        tags["fault"] = f"{tags['faulty']}: {tags['fault']}"
    return tags


@contextmanager
def _process_group() -> Iterator[tuple[int, int]]:
    """This process and how many there are; joins them where torchrun started several."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield 0, 1
        return
    distributed.init_process_group("gloo")
    try:
        yield distributed.get_rank(), world
    finally:
        distributed.destroy_process_group()


def segment_frame(
    segmenter: Segmenter, data: DataSet, frame: Frame, evaluation: Evaluation, table: NDArray[np.uint8]
) -> tuple[Planes, NDArray[np.uint8], NDArray[np.uint8]]:
    """Images, mask (in the data's classes) and truth of one frame, for a picture."""
    rig = segmenter.bundle.rig
    images = {name: data.image(frame, name) for name in evaluation.modalities if name in frame.modalities}
    planes = {name: encode(rig.modality(name), image, rig.dtype) for name, image in images.items()}
    truth = data.truth(frame)
    mask = table[segmenter.segment(planes, truth.shape).mask]
    return images, np.where(truth == UNLABELLED, UNLABELLED, mask).astype(np.uint8), truth
