"""From messages that belong together to registered images and planes. The node and offline tools share it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError
from sartm_core.rig import EVENT_ARRAY, EVENT_PACKET, EventModality, Rig
from sartm_core.sensing import encode
from sartm_core.sensing.registration import register
from sartm_ros.decoding.event_streams import EventStream
from sartm_ros.decoding.images import raw_array
from sartm_ros.decoding.point_clouds import cloud_points

Images = dict[str, NDArray[Any]]
Broken = dict[str, str]
"""Modality -> why its message could not be used; it counts as absent."""


class Preparation:
    """Decodes, registers and encodes the messages of one rig.

    Args:
        rig: what the messages are.

    Attributes:
        rig: may be replaced as calibrations become known.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self._event_streams = {
            m.name: EventStream(m)
            for m in rig.modalities
            if isinstance(m, EventModality) and m.message in (EVENT_PACKET, EVENT_ARRAY)
        }

    def gathers(self, name: str) -> bool:
        """Whether every message of this modality is needed on its arrival, matched or not: events."""
        return name in self._event_streams

    def arrived(self, name: str, message: Any, stamp: int) -> bool:
        """Every message comes by here on its arrival; events are gathered.

        Args:
            stamp: of the message, nanoseconds.

        Returns:
            Whether it is to be matched with those of other sensors; of event packets a few are.

        Raises:
            SartmError: an event packet that cannot be used.
        """
        stream = self._event_streams.get(name)
        return stream is None or stream.add(message, stamp)

    def images(
        self, stamp: int, messages: Mapping[str, Any], offsets_s: Mapping[str, float] | None = None
    ) -> tuple[Images, Broken]:
        """Registered images of one set, as `sensing.encode` takes them; never raises for a message that is broken.

        Args:
            stamp: of the set, nanoseconds.
            messages: by modality.
            offsets_s: what the synchroniser adds to the stamps of a modality.
        """
        raws: Images = {}
        images: Images = {}
        broken: Broken = {}
        for name, message in messages.items():
            try:
                raws[name] = self._measurement(name, message, stamp - round((offsets_s or {}).get(name, 0.0) * 1e9))
            except Exception as error:  # whatever the message holds, it costs this modality only
                broken[name] = reason_of(error)
        for name in raws:
            try:
                images[name] = register(self.rig, name, raws)
            except Exception as error:
                broken[name] = reason_of(error)
        return images, broken

    def planes(self, images: Images, dtype: np.dtype[Any]) -> tuple[Images, Broken]:
        """Encodes registered images: modality -> [3, H, W]; never raises for one that cannot be encoded."""
        planes: Images = {}
        broken: Broken = {}
        for name, image in images.items():
            try:
                planes[name] = encode(self.rig.modality(name), image, dtype)
            except Exception as error:
                broken[name] = reason_of(error)
        return planes, broken

    def _measurement(self, name: str, message: Any, stamp: int) -> NDArray[Any]:
        """Events of a window, points [N, 4] of a cloud, pixels of an image."""
        if name in self._event_streams:
            return self._event_streams[name].until(stamp)
        return cloud_points(message) if hasattr(message, "point_step") else raw_array(message)


def reason_of(error: Exception) -> str:
    """What a message's fault is called in logs and reports."""
    return str(error) if isinstance(error, SartmError) else repr(error)
