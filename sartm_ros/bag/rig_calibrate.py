"""`sartm rig calibrate`: how the sensors of a recording lie to its reference, in space and in time."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sartm_core.calibrate.cameras import Optics, align
from sartm_core.calibrate.estimate import Alignment, Estimate, Refusal
from sartm_core.calibrate.judgement import grid
from sartm_core.calibrate.lidar import align_lidar
from sartm_core.calibrate.models import displacement
from sartm_core.calibration import LIDAR_LOOKS_AHEAD, Extrinsics, Intrinsics
from sartm_core.errors import SartmError
from sartm_core.rig import Modality, Rig
from sartm_ros.bag.calibration_frames import Seen, frames_around, shrunk_size
from sartm_ros.bag.reader import Bag
from sartm_ros.bag.recorded_calibration import RecordedCalibration

PARTS = ("time", "pose")
FRAMES = 24
"""Moments of a recording that are compared."""
_UNSEEN = {
    "event": "events have no edges where nothing moves; calibrate it with a board that blinks, or by its driver",
    "depth": "depth cameras are calibrated by their makers: use its aligned topic, or calibration: ros",
}


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Attributes:
    name: of the modality.
    estimate: what was found.
    fields: of the rig file, as YAML; empty where nothing was.
    moved_px: how far the median pixel of the reference moves by it.
    seen: what it was estimated from; None where nothing was read.
    before, after: [3, 3], the sensor's pixels to the reference's at `shrunk_size`; of a LiDAR its poses [4, 4].
    k: [3, 3], of the reference at `shrunk_size`, where points are projected; None of a camera.
    """

    name: str
    estimate: Estimate
    fields: dict[str, str]
    moved_px: float = 0.0
    seen: Seen | None = None
    before: NDArray[np.float64] | None = None
    after: NDArray[np.float64] | None = None
    k: NDArray[np.float64] | None = None

    @property
    def uncertainty_px(self) -> float:
        """Of the estimate, in pixels of the reference as recorded."""
        assert self.seen is not None
        assert isinstance(self.estimate, Alignment)
        return self.estimate.uncertainty_px * self.seen.reference_size[1] / shrunk_size(self.seen.reference_size)[1]


def wanted_parts(text: str) -> tuple[str, ...]:
    """`time,pose` as a tuple.

    Raises:
        SartmError: something else is named.
    """
    parts = tuple(part.strip() for part in text.split(","))
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise SartmError(f"--what: '{unknown[0]}' is unknown; expected some of {', '.join(PARTS)}.")
    return parts


def calibrate_rig(
    bag: Bag, rig: Rig, names: Collection[str], what: Collection[str] = PARTS, frames: int = FRAMES
) -> list[Calibrated]:
    """Estimates the calibration of each of the modalities `names`; never raises for one that cannot be.

    Args:
        bag: the recording.
        rig: as its file says; what it leaves to ROS is taken from the recording.
        what: `time`, `pose` or both: which fields are wanted.
        frames: how many moments are compared.
    """
    recorded = RecordedCalibration(bag, rig, lambda name, reason: None)
    found = []
    for modality in rig.modalities:
        if modality.name not in names or modality.name == rig.reference:
            continue
        try:
            found.append(_calibrated(bag, rig, recorded, modality, what, frames))
        except SartmError as error:
            found.append(Calibrated(modality.name, Refusal(str(error)), {}))
    return found


def _calibrated(
    bag: Bag, rig: Rig, recorded: RecordedCalibration, modality: Modality, what: Collection[str], frames: int
) -> Calibrated:
    if modality.kind in _UNSEEN:
        return Calibrated(modality.name, Refusal(_UNSEEN[modality.kind]), {})
    seen = frames_around(bag, recorded.rig, modality.name, frames)
    for stream in (rig.modality(rig.reference), modality):
        recorded.frame(stream.name, seen.frame_ids[stream.topic])
    known = recorded.rig
    one, reference = known.modality(modality.name), known.modality(rig.reference)
    if modality.kind == "lidar":
        if not modality.delivers_points:
            return Calibrated(modality.name, Refusal("its range images are registered already"), {})
        return _lidar(one, reference, seen, what)
    return _camera(one, reference, seen, what)


