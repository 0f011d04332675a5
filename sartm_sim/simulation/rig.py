"""The simulated rig: a drive through one street, measured by several sensors, with ground truth."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from sartm_core.calibration import LIDAR_LOOKS_AHEAD, Intrinsics
from sartm_core.errors import SartmError
from sartm_core.kinds import EventModality
from sartm_core.rig import Modality, Rig
from sartm_core.segmentation import UNLABELLED
from sartm_core.sensing.events import EVENT
from sartm_core.sensing.registration import register
from sartm_sim.simulation import faults
from sartm_sim.simulation.conditions import Condition
from sartm_sim.simulation.faults import Fault
from sartm_sim.simulation.geometry import CAMERA_HEIGHT_M, Camera, SpinningLidar, tilted
from sartm_sim.simulation.scene import BROADER_CLASS, CLASS_NAMES, Scene
from sartm_sim.simulation.sensors import depth, event, lidar, light, rgb, thermal
from sartm_sim.simulation.street import generate_scene
from sartm_sim.simulation.view import View, look

SENSOR_KINDS = tuple(sorted(faults.ALL))
HORIZONTAL_FOV_RAD = 1.15
"""Field of view of a reference camera without intrinsics in the rig file."""
EVENT_STEP_US = 10_000
"""Time between two brightness images of an event camera."""


@dataclass(frozen=True, slots=True)
class SimulatedFrame:
    """Attributes:
    raw: modality name -> what a driver would deliver: an image, points [N, 5] of a LiDAR (x, y, z, intensity, ring),
        or the events of the window before (`sensing.events.EVENT`, t in microseconds since the start of the drive).
    truth: uint8 [H, W], class ids of the rig in the reference's image, 255 where the rig has no class for it.
    """

    raw: dict[str, NDArray[Any]]
    truth: NDArray[np.uint8]


class SimulatedRig:
    """A rig on a robot that drives along a street determined by its seed.

    A camera of the rig file with `intrinsics` and `extrinsics` has its own place and optics (real parallax); without,
    it shares the reference's geometry: the aligned mode.

    Args:
        rig: modalities of the kinds rgb, thermal, depth, lidar (projected) and event (counts); classes that the
            simulator knows. Classes that it draws and the rig lacks count as their broader class (a marking as road) or
            are unlabelled.
        seed: of the street, the traffic and all noise.
        size: height, width of the reference's image; by default the rig file's. The others are scaled alike.
        novel: layouts, textures and shapes reserved for tests.
        float_depth: depth cameras deliver 32FC1 metres instead of 16UC1 millimetres.

    Raises:
        SartmError: the rig has other kinds or encodings, or classes that the simulator does not draw.
    """

    def __init__(
        self,
        rig: Rig,
        seed: int,
        size: tuple[int, int] | None = None,
        novel: bool = False,
        float_depth: bool = False,
    ) -> None:
        _check(rig)
        self.rig = resized(rig, size)
        self.seed = seed
        self._float_depth = float_depth
        self.size = self.rig.modality(rig.reference).size
        self._street = generate_scene(seed, novel)
        self._class_ids = _class_table(rig)

    def intrinsics(self, name: str) -> Intrinsics:
        """K of a camera of the rig."""
        return self.rig.modality(name).intrinsics or self.rig.modality(self.rig.reference).intrinsics  # type: ignore[return-value]

    def capture(
        self,
        time_s: float,
        condition: Condition,
        broken: Mapping[str, Fault] | None = None,
        events_since_s: float | None = None,
    ) -> SimulatedFrame:
        """Measures at a time (seconds since the start of the drive). Equal arguments give equal bytes.

        Args:
            broken: modality -> its fault; its name must apply to that kind of modality.
            events_since_s: event cameras deliver the events since then (a recording without gaps); by default the
                modality's window.
        """
        views = _Views(self._street, self.rays)
        raw: dict[str, NDArray[Any]] = {}
        for index, modality in enumerate(self.rig.modalities):
            fault = (broken or {}).get(modality.name)
            if fault is not None:
                faults.refuse_unknown(fault.name, modality.kind)
            at_s = fault.since_s if fault is not None and fault.name == "frozen" else time_s
            shot = _Shot(
                modality=modality,
                views=views,
                at_s=at_s,
                condition=condition,
                fault=fault.name if fault is not None else None,
                rng=np.random.default_rng((self.seed, round(at_s * 1e6), index)),
                seed=self.seed,
                float_depth=self._float_depth,
            )
            if isinstance(modality, EventModality):
                past_s = modality.window_s if events_since_s is None else time_s - events_since_s
                events = _events(shot, modality.size, past_s)
                events["t"] += round((time_s - at_s) * 1e6)  # a frozen camera repeats its image with new stamps
                raw[modality.name] = events
            else:
                raw[modality.name] = _SENSORS[modality.kind](shot)
        truth = views.of(self.rig.modality(self.rig.reference), time_s).truth
        return SimulatedFrame(raw, self._class_ids[truth])

    def exact(self, time_s: float) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """What the reference camera's pixels really see, and where: no sensor measures it.

        Returns:
            uint8 [H, W], as `SimulatedFrame.truth`; float32 [H, W], metres along the optical axis, 0 = sky.
        """
        rays = self.rays(self.rig.modality(self.rig.reference))
        assert isinstance(rays, Camera)
        view = look(self._street, rays, time_s)
        return self._class_ids[view.truth], np.where(view.sky, 0, view.ahead_m / rays.axial).astype(np.float32)

    def registered(self, frame: SimulatedFrame) -> dict[str, NDArray[Any]]:
        """Every measurement as an image in the reference's geometry (`sensing.registration.register`)."""
        return {name: register(self.rig, name, frame.raw) for name in frame.raw}

    def rays(self, modality: Modality, knocked: bool = False) -> Camera | SpinningLidar:
        """A sensor's rays; `knocked`: after it was knocked out of its calibration."""
        pose = np.eye(4)
        pose[1, 3] = -CAMERA_HEIGHT_M
        default = LIDAR_LOOKS_AHEAD.matrix if modality.kind == "lidar" else np.eye(4)
        pose = pose @ (modality.extrinsics.matrix if modality.extrinsics is not None else default)
        if knocked:
            pose = tilted(pose, faults.knock(self.seed + self.rig.names.index(modality.name)))
        if modality.kind == "lidar":
            return SpinningLidar(pose)
        return Camera(modality.size, self.intrinsics(modality.name), pose)


