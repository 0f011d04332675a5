"""A recording as frame sets, matched by the node's own synchroniser: no DDS, no wall clock, deterministic.

Messages arrive in the order of their header stamps; where these leap, see `order.Timeline`. Where the recording holds
them in another order (drivers stamp at the exposure, the recorder writes at the arrival), a window of it is kept back
and sorted.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sartm_core.datasets.files import class_ids
from sartm_core.errors import SartmError
from sartm_core.kinds.stream import EVENT_ARRAY
from sartm_core.rig import Rig
from sartm_core.sensing import reason_of
from sartm_ros.bag.faults import BagFaults
from sartm_ros.bag.order import Sorter, Timeline, header_of, representable
from sartm_ros.bag.reader import Bag, Recorded
from sartm_ros.bag.recorded_calibration import RecordedCalibration
from sartm_ros.bag.rig_topics import check_topics, topics_without_messages
from sartm_ros.bag.tags import TagTimes
from sartm_ros.decoding.event_arrays import event_array
from sartm_ros.decoding.images import raw_array
from sartm_ros.explanations import NO_STAMP, explain_mismatch
from sartm_ros.frame_sets import FrameSet, FrameSetProcessor
from sartm_ros.streams import NS_PER_S, Stream
from sartm_ros.synchronizer import Synchronizer

SORTED_NS = NS_PER_S // 2
"""Window of the recording within which messages are sorted by stamp."""
TRUTH = "truth"
END_S = 1e6
"""Time that passes after the last message, so that every waiting set is emitted."""

Stamps = Literal["header", "recorded"]


@dataclass(frozen=True, slots=True)
class ReplaySet:
    """One frame set of a recording.

    Attributes:
        number: of the set, counted from the beginning of the recording, from 0.
        frames: planes, images, faults, states.
        recorded_ns: when the last of its messages was recorded.
        time_s: seconds since the first stamp of the recording.
        truth: uint8 [H, W], class ids, where the recording has them.
        tags: what the recording says about this instant.
        camera_info: the reference camera's last one.
    """

    number: int
    frames: FrameSet
    recorded_ns: int
    time_s: float
    truth: NDArray[np.uint8] | None
    tags: dict[str, str]
    camera_info: Any


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How a recording is replayed.

    Attributes:
        stamps: what orders and matches messages: their headers', or the times of recording, for recordings whose
            headers cannot be trusted.
        truth_topic: mono8 class ids, matched as a sensor's.
        truth_tolerance_s: largest distance between its stamp and the set's.
        tags_topic: std_msgs/String of JSON with `condition` and the like, valid until the next one.
        span_ns: begin and end in the time of recording: only the sets that fall into it are made. Those before it are
            matched, neither decoded nor yielded, so that the first of the span is what it is in the whole recording;
            behind it nothing is read.
    """

    stamps: Stamps = "header"
    truth_topic: str | None = None
    truth_tolerance_s: float = 0.02
    tags_topic: str | None = None
    span_ns: tuple[int, int] | None = None


DEFAULTS = ReplayOptions()


