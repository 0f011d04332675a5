"""A replay for Rerun's viewer: sensors, masks with the classes' names and colours, weights and states over time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from sartm_core.errors import SartmError
from sartm_core.files import atomic_path
from sartm_core.outputs import check_replaceable
from sartm_core.rig import Rig
from sartm_core.segmentation import Segmentation
from sartm_ros.frame_sets import FrameSet

TIMELINE = "stamp"
JPEG_QUALITY = 85
STATE_COLOURS = {
    "present": 0x2A6F97FF, "absent": 0xA0A8AFFF, "stale": 0xE39B23FF, "empty": 0xE39B23FF, "broken": 0xD1495BFF,
}  # fmt: skip


class RerunRecording:
    """Frame sets and masks, as entities: `sensors/<modality>`, `mask`, `confidence`, `weights/<modality>`, ..."""

    def __init__(self, rig: Rig, stream: Any, rerun: ModuleType) -> None:
        self._rig, self._stream, self._rerun = rig, stream, rerun
        self._states: dict[str, str] = {}
        classes = [(number, spec.name, spec.color) for number, spec in enumerate(rig.classes)]
        stream.log("mask", rerun.AnnotationContext(classes), static=True)
        for name in rig.names:
            values, colours = list(STATE_COLOURS), list(STATE_COLOURS.values())
            stream.log(f"states/{name}", rerun.StateConfiguration(values=values, colors=colours), static=True)
            stream.log(f"weights/{name}", rerun.SeriesLines(names=name), static=True)

    def add(self, frames: FrameSet, segmentation: Segmentation) -> None:
        """Adds one frame set and its mask."""
        self._stream.set_time(TIMELINE, timestamp=np.datetime64(frames.stamp_ns, "ns"))
        self._add_sensors(frames)
        self._stream.log("mask", self._rerun.SegmentationImage(segmentation.mask))
        self._stream.log("confidence", self._rerun.DepthImage(segmentation.confidence))
        weights = segmentation.routing.mean(axis=0).tolist()
        for name, weight in zip(self._rig.names, weights, strict=True):
            self._stream.log(f"weights/{name}", self._rerun.Scalars(weight))

    def _add_sensors(self, frames: FrameSet) -> None:
        for name, image in frames.images.items():
            picture = self._rig.modality(name).picture(image)
            self._stream.log(f"sensors/{name}", self._rerun.Image(picture).compress(jpeg_quality=JPEG_QUALITY))
        for name, state in frames.states.items():
            if self._states.get(name) != state:
                self._states[name] = state
                self._stream.log(f"states/{name}", self._rerun.StateChange(state=state))
            if state != "present":
                self._stream.log(f"sensors/{name}", self._rerun.Clear(recursive=False))  # not the last picture for ever


@contextmanager
def rerun_recording(path: Path, rig: Rig) -> Iterator[RerunRecording]:
    """An .rrd file, which appears when it is complete.

    Args:
        path: the file; must not exist.
        rig: the bundle's.

    Raises:
        SartmError: the name does not end in .rrd, the file exists, or rerun-sdk is not installed.
    """
    if path.suffix != ".rrd":
        raise SartmError(f"{path}: expected a name that ends in .rrd.")
    check_replaceable(path, ())
    try:
        import rerun
        from rerun import blueprint
    except ImportError as error:
        raise SartmError(
            f"{path}: needs the package rerun-sdk, which is not installed: pip install 'rerun-sdk>=0.41'"
        ) from error
    stream = rerun.RecordingStream("sartm")
    with atomic_path(path) as temporary:
        stream.save(temporary, default_blueprint=_layout(rig, blueprint))
        yield RerunRecording(rig, stream, rerun)
        stream.flush()
        stream.disconnect()


def _layout(rig: Rig, blueprint: ModuleType) -> Any:
    view = blueprint.Spatial2DView
    return blueprint.Blueprint(
        blueprint.Horizontal(
            blueprint.Vertical(
                view(origin="mask", name="mask over " + rig.reference, contents=[f"sensors/{rig.reference}", "mask"]),
                blueprint.Grid(*(view(origin=f"sensors/{name}", name=name) for name in rig.names)),
            ),
            blueprint.Vertical(
                blueprint.TimeSeriesView(origin="weights", name="routing weights"),
                blueprint.StateTimelineView(origin="states", name="states"),
                view(origin="confidence", name="confidence"),
            ),
        )
    )
