"""COCO's instance annotations: polygons and run lengths, by image."""

import re
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pycocotools import mask as coco_mask
from pydantic import Discriminator, Field, Tag

from sartm_core.errors import SartmError
from sartm_core.labels.annotated_image import AnnotatedImage, Mask, Shape, Size
from sartm_core.labels.json_files import Coordinate, Foreign, parse

_COMPRESSED = re.compile("(?:[P-o]{0,6}[0-O])*")
"""Five bits a character, and whether more follow."""


class _RunLengths(Foreign):
    size: tuple[int, int]
    counts: str | list[int]


_Polygon = Annotated[list[Coordinate], Field(min_length=6)]
_Segmentation = Annotated[
    Annotated[list[_Polygon], Tag("polygons")] | Annotated[_RunLengths, Tag("rle")],
    Discriminator(lambda value: "rle" if isinstance(value, dict | _RunLengths) else "polygons"),
]


class _Image(Foreign):
    id: int | str
    file_name: str
    height: int | None = None
    width: int | None = None


class _Category(Foreign):
    id: int | str
    name: str


class _Annotation(Foreign):
    id: int | str | None = None
    image_id: int | str
    category_id: int | str
    segmentation: _Segmentation | None = None


class _Coco(Foreign):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Annotation]


def is_coco(content: Any) -> bool:
    """Whether this is COCO's JSON, instances or panoptic."""
    return isinstance(content, dict) and {"images", "annotations"} <= content.keys()


def read_coco(path: Path, content: Any) -> list[AnnotatedImage]:
    """The images of one file; annotations lie on each other in the file's order.

    Raises:
        SartmError: a field is missing or invalid, an annotation without an area, or panoptic annotations.
    """
    annotations = content["annotations"]
    if isinstance(annotations, list) and any(
        "segments_info" in entry for entry in annotations if isinstance(entry, dict)
    ):
        raise SartmError(f"{path}: holds COCO's panoptic annotations. Export instances (polygons or RLE), or masks.")
    coco = parse(content, _Coco, path)
    names = {category.id: category.name for category in coco.categories}
    shapes: dict[int | str, list[Shape]] = {image.id: [] for image in coco.images}
    if len(shapes) != len(coco.images) or len(names) != len(coco.categories):
        raise SartmError(f"{path}: several of its images or categories share an id. Export it again.")
    for number, annotation in enumerate(coco.annotations):
        where = f"{path}, annotation {number if annotation.id is None else annotation.id}"
        if annotation.image_id not in shapes:
            raise SartmError(f"{where}: image_id {annotation.image_id} is not among the images.")
        if annotation.category_id not in names:
            raise SartmError(f"{where}: category_id {annotation.category_id} is not among the categories.")
        shapes[annotation.image_id].append(_shape(names[annotation.category_id], annotation.segmentation, where))
    return [
        AnnotatedImage(f"{path}, image '{image.file_name}'", image.file_name, _size(image), tuple(shapes[image.id]))
        for image in coco.images
    ]


def _size(image: _Image) -> Size | None:
    return None if image.height is None or image.width is None else (image.height, image.width)


def _shape(label: str, segmentation: list[list[float]] | _RunLengths | None, where: str) -> Shape:
    if not segmentation:
        raise SartmError(f"{where}: has no segmentation, only a box. Export masks or polygons.")
    if isinstance(segmentation, _RunLengths):
        return Shape(label, partial(_run_length_mask, segmentation, where))
    if any(len(polygon) % 2 for polygon in segmentation):
        raise SartmError(f"{where}: a polygon of its segmentation has an odd number of coordinates.")
    return Shape(label, partial(polygon_mask, segmentation))


def polygon_mask(polygons: list[list[float]], size: Size) -> Mask:
    """The area that any of some polygons (x, y, x, y, ...; in pixels, 0 is the left and upper edge) covers."""
    whole = coco_mask.merge(coco_mask.frPyObjects(polygons, *size))
    return _filled(_runs(whole["counts"].decode()), size)


def _run_length_mask(rle: _RunLengths, where: str, size: Size) -> Mask:
    if rle.size != size:
        raise SartmError(f"{where}: its run lengths are of size {list(rle.size)}, its image is {list(size)}.")
    if isinstance(rle.counts, str) and not _COMPRESSED.fullmatch(rle.counts):
        raise SartmError(f"{where}: the run lengths of its segmentation are damaged. Export it again.")
    runs = _runs(rle.counts) if isinstance(rle.counts, str) else rle.counts
    if min(runs, default=0) < 0 or sum(runs) != size[0] * size[1]:
        raise SartmError(f"{where}: the run lengths of its segmentation do not fill the image. Export it again.")
    return _filled(runs, size)


def _filled(runs: list[int], size: Size) -> Mask:
    """Runs go down the columns; the first is outside. pycocotools' own `decode` does not check that they fill it."""
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(size, order="F")


def _runs(counts: str) -> list[int]:
    """Decodes compressed run lengths: five bits a character; from the fourth run on, less the last but one."""
    runs: list[int] = []
    value = shift = 0
    for code in counts.encode():
        value |= (code - 48 & 31) << shift
        shift += 5
        if code - 48 & 32:
            continue
        if code - 48 & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs
