"""Labelme's JSON: one file per image. Drawn as Labelme itself draws it, with Pillow."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from pydantic import Field

from sartm_core.errors import SartmError
from sartm_core.labels.annotated_image import AnnotatedImage, Mask, Shape, Size, embedded_mask, placed
from sartm_core.labels.json_files import Foreign, Point, decode_base64, parse

POINTS = {"polygon": 3, "rectangle": 2, "oriented_rectangle": 4, "circle": 2, "mask": 2}
"""Shapes that have an area, and how many points they need; polygons may have more."""


class _Shape(Foreign):
    label: str
    points: list[Point]
    shape_type: str | None = None
    mask: str | None = None


class _File(Foreign):
    shapes: list[_Shape]
    image_path: str | None = Field(default=None, alias="imagePath")
    height: int | None = Field(default=None, alias="imageHeight")
    width: int | None = Field(default=None, alias="imageWidth")


def is_labelme(content: Any) -> bool:
    """Whether this is Labelme's JSON."""
    return isinstance(content, dict) and "shapes" in content


def read_labelme(path: Path, content: Any) -> list[AnnotatedImage]:
    """The image of one file; later shapes cover earlier ones, groups do not matter.

    Raises:
        SartmError: a field is missing or invalid, or a shape has no area.
    """
    file = parse(content, _File, path)
    size = None if file.height is None or file.width is None else (file.height, file.width)
    shapes = [_shape(shape, f"{path}, shape {number}") for number, shape in enumerate(file.shapes)]
    return [AnnotatedImage(str(path), file.image_path or path.stem, size, tuple(shapes))]


def _shape(shape: _Shape, where: str) -> Shape:
    kind = shape.shape_type or "polygon"  # older files do not say
    where = f"{where} ('{shape.label}', {kind})"
    if kind not in POINTS:
        raise SartmError(f"{where}: has no area. Remove it; {', '.join(POINTS)} are imported.")
    count = len(shape.points)
    if count < POINTS[kind] or (kind != "polygon" and count > POINTS[kind]):
        raise SartmError(f"{where}: has {count} points; expected {POINTS[kind]}.")
    if kind == "mask":
        if shape.mask is None:
            raise SartmError(f"{where}: its mask is missing.")
        return Shape(shape.label, partial(_embedded, shape.mask, shape.points, where))
    return Shape(shape.label, partial(_drawn, kind, shape.points))


def _drawn(kind: str, points: list[Point], size: Size) -> Mask:
    image = Image.new("L", (size[1], size[0]))
    draw = ImageDraw.Draw(image)
    if kind == "circle":  # its centre, and a point on it
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=1, fill=1)
    elif kind == "rectangle":  # two opposite corners
        (left, right), (top, bottom) = (sorted(values) for values in zip(*points, strict=True))
        draw.rectangle((left, top, right, bottom), outline=1, fill=1)
    else:
        draw.polygon(points, outline=1, fill=1)
    return np.array(image, bool)


def _embedded(text: str, points: list[Point], where: str, size: Size) -> Mask:
    """The points are the first and the last pixel of the mask."""
    (left, top), (right, bottom) = ((int(x), int(y)) for x, y in points)
    mask = embedded_mask(decode_base64(text, where), where)
    if mask.shape != (bottom - top + 1, right - left + 1):
        raise SartmError(
            f"{where}: its mask is {mask.shape[0]}x{mask.shape[1]} (height x width), its points span "
            f"{bottom - top + 1}x{right - left + 1}."
        )
    return placed(mask, left, top, size, where)
