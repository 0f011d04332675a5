"""The simulated rig: a drive through one street, measured by several sensors with the truth beside them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError
from sartm_core.rig import Rig
from sartm_core.simulation import sensors
from sartm_core.simulation.conditions import Condition
from sartm_core.simulation.scene import CLASS_NAMES, generate_scene
from sartm_core.simulation.view import HORIZONTAL_FOV_RAD, look

SENSOR_KINDS = ("rgb", "thermal", "depth")


@dataclass(frozen=True, slots=True)
class SimulatedFrame:
    """Attributes: raw, modality name -> the array a driver would deliver; truth, uint8 [H, W], class ids."""

    raw: dict[str, NDArray[Any]]
    truth: NDArray[np.uint8]


class SimulatedRig:
    """A rig on a robot that drives along a street that its seed decides.

    The sensors are ideally aligned: they share the reference camera's geometry.

    Args:
        rig: its modalities of kind rgb, thermal and depth are simulated at the reference's size.
        seed: of the street, the traffic and all noise.
        size: height, width; by default the reference camera's.

    Raises:
        SartmError: the rig has other kinds, or classes that the simulator does not draw.
    """

    def __init__(self, rig: Rig, seed: int, size: tuple[int, int] | None = None) -> None:
        unknown = [modality.name for modality in rig.modalities if modality.kind not in SENSOR_KINDS]
        if unknown:
            raise SartmError(
                f"rig '{rig.name}': the simulator has no model for '{unknown[0]}'; it knows the kinds "
                f"{', '.join(SENSOR_KINDS)}."
            )
        if rig.class_names != CLASS_NAMES:
            raise SartmError(
                f"rig '{rig.name}': the simulator draws the classes {', '.join(CLASS_NAMES)} in this order, "
                f"the rig file says {', '.join(rig.class_names)}."
            )
        self.rig = rig
        self.seed = seed
        self.size = size or rig.modality(rig.reference).size
        self._street = generate_scene(seed)

    @property
    def intrinsics(self) -> NDArray[np.float64]:
        """float64 [3, 3], the camera matrix K of every sensor."""
        height, width = self.size
        focal = width / 2 / np.tan(HORIZONTAL_FOV_RAD / 2)
        return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])

    def capture(self, time_s: float, condition: Condition) -> SimulatedFrame:
        """Measures at a time (seconds since the start of the drive). Equal arguments give equal bytes."""
        view = look(self._street, time_s, self.size)
        raw: dict[str, NDArray[Any]] = {}
        for index, modality in enumerate(self.rig.modalities):
            rng = np.random.default_rng((self.seed, round(time_s * 1e6), index))
            if modality.kind == "rgb":
                raw[modality.name] = sensors.rgb_image(view, self._street, condition, rng)
            elif modality.kind == "thermal":
                raw[modality.name] = sensors.thermal_image(view, self._street, condition, rng)
            else:
                raw[modality.name] = sensors.depth_image(view, condition, rng)
        return SimulatedFrame(raw, view.truth)