def _camera(one: Modality, reference: Modality, seen: Seen, what: Collection[str]) -> Calibrated:
    small, small_reference = shrunk_size(seen.size), shrunk_size(seen.reference_size)
    optics = _optics(one, reference, seen)
    if optics is not None:
        before = optics.model().matrix(np.zeros(3))
    else:
        stated = np.eye(3) if one.homography is None else np.array(one.homography)
        # Images without a calibration count as registered, whatever their sizes.
        whole = stated if one.homography is not None else _scaling(seen.size, seen.reference_size)
        before = _scaling(seen.reference_size, small_reference) @ whole @ _scaling(small, seen.size)
    estimate = align(seen.moments, seen.measurements, optics, before)
    if isinstance(estimate, Refusal):
        return Calibrated(one.name, estimate, {})
    fields = _time_field(one, estimate) if "time" in what else {}
    moved = _median(displacement(estimate.matrix @ np.linalg.inv(before), grid(small_reference)), seen)
    what = _unknown(what, moved, estimate, seen)
    if "pose" in what and optics is not None and estimate.rotation is not None:
        fields |= _extrinsics_field(optics.position_m, estimate.rotation)
    elif "pose" in what:
        full = _scaling(small_reference, seen.reference_size) @ estimate.matrix @ _scaling(seen.size, small)
        fields["homography"] = _rows(full / full[2, 2])
    return Calibrated(one.name, estimate, fields, moved, seen, before / before[2, 2], estimate.matrix)


def _lidar(one: Modality, reference: Modality, seen: Seen, what: Collection[str]) -> Calibrated:
    if reference.intrinsics is None:
        return Calibrated(one.name, Refusal(f"'{reference.name}' has no intrinsics, so nothing can be projected"), {})
    size = shrunk_size(seen.reference_size)
    k = reference.intrinsics.scaled(reference.size, size).matrix
    before = (one.extrinsics or LIDAR_LOOKS_AHEAD).matrix
    estimate = align_lidar(seen.moments, seen.measurements, k, before)
    if isinstance(estimate, Refusal) or estimate.rotation is None:
        return Calibrated(one.name, estimate, {})
    after = before.copy()
    after[:3, :3] = estimate.rotation
    turn = k @ after[:3, :3] @ before[:3, :3].T @ np.linalg.inv(k)
    moved = _median(displacement(turn, grid(size)), seen)
    pose = "pose" in _unknown(what, moved, estimate, seen)
    fields = _extrinsics_field(before[:3, 3], estimate.rotation) if pose else {}
    return Calibrated(one.name, estimate, fields, moved, seen, before, after, k)


def _unknown(what: Collection[str], moved_px: float, estimate: Alignment, seen: Seen) -> Collection[str]:
    """Of what is wanted, the part that is not as the rig file says already."""
    certain_px = estimate.uncertainty_px * seen.reference_size[1] / shrunk_size(seen.reference_size)[1]
    return what if moved_px > certain_px else [part for part in what if part != "pose"]


def _optics(one: Modality, reference: Modality, seen: Seen) -> Optics | None:
    """What is known of both cameras; None where a homography is all that can be found."""
    if one.homography is not None or one.intrinsics is None or reference.intrinsics is None:
        return None
    pose = one.extrinsics or Extrinsics()
    return Optics(
        k_reference=_shrunk(reference.intrinsics, reference.size, seen.reference_size),
        k_sensor=_shrunk(one.intrinsics, one.size, seen.size),
        turn=pose.matrix[:3, :3],
        position_m=pose.matrix[:3, 3],
        plane_m=one.plane_m,
    )


def _shrunk(intrinsics: Intrinsics, stated: tuple[int, int], size: tuple[int, int]) -> NDArray[np.float64]:
    return intrinsics.scaled(stated, shrunk_size(size)).matrix


def _scaling(before: tuple[int, int], after: tuple[int, int]) -> NDArray[np.float64]:
    """From pixels (centres at integers) of images of one (height, width) to those of another."""
    across, down = after[1] / before[1], after[0] / before[0]
    return np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1.0]])


def _median(moved: NDArray[np.float64], seen: Seen) -> float:
    """Of displacements at `shrunk_size`, in pixels of the reference as recorded."""
    shrink = shrunk_size(seen.reference_size)[1] / seen.reference_size[1]
    return float(np.median(np.linalg.norm(moved, axis=1)) / shrink)


def _time_field(one: Modality, estimate: Alignment) -> dict[str, str]:
    return {} if estimate.offset_s is None else {"offset_s": f"{one.offset_s + estimate.offset_s:.4f}"}


def _extrinsics_field(position_m: NDArray[np.float64], rotation: NDArray[np.float64]) -> dict[str, str]:
    move = ", ".join(f"{value:.4f}" for value in position_m)
    turn = ", ".join(f"{value:.6f}" for value in Rotation.from_matrix(rotation).as_quat())
    return {"extrinsics": f"{{translation_m: [{move}], rotation_xyzw: [{turn}]}}"}


def _rows(matrix: NDArray[np.float64]) -> str:
    rows = ("[" + ", ".join(f"{value:.8g}" for value in row) + "]" for row in matrix.tolist())
    return "[" + ", ".join(rows) + "]"
