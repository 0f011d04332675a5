"""From the demo's recording to its figures. The bag is the only source, so that anyone can reproduce them."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError
from sartm_core.evaluation.metrics import SegmentationScore
from sartm_core.rig import Rig
from sartm_core.sensing import register
from sartm_ros.bag.reader import read_messages
from sartm_ros.decoding.images import raw_array, stamp_ns
from sartm_ros.decoding.point_clouds import cloud_points
from sartm_ros.labelled_cloud import POINT
from sartm_sim.demo.grid import Grid, GridPair, grid_figures, grid_of
from sartm_sim.demo.live import NODE
from sartm_sim.messages import PHASE_TOPIC, TRUTH_TOPIC

SAME_INSTANT_NS = 30_000_000
"""How far the stamps of what was measured at one instant may be apart: clocks and jitter of the simulated sensors."""

ValueT = TypeVar("ValueT")


@dataclass(slots=True)
class Phase:
    """One phase of the drive, as the simulator announced it, and the frame that shows it.

    Attributes:
        start_ns: stamp of its first frame.
        name, condition, unplugged, faults: from the scenario.
        sample_ns: an instant in its middle that has a mask.
    """

    start_ns: int
    name: str
    condition: str
    unplugged: tuple[str, ...]
    faults: dict[str, str]
    sample_ns: int = 0


@dataclass(slots=True)
class Drive:
    """The content of the recording.

    Attributes:
        phases: in order.
        truths: stamp -> uint8 [H, W]; the stamp names the instant from here on.
        masks: instant -> uint8 [H, W]. Its own stamp is that of the sensor that led, by that sensor's clock.
        masks_received: number of messages; on a busy machine a late sensor makes a second mask of one instant.
        grids: instant -> bird's-eye grid of the labelled points.
        routing: instant -> float32 [M], mean over the levels.
        latency_s: instant -> seconds from the mask's stamp to the recorder.
        published: modality -> number of messages.
        node: the node's last diagnostics, status name without the node's -> key -> value.
    """

    phases: list[Phase] = field(default_factory=list)
    masks: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    masks_received: int = 0
    truths: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    grids: dict[int, Grid] = field(default_factory=dict)
    routing: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    latency_s: dict[int, float] = field(default_factory=dict)
    published: dict[str, int] = field(default_factory=dict)
    node: dict[str, dict[str, str]] = field(default_factory=dict)

    def phase_of(self, stamp: int) -> Phase:
        """The phase that a stamp belongs to."""
        return [phase for phase in self.phases if phase.start_ns <= stamp][-1]

    def instant_of(self, stamp: int) -> int:
        """The stamp of the truth that belongs to a message; its own where there is none."""
        nearest = min(self.truths, key=lambda instant: abs(instant - stamp), default=stamp)
        return nearest if abs(nearest - stamp) <= SAME_INSTANT_NS else stamp

    def by_instant(self, by_stamp: dict[int, ValueT]) -> dict[int, ValueT]:
        """What messages of these stamps say, by instant."""
        return {self.instant_of(stamp): value for stamp, value in by_stamp.items()}


def read_drive(bag: Path, rig: Rig) -> Drive:
    """Reads the recording.

    Raises:
        SartmError: it holds no masks or no phases.
    """
    drive = Drive(published=dict.fromkeys(rig.names, 0))
    by_topic = {modality.topic: modality.name for modality in rig.modalities}
    for topic, time_ns, message in read_messages(bag):
        if topic in by_topic:
            drive.published[by_topic[topic]] += 1
        else:
            _note(drive, topic, time_ns, message, rig)
    if not drive.phases or not drive.masks:
        raise SartmError(f"{bag}: holds no {'masks' if drive.phases else 'phases'}; see perception.log beside it.")
    drive.masks, drive.routing = drive.by_instant(drive.masks), drive.by_instant(drive.routing)
    drive.latency_s, drive.grids = drive.by_instant(drive.latency_s), drive.by_instant(drive.grids)
    for phase in drive.phases:
        stamps = [stamp for stamp in sorted(drive.masks) if drive.phase_of(stamp) is phase]
        phase.sample_ns = stamps[len(stamps) // 2] if stamps else 0
    return drive


def _note(drive: Drive, topic: str, time_ns: int, message: Any, rig: Rig) -> None:
    """Stores one message that is not from a sensor."""
    if topic == PHASE_TOPIC:
        content = json.loads(message.data)
        drive.phases.append(Phase(**content | {"unplugged": tuple(content["unplugged"])}))
    elif topic == TRUTH_TOPIC:
        drive.truths[stamp_ns(message)] = raw_array(message)
    elif topic == f"{NODE}/mask":
        drive.masks[stamp_ns(message)] = raw_array(message)
        drive.masks_received += 1
        drive.latency_s[stamp_ns(message)] = (time_ns - stamp_ns(message)) / 1e9
    elif topic == f"{NODE}/points":
        drive.grids[stamp_ns(message)] = grid_of(np.frombuffer(message.data, POINT))
    elif topic == f"{NODE}/routing_weights":
        drive.routing[stamp_ns(message)] = _weights(message, rig)
    elif topic == "/diagnostics":
        for status in message.status:
            drive.node[status.name.removeprefix("perception: ")] = {pair.key: pair.value for pair in status.values}


def read_samples(bag: Path, rig: Rig, drive: Drive) -> dict[int, dict[str, Any]]:
    """What the sensors measured in the phases' sample frames: stamp -> modality -> image; of a LiDAR its projection."""
    samples: dict[int, dict[str, Any]] = {phase.sample_ns: {} for phase in drive.phases}
    by_topic = {modality.topic: modality.name for modality in rig.modalities}
    for topic, _, message in read_messages(bag, set(by_topic)):
        instant = drive.instant_of(stamp_ns(message))
        if instant in samples:
            name = by_topic[topic]
            is_cloud = rig.modality(name).delivers_points
            raw = register(rig, name, {name: cloud_points(message)}) if is_cloud else raw_array(message)
            samples[instant][name] = raw
    return samples


