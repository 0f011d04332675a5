"""Supervisely's JSON: one file per image, `<dataset>/ann/<image file>.json`. Drawn as its SDK draws it, with OpenCV."""

import zlib
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydantic import Field

from sartm_core.errors import SartmError
from sartm_core.labels.annotated_image import AnnotatedImage, Mask, Shape, Size, embedded_mask, placed
from sartm_core.labels.json_files import Foreign, Point, decode_base64, parse


class _Outline(Foreign):
    exterior: list[Point]
    interior: tuple[list[Point], ...] = ()


class _Bitmap(Foreign):
    data: str
    origin: tuple[int, int]


class _Size(Foreign):
    height: int
    width: int


class _Object(Foreign):
    label: str = Field(alias="classTitle")
    geometry: str = Field(alias="geometryType")
    points: _Outline | None = None
    bitmap: _Bitmap | None = None


class _File(Foreign):
    size: _Size
    objects: list[_Object]


def is_supervisely(content: Any) -> bool:
    """Whether this is the annotation of an image."""
    return isinstance(content, dict) and {"objects", "size"} <= content.keys()


def read_supervisely(path: Path, content: Any) -> list[AnnotatedImage]:
    """The image of one file; later objects cover earlier ones.

    Raises:
        SartmError: a field is missing or invalid, or an object has no area.
    """
    file = parse(content, _File, path)
    shapes = [_shape(entry, f"{path}, object {number}") for number, entry in enumerate(file.objects)]
    return [AnnotatedImage(str(path), path.stem, (file.size.height, file.size.width), tuple(shapes))]


def _shape(entry: _Object, where: str) -> Shape:
    where = f"{where} ('{entry.label}', {entry.geometry})"
    if entry.geometry == "bitmap" and entry.bitmap is not None:
        return Shape(entry.label, partial(_bitmap_mask, entry.bitmap, where))
    if entry.geometry not in ("polygon", "rectangle", "bitmap"):
        raise SartmError(
            f"{where}: is no area that can be imported. Remove it; bitmap, polygon, rectangle are imported."
        )
    if entry.points is None:
        raise SartmError(f"{where}: its {'bitmap is' if entry.geometry == 'bitmap' else 'points are'} missing.")
    count, needed = len(entry.points.exterior), 3 if entry.geometry == "polygon" else 2
    if count < needed or (entry.geometry == "rectangle" and count > needed):
        raise SartmError(f"{where}: has {count} points; expected {needed}.")
    return Shape(entry.label, partial(_outline_mask, entry.geometry, entry.points))


def _bitmap_mask(bitmap: _Bitmap, where: str, size: Size) -> Mask:
    data = decode_base64(bitmap.data, where)
    try:
        png = data if data.startswith(b"\x89PNG") else zlib.decompress(data)  # older exports do not compress
    except zlib.error as error:
        raise SartmError(f"{where}: the data of its bitmap are damaged ({error}).") from error
    left, top = bitmap.origin
    return placed(embedded_mask(png, where), left, top, size, where)


def _outline_mask(geometry: str, outline: _Outline, size: Size) -> Mask:
    canvas = np.zeros(size, np.uint8)
    exterior = _whole(outline.exterior)
    if geometry == "rectangle":  # first and last pixel
        cv2.rectangle(canvas, exterior[0].tolist(), exterior[1].tolist(), 1, cv2.FILLED)
        return canvas.astype(bool)
    cv2.fillPoly(canvas, [exterior], 1)
    for hole in outline.interior:
        if hole:
            cv2.fillPoly(canvas, [_whole(hole)], 0)
    return canvas.astype(bool)


def _whole(points: list[Point]) -> Any:
    return np.rint(np.array(points)).astype(np.int32)
