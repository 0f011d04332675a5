"""Messages that belong together become a frame set: planes, faults, states, frame_id. The node and replays share it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from sartm_core.kinds import EventModality, Planes
from sartm_core.rig import Rig
from sartm_core.sensing import encode_frame, reason_of
from sartm_ros.decoding.compressed_images import LARGEST_PIXELS
from sartm_ros.decoding.event_streams import EventStream
from sartm_ros.decoding.images import raw_array
from sartm_ros.decoding.point_clouds import cloud_points

LEAST_PIXELS, MOST_ENLARGED = 2**23, 8
"""A compressed image may have so many pixels (4K), or be so many times as high and as wide as the rig file says: what a
few kilobytes can hold beyond that would stop the node for seconds."""


@dataclass(frozen=True, slots=True)
class FrameSet:
    """What became of the messages of one instant.

    Attributes:
        stamp_ns: of the anchor's measurement, nanoseconds.
        frame_id: the reference camera's.
        raws: modality -> what was measured: image [H, W] or [H, W, C], points [N, 4], events.
        images: modality -> registered image.
        planes: modality -> the same encoded, [3, H, W] of the served rig's dtype; an absent modality is not a key.
        broken: modality -> why its message could not be used; it counts as absent.
        empty: modality -> why its measurement holds nothing; it counts as absent, too.
        newly_broken: those of them whose message was not in the set before: a slow sensor's is in several.
        states: every modality that is served -> present, absent, stale, broken or empty.
    """

    stamp_ns: int
    frame_id: str
    raws: dict[str, NDArray[Any]]
    images: dict[str, NDArray[Any]]
    planes: dict[str, Planes]
    broken: dict[str, str]
    empty: dict[str, str]
    newly_broken: dict[str, str]
    states: dict[str, str]


class FrameSetProcessor:
    """Decodes, registers and encodes the messages of one rig, and remembers which of them cannot be used.

    Args:
        rig: what the messages are.
        served: the bundle's rig, whose modalities have states and whose dtype planes have.
        stale_after_s: a modality whose messages could not be decoded counts as broken for this long after the last.

    Attributes:
        rig: may be replaced as calibrations become known.
    """

    def __init__(self, rig: Rig, served: Rig, stale_after_s: float | None = None) -> None:
        self.rig = rig
        self._served = served
        self.stale_after_s = rig.synchronizer.stale_after_s if stale_after_s is None else stale_after_s
        self._event_streams = {
            m.name: EventStream(m) for m in rig.modalities if isinstance(m, EventModality) and m.delivers_packets
        }
        self._frame_ids: dict[str, str] = {}
        self._camera_frame_id = ""
        self._undecodable_ns: dict[str, int] = {}
        self._last_broken: dict[str, Any] = {}

    def serve(self, rig: Rig) -> None:
        """Makes sets for another bundle's rig from now on; what was learnt of the sensors stays."""
        self._served = rig

    def gathers(self, name: str) -> bool:
        """Whether every message of this modality is needed on its arrival, matched or not: events."""
        return name in self._event_streams

    def note_frame_id(self, name: str, frame_id: str) -> None:
        """Takes the frame_id of a modality's message."""
        self._frame_ids[name] = frame_id

    def note_camera_info(self, message: Any) -> None:
        """Takes the reference camera's CameraInfo, whose frame_id counts until the camera itself has one."""
        self._camera_frame_id = message.header.frame_id

    def gather(self, name: str, packets: Sequence[Any], stamps_ns: Sequence[int], now_ns: int = 0) -> bool:
        """Takes packets of events on their arrival.

        Args:
            name: of a modality that `gathers`.
            packets, stamps_ns: that follow one another.
            now_ns: on the stamps' clock.

        Returns:
            Whether the last of them is to be matched with measurements of other sensors; a few are.

        Raises:
            SartmError: a packet that cannot be used; until one can, the modality is broken.
        """
        try:
            is_matched = self._event_streams[name].add(packets, stamps_ns)
        except Exception:
            self._undecodable_ns[name] = now_ns
            raise
        self._undecodable_ns.pop(name, None)
        return is_matched

    def losses(self) -> dict[str, dict[str, int]]:
        """Of each modality that `gathers`, how many packets were `lost` and `skipped`, see `EventStream`."""
        return {name: {"lost": one.lost, "skipped": one.skipped} for name, one in self._event_streams.items()}

    def undecodable(self, now_ns: int) -> set[str]:
        """Modalities whose latest messages could not be decoded; the synchroniser never sees them."""
        silent_ns = round(self.stale_after_s * 1e9)
        return {name for name, at_ns in tuple(self._undecodable_ns.items()) if now_ns - at_ns <= silent_ns}

    def process(
        self,
        stamp_ns: int,
        messages: Mapping[str, Any],
        *,
        offsets_s: Mapping[str, float] | None = None,
        stale: Collection[str] = (),
        now_ns: int = 0,
        load: Callable[[Any], Any] = lambda message: message,
        change: Callable[[str, NDArray[Any]], NDArray[Any]] | None = None,
    ) -> FrameSet:
        """Makes a frame set; never raises for a message that is broken.

        Args:
            stamp_ns: of the set.
            messages: by modality.
            offsets_s: what the synchroniser adds to the stamps of a modality.
            stale: modalities that have been silent for long.
            now_ns: on the stamps' clock.
            load: deserialises a message, where they come serialised.
            change: see `encode_frame`.
        """
        raws: dict[str, NDArray[Any]] = {}
        broken: dict[str, str] = {}
        for name, message in messages.items():
            try:
                own_stamp = stamp_ns - round((offsets_s or {}).get(name, 0.0) * 1e9)
                raws[name] = self._measurement(name, message, own_stamp, load)
            except Exception as error:  # whatever the message holds, it costs this modality only
                broken[name] = reason_of(error)
        encoded = encode_frame(self.rig, raws, dtype=self._served.dtype, change=change)
        broken |= encoded.faults
        newly_broken = {
            name: reason for name, reason in broken.items() if messages[name] is not self._last_broken.get(name)
        }
        self._last_broken = {name: messages[name] for name in broken}
        undecodable = broken.keys() | self.undecodable(now_ns)
        states = modality_states(self._served.names, messages, undecodable, encoded.empty, stale)
        return FrameSet(
            stamp_ns=stamp_ns,
            frame_id=self._frame_id(messages),
            raws=raws,
            images=encoded.images,
            planes=encoded.measured,
            broken=broken,
            empty=encoded.empty,
            newly_broken=newly_broken,
            states=states,
        )

    def _measurement(self, name: str, message: Any, stamp_ns: int, load: Callable[[Any], Any]) -> NDArray[Any]:
        """Counts of a window's events, points [N, 4] of a cloud, pixels of an image."""
        if name in self._event_streams:
            return self._event_streams[name].until(stamp_ns)
        message = load(message)
        if hasattr(message, "point_step"):
            return cloud_points(message)
        height, width = self.rig.modality(name).size
        return raw_array(message, max(min(LARGEST_PIXELS, height * width * MOST_ENLARGED**2), LEAST_PIXELS))

    def _frame_id(self, names: Collection[str]) -> str:
        """The reference's; until it is known that of its CameraInfo, then that of a sensor in the set."""
        own = self._frame_ids.get(self.rig.reference) or self._camera_frame_id
        return own or next((self._frame_ids[name] for name in names if self._frame_ids.get(name)), "")


def modality_states(
    every: Collection[str],
    present: Collection[str],
    broken: Collection[str],
    empty: Collection[str],
    stale: Collection[str],
) -> dict[str, str]:
    """State of every modality of a bundle in one set: present, absent, stale (silent for long), broken or empty.

    Args:
        every: the bundle's modalities.
        present: those with a message in the set.
        broken: those whose messages cannot be used.
        empty: those whose measurement holds nothing.
        stale: those that have been silent for long.
    """
    states = dict.fromkeys(every, "absent")
    for name in every:
        if name in broken:
            states[name] = "broken"
        elif name in empty:
            states[name] = "empty"
        elif name in present:
            states[name] = "present"
        elif name in stale:
            states[name] = "stale"
    return states