class Replay:
    """Iterates over the frame sets of a recording; once.

    Args:
        bag: open.
        rig: says which topic is which sensor.
        served: the bundle's rig, see `FrameSetProcessor`; the recording's own without a model.
        options, faults: see `ReplayOptions` and `bag.faults`.
        on_read: called with every message as it is read, in the order of recording; then all topics are read.

    Raises:
        SartmError: none of the rig's topics is in the recording, or one of another type.
    """

    def __init__(
        self,
        bag: Bag,
        rig: Rig,
        served: Rig,
        options: ReplayOptions = DEFAULTS,
        faults: BagFaults | None = None,
        on_read: Callable[[Recorded], None] | None = None,
    ) -> None:
        self.bag, self.rig = bag, rig
        self._options, self._on_read = options, on_read
        self._faults = faults or BagFaults((), rig.names)
        self._names = {m.topic: m.name for m in rig.modalities}
        check_topics(bag, rig, (options.truth_topic, options.tags_topic))
        if options.truth_topic is not None:
            self._names[options.truth_topic] = TRUTH
        self._processor = FrameSetProcessor(rig, served)
        self._faults_found: dict[str, Counter[str]] = {name: Counter() for name in rig.names}
        self._calibration = RecordedCalibration(bag, rig, self._count_fault)
        self._offsets_ns = {m.name: round(m.offset_s * NS_PER_S) for m in rig.modalities}
        self._streams = [
            Stream(m.name, m.tolerance_s, m.offset_s, m.required, gathered=m.delivers_packets) for m in rig.modalities
        ]
        truth = [Stream(TRUTH, options.truth_tolerance_s, gathered=True)] if options.truth_topic is not None else []
        waits = rig.synchronizer
        self._synchronizer = Synchronizer(
            [*self._streams, *truth], rig.reference, waits.max_wait_s, waits.stale_after_s, self._on_set
        )
        self._sorter: Sorter[Recorded] = Sorter(SORTED_NS)
        self._ready: list[tuple[int, dict[str, Any]]] = []
        self._timeline = Timeline()
        self._newest = (0, 0)  # place and stamp of the message that came last by its place
        self._now_ns = 0
        self._origin_ns: int | None = None
        self._tags = TagTimes()
        self._last_truth: Recorded | None = None
        self._sizes: dict[str, tuple[int, int]] = {}
        self._empty: dict[str, tuple[int, str]] = {}
        self._packets: Counter[str] = Counter()
        self._number = self._reached_ns = 0
        self.read_ns = bag.start_ns
        """How far the recording was read, in its time: for progress."""

    def __iter__(self) -> Iterator[ReplaySet]:
        topics = {*self._names, *self._calibration.topics, *filter(None, [self._options.tags_topic])}
        for message in self.bag.messages(topics if self._on_read is None else None):
            self.read_ns = message.time_ns
            if self._on_read is not None:
                self._on_read(message)
            if message.topic in topics:
                yield from self._take_in(message)
            if self._behind_span():
                return
        yield from self._matched(self._sorter.flush())
        self._synchronizer.tick(self._now_ns + round(END_S * NS_PER_S))
        yield from self._taken()

    @property
    def calibrated_rig(self) -> Rig:
        """The rig with the calibration found in the recording."""
        return self._calibration.rig

    @property
    def calibration_remarks(self) -> list[str]:
        """What the user should know about the calibration, one line each."""
        return self._calibration.remarks

    def report(self) -> dict[str, Any]:
        """Counts: sets, incomplete ones, and messages received, matched, broken and empty for each modality; losses."""
        counts = self._synchronizer.statistics()
        modalities = {}
        for name in self.rig.names:
            of_stream = counts["streams"][name]
            modalities[name] = {
                "received": of_stream["received"],
                "matched": of_stream["matched"],
                "broken": dict(self._faults_found[name].most_common(5)),
                "empty": self._empty.get(name, (0, ""))[0],
            }
        keys = ("sets", "incomplete", "held_back", "resets")
        return {**{key: counts[key] for key in keys}, "modalities": modalities, "losses": list(self.bag.losses)}

    def remarks(self) -> list[str]:
        """What the user should know or fix, one line each."""
        lines = self.matching_remarks()
        for modality in self.rig.modalities:
            if (found := self.bag.topics.get(modality.topic)) is None or not found.count:
                continue  # reported by `topics_without_messages`
            size, expected = self._sizes.get(modality.name, modality.size), modality.size
            if size not in (expected, self.rig.modality(self.rig.reference).size):
                lines.append(
                    f"{modality.name}: images of {modality.topic} are {size[0]}x{size[1]}, rig '{self.rig.name}' says "
                    f"{expected[0]}x{expected[1]}. Is it this robot's rig? `sartm rig check RIG --bag BAG` compares."
                )
            for fault, count in self._faults_found[modality.name].most_common(3):
                lines.append(f"{modality.name}: {count} messages are unusable: {fault}")
            if modality.name in self._empty:
                count, reason = self._empty[modality.name]
                lines.append(f"{modality.name}: in {count} frame sets it is empty and counts as absent: {reason}.")
        return lines

    def matching_remarks(self) -> list[str]:
        """Those of the remarks that need no set made: the same for the whole recording and for its last span."""
        counts = self._synchronizer.statistics()
        seconds = (self.bag.end_ns - self.bag.start_ns) / NS_PER_S
        lines = [*self.bag.losses, *topics_without_messages(self.bag, self.rig)]
        lines += [*self.calibration_remarks, *self._faults.remarks(seconds)]
        for stream in self._streams:
            of_stream = counts["streams"][stream.name]
            reason = explain_mismatch(of_stream, stream, counts["anchor"])
            modality = self.rig.modality(stream.name)
            found = self.bag.topics.get(modality.topic)
            if found is None or not found.count:
                continue  # reported by `topics_without_messages`
            if 0 < of_stream["received"] == of_stream["refused"]:
                lines.append(f"{stream.name}: {NO_STAMP} For this recording: --stamps recorded.")
            elif reason is not None:
                lines.append(f"{stream.name}: {reason} For this recording alone: --stamps recorded.")
            lost = self._processor.losses().get(stream.name, {}).get("lost", 0)
            if lost:
                lines.append(
                    f"{stream.name}: {lost} of its {lost + self._packets[stream.name]} packets are missing, by their "
                    "sequence numbers: the recorder was too slow, or its queue too short."
                )
        return lines

    def _take_in(self, message: Recorded) -> Iterator[ReplaySet]:
        name = self._names.get(message.topic)
        if name is None:
            self._note(message)
            return
        try:
            stamp = self._stamp_of(message)
        except SartmError as error:
            self._count_fault(name, str(error))
            return
        matched = stamp + self._offsets_ns.get(name, 0)  # on the clock of the sets
        place_ns = self._timeline.place(name, matched, message.time_ns)
        self._newest = max(self._newest, (place_ns, matched))
        if self._origin_ns is None and stamp > 0 and self.bag.within(message.time_ns):
            self._origin_ns = matched
        at_s = self._seconds(matched)
        if self._faults.dropped(name, at_s):
            return
        late_ns = round(self._faults.delay_s(name, at_s) * NS_PER_S)
        yield from self._matched(self._sorter.push(place_ns + late_ns, message.time_ns + late_ns, message))

    def _matched(self, arrivals: Iterator[tuple[int, Recorded]]) -> Iterator[ReplaySet]:
        for key_ns, message in arrivals:
            self._now_ns = max(self._now_ns, key_ns)
            self._match(self._names[message.topic], message)
            yield from self._taken()

    def _note(self, message: Recorded) -> None:
        """CameraInfo and tags: valid from now on."""
        if message.topic != self._options.tags_topic:
            self._calibration.note(message)
            return
        self._tags.add(self.bag.deserialize(message), self._newest[1] + 1)

    def _match(self, name: str, message: Recorded) -> None:
        stamp = self._stamp_of(message)
        if name != TRUTH:
            _, frame_id = header_of(message.data)
            self._calibration.frame(name, frame_id)
            self._processor.note_frame_id(name, frame_id)
        if self._processor.gathers(name):
            try:
                self._packets[name] += 1
                if not self._processor.gather(name, [self._packet(message)], [stamp], self._now_ns):
                    return
            except Exception as error:  # whatever a message holds must not end the replay
                self._count_fault(name, reason_of(error))
                return
        self._synchronizer.add(name, stamp, message, self._now_ns)

    def _packet(self, message: Recorded) -> Any:
        message_type = message.message_type or self.bag.topics[message.topic].message_type
        is_array = message_type == EVENT_ARRAY
        return event_array(message.data) if is_array else self.bag.deserialize(message)

    def _on_set(self, stamp_ns: int, messages: dict[str, Any]) -> None:
        self._ready.append((stamp_ns, messages))

    def _taken(self) -> Iterator[ReplaySet]:
        ready, self._ready = self._ready, []
        for stamp_ns, messages in ready:
            # Spans that follow one another share no set, though sets need not be complete in the order of their stamps.
            self._reached_ns = max(self._reached_ns, *(message.time_ns for message in messages.values()))
            if self._behind_span():
                return
            if self._options.span_ns is None or self._options.span_ns[0] <= self._reached_ns:
                yield self._made(stamp_ns, messages)
            else:
                self._last_truth = messages.get(TRUTH) or self._last_truth
            self._number += 1

    def _behind_span(self) -> bool:
        return self._options.span_ns is not None and self._reached_ns >= self._options.span_ns[1]

    def _made(self, stamp_ns: int, found: dict[str, Recorded]) -> ReplaySet:
        recorded_ns = max(message.time_ns for message in found.values())
        labelled = found.pop(TRUTH, None)
        truth = None if labelled is self._last_truth else self._truth(labelled)  # a truth belongs to one set
        self._last_truth = labelled or self._last_truth
        at_s = self._seconds(stamp_ns)

        def change(name: str, image: NDArray[Any]) -> NDArray[Any]:
            self._sizes.setdefault(name, (image.shape[0], image.shape[1]))
            return self._faults.with_noise(name, image, at_s, stamp_ns)

        if self._calibration.camera_info is not None:
            self._processor.note_camera_info(self._calibration.camera_info)
        self._processor.rig = self._calibration.rig
        frames = self._processor.process(
            stamp_ns,
            found,
            offsets_s={stream.name: stream.offset_s for stream in self._streams},
            stale={s.name for s in self._streams if self._synchronizer.state(s.name, self._now_ns) == "stale"},
            now_ns=self._now_ns,
            load=self.bag.deserialize,
            change=change,
        )
        for name, reason in frames.newly_broken.items():
            self._count_fault(name, reason)
        for name, reason in frames.empty.items():
            count, first = self._empty.get(name, (0, reason))
            self._empty[name] = (count + 1, first)
        info = self._calibration.camera_info
        return ReplaySet(self._number, frames, recorded_ns, at_s, truth, self._tags.at(stamp_ns), info)

    def _truth(self, message: Recorded | None) -> NDArray[np.uint8] | None:
        if message is None:
            return None
        return class_ids(message.topic, raw_array(self.bag.deserialize(message)), len(self.rig.classes))

    def _stamp_of(self, message: Recorded) -> int:
        stamp, _ = header_of(message.data)  # fails on a damaged one, whichever stamp is used
        return representable(message.time_ns) if self._options.stamps == "recorded" else stamp

    def _seconds(self, stamp_ns: int) -> float:
        """Since the first message; an older one recorded later counts as that moment."""
        return max(stamp_ns - (self._origin_ns or stamp_ns), 0) / NS_PER_S

    def _count_fault(self, name: str, reason: str) -> None:
        if name in self._faults_found:
            counter = self._faults_found[name]
            counter[reason if reason in counter or len(counter) < 50 else "other reasons"] += 1
