"""`sartm bag segment`: masks for a recording, without DDS or a clock."""

import functools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartm_core.datasets.png import write_png
from sartm_core.deploy import Segmenter
from sartm_core.errors import SartmError
from sartm_core.rig import Rig
from sartm_core.segmentation import Segmentation
from sartm_ros.bag.faults import BagFaults
from sartm_ros.bag.reader import Bag, Recorded
from sartm_ros.bag.replay import DEFAULTS, Replay, ReplayOptions, ReplaySet
from sartm_ros.bag.rerun_recording import rerun_recording
from sartm_ros.bag.storage_files import custom_data
from sartm_ros.bag.topics import CDR
from sartm_ros.bag.types import bag_message
from sartm_ros.bag.video import film
from sartm_ros.bag.writer import BagWriter
from sartm_ros.decoding.images import header, set_stamp
from sartm_ros.decoding.point_clouds import point_cloud_message
from sartm_ros.frame_sets import FrameSet
from sartm_ros.labelled_cloud import Cloud, check_points, labelled_cloud
from sartm_ros.outputs import DEFAULT_PARAMETERS, Output, PublishedParameters, resolved_outputs
from sartm_ros.pipeline import Pipeline
from sartm_ros.result_messages import (
    IMAGE,
    OUTPUT_TYPES,
    POINT_CLOUD,
    confidence_message,
    labels_text,
    mask_message,
    output_message,
    overlay,
    overlay_message,
    routing_message,
)

OVERLAY_ALPHA = 0.5


@dataclass(frozen=True, slots=True)
class Outputs:
    """What is written.

    Attributes:
        node: name that prefixes the topics, as the node's: `/perception`.
        copy: also every message of the recording, its attachments and metadata records.
        overlay: also the classes' colours over the image, as a topic.
        pictures: folder for the same as PNG files, named by stamp (nanoseconds); None to write none.
        video: film of the overlay, with weights, states and legend: an .mp4 file; None for none.
        rrd: the same for Rerun's viewer; None for none.
        smoothing_s: of the masks, see `deploy.smoothing`.
        points: also the labelled points.
        parameters: of the node; what of them decides how results are published.
    """

    node: str = "/perception"
    copy: bool = False
    overlay: bool = False
    pictures: Path | None = None
    points: bool = False
    parameters: PublishedParameters = DEFAULT_PARAMETERS
    video: Path | None = None
    rrd: Path | None = None
    smoothing_s: float = 0.0


OUTPUTS = Outputs()


def segment(
    bag: Bag,
    rig: Rig,
    segmenter: Segmenter,
    out: Path,
    outputs: Outputs = OUTPUTS,
    options: ReplayOptions = DEFAULTS,
    faults: BagFaults | None = None,
    progress: Callable[[int, int], None] = lambda sets, read_ns: None,
) -> tuple[int, Replay]:
    """Writes mask, confidence, routing weights, camera info and labels, as the node would publish them.

    Args:
        bag: the recording.
        rig: of the recording; must be one that the segmenter serves.
        segmenter: a loaded bundle.
        out: a rosbag2 folder or a `.mcap` file; must not exist; appears only when complete.
        outputs, options, faults: see `Outputs`, `ReplayOptions`, `bag.faults`.
        progress: called with the number of frame sets done, and the recording's time read so far (nanoseconds).

    Returns:
        Number of masks, and the replay, which reports on the recording.

    Raises:
        SartmError: the bundle does not serve the rig, `out` exists, none of the rig's topics is there, or nothing on
            them can be used.
    """
    pipeline, served = Pipeline(rig, segmenter, outputs.smoothing_s), segmenter.bundle.rig
    if outputs.points:
        check_points(rig)
    with BagWriter(out) as writer, ExitStack() as files:
        others = resolved_outputs(outputs.parameters.outputs, rig, served)
        results = ResultWriter(writer, pipeline, outputs, others, bag.losses, files)
        on_read = _copier(bag, writer, results.topics) if outputs.copy else None
        note_provenance(writer, pipeline)
        replay = Replay(bag, rig, served, options, faults, on_read)
        masks = 0
        for number, found in enumerate(replay, start=1):
            segmentation = pipeline.segment(found.frames.planes, found.frames.stamp_ns)
            if segmentation is not None:
                results.write(found, segmentation, replay.calibrated_rig)
                masks += 1
            progress(number, replay.read_ns)
        if not masks:
            reasons = "\n".join(replay.remarks()) or "No frame set could be matched."
            raise SartmError(f"{out}: not written, because the recording yields no mask.\n{reasons}")
    return masks, replay


def note_provenance(writer: BagWriter, pipeline: Pipeline) -> None:
    """Notes in a recording which model made its masks; what was copied of an earlier segmentation is replaced."""
    writer.note({f"sartm_{key}": value for key, value in pipeline.provenance.as_dict().items()})


