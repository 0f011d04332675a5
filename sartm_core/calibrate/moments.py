"""What the reference camera would have seen at the instant of another sensor, between its own frames."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]


@dataclass
class Moment:
    """A measurement of the sensor and the frames of the reference around it.

    Attributes:
        frames: of the reference, grey, float32 [H, W] each, 0 to 1.
        times_s: their stamps minus that of the measurement, ascending.
    """

    frames: list[Plane]
    times_s: NDArray[np.float64]
    _motions: dict[int, tuple[Plane, Plane]] = field(default_factory=dict)

    @property
    def is_still(self) -> bool:
        """Whether there are too few frames to tell how anything moves."""
        return len(self.frames) < 3

    def nearest(self, at_s: float) -> Plane:
        """The frame nearest to a time."""
        return self.frames[int(np.abs(self.times_s - at_s).argmin())]

    def seen(self, at_s: float) -> tuple[Plane, Plane]:
        """Image [H, W] at a time, and how its content moves then, float32 [H, W, 2] in pixels per second.

        From the nearest frame, along paths of constant acceleration through the frames beside it: linear ones would
        be late by milliseconds, since what one drives towards comes ever faster.
        """
        number = int(np.clip(np.abs(self.times_s - at_s).argmin(), 1, len(self.frames) - 2))
        after_s = float(at_s - self.times_s[number])
        speed, acceleration = self._motion(number)
        height, width = speed.shape[:2]
        y, x = np.mgrid[:height, :width].astype(np.float32)
        moved = after_s * speed + after_s**2 * acceleration
        moved = cv2.remap(
            moved, x - moved[..., 0], y - moved[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        image = cv2.remap(
            self.frames[number],
            x - moved[..., 0],
            y - moved[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return np.asarray(image), np.asarray(cv2.GaussianBlur(speed + 2 * after_s * acceleration, (0, 0), 2))

    def _motion(self, number: int) -> tuple[Plane, Plane]:
        """Pixels per second, and half of what is added to that per second, of the content of one frame."""
        if number not in self._motions:
            flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
            here, before, after = (np.uint8(255 * self.frames[number + step]) for step in (0, -1, 1))
            back_s, ahead_s = self.times_s[[number - 1, number + 1]] - self.times_s[number]
            ahead = flow.calc(here, after, None) / ahead_s
            back = flow.calc(here, before, None) / back_s
            acceleration = (ahead - back) / (ahead_s - back_s)
            self._motions[number] = (
                np.asarray(ahead - acceleration * ahead_s, np.float32),
                np.asarray(acceleration, np.float32),
            )
        return self._motions[number]
