"""What becomes of a rig when a sensor falls silent: the node's matching, rehearsed on a recording's stamps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from sartm_core.errors import SartmError
from sartm_core.rig import Rig
from sartm_ros.bag.order import header_of
from sartm_ros.bag.reader import Bag
from sartm_ros.decoding.event_streams import MARK_NS
from sartm_ros.streams import NS_PER_S, Stream
from sartm_ros.synchronizer import Synchronizer

REHEARSED_S = 20.0
"""Of the recording; the sensor falls silent after a quarter."""
LEAST_S = 2.0

Arrival = tuple[int, str, int]
"""When a message was recorded, its modality, its stamp."""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """After the loss of a sensor.

    Attributes:
        lost: the sensor; None: all are there.
        leader: the sensor whose stamps the sets carry.
        rate_hz: sets a second.
        shares: of every other sensor, the share of the sets that have it.
    """

    lost: str | None
    leader: str
    rate_hz: float
    shares: dict[str, float]


def rehearse(rig: Rig, bag: Bag) -> list[Rehearsed]:
    """Matches the beginning of a recording with every sensor, and without each of them.

    Args:
        rig: of at least two sensors; those that are in the recording take part.
        bag: the recording.

    Returns:
        Nothing for a recording of less than two seconds.
    """
    arrivals = list(_arrivals(rig, bag))
    names = [name for name in rig.names if any(name == other for _, other, _ in arrivals)]
    if len(names) < 2 or arrivals[-1][0] - arrivals[0][0] < LEAST_S * NS_PER_S:
        return []
    return [_without(rig, lost, names, arrivals) for lost in (None, *names)]


def _arrivals(rig: Rig, bag: Bag) -> Iterator[Arrival]:
    """Of packets of events only those that the node would match."""
    modalities = {m.topic: m for m in rig.modalities if m.topic in bag.topics}
    end_ns = bag.start_ns + round(REHEARSED_S * NS_PER_S)
    marked_ns: dict[str, int] = {}
    for message in takewhile(lambda one: one.time_ns <= end_ns, bag.messages(set(modalities))):
        modality = modalities[message.topic]
        try:
            stamp, _ = header_of(message.data)
        except SartmError:
            continue
        if modality.delivers_packets and 0 <= stamp - marked_ns.get(modality.name, 0) < MARK_NS:
            continue
        marked_ns[modality.name] = stamp
        yield message.time_ns, modality.name, stamp


def _without(rig: Rig, lost: str | None, names: list[str], arrivals: list[Arrival]) -> Rehearsed:
    begin_ns, end_ns = arrivals[0][0], arrivals[-1][0]
    silent_ns = begin_ns + (end_ns - begin_ns) // 4
    waits = rig.synchronizer
    settled_ns = silent_ns + round((waits.stale_after_s + waits.max_wait_s) * NS_PER_S)
    sets: list[set[str]] = []
    now_ns = begin_ns

    def on_set(stamp_ns: int, messages: dict[str, Any]) -> None:
        if now_ns > settled_ns:
            sets.append(set(messages))

    streams = [
        Stream(m.name, m.tolerance_s, m.offset_s, gathered=m.delivers_packets)
        for m in rig.modalities
        if m.name in names
    ]
    anchor = rig.reference if rig.reference in names else names[0]
    synchronizer = Synchronizer(streams, anchor, waits.max_wait_s, waits.stale_after_s, on_set)
    for now_ns, name, stamp in arrivals:
        synchronizer.tick(now_ns)
        if name != lost or now_ns < silent_ns:
            synchronizer.add(name, stamp, stamp, now_ns)
    left = [name for name in names if name != lost]
    shares = {name: sum(name in one for one in sets) / len(sets) if sets else 0.0 for name in left}
    seconds = max(end_ns - settled_ns, 1) / NS_PER_S
    return Rehearsed(lost, synchronizer.statistics()["anchor"], len(sets) / seconds, shares)


def rehearsal_lines(rehearsed: Sequence[Rehearsed]) -> list[str]:
    """A line for each sensor that was lost."""
    lines = []
    for one in rehearsed:
        shares = ", ".join(f"{name} in {100 * share:.0f} %" for name, share in one.shares.items())
        what = "with all sensors" if one.lost is None else f"without {one.lost}"
        lines.append(f"{what}: {one.leader} leads, {one.rate_hz:.1f} sets a second; {shares}")
    return lines
