"""The calibration in a recording: CameraInfo and /tf_static."""

from collections.abc import Callable
from typing import Any

from sartm_core.errors import SartmError
from sartm_core.rig import Rig
from sartm_ros.bag.reader import Bag, Recorded
from sartm_ros.decoding.calibration import Calibrator

TF_STATIC = "/tf_static"


class RecordedCalibration:
    """Provides from the first message on what a live node would have received by then.

    With `calibration: ros` the transforms and the first CameraInfo of each camera are read beforehand.

    Args:
        bag: the recording.
        rig: whose calibration is wanted.
        on_fault: called with a modality's name and why its CameraInfo cannot be used.

    Attributes:
        topics: the CameraInfo topics that the recording has -> modality.
        camera_info: the reference camera's last one; None before the first.
        remarks: what the user should know about it, such as lens distortion; one line each.
    """

    def __init__(self, bag: Bag, rig: Rig, on_fault: Callable[[str, str], None]) -> None:
        self._bag, self._on_fault = bag, on_fault
        self._calibrator = Calibrator(rig)
        self.topics = {m.camera_info: m.name for m in rig.modalities if m.camera_info in bag.topics}
        self.camera_info: Any = None
        self.remarks: list[str] = []
        if any(m.calibration == "ros" for m in rig.modalities):
            self._read_ahead()

    @property
    def rig(self) -> Rig:
        """The rig with the calibration known so far."""
        return self._calibrator.rig

    def frame(self, name: str, frame_id: str) -> None:
        """Notes the frame_id of a modality's messages."""
        self._calibrator.frame(name, frame_id)

    def note(self, message: Recorded) -> None:
        """Processes a message of one of the `topics`."""
        name = self.topics[message.topic]
        try:
            info = self._bag.deserialize(message)
            remark = self._calibrator.camera_info(name, info)
        except SartmError as error:
            self._on_fault(name, str(error))
            return
        if name == self.rig.reference:
            self.camera_info = info
        if remark is not None and f"{name}: {remark}" not in self.remarks:
            self.remarks.append(f"{name}: {remark}")

    def _read_ahead(self) -> None:
        missing = {topic for topic in self.topics if self._bag.topics[topic].count}
        transforms = self._bag.topics[TF_STATIC].count if TF_STATIC in self._bag.topics else 0
        if not missing and not transforms:
            return
        for message in self._bag.messages({*missing, TF_STATIC}):
            if message.topic == TF_STATIC:
                self._calibrator.transforms(self._bag.deserialize(message))
                transforms -= 1
            elif message.topic in missing:
                self.note(message)
                missing.discard(message.topic)
            if not missing and transforms <= 0:
                return