class _Views:
    """Renders each geometry and instant once: aligned cameras share their view."""

    def __init__(self, street: Scene, rays: Callable[[Modality, bool], Camera | SpinningLidar]) -> None:
        self._street, self._rays = street, rays
        self._views: dict[tuple[Any, ...], View] = {}

    def of(self, modality: Modality, at_s: float, knocked: bool = False) -> View:
        rays = self._rays(modality, knocked)
        key = (at_s, rays.shape, rays.pose.tobytes(), rays.intrinsics if isinstance(rays, Camera) else None)
        if key not in self._views:
            self._views[key] = look(self._street, rays, at_s)
        return self._views[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shot:
    """The inputs of a sensor model for one measurement."""

    modality: Modality
    views: _Views
    at_s: float
    condition: Condition
    fault: str | None
    rng: Generator
    seed: int
    float_depth: bool

    def view(self, at_s: float | None = None) -> View:
        return self.views.of(self.modality, self.at_s if at_s is None else at_s, self.fault == "misaligned")

    def with_faults(self, image: NDArray[Any]) -> NDArray[Any]:
        """Faults of a camera's optics and electronics."""
        if self.fault == "motion_blur":
            return faults.blur_by_motion(image, self.rng)
        if self.fault == "dirty_lens":
            return faults.soil(image, self.seed)
        return faults.add_noise(image, self.rng) if self.fault == "noisy" else image


def _rgb(shot: _Shot) -> NDArray[Any]:
    if shot.fault == "dead":
        return np.zeros((*shot.modality.size, 3), np.uint8)
    exposure = {"over_exposure": faults.OVER_EXPOSED, "under_exposure": faults.UNDER_EXPOSED}.get(shot.fault or "", 1.0)
    return shot.with_faults(rgb.rgb_image(shot.view(), shot.condition, shot.rng, exposure))


def _thermal(shot: _Shot) -> NDArray[Any]:
    size, eight_bit = shot.modality.size, getattr(shot.modality, "encoding", "") == "image"
    if shot.fault == "dead":
        return np.zeros(size, np.uint8 if eight_bit else np.uint16)
    if shot.fault == "shutter":
        kelvin = thermal.shutter_kelvin(size, shot.condition, shot.rng)
    else:
        kelvin = thermal.thermal_kelvin(shot.view(), shot.condition, shot.rng)
    return shot.with_faults(thermal.thermal_grey(kelvin) if eight_bit else thermal.thermal_counts(kelvin))


def _depth(shot: _Shot) -> NDArray[Any]:
    metres = depth.depth_metres(shot.view(), shot.condition, shot.rng)
    if shot.fault == "dead":
        metres = np.zeros_like(metres)
    if shot.fault == "noisy":
        metres = np.asarray(np.where(metres > 0, faults.add_noise(metres, shot.rng), 0), np.float32)
    return depth.depth_float(metres) if shot.float_depth else depth.depth_millimetres(metres)


def _lidar(shot: _Shot) -> NDArray[Any]:
    points = lidar.lidar_points(shot.view(), shot.condition, shot.rng)
    if shot.fault == "dead":
        return points[:0]
    if shot.fault == "lidar_jitter":
        return faults.jitter_points(points, shot.rng)
    return faults.scatter_points(points, shot.rng) if shot.fault == "noisy" else points


_SENSORS = {"rgb": _rgb, "thermal": _thermal, "depth": _depth, "lidar": _lidar}


def _events(shot: _Shot, size: tuple[int, int], past_s: float) -> NDArray[Any]:
    if shot.fault == "dead":
        return np.zeros(0, EVENT)
    start, end = round((shot.at_s - past_s) * 1e6), round(shot.at_s * 1e6)
    steps = max(round((end - start) / EVENT_STEP_US), 1)
    times = [start + (end - start) * step // steps for step in range(steps + 1)]
    frames = [event.log_brightness(light.radiance(shot.view(time * 1e-6), shot.condition)) for time in times]
    events = event.events_between(frames, times, shot.condition, shot.rng, shot.seed)
    if shot.fault == "event_low_resolution":
        return faults.coarsen_events(events)
    return faults.add_spurious_events(events, size, start, end, shot.rng) if shot.fault == "noisy" else events


def _check(rig: Rig) -> None:
    for modality in rig.modalities:
        if modality.kind not in SENSOR_KINDS:
            raise SartmError(
                f"rig '{rig.name}': the simulator has no model for '{modality.name}' of kind {modality.kind}; it knows "
                f"the kinds {', '.join(SENSOR_KINDS)}."
            )
        wanted = {"lidar": "projected", "event": "counts", "depth": "metres"}.get(modality.kind)
        encoding = getattr(modality, "encoding", None)
        if wanted is not None and encoding != wanted:
            raise SartmError(
                f"rig '{rig.name}': for the simulator '{modality.name}' needs encoding '{wanted}', not '{encoding}'."
            )
        if modality.homography is not None:
            raise SartmError(
                f"rig '{rig.name}': the simulator needs a camera's pose, not a homography: give '{modality.name}' "
                "intrinsics and extrinsics, or neither (aligned)."
            )
    unknown = [name for name in rig.class_names if name not in CLASS_NAMES]
    if unknown:
        raise SartmError(
            f"rig '{rig.name}': the simulator does not draw a class '{unknown[0]}'. It draws {', '.join(CLASS_NAMES)}; "
            "list the ones you need, in any order."
        )


def _class_table(rig: Rig) -> NDArray[np.uint8]:
    """uint8 [simulator's classes], the rig's ids."""
    known = {name: index for index, name in enumerate(rig.class_names)}
    names = [name if name in known else BROADER_CLASS.get(name, "") for name in CLASS_NAMES]
    return np.array([known.get(name, UNLABELLED) for name in names], np.uint8)


def resized(rig: Rig, size: tuple[int, int] | None) -> Rig:
    """The rig with the reference's image at `size` (default: its own), the others scaled alike, intrinsics set."""
    before = rig.modality(rig.reference).size
    after = size or before
    modalities = []
    for modality in rig.modalities:
        own = modality.size
        scaled = (round(own[0] * after[0] / before[0]), round(own[1] * after[1] / before[1]))
        intrinsics = modality.intrinsics
        if intrinsics is None and modality.name == rig.reference:
            intrinsics = Intrinsics.from_field_of_view(HORIZONTAL_FOV_RAD, own)
        if intrinsics is not None:
            intrinsics = intrinsics.scaled(own, scaled)
        elif modality.kind != "lidar":
            scaled = after  # aligned: of the reference's geometry
        modalities.append(modality.model_copy(update={"size": scaled, "intrinsics": intrinsics}))
    return rig.model_copy(update={"modalities": tuple(modalities)})
