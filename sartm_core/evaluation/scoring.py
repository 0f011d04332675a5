"""Scores a model on samples, from wherever they come: a data set or a recording.

One process or many: the same figures to the last digit.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from sartm_core.datasets.files import check_view
from sartm_core.deploy import Segmenter
from sartm_core.errors import SartmError
from sartm_core.evaluation.class_map import ClassMap
from sartm_core.evaluation.convention import ANYSEG, STANDARD, as_anyseg, check_convention
from sartm_core.evaluation.modalities import common_modalities
from sartm_core.evaluation.outcome import LIST, WINDOW, Evaluation, Instant, LabelledSet, Scored
from sartm_core.evaluation.processes import gathered
from sartm_core.evaluation.protocols import expand, variations_of
from sartm_core.evaluation.tally import Tally
from sartm_core.files import natural_key
from sartm_core.rig import Rig
from sartm_core.segmentation import UNLABELLED
from sartm_core.sensing.fit import fit_planes

SHOWN_FRAMES = 3
"""Best and worst ones that the report shows."""
_TAG_PROTOCOLS = (("condition", "conditions"), ("fault", "faults"))


class Scoring:
    """Takes samples one by one.

    Args:
        segmenter: the model.
        rig: the data's; modalities that it shares with the model (name, kind and encoding) are used.
        protocols: of `protocols.PROTOCOLS`.
        class_map: the model's classes in terms of the data's; by default they must be the same.
        convention: of `convention.CONVENTIONS`.

    Raises:
        SartmError: unknown protocol, no common modality, other classes, a convention that is undefined here.
    """

    def __init__(
        self, segmenter: Segmenter, rig: Rig, protocols: Sequence[str] = ("clean",), class_map: ClassMap | None = None,
        convention: str = STANDARD,
    ) -> None:  # fmt: skip
        check_convention(convention, rig, segmenter.bundle.size)
        self._convention = convention
        self._segmenter, self._rig, self._protocols = segmenter, rig, expand(protocols)
        model = segmenter.bundle.rig
        self.modalities = common_modalities(model, rig)
        self._table = (class_map or ClassMap.same(model, rig)).table(model, rig)
        self._ways = variations_of(self._protocols, [rig.modality(name) for name in self.modalities])
        self._tallies = {(way.group, way.name): self._tally() for way in self._ways}
        self._times: dict[tuple[str, str], list[float]] = {(way.group, way.name): [] for way in self._ways}
        self._shown_tags = {tag for tag, protocol in _TAG_PROTOCOLS if protocol in self._protocols} | {WINDOW, LIST}
        self._tags: dict[tuple[str, str], Tally] = {}
        self._frame_scores: list[tuple[str, float]] = []
        self._course: list[Instant] = []
        self._best: list[Scored] = []
        self._worst: list[Scored] = []

    def _tally(self) -> Tally:
        return Tally(len(self._rig.classes), len(self._segmenter.bundle.rig.names))

    def add(self, sample: LabelledSet) -> None:
        """Segments a sample once per variation; one without a labelled pixel counts for nothing.

        Raises:
            SartmError: the labels are of another view than the reference's image, as its aspect tells.
        """
        if (sample.truth == UNLABELLED).all():
            return
        self._check_view(sample)
        bundle = self._segmenter.bundle
        if self._convention == ANYSEG:
            sample = as_anyseg(sample, bundle.rig, bundle.size)
        frame = (sample.truth.shape[0], sample.truth.shape[1])
        fitted = None
        for number, way in enumerate(self._ways):
            # The noise of a sample is a function of the sample alone, whichever process meets it.
            if way.fitted and fitted is None:
                fitted = fit_planes(bundle.rig, sample.planes, frame, bundle.size, bundle.fit)
            planes = fitted if way.fitted and fitted is not None else sample.planes
            shown = way.change(planes, np.random.default_rng([number, *sample.id.encode()]))
            if not shown:  # the sample has none of the subset's sensors
                continue
            started = time.perf_counter()
            answer = self._segmenter.segment(shown, frame)
            self._times[way.group, way.name].append(time.perf_counter() - started)
            mask = self._table[answer.mask]
            self._tallies[way.group, way.name].add(mask, sample.truth, answer.confidence, answer.routing)
            if way.group == "clean":
                self._add_clean(sample, mask, answer.confidence, answer.routing)

    def _check_view(self, sample: LabelledSet) -> None:
        image = sample.images.get(self._rig.reference)
        if image is not None:
            check_view(sample.id, sample.truth.shape, f"of '{self._rig.reference}'", image.shape, scaled=True)

    def _add_clean(self, sample: LabelledSet, mask: Any, confidence: Any, routing: Any) -> None:
        alone = self._tally()
        alone.add(mask, sample.truth, confidence, routing)
        miou = alone.score.mean_iou()
        self._frame_scores.append((sample.id, miou))
        for tag, value in _told(sample.tags).items():
            if tag in self._shown_tags:
                self._tags.setdefault((tag, value), self._tally()).add(mask, sample.truth, confidence, routing)
        if sample.moment is not None:
            weights = tuple(float(weight) for weight in routing.mean(axis=0))
            self._course.append(Instant(sample.id, sample.moment, miou, weights))
        scored = Scored(sample, mask, miou)
        self._best = sorted([*self._best, scored], key=_best_first)[:SHOWN_FRAMES]
        self._worst = sorted([*self._worst, scored], key=_worst_first)[:SHOWN_FRAMES]

    def result(self, data: str, split: str) -> Evaluation:
        """Everything so far, of all processes together.

        Args:
            data, split: names of what was scored.

        Raises:
            SartmError: no sample had a labelled pixel.
        """
        self._reduce()
        if not self._frame_scores:
            raise SartmError(f"{data} {split}: no pixel is labelled, so there is nothing to score.")
        bundle = self._segmenter.bundle
        return Evaluation(
            data=data,
            split=split,
            model=bundle.name,
            rig=self._rig,
            network={"size": list(bundle.size), "preset": bundle.network.preset, "backbone": bundle.network.backbone},
            modalities=self.modalities,
            model_modalities=bundle.rig.names,
            protocols=self._protocols,
            convention=self._convention,
            variations=self._tallies,
            tags={key: self._tags[key] for key in sorted(self._tags, key=_in_order)},
            frame_scores=sorted(self._frame_scores, key=lambda entry: (-entry[1], entry[0])),
            best=self._best,
            worst=self._worst,
            course=sorted(self._course, key=lambda one: (one.moment.recording, one.moment.time_s)),
            latency_s={key: float(np.median(times)) for key, times in self._times.items() if times},
        )

    def _reduce(self) -> None:
        """Takes over what all processes have."""
        mine = (self._tallies, self._tags, self._frame_scores, self._times, self._course, self._best, self._worst)
        tallies, tags, scores, times, courses, best, worst = zip(*gathered(mine), strict=True)
        self._tallies, self._tags = _sums(tallies), _sums(tags)
        self._frame_scores = [entry for part in scores for entry in part]
        self._times = {key: [t for part in times for t in part[key]] for key in self._times}
        self._course = [one for part in courses for one in part]
        self._best = sorted((one for part in best for one in part), key=_best_first)[:SHOWN_FRAMES]
        self._worst = sorted((one for part in worst for one in part), key=_worst_first)[:SHOWN_FRAMES]


def _sums(parts: Iterable[dict[tuple[str, str], Tally]]) -> dict[tuple[str, str], Tally]:
    """Of each key, the tallies that the parts have."""
    result: dict[tuple[str, str], Tally] = {}
    for part in parts:
        for key, tally in part.items():
            result[key] = result[key] + tally if key in result else tally
    return result


def _in_order(key: tuple[str, str]) -> tuple[str, list[tuple[int, float, str]]]:
    return key[0], natural_key(key[1])


def _best_first(scored: Scored) -> tuple[float, str]:
    return (-scored.miou, scored.sample.id)


def _worst_first(scored: Scored) -> tuple[float, str]:
    return (scored.miou, scored.sample.id)


def _told(tags: dict[str, str]) -> dict[str, str]:
    """The tags; a fault is shown with its modality."""
    tags = dict(tags)
    if tags.get("fault", "none") != "none" and tags.get("faulty", "none") != "none":
        tags["fault"] = f"{tags['faulty']}: {tags['fault']}"
    return tags
