"""Label Studio's JSON export: tasks, whose annotations hold one result per region."""

import math
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import Field

from sartm_core.errors import SartmError
from sartm_core.labels.annotated_image import AnnotatedImage, Mask, Shape, Size
from sartm_core.labels.brush import brush_mask
from sartm_core.labels.coco import polygon_mask
from sartm_core.labels.json_files import Coordinate, Foreign, Point, parse

REGIONS = ("brushlabels", "polygonlabels", "rectanglelabels", "labels")
OUTLINES = ("brush", "polygon", "rectangle")
"""Regions whose label is a result of its own, of type `labels`, with the same id."""

REMARKS = ("choices", "taxonomy", "textarea", "rating", "number", "datetime", "pairwise", "relation")
"""About the whole image, or a region: no areas."""


class _Value(Foreign):
    rle: list[int] | None = None
    points: list[Point] | None = None
    brushlabels: tuple[str, ...] = ()
    polygonlabels: tuple[str, ...] = ()
    rectanglelabels: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


class _Rectangle(Foreign):
    x: Coordinate
    y: Coordinate
    width: Coordinate
    height: Coordinate
    rotation: float = 0.0


class _Result(Foreign):
    type: str
    id: str | None = None
    value: dict[str, Any] = Field(default_factory=dict)
    width: int | None = Field(default=None, alias="original_width")
    height: int | None = Field(default=None, alias="original_height")
    image_rotation: float | None = None


class _Annotation(Foreign):
    result: list[_Result]
    was_cancelled: bool | None = None
    ground_truth: bool | None = None


class _Task(Foreign):
    id: int | str | None = None
    data: dict[str, Any]
    annotations: list[_Annotation]
    file_upload: str | None = None


def is_label_studio(content: Any) -> bool:
    """Whether these are tasks, or one task."""
    tasks = content if isinstance(content, list) else [content]
    return bool(tasks) and all(isinstance(task, dict) and {"data", "annotations"} <= task.keys() for task in tasks)


def read_label_studio(path: Path, content: Any) -> list[AnnotatedImage]:
    """The images of all tasks; later regions cover earlier ones. Predictions and skipped annotations do not count.

    Raises:
        SartmError: a field is missing or invalid, a region has no area or not one label, a task several annotations.
    """
    tasks = content if isinstance(content, list) else [content]
    return [_image(parse(task, _Task, f"{path}, task {n}"), path) for n, task in enumerate(tasks)]


def _image(task: _Task, path: Path) -> AnnotatedImage:
    name = _image_name(task, path)
    where = f"{path}, image '{name}'"
    results = _results(task, where)
    labelled = {result.id for result in results if result.type == "labels"}
    shapes: list[Shape] = []
    sizes: set[Size] = set()
    for result in results:
        if result.type in REMARKS or (result.type in OUTLINES and result.id in labelled):
            continue
        region = f"{where}, region {result.id} ({result.type})"
        shapes.append(_shape(result, region))
        if result.width is not None and result.height is not None:
            sizes.add((result.height, result.width))
    if len(sizes) > 1:
        raise SartmError(f"{where}: its regions were drawn in images of several sizes: {sorted(sizes)}.")
    return AnnotatedImage(where, name, next(iter(sizes), None), tuple(shapes))


def _image_name(task: _Task, path: Path) -> str:
    """Of an upload, a URL, or a file that was served locally (`/data/local-files/?d=folder/name.png`)."""
    texts = [value for value in task.data.values() if isinstance(value, str)]
    address = task.file_upload or task.data.get("image") or (texts[0] if len(texts) == 1 else None)
    if not isinstance(address, str):
        raise SartmError(f"{path}, task {task.id}: its data name no image.")
    parts = urlsplit(address)
    return parse_qs(parts.query).get("d", [unquote(parts.path)])[0]


def _results(task: _Task, where: str) -> list[_Result]:
    kept = [annotation for annotation in task.annotations if not annotation.was_cancelled]
    best = [annotation for annotation in kept if annotation.ground_truth]
    chosen = best if len(best) == 1 else kept
    if len(chosen) > 1:
        raise SartmError(
            f"{where}: has {len(chosen)} annotations. Mark one as ground truth, or remove the others, and export again."
        )
    return chosen[0].result if chosen else []


def _shape(result: _Result, where: str) -> Shape:
    if result.type in OUTLINES:
        raise SartmError(f"{where}: has no label. Give it one, or remove it.")
    if result.type not in REGIONS:
        raise SartmError(f"{where}: is no area that can be imported. Remove it; {', '.join(REGIONS)} are imported.")
    if result.image_rotation:
        raise SartmError(
            f"{where}: was drawn in an image rotated by {result.image_rotation:g} degrees. Rotate it back."
        )
    value = parse(result.value, _Value, where)
    labels = getattr(value, result.type)
    if len(labels) != 1:
        raise SartmError(f"{where}: has {len(labels)} labels ({', '.join(labels)}); expected one.")
    if value.rle is not None:
        return Shape(labels[0], partial(brush_mask, value.rle, where))
    if value.points is None:
        return Shape(labels[0], partial(_rectangle_mask, parse(result.value, _Rectangle, where)))
    if len(value.points) < 3:
        raise SartmError(f"{where}: has {len(value.points)} points; expected 3.")
    return Shape(labels[0], partial(_polygon_mask, value.points))


def _polygon_mask(points: list[Point], size: Size) -> Mask:
    """Percent of the image's width and height."""
    return polygon_mask([[share * side / 100 for x, y in points for share, side in ((x, size[1]), (y, size[0]))]], size)


def _rectangle_mask(box: _Rectangle, size: Size) -> Mask:
    """Turned clockwise about its upper left corner, in pixels."""
    left, top = box.x * size[1] / 100, box.y * size[0] / 100
    wide, high = box.width * size[1] / 100, box.height * size[0] / 100
    cos, sin = math.cos(math.radians(box.rotation)), math.sin(math.radians(box.rotation))
    corners = [(0.0, 0.0), (wide, 0.0), (wide, high), (0.0, high)]
    return polygon_mask(
        [[part for x, y in corners for part in (left + x * cos - y * sin, top + x * sin + y * cos)]], size
    )
