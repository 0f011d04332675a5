"""What a calibration is estimated from: measurements in a recording, and what the reference saw around them."""

import contextlib
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sartm_core.calibrate.cameras import WIDTH
from sartm_core.calibrate.edges import grey
from sartm_core.calibrate.moments import Moment
from sartm_core.errors import SartmError
from sartm_core.rig import Modality, Rig
from sartm_core.sensing.undistortion import undistorted
from sartm_ros.bag.order import header_of
from sartm_ros.bag.reader import Bag, Recorded
from sartm_ros.decoding.images import raw_array
from sartm_ros.decoding.point_clouds import cloud_points
from sartm_ros.streams import NS_PER_S

AROUND_S = 0.45
"""Frames of the reference so far from a measurement are kept beside it."""
STEP_S = 0.04
"""Frames nearer to one another are left out: 30 a second tell no more than 15."""
NEAR_S = 0.1
"""Without frames on both sides, the nearest may be so far away."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Attributes:
    moments: the reference's frames.
    measurements: of the sensor, at each moment: images, grey, float32 [h, w], or points [N, 4].
    size: height, width of the sensor's images as recorded; (0, 0) of a LiDAR.
    reference_size: height, width of the reference's images as recorded.
    frame_ids: by topic.
    """

    moments: list[Moment]
    measurements: list[NDArray[Any]]
    size: tuple[int, int]
    reference_size: tuple[int, int]
    frame_ids: dict[str, str]


def shrunk_size(size: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) at which a calibration is estimated."""
    return size if size[1] <= WIDTH else (round(size[0] * WIDTH / size[1]), WIDTH)


def frames_around(bag: Bag, rig: Rig, name: str, count: int) -> Seen:
    """Reads up to `count` moments, spread over the recording; a message that cannot be decoded is left out.

    Args:
        bag: the recording.
        rig: gives topics and the offsets that stamps have.
        name: of the modality.

    Raises:
        SartmError: the recording has no two messages of the sensor and of the reference at about one time.
    """
    sensor, reference = rig.modality(name), rig.modality(rig.reference)
    offsets_ns = {m.topic: round(m.offset_s * NS_PER_S) for m in (sensor, reference)}
    stamps: dict[str, set[int]] = {sensor.topic: set(), reference.topic: set()}
    frame_ids: dict[str, str] = {}
    for message in bag.messages(offsets_ns):
        with contextlib.suppress(SartmError):  # a damaged message is as good as none
            stamp, frame_ids[message.topic] = header_of(message.data)
            stamps[message.topic].add(stamp + offsets_ns[message.topic])
    chosen = _chosen(sorted(stamps[sensor.topic]), sorted(stamps[reference.topic]), count)
    if not chosen:
        raise SartmError(
            f"{name}: none of the {len(stamps[sensor.topic])} messages of {sensor.topic} is within {NEAR_S:g} s of one "
            f"of the {len(stamps[reference.topic])} of {reference.topic}. Are their clocks the same? `sartm rig check`."
        )
    wanted = {sensor.topic: set(chosen), reference.topic: {stamp for around in chosen.values() for stamp in around}}
    found: dict[str, dict[int, NDArray[Any]]] = {sensor.topic: {}, reference.topic: {}}
    sizes: dict[str, tuple[int, int]] = {}
    for message in bag.messages(offsets_ns):
        with contextlib.suppress(SartmError):
            stamp = header_of(message.data)[0] + offsets_ns[message.topic]
            if stamp in wanted[message.topic]:
                modality = sensor if message.topic == sensor.topic else reference
                found[message.topic][stamp] = _measured(bag, message, modality, sizes)
    moments, measurements = _paired(chosen, found[sensor.topic], found[reference.topic])
    if not moments:
        raise SartmError(f"{name}: no message of {sensor.topic} could be decoded beside one of {reference.topic}.")
    return Seen(moments, measurements, sizes.get(sensor.topic, (0, 0)), sizes[reference.topic], frame_ids)


def _paired(
    chosen: dict[int, list[int]], measured: dict[int, NDArray[Any]], frames: dict[int, NDArray[Any]]
) -> tuple[list[Moment], list[NDArray[Any]]]:
    moments, measurements = [], []
    for stamp, around in chosen.items():
        kept = [one for one in around if one in frames]
        if stamp in measured and kept and len(kept) == len(around):
            times_s = np.array([(one - stamp) / NS_PER_S for one in kept])
            moments.append(Moment([frames[one] for one in kept], times_s))
            measurements.append(measured[stamp])
    return moments, measurements


def _measured(bag: Bag, message: Recorded, modality: Modality, sizes: dict[str, tuple[int, int]]) -> NDArray[Any]:
    decoded = bag.deserialize(message)
    if hasattr(decoded, "point_step"):
        return cloud_points(decoded)
    raw = undistorted(modality, raw_array(decoded))
    size = sizes.setdefault(message.topic, (raw.shape[0], raw.shape[1]))
    if raw.shape[:2] != size:
        raise SartmError(f"{message.topic}: an image of another size than the first.")
    return np.asarray(cv2.resize(grey(raw), shrunk_size(size)[::-1], interpolation=cv2.INTER_AREA))


def _chosen(sensor: list[int], reference: list[int], count: int) -> dict[int, list[int]]:
    """Stamp of the sensor -> stamps of the reference around it; all with frames on both sides, or all without."""
    moving = {stamp: around for stamp in sensor if len(around := _around(stamp, reference)) >= 3}
    still = {stamp: [near] for stamp in sensor if (near := _nearest(stamp, reference)) is not None}
    found = moving or still
    stamps = list(found)
    picked = sorted(set(np.linspace(0, len(stamps) - 1, min(count, len(stamps))).round().astype(int).tolist()))
    return {stamps[index]: found[stamps[index]] for index in picked}


def _around(stamp: int, reference: list[int]) -> list[int]:
    """Stamps within `AROUND_S`, at least `STEP_S` apart; none unless there are some before and after."""
    reach_ns = round(AROUND_S * NS_PER_S)
    kept: list[int] = []
    for one in reference[bisect_left(reference, stamp - reach_ns) : bisect_left(reference, stamp + reach_ns)]:
        if not kept or one - kept[-1] >= STEP_S * NS_PER_S:
            kept.append(one)
    return kept if kept and kept[0] < stamp < kept[-1] else []


def _nearest(stamp: int, reference: Iterable[int]) -> int | None:
    near = min(reference, key=lambda one: abs(one - stamp), default=None)
    return near if near is not None and abs(near - stamp) <= NEAR_S * NS_PER_S else None
