"""The way of one set of messages: raw arrays, planes, segmentation. The node and offline tools share it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sartm_core.deploy import Segmenter
from sartm_core.errors import SartmError
from sartm_core.frames import FrameSet, Segmentation
from sartm_core.rig import EVENT_ARRAY, EVENT_PACKET, EventModality, Rig
from sartm_core.sensing import encode
from sartm_core.sensing.registration import register
from sartm_ros.event_stream import EventStream
from sartm_ros.messages import raw_array, stamp_ns
from sartm_ros.point_cloud import cloud_points


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one set.

    Attributes:
        frames: the planes that were segmented.
        segmentation: None when no modality of the set could be used.
        broken: modality -> why its message could not be used; it counts as absent.
        prepare_s, segment_s: seconds spent.
    """

    frames: FrameSet
    segmentation: Segmentation | None
    broken: dict[str, str]
    prepare_s: float
    segment_s: float


class Pipeline:
    """Turns messages that belong together into a segmentation.

    Args:
        rig: what the messages are; may be replaced as calibrations become known.
        segmenter: a loaded bundle that serves it.
    """

    def __init__(self, rig: Rig, segmenter: Segmenter) -> None:
        self.rig = self.configured_rig = rig
        self.segmenter = segmenter
        self._reference_size = rig.modality(rig.reference).size
        self._event_streams = {
            m.name: EventStream(m)
            for m in rig.modalities
            if isinstance(m, EventModality) and m.message in (EVENT_PACKET, EVENT_ARRAY)
        }

    def arrived(self, name: str, message: Any) -> bool:
        """Every message comes by here on its arrival; events are gathered.

        Returns:
            Whether it is to be matched with those of other sensors; of event packets a few are.

        Raises:
            SartmError: an event packet that cannot be used.
        """
        stream = self._event_streams.get(name)
        return stream is None or stream.add(message, stamp_ns(message))

    def run(self, stamp: int, messages: Mapping[str, Any], offsets_s: Mapping[str, float] | None = None) -> Result:
        """Segments one set; never raises for a message that is broken.

        Args:
            stamp: of the set, nanoseconds.
            messages: by modality.
            offsets_s: what the synchroniser adds to the stamps of a modality.
        """
        started = time.perf_counter()
        raws: dict[str, NDArray[Any]] = {}
        planes: dict[str, Any] = {}
        broken: dict[str, str] = {}
        for name, message in messages.items():
            try:
                raws[name] = self._measurement(name, message, stamp - round((offsets_s or {}).get(name, 0.0) * 1e9))
            except Exception as error:  # whatever the message holds, it costs this modality only
                broken[name] = _reason(error)
        rig = self.rig
        for name in raws:
            try:
                planes[name] = encode(rig.modality(name), register(rig, name, raws), self.segmenter.bundle.rig.dtype)
            except Exception as error:
                broken[name] = _reason(error)
        if rig.reference in planes:
            self._reference_size = planes[rig.reference].shape[1:]
        prepared = time.perf_counter()
        segmentation = self.segmenter.segment(planes, self._reference_size) if planes else None
        finished = time.perf_counter()
        return Result(FrameSet(stamp, planes), segmentation, broken, prepared - started, finished - prepared)

    def _measurement(self, name: str, message: Any, stamp: int) -> NDArray[Any]:
        """Events of a window, points [N, 4] of a cloud, pixels of an image."""
        if name in self._event_streams:
            return self._event_streams[name].until(stamp)
        return cloud_points(message) if hasattr(message, "point_step") else raw_array(message)

    def backdrop(self, frames: FrameSet) -> NDArray[np.uint8] | None:
        """What an overlay is drawn on: the first 8-bit modality that is present, uint8 [H, W, 3] of the mask's size."""
        for modality in self.rig.modalities:
            if modality.eight_bit and modality.name in frames.planes:
                image = np.ascontiguousarray(frames.planes[modality.name].transpose(1, 2, 0)).astype(np.uint8)
                height, width = self._reference_size
                return image if image.shape[:2] == (height, width) else np.asarray(cv2.resize(image, (width, height)))
        return None


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, SartmError) else repr(error)
