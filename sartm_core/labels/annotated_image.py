"""An image as an annotation tool's JSON describes it: shapes that lie on each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError
from sartm_core.segmentation import UNLABELLED

Size = tuple[int, int]
"""Height, width."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Shape:
    """One annotated area.

    Attributes:
        label: the tool's name of its class.
        mask: draws it, [H, W], in an image of a size; raises SartmError that names the shape.
    """

    label: str
    mask: Callable[[Size], Mask]


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """All that an annotation tool says of one image.

    Attributes:
        source: file, and where there are several the image in it, for errors.
        name: the image's file name.
        size: None if the tool does not store it.
        shapes: a later one covers earlier ones.
    """

    source: str
    name: str
    size: Size | None
    shapes: tuple[Shape, ...]

    def class_ids(self, size: Size, classes: Mapping[str, int]) -> NDArray[np.uint8]:
        """Draws the shapes in their order; what none covers is 255.

        Args:
            size: of the image.
            classes: label -> class id. A shape of no class (255) covers what lies below it, too.
        """
        ids = np.full(size, UNLABELLED, np.uint8)
        for shape in self.shapes:
            ids[shape.mask(size)] = classes[shape.label]
        return ids


def embedded_mask(png: bytes, where: str) -> Mask:
    """[H, W] of an image file inside a JSON: where it is opaque or, without an alpha channel, not 0.

    Raises:
        SartmError: not an image, or one in colours.
    """
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED) if png else None
    if image is None or (image.ndim == 3 and image.shape[2] != 4):
        raise SartmError(f"{where}: its mask is not a PNG image of one channel, or with alpha.")
    return np.asarray(image != 0 if image.ndim == 2 else image[..., 3] != 0)


def placed(mask: Mask, left: int, top: int, size: Size, where: str) -> Mask:
    """A small mask in an image of `size`.

    Raises:
        SartmError: it reaches beyond the image.
    """
    height, width = mask.shape
    if left < 0 or top < 0 or top + height > size[0] or left + width > size[1]:
        raise SartmError(
            f"{where}: its mask ({height}x{width}, height x width, at x {left}, y {top}) reaches beyond the image "
            f"({size[0]}x{size[1]})."
        )
    whole = np.zeros(size, bool)
    whole[top : top + height, left : left + width] = mask
    return whole
