"""Between the camera's size and the network's: the only owner of sizes, in training, evaluation and on the robot.

One convention of pixel centres holds everywhere: pixel i of n covers (i, i + 1) of the axis, its centre is i + 0.5.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from sartm_core.rig import Rig, Size
from sartm_core.segmentation import SCORE_STRIDE, UNLABELLED
from sartm_core.sensing.scores import Axis, segment_scores

FitMode = Literal["stretch", "letterbox", "corner", "crop", "window"]
"""`window` has no `Fit`: see `sensing.windows`."""

AVERAGE_FROM = 1.5
"""From this reduction on pixels are averaged; below, interpolation loses nothing and takes a fifth of the time."""

Region = tuple[int, int, int, int]
"""Top, left, height, width."""


def resize_planes(
    planes: NDArray[Any], size: tuple[int, int], *, sparse: bool, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """[C, H, W] -> [C, h, w]: the one resizer of measurements.

    Dense planes are interpolated, and averaged where they shrink; sparse ones (`Modality.sparse`), whose empty pixels
    are 0, take the nearest.

    Args:
        out: [C, h, w] of the same dtype, may be a strided view; filled and returned.
    """
    height, width = planes.shape[1:]
    if out is None:
        out = np.empty((len(planes), *size), planes.dtype)
    interpolation = cv2.INTER_NEAREST_EXACT
    if not sparse:
        reduction = max(height / size[0], width / size[1])
        interpolation = cv2.INTER_AREA if reduction >= AVERAGE_FROM else cv2.INTER_LINEAR
    # Plane by plane: OpenCV's interleaved images would cost two transpositions.
    for plane, target in zip(planes, out, strict=True):
        target[...] = plane if plane.shape == size else cv2.resize(plane, size[::-1], interpolation=interpolation)
    return out


def resize_labels(labels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """[H, W] -> [h, w]: class ids, or anything else that must not be mixed, by nearest neighbour at pixel centres."""
    if labels.shape == size:
        return labels
    return np.asarray(cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT))


@dataclass(frozen=True, slots=True)
class Fit:
    """How images of one camera size are brought to the network and masks are brought back.

    `stretch` scales both sides on their own; `letterbox` keeps the aspect and pads with 0; `corner` does so too, with
    the frame at the top left; `crop` keeps the aspect and cuts the longer side, whose cut pixels return as unlabelled.

    Attributes:
        mode: one of the four.
        camera: height, width of the sensor's image.
        network: height, width of the network's input.
    """

    mode: FitMode
    camera: tuple[int, int]
    network: tuple[int, int]

    def planes(self, planes: NDArray[Any], *, sparse: bool, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """[3, H, W] at camera size -> [3, h, w] at network size.

        `camera` is the size of these planes; each modality of a rig has a fit of its own. `out`, if it is given, is
        filled and returned.
        """
        if self.camera == self.network:
            if out is None:
                return planes
            out[...] = planes
            return out
        (top, left, height, width), (y, x, inner_height, inner_width) = self.regions()
        fitted = np.empty((3, *self.network), planes.dtype) if out is None else out
        if (inner_height, inner_width) != self.network:
            fitted[...] = 0
        inner = fitted[:, y : y + inner_height, x : x + inner_width]
        seen = planes[:, top : top + height, left : left + width]
        resize_planes(seen, (inner_height, inner_width), sparse=sparse, out=inner)
        return fitted

    def back(self, image: NDArray[Any], outside: float) -> NDArray[Any]:
        """[h, w] at network size -> [H, W] at camera size, nearest neighbour; `outside` where the crop saw nothing."""
        if self.camera == self.network:
            return image
        (top, left, height, width), (y, x, inner_height, inner_width) = self.regions()
        inner = np.ascontiguousarray(image[y : y + inner_height, x : x + inner_width])
        scaled = resize_labels(inner, (height, width))
        if (height, width) == self.camera:
            return scaled
        whole = np.full(self.camera, outside, image.dtype)
        whole[top : top + height, left : left + width] = scaled
        return whole

    def mask_back(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 [h, w] -> uint8 [H, W]; 255 where the crop saw nothing."""
        return self.back(mask, UNLABELLED)

    def segment(self, scores: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The network's scores -> mask and confidence at camera size: scores are interpolated before the argmax.

        Args:
            scores: float32 [C, h/4, w/4].

        Returns:
            mask uint8 [H, W], 255 where the crop saw nothing; confidence float32 [H, W], 0 there.
        """
        (top, left, height, width), (y, x, inner_height, inner_width) = self.regions()
        cells = (self.network[0] // SCORE_STRIDE, self.network[1] // SCORE_STRIDE)
        rows = Axis.sampled(height, inner_height / height / SCORE_STRIDE, y / SCORE_STRIDE, cells[0])
        columns = Axis.sampled(width, inner_width / width / SCORE_STRIDE, x / SCORE_STRIDE, cells[1])
        mask, confidence = segment_scores(scores, rows, columns)
        if (height, width) == self.camera:
            return mask, confidence
        whole, sure = np.full(self.camera, UNLABELLED, np.uint8), np.zeros(self.camera, np.float32)
        whole[top : top + height, left : left + width] = mask
        sure[top : top + height, left : left + width] = confidence
        return whole, sure

    def regions(self) -> tuple[Region, Region]:
        """The part of the camera's image that is seen, and where it lies in the network's."""
        camera_height, camera_width = self.camera
        height, width = self.network
        if self.mode == "stretch":
            return (0, 0, camera_height, camera_width), (0, 0, height, width)
        scales = height / camera_height, width / camera_width
        if self.mode in ("letterbox", "corner"):
            inner = round(camera_height * min(scales)), round(camera_width * min(scales))
            at = (0, 0) if self.mode == "corner" else ((height - inner[0]) // 2, (width - inner[1]) // 2)
            return (0, 0, camera_height, camera_width), (*at, *inner)
        seen = min(camera_height, round(height / max(scales))), min(camera_width, round(width / max(scales)))
        at = (camera_height - seen[0]) // 2, (camera_width - seen[1]) // 2
        return (*at, *seen), (0, 0, height, width)


def fit_planes(
    rig: Rig, planes: Mapping[str, NDArray[Any]], frame: Size, network: Size, fit: FitMode
) -> dict[str, NDArray[Any]]:
    """Each modality's planes at the network's size; with `window` at the frame's, of which windows are cut.

    Args:
        rig: says which are sparse.
        planes: modality -> [3, H, W].
        frame, network: height, width of the reference's image, of the network's input.
        fit: the recipe's or the bundle's.
    """
    mode: FitMode = "stretch" if fit == "window" else fit
    size = frame if fit == "window" else network
    return {
        name: Fit(mode, array.shape[1:], size).planes(array, sparse=rig.modality(name).sparse)
        for name, array in planes.items()
    }