class ResultWriter:
    """Adds the topics of a segmentation to a recording that is being written.

    Args:
        writer: of the recording.
        pipeline: that makes them.
        outputs: what is written.
        others: `outputs` of the parameters.
        losses: gets a line for each reason why points are missing.
        files: film and Rerun's recording are complete when this stack is left.

    Attributes:
        topics: by the name in `OUTPUT_TYPES`, and of `others`.
    """

    def __init__(
        self,
        writer: BagWriter,
        pipeline: Pipeline,
        outputs: Outputs,
        others: Sequence[Output],
        losses: list[str],
        files: ExitStack,
    ) -> None:
        self._writer, self._pipeline, self._outputs = writer, pipeline, outputs
        self._others, self._losses = others, losses
        self._rig = pipeline.segmenter.bundle.rig
        self._film = None if outputs.video is None else files.enter_context(film(outputs.video, self._rig))
        self._rrd = None if outputs.rrd is None else files.enter_context(rerun_recording(outputs.rrd, self._rig))
        optional = {"overlay": outputs.overlay, "points": outputs.points}
        types = {name: kind for name, kind in OUTPUT_TYPES.items() if optional.get(name, True)}
        types |= {f"outputs/{one.name}": POINT_CLOUD if one.form == "points" else IMAGE for one in others}
        self.topics = {name: f"{outputs.node}/{name}" for name in types}
        for name, topic in self.topics.items():
            writer.add_topic(topic, types[name], latched=name == "labels")
        self._labelled = False

    def write(self, found: ReplaySet, segmentation: Segmentation, calibrated: Rig) -> None:
        """Adds the messages of one set; `calibrated`: the rig with the calibration known by then."""
        at, parameters = found.recorded_ns, self._outputs.parameters
        segmentation = segmentation.at_least(parameters.min_confidence)
        if not self._labelled:
            labels = bag_message(OUTPUT_TYPES["labels"], data=labels_text(self._rig, self._pipeline.provenance))
            self._writer.write_message(self.topics["labels"], at, labels)
            self._labelled = True
        states = found.frames.states
        stamped = header(bag_message, found.frames.stamp_ns, found.frames.frame_id)
        node = self._outputs.node.lstrip("/")
        messages = {
            "mask": mask_message(bag_message, segmentation, stamped),
            "confidence": confidence_message(bag_message, segmentation, stamped, parameters.confidence_encoding),
            "routing_weights": routing_message(bag_message, node, self._rig, segmentation, states, stamped),
        }
        if self._outputs.overlay or self._outputs.pictures is not None or self._film is not None:
            picture = overlay(segmentation, self._pipeline.backdrop(found.frames.planes), self._rig, OVERLAY_ALPHA)
            if self._outputs.overlay:
                messages["overlay"] = overlay_message(bag_message, picture, stamped)
            if self._outputs.pictures is not None:
                write_png(self._outputs.pictures / f"{found.frames.stamp_ns}.png", picture)
            if self._film is not None:
                self._film.add(found.frames.stamp_ns, picture, segmentation, states)
        if self._rrd is not None:
            self._rrd.add(found.frames, segmentation)
        messages |= self._point_messages(found.frames, segmentation, calibrated, stamped)
        if found.camera_info is not None:
            set_stamp(found.camera_info, found.frames.stamp_ns)
            messages["camera_info"] = found.camera_info
        for name, message in messages.items():
            self._writer.write_message(self.topics[name], at, message)

    def _point_messages(
        self, frames: FrameSet, segmentation: Segmentation, calibrated: Rig, stamped: Any
    ) -> dict[str, Any]:
        """The labelled points and the parameters' `outputs`."""
        unseen = self._outputs.parameters.points_out_of_view

        @functools.cache
        def cloud(organised: bool) -> Cloud | None:
            try:
                return labelled_cloud(calibrated, frames, segmentation, self._rig.palette, unseen, organised)
            except SartmError as error:  # the next frame set may be fine
                self._losses.extend({f"no points in some frame sets: {error}"} - set(self._losses))
                return None

        messages = {}
        points = cloud(False) if self._outputs.points else None
        if points is not None:
            messages["points"] = point_cloud_message(bag_message, points, stamped)
        for one in self._others:
            points = cloud(one.size is not None) if one.form == "points" else None
            message = output_message(bag_message, one, segmentation, points, stamped)
            if message is not None:
                messages[f"outputs/{one.name}"] = message
        return messages


def _copier(bag: Bag, writer: BagWriter, results: dict[str, str]) -> Callable[[Recorded], Any]:
    """Copies messages unchanged, and what stands beside them.

    Left out and named: topics of an earlier segmentation, types without a definition, other encodings than CDR.
    """
    copied = set()
    for (topic, kind), found in bag.kinds.items():
        if topic in results.values():
            bag.losses.append(f"{topic}: replaced by the new one.")
        elif found.encoding != CDR:
            bag.losses.append(f"{topic}: not copied, because its messages are encoded as {found.encoding}.")
        elif kind not in bag.typestore.types:
            bag.losses.append(f"{topic}: not copied, because the recording does not define {kind}.")
        else:
            writer.add_topic(topic, kind, typestore=bag.typestore, offered=found.offered)
            copied.add((topic, kind))
    writer.extras = bag.extras()
    writer.note(custom_data(bag.path))

    def copy(message: Recorded) -> None:
        if (message.topic, message.message_type) in copied:
            writer.write(message.topic, message.time_ns, message.data, message.message_type)

    return copy
