"""One recording segmented, or a slice of one: masks, and what the fleet's table says of them."""

import json
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sartm_core.deploy import Segmenter
from sartm_core.errors import SartmError
from sartm_core.files import write_bytes, write_text
from sartm_core.rig import Rig
from sartm_ros.bag.reader import Bag
from sartm_ros.bag.replay import Replay, ReplayOptions
from sartm_ros.bag.segment import OVERLAY_ALPHA, Outputs, ResultWriter, note_provenance
from sartm_ros.bag.writer import BagWriter
from sartm_ros.fleet.layout import MASKS_FILE, SETS_FILE, THUMBNAIL_FILE
from sartm_ros.fleet.order import Segmenting
from sartm_ros.fleet.tally import Tally, is_probed, tally_for
from sartm_ros.pipeline import Pipeline
from sartm_ros.result_messages import overlay

Size = tuple[int, int]


@dataclass(slots=True)
class Notes:
    """What is known of a slice besides its masks.

    Attributes:
        tally: of its sets.
        remarks: of matching: in the last slice those of the whole recording.
        assumed: the masks' size before the first image of the reference camera: the rig file's, though a slice before
            may have seen another; None where nothing depended on it.
        seen: the size of the last one; None where there was none.
    """

    tally: Tally
    remarks: list[str]
    assumed: Size | None = None
    seen: Size | None = None


def segment(bag: Bag, rig: Rig, segmenter: Segmenter, what: Segmenting, options: ReplayOptions, folder: Path) -> Notes:
    """Writes the masks of a recording, or of the span that `options` names, into `folder`, which must exist."""
    pipeline = Pipeline(rig, segmenter)
    notes = Notes(tally_for(segmenter.bundle.rig), [])
    outputs = Outputs(what.node, overlay=what.overlay)
    with BagWriter(folder / MASKS_FILE) as writer, ExitStack() as files:
        results = ResultWriter(writer, pipeline, outputs, (), bag.losses, files)
        note_provenance(writer, pipeline)
        replay = Replay(bag, rig, segmenter.bundle.rig, options)
        for found in replay:
            planes = found.frames.planes
            _note_size(notes, planes, rig)
            segmentation = pipeline.segment(planes, found.frames.stamp_ns)
            notes.tally.add(found, segmentation)
            if segmentation is None:
                continue
            results.write(found, segmentation, replay.calibrated_rig)
            if is_probed(found.number):
                backdrop = pipeline.backdrop(planes)
                picture = overlay(segmentation, backdrop, segmenter.bundle.rig, OVERLAY_ALPHA)
                notes.tally.probe(found, segmentation, segmenter, rig, picture)
    notes.remarks = replay.matching_remarks()
    return notes


def write_summary(notes: Notes, rig: Rig, folder: Path) -> dict[str, Any]:
    """Writes what goes with the masks of a recording of this rig; returns the figures.

    Raises:
        SartmError: there is no mask; says why.
    """
    remarks = [*notes.remarks, *notes.tally.remarks()]
    figures = notes.tally.figures(rig.names)
    if not figures["masks"]:
        reasons = "\n".join(remarks) or "No frame set could be matched."
        raise SartmError(f"yields no mask.\n{reasons}")
    sets = {"stamp_ns": notes.tally.stamps_ns, "confidence": [value / 2**32 for value in notes.tally.confidences]}
    write_text(folder / SETS_FILE, json.dumps(sets) + "\n")
    if notes.tally.worst is not None:
        write_bytes(folder / THUMBNAIL_FILE, notes.tally.worst[2])
    return {**figures, "remarks": remarks}


def span(bag: Bag, index: int, count: int) -> tuple[int, int]:
    """Begin and end, in the time of recording, of one of several equally long slices; the outer ones are open."""
    length = bag.end_ns - bag.start_ns
    begin = bag.start_ns + length * index // count if index else -(1 << 62)
    end = bag.start_ns + length * (index + 1) // count if index + 1 < count else 1 << 62
    return begin, end


def in_span(options: ReplayOptions, bag: Bag, index: int, count: int) -> ReplayOptions:
    """The options with the span of a slice."""
    return replace(options, span_ns=span(bag, index, count))


def _note_size(notes: Notes, planes: dict[str, Any], rig: Rig) -> None:
    if rig.reference in planes:
        height, width = planes[rig.reference].shape[1:]
        notes.seen = int(height), int(width)
    elif planes and notes.seen is None:
        notes.assumed = rig.modality(rig.reference).size