def summarise(drive: Drive, rig: Rig, rate_hz: float, compared: dict[int, GridPair]) -> dict[str, Any]:
    """The content of summary.json; `compared`: of `birds_eye.compare_grids`."""
    received = {name: int(drive.node[f"input {name}"]["received"]) for name in rig.names}
    latencies_ms = np.array(list(drive.latency_s.values())) * 1e3
    return {
        "rate_hz": rate_hz,
        "frames_in": len(drive.truths),
        "masks_out": drive.masks_received,
        "frames_without_mask": len(drive.truths) - len(drive.masks),
        "dropped_by_node": int(drive.node["pipeline"]["dropped"]),
        "published": drive.published,
        "received": received,
        "lost_between_processes": sum(drive.published.values()) - sum(received.values()),
        "latency_ms": {f"p{p}": round(float(np.percentile(latencies_ms, p)), 1) for p in (50, 95)},
        "stages_ms": {key: float(value) for key, value in drive.node["pipeline"].items() if "_ms_p" in key},
        "phases": [_phase_summary(drive, rig, phase, compared) for phase in drive.phases],
    }


def _phase_summary(drive: Drive, rig: Rig, phase: Phase, compared: dict[int, GridPair]) -> dict[str, Any]:
    frames = [stamp for stamp in sorted(drive.truths) if drive.phase_of(stamp) is phase]
    segmented = [stamp for stamp in frames if stamp in drive.masks]
    score = SegmentationScore(len(rig.classes))
    for stamp in segmented:
        score.update(drive.masks[stamp], drive.truths[stamp])
    weights = [drive.routing[stamp] for stamp in segmented if stamp in drive.routing]
    mean_weights = [float(weight) for weight in np.mean(weights, axis=0)] if weights else [None] * len(rig.names)
    iou = score.iou()
    return {
        "name": phase.name,
        "condition": phase.condition,
        "unplugged": list(phase.unplugged),
        "faults": phase.faults,
        "frames": len(frames),
        "masks": len(segmented),
        "miou": round(score.mean_iou(), 4) if segmented else None,
        "iou": {
            name: round(float(value), 4) for name, value in zip(rig.class_names, iou, strict=True) if value == value
        },
        "routing": dict(zip(rig.names, mean_weights, strict=True)),
        "grid": grid_figures([pair for stamp, pair in compared.items() if drive.phase_of(stamp) is phase]),
    }


def _weights(message: Any, rig: Rig) -> NDArray[np.float32]:
    levels = [{pair.key: pair.value for pair in status.values} for status in message.status]
    return np.mean([[float(level[name]) for name in rig.names] for level in levels], axis=0, dtype=np.float32)
