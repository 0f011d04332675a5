"""`sartm bag evaluate`: scores a bundle on recordings with labels, over time and with sensors dropping out."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sartm_core.deploy import Segmenter
from sartm_core.deploy.bundle import check_inputs, check_serves
from sartm_core.deploy.provenance import content_hash, provenance_of
from sartm_core.errors import SartmError
from sartm_core.evaluation.class_map import ClassMap
from sartm_core.evaluation.outcome import WINDOW, Evaluation, LabelledSet, Moment
from sartm_core.evaluation.processes import gathered, process_group
from sartm_core.evaluation.results import as_dict
from sartm_core.evaluation.scoring import Scoring
from sartm_core.files import sha256
from sartm_core.rig import Rig
from sartm_ros.bag.faults import BagFault, BagFaults
from sartm_ros.bag.labels import StampedLabels
from sartm_ros.bag.reader import Bag, open_bag
from sartm_ros.bag.replay import DEFAULTS, Replay, ReplayOptions
from sartm_ros.bag.storage_files import recording_name


@dataclass(frozen=True, slots=True)
class BagEvaluation:
    """How recordings are scored.

    Attributes:
        protocols: of `evaluation.protocols.PROTOCOLS`.
        labels: folder of masks by stamp, in place of `options.truth_topic`.
        label_tolerance_s: largest distance between a label's stamp and a set's.
        window_s: length of the windows of time.
        options, faults: see `ReplayOptions` and `bag.faults`.
        definitions: folder of .msg files.
    """

    protocols: tuple[str, ...] = ("clean",)
    labels: Path | None = None
    label_tolerance_s: float = 0.001
    window_s: float = 10.0
    options: ReplayOptions = DEFAULTS
    faults: tuple[BagFault, ...] = ()
    definitions: Path | None = None


def evaluate_bags(
    segmenter: Segmenter,
    rig: Rig,
    paths: Sequence[Path],
    how: BagEvaluation,
    class_map: ClassMap | None = None,
    progress: Callable[[str, int], None] = lambda name, sets: None,
) -> tuple[Evaluation, dict[str, Any]]:
    """Replays each recording and scores every labelled frame set.

    Under torchrun whole recordings are distributed over the processes, and the sums added up.

    Args:
        segmenter: the model.
        rig: of the recordings; the labels use its classes.
        paths: the recordings.
        how: see `BagEvaluation`.
        class_map: maps the model's classes to the rig's; by default they must be the same.
        progress: called with a recording's name and the number of its frame sets done.

    Returns:
        The evaluation, and figures as plain values: those of `results.as_dict`, and a description of what was scored.

    Raises:
        SartmError: no labels, an unreadable recording, a rig that the model does not serve, or what `Scoring` refuses.
    """
    if (how.labels is None) == (how.options.truth_topic is None):
        raise SartmError("labels: expected either a topic (--truth-topic) or a folder (--labels).")
    names = _names(paths)
    (check_serves if class_map is None else check_inputs)(segmenter.bundle.rig, rig)
    scoring = Scoring(segmenter, rig, how.protocols, class_map)
    with process_group() as (rank, world):
        mine = {}
        for name, path in list(names.items())[rank::world]:
            with open_bag(path, how.definitions) as bag:
                mine[name] = _score(scoring, name, bag, rig, segmenter, how, partial(progress, name))
        everything = gathered(mine)
        evaluation = scoring.result(" ".join(names), "recording")
    found = {name: entry for part in everything for name, entry in part.items()}
    of = provenance_of(segmenter)
    figures = as_dict(evaluation) | {
        "recordings": [found[name] for name in names],
        "bundle": {"name": of.bundle, "sha256": of.sha256, "backend": of.backend},
        "configuration": _configuration(rig, how),
    }
    return evaluation, figures


def _score(
    scoring: Scoring,
    name: str,
    bag: Bag,
    rig: Rig,
    segmenter: Segmenter,
    how: BagEvaluation,
    progress: Callable[[int], None],
) -> dict[str, Any]:
    labels = None if how.labels is None else StampedLabels(how.labels, len(rig.classes), how.label_tolerance_s)
    replay = Replay(bag, rig, segmenter.bundle.rig, how.options, BagFaults(how.faults, rig.names))
    scored = lacking = 0
    for number, found in enumerate(replay, start=1):
        truth = found.truth if labels is None else labels.at(found.frames.stamp_ns)
        planes = {key: plane for key, plane in found.frames.planes.items() if key in scoring.modalities}
        if truth is not None and planes:
            begin = int(found.time_s // how.window_s) * how.window_s
            tags = {**found.tags, WINDOW: f"{name} {begin:g}-{begin + how.window_s:g} s"}
            moment = Moment(name, found.time_s, found.frames.states)
            identity = f"{name}/{found.frames.stamp_ns}"
            scoring.add(LabelledSet(identity, found.frames.images, planes, truth, tags, moment))
            scored += 1
            lacking += len(planes) < len(rig.names)
        progress(number)
    remarks = replay.remarks()
    if lacking:
        remarks.append(
            f'{lacking} of the {scored} scored frame sets lacked a sensor; "all sensors" are those they had.'
        )
    return {
        "name": name,
        "sha256": _hash_of(bag),
        "scored": scored,
        "lacking": lacking,
        "replay": replay.report(),
        "remarks": remarks,
    }


def _names(paths: Sequence[Path]) -> dict[str, Path]:
    """A short name for each recording: its own, with its folder where two share a name."""
    own = [recording_name(path) for path in paths]
    names = {
        name if own.count(name) == 1 else f"{path.resolve().parent.name}/{name}": path
        for name, path in zip(own, paths, strict=True)
    }
    if len(names) < len(paths):
        raise SartmError(f"recordings: two have the same name: {', '.join(map(str, paths))}. Rename one.")
    return names


def _hash_of(bag: Bag) -> str:
    """Over the storage files' hashes, in the order of recording."""
    return hashlib.sha256("\n".join(sha256(path) for path in bag.files).encode()).hexdigest()


def _configuration(rig: Rig, how: BagEvaluation) -> dict[str, Any]:
    options = {
        "rig": rig.name,
        "protocols": ", ".join(how.protocols),
        "labels": how.options.truth_topic or str(how.labels),
        "window_s": how.window_s,
        "stamps": how.options.stamps,
        "faults": ", ".join(fault.text for fault in how.faults) or "none",
    }
    whole = {"rig": rig.model_dump(mode="json"), "how": {**asdict(how), "labels": None, "definitions": None}}
    return {"sha256": content_hash(whole), "options": options}
