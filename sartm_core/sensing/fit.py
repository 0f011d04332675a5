"""Between the camera's size and the network's: the only owner of sizes."""

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from sartm_core.rig import SPARSE_KINDS
from sartm_core.segmentation import UNLABELLED

FitMode = Literal["stretch", "letterbox", "crop"]

AVERAGE_FROM = 1.5
"""From this reduction on pixels are averaged; below, interpolation loses nothing and takes a fifth of the time."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How images of one camera size are brought to the network and masks are brought back.

    `stretch` scales both sides on their own; `letterbox` keeps the aspect and pads with 0; `crop` keeps the aspect
    and cuts the longer side, whose cut pixels return as unlabelled.

    Attributes:
        mode: one of the three.
        camera: height, width of the sensor's image.
        network: height, width of the network's input.
    """

    mode: FitMode
    camera: tuple[int, int]
    network: tuple[int, int]

    def planes(self, planes: NDArray[Any], kind: str, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """[3, H, W] at camera size -> [3, h, w] at network size; sparse kinds by nearest neighbour.

        `camera` is the size of these planes; each modality of a rig has a fit of its own. `out`, if it is given, is
        filled and returned.
        """
        if self.camera == self.network:
            if out is None:
                return planes
            out[...] = planes
            return out
        interpolation = cv2.INTER_NEAREST
        if kind not in SPARSE_KINDS:
            interpolation = cv2.INTER_LINEAR
        (top, left, height, width), (y, x, inner_height, inner_width) = self._regions()
        reduction = max(height / inner_height, width / inner_width)
        if interpolation == cv2.INTER_LINEAR and reduction >= AVERAGE_FROM:
            interpolation = cv2.INTER_AREA
        fitted = np.empty((3, *self.network), planes.dtype) if out is None else out
        fills = (inner_height, inner_width) == self.network and fitted.dtype == planes.dtype
        # Plane by plane: OpenCV's interleaved images would cost two transpositions.
        for plane, target in zip(planes, fitted, strict=True):
            source = plane[top : top + height, left : left + width]
            if fills:
                cv2.resize(source, (inner_width, inner_height), dst=target, interpolation=interpolation)
                continue
            target[...] = 0
            inner = cv2.resize(source, (inner_width, inner_height), interpolation=interpolation)
            target[y : y + inner_height, x : x + inner_width] = inner
        return fitted

    def back(self, image: NDArray[Any], outside: float) -> NDArray[Any]:
        """[h, w] at network size -> [H, W] at camera size, nearest neighbour; `outside` where the crop saw nothing."""
        if self.camera == self.network:
            return image
        (top, left, height, width), (y, x, inner_height, inner_width) = self._regions()
        inner = np.ascontiguousarray(image[y : y + inner_height, x : x + inner_width])
        scaled = cv2.resize(inner, (width, height), interpolation=cv2.INTER_NEAREST)
        if (height, width) == self.camera:
            return np.asarray(scaled)
        whole = np.full(self.camera, outside, image.dtype)
        whole[top : top + height, left : left + width] = scaled
        return whole

    def mask_back(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 [h, w] -> uint8 [H, W]; 255 where the crop saw nothing."""
        return self.back(mask, UNLABELLED)

    def _regions(self) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
        """The part of the camera image that is seen and where it lies in the network's: (top, left, height, width)."""
        camera_height, camera_width = self.camera
        height, width = self.network
        if self.mode == "stretch":
            return (0, 0, camera_height, camera_width), (0, 0, height, width)
        scales = height / camera_height, width / camera_width
        if self.mode == "letterbox":
            inner = round(camera_height * min(scales)), round(camera_width * min(scales))
            at = (height - inner[0]) // 2, (width - inner[1]) // 2
            return (0, 0, camera_height, camera_width), (*at, *inner)
        seen = min(camera_height, round(height / max(scales))), min(camera_width, round(width / max(scales)))
        at = (camera_height - seen[0]) // 2, (camera_width - seen[1]) // 2
        return (*at, *seen), (0, 0, height, width)
