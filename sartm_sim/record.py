"""`sartm sim record`: a scenario of the simulated rig as a rosbag2 recording, without ROS or a clock."""

import heapq
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from sartm_core.rig import Rig
from sartm_ros.bag.types import bag_message
from sartm_ros.bag.writer import BagWriter
from sartm_ros.decoding.images import header, image_message
from sartm_sim.messages import (
    PHASE_TOPIC,
    TF_STATIC_TOPIC,
    TRUTH_TOPIC,
    camera_info,
    frame_id,
    phase_text,
    sensor_messages,
    static_transforms,
)
from sartm_sim.simulation import SimulatedFrame, SimulatedRig
from sartm_sim.simulation.clocks import stamp_and_arrival
from sartm_sim.simulation.geometry import CAMERA_HEIGHT_M
from sartm_sim.simulation.scenario import Phase, Scenario

START_NS = 1_700_000_000_000_000_000
"""Stamp of the first instant: the same scenario and seed give the same recording."""


def record(
    rig: Rig,
    scenario: Scenario,
    seed: int,
    rate_hz: float,
    out: Path,
    progress: Callable[[float], None],
    float_depth: bool = False,
    shared_clock: bool = False,
) -> int:
    """Drives the scenario and writes every sensor, CameraInfo, transforms, the truth and the phases.

    Args:
        rig: a rig the simulator supports; gives the topics.
        seed: of street and noise.
        rate_hz: of all sensors; events come without gaps, in packets of 10 ms.
        out: the rosbag2 folder, must not exist.
        progress: called with the seconds driven.
        float_depth: depth as 32FC1 metres, in place of 16UC1 millimetres.
        shared_clock: all sensors have one stamp and no delay; by default see `simulation.clocks`.

    Returns:
        Number of instants.

    Raises:
        SartmError: the folder exists, the rig cannot be simulated, or the scenario does not fit the rig.
    """
    scenario.check_fits(rig)
    simulated = SimulatedRig(rig, seed, float_depth=float_depth)
    with BagWriter(out) as writer:
        drive = _Drive(simulated, scenario, rate_hz, shared_clock, writer)
        _declare(writer, rig)
        writer.write_message(TF_STATIC_TOPIC, START_NS, static_transforms(bag_message, rig, CAMERA_HEIGHT_M, START_NS))
        instants = round(scenario.seconds * rate_hz)
        for index in range(instants):
            drive.write_instant(index)
            progress((index + 1) / rate_hz)
        drive.write_arrived(None)
    return instants


class _Drive:
    def __init__(
        self, simulated: SimulatedRig, scenario: Scenario, rate_hz: float, shared_clock: bool, writer: BagWriter
    ) -> None:
        self._simulated, self._scenario, self._rate_hz = simulated, scenario, rate_hz
        self._shared_clock, self._writer = shared_clock, writer
        self._on_their_way: list[tuple[int, int, str, Any]] = []  # arrival, a number, topic, message
        self._numbers = count()
        self._phase: int | None = None
        self._sent: Counter[str] = Counter()

    def write_arrived(self, before_ns: int | None) -> None:
        """Writes, in the order of arrival, what has arrived before a time; None: everything."""
        while self._on_their_way and (before_ns is None or self._on_their_way[0][0] < before_ns):
            arrival_ns, _, topic, message = heapq.heappop(self._on_their_way)
            self._writer.write_message(topic, arrival_ns, message)

    def _send(self, topic: str, arrival_ns: int, message: Any) -> None:
        heapq.heappush(self._on_their_way, (arrival_ns, next(self._numbers), topic, message))

    def write_instant(self, index: int) -> None:
        # The drive begins one period late: the first events need a preceding frame.
        time_s, at_s = index / self._rate_hz, (index + 1) / self._rate_hz
        number = self._scenario.index_at(time_s)
        assert number is not None
        phase, stamp = self._scenario.phases[number], START_NS + round(at_s * 1e9)
        if number != self._phase:
            self._phase = number
            self._send(PHASE_TOPIC, stamp, bag_message("std_msgs/msg/String", data=phase_text(phase, stamp)))
        broken = self._scenario.broken_at(time_s)
        frame = self._simulated.capture(at_s, phase.weather, broken, events_since_s=time_s)
        self._send_frame(frame, phase, stamp)
        # What the next instant brings arrives later than this: packets of events since this one.
        self.write_arrived(stamp)

    def _send_frame(self, frame: SimulatedFrame, phase: Phase, instant: int) -> None:
        rig = self._simulated.rig
        reference = header(bag_message, instant, frame_id(rig, rig.reference))
        self._send(TRUTH_TOPIC, instant, image_message(bag_message, frame.truth, "mono8", reference))
        for modality in rig.modalities:
            if modality.name in phase.unplugged:
                continue
            stamp, arrival = stamp_and_arrival(rig, modality.name, instant, self._simulated.seed, self._shared_clock)
            if modality.camera_info is not None:
                stamped = header(bag_message, stamp, frame_id(rig, modality.name))
                intrinsics = self._simulated.intrinsics(modality.name)
                self._send(modality.camera_info, arrival, camera_info(bag_message, intrinsics, modality.size, stamped))
            raw = frame.raw[modality.name]
            sent = self._sent[modality.name]
            for at, message in sensor_messages(bag_message, rig, modality, raw, stamp, START_NS, sent):
                self._send(modality.topic, at + arrival - stamp, message)
                self._sent[modality.name] += 1


def _declare(writer: BagWriter, rig: Rig) -> None:
    writer.add_topic(TF_STATIC_TOPIC, "tf2_msgs/msg/TFMessage", latched=True)
    writer.add_topic(PHASE_TOPIC, "std_msgs/msg/String", latched=True)
    writer.add_topic(TRUTH_TOPIC, "sensor_msgs/msg/Image")
    for modality in rig.modalities:
        writer.add_topic(modality.topic, modality.message)
        if modality.camera_info is not None:
            writer.add_topic(modality.camera_info, "sensor_msgs/msg/CameraInfo")
