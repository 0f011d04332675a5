"""Slices of a long recording: done apart, then joined to what the whole would have given, to the byte."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from mcap.reader import make_reader
from pydantic import TypeAdapter

from sartm_core.deploy import Segmenter
from sartm_core.rig import Rig
from sartm_ros.bag.segment import Outputs, ResultWriter, note_provenance
from sartm_ros.bag.writer import BagWriter
from sartm_ros.fleet.layout import MASKS_FILE, NOTES_FILE, SLICES_FOLDER
from sartm_ros.fleet.order import Segmenting
from sartm_ros.fleet.segmenting import Notes
from sartm_ros.pipeline import Pipeline


def slice_folder(out: Path, name: str, index: int, count: int) -> Path:
    """Where one slice's masks are until all are there."""
    return out / SLICES_FOLDER / name / f"{index + 1}-of-{count}"


def write_notes(notes: Notes, folder: Path) -> None:
    """Keeps what `join` needs besides the masks."""
    (folder / NOTES_FILE).write_bytes(TypeAdapter(Notes).dump_json(notes))


def join(folders: Sequence[Path], rig: Rig, segmenter: Segmenter, what: Segmenting, folder: Path) -> Notes | None:
    """Writes one recording of masks from those of all slices.

    Args:
        folders: of the slices, in order.
        rig, segmenter, what: as the slices were made with.
        folder: where the masks go.

    Returns:
        The notes of the whole; None, and nothing is written, where a slice did not know the size of the masks that a
        slice before it had seen.
    """
    notes = [TypeAdapter(Notes).validate_json((one / NOTES_FILE).read_bytes()) for one in folders]
    seen = rig.modality(rig.reference).size
    for one in notes:
        if one.assumed is not None and one.assumed != seen:
            return None
        seen = one.seen or seen
    outputs = Outputs(what.node, overlay=what.overlay)
    with BagWriter(folder / MASKS_FILE) as writer, ExitStack() as files:
        pipeline = Pipeline(rig, segmenter)
        topics = ResultWriter(writer, pipeline, outputs, (), [], files).topics
        note_provenance(writer, pipeline)
        labelled = False
        for place in folders:
            with (place / MASKS_FILE).open("rb") as stream:
                for _, channel, message in make_reader(stream).iter_messages(log_time_order=False):
                    if channel.topic == topics["labels"] and labelled:
                        continue
                    labelled = labelled or channel.topic == topics["labels"]
                    writer.write(channel.topic, message.log_time, message.data)
    tally = notes[0].tally
    for one in notes[1:]:
        tally = tally + one.tally
    return Notes(tally, notes[-1].remarks)
