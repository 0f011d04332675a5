"""`outputs.<name>`: a mask as a consumer wants it: some classes, other ids, another size, points. No ROS."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, field_validator

from sartm_core.checked_yaml import Checked, check, load_yaml
from sartm_core.errors import SartmError
from sartm_core.resources import resolve_config
from sartm_core.rig import Rig, Size
from sartm_core.segmentation import UNLABELLED, Segmentation
from sartm_core.sensing.nearest import nearest
from sartm_core.sensing.registration import OTHER_ASPECT
from sartm_ros.labelled_cloud import Cloud, Unseen, check_points

ConfidenceEncoding = Literal["mono8", "32FC1"]
Form = Literal["mask", "points", "channels", "ids"]
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_SIZE = re.compile(r"reference|depth|[1-9]\d{0,4}x[1-9]\d{0,4}")
MOST_PIXELS = 1 << 23
"""Of an image that is larger than the mask: a slip of a digit must not fill a robot's memory."""
_OF_IDS = ("ids", "label_space", "otherwise", "run_lengths")
"""The fields that only `as: ids` has."""


class OutputSettings(Checked):
    """One of `outputs` in the node's parameters.

    Attributes:
        classes: names; by default all.
        form: `as`. `mask`: 255 where one of the classes is, else 0; `points`: those of the classes; `channels`: for
            each class its confidence where it was chosen, else 0; `ids`: class ids.
        size: of images by default the mask's. `depth`: the depth camera's; `480x640`: height x width. Of points:
            none, a list of those that were measured; else an image of points, NaN where there is none.
        ids: class -> its id, or its name in `label_space`.
        label_space: a file with `label_names: [{label: 1, name: ...}]`, as Hydra has them, or the name of a shipped
            one. Classes that `ids` lacks are looked up by their own names.
        otherwise: the id of what is in no class that was asked for, or has no other id.
        run_lengths: runs of 5 bytes (id; length, int32, little-endian) in place of pixels, as Autoware's fusion reads.
    """

    classes: tuple[str, ...] = ()
    form: Form = Field(alias="as")
    size: str | None = None
    ids: dict[str, int | str] = Field(default_factory=dict)
    label_space: str | None = None
    otherwise: int = Field(UNLABELLED, ge=0, le=255)
    run_lengths: bool = False

    @field_validator("size")
    @classmethod
    def _size(cls, size: str | None) -> str | None:
        if size is not None and not _SIZE.fullmatch(size):
            raise ValueError("expected reference, depth, or height x width such as 480x640")
        return size


class PublishedParameters(Checked):
    """Those of the node's parameters that decide how a result is published; fields as in its table."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    confidence_encoding: ConfidenceEncoding = "mono8"
    min_confidence: float = Field(0.0, ge=0, le=1)
    points_out_of_view: Unseen = "leave_out"
    outputs: dict[str, dict[str, Any]] = Field(default_factory=dict)


DEFAULT_PARAMETERS = PublishedParameters()


def read_parameters(path: Path, node: str = "/perception") -> PublishedParameters:
    """Reads a parameter file such as config/node.yaml: what stands under `/**` and under the node's name.

    Raises:
        SartmError: unreadable, without parameters of this node, or a value that is not allowed.
    """
    content, own = load_yaml(path), node.removeprefix("/")
    values: dict[str, Any] = {}
    for name in ("/**", node, own):
        section = content.get(name)
        values |= section.get("ros__parameters") or {} if isinstance(section, dict) else {}
    if not values:
        raise SartmError(
            f"{path}: expected ros__parameters: {{...}} under {own}:, the node's name, or under /**:, for all nodes, "
            "as in config/node.yaml."
        )
    return check(values, PublishedParameters, str(path))


@dataclass(frozen=True, slots=True)
class Output:
    """One output, resolved for a rig.

    Attributes:
        name: of the topic.
        form: see `OutputSettings`.
        chosen: class ids, in the order of `classes`.
        table: uint8 [256], what each class id becomes; of points: not 0 for those that are kept.
        size: height, width; None: the mask's, and of points a list.
        run_lengths: see `OutputSettings`.
    """

    name: str
    form: Form
    chosen: tuple[int, ...]
    table: NDArray[np.uint8]
    size: Size | None
    run_lengths: bool = False


class _Label(Checked):
    label: int
    name: str


class _LabelSpace(Checked):
    """Hydra's file; it has fields that are of no concern here."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    label_names: tuple[_Label, ...]


def resolved_outputs(given: Mapping[str, Mapping[str, Any]], rig: Rig, served: Rig) -> tuple[Output, ...]:
    """Checks the `outputs` of the parameters.

    Args:
        given: name -> fields of `OutputSettings`.
        rig: the robot's: gives sizes and where points come from.
        served: the bundle's: gives the classes.

    Raises:
        SartmError: a field, a class, an id or a size that cannot be; names it and the remedy.
    """
    outputs = []
    for name, fields in given.items():
        if not _NAME.fullmatch(name):
            raise SartmError(
                f"parameter 'outputs.{name}': expected a name of a-z, 0-9 and _, which the topic will have."
            )
        settings = check(dict(fields), OutputSettings, f"parameters 'outputs.{name}.*'")
        outputs.append(_resolved(name, settings, rig, served))
    return tuple(outputs)


def _resolved(name: str, settings: OutputSettings, rig: Rig, served: Rig) -> Output:
    at, form = f"parameter 'outputs.{name}", settings.form
    for field in _OF_IDS:
        if form != "ids" and field in settings.model_fields_set:
            raise SartmError(f"{at}.{field}': only for as: ids, not for as: {form}. Remove it.")
    for field, names in (("classes", settings.classes), ("ids", settings.ids)):
        for class_name in names:
            if class_name not in served.class_names:
                raise SartmError(
                    f"{at}.{field}': the model has no class '{class_name}'."
                    f"{_close(class_name, served.class_names)} It has: {', '.join(served.class_names)}."
                )
    classes = settings.classes or served.class_names
    chosen = tuple(served.class_names.index(class_name) for class_name in classes)
    if form == "points":
        check_points(rig)
    table = np.zeros(256, np.uint8)
    if form == "ids":
        table[:] = settings.otherwise
        ids = [_id_of(class_name, settings, at, served) for class_name in classes]
        for class_name, class_id in zip(classes, ids, strict=True):
            if not 0 <= class_id <= 255:
                raise SartmError(f"{at}.ids.{class_name}': expected an id from 0 to 255, got {class_id}.")
        table[list(chosen)] = ids
    else:
        table[list(chosen)] = 255
    return Output(name, form, chosen, table, _size(settings.size, form, at, rig), settings.run_lengths)


def _close(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


def _id_of(class_name: str, settings: OutputSettings, at: str, served: Rig) -> int:
    """What a class is called in the consumer's label space."""
    wanted = settings.ids.get(class_name)
    if isinstance(wanted, int):
        return wanted
    if settings.label_space is None:
        if isinstance(wanted, str):
            raise SartmError(f"{at}.ids.{class_name}': '{wanted}' is a name: set outputs.*.label_space, or give an id.")
        return settings.otherwise if settings.ids else served.class_names.index(class_name)
    path = resolve_config(settings.label_space, "label_spaces")
    space = check(load_yaml(path), _LabelSpace, str(path))
    name = (wanted or class_name).lower()
    labels = {entry.label for entry in space.label_names if entry.name.lower() == name}
    if len(labels) > 1:
        raise SartmError(f"{at}.ids.{class_name}': {path} has '{name}' {len(labels)} times. Give the id, not the name.")
    if not labels and wanted is not None:
        known = ", ".join(entry.name for entry in space.label_names)
        raise SartmError(f"{at}.ids.{class_name}': {path} has no '{wanted}'. It has: {known}.")
    return next(iter(labels), settings.otherwise)


def _size(size: str | None, form: Form, at: str, rig: Rig) -> Size | None:
    reference = rig.modality(rig.reference).size
    if size is None or (size == "reference" and form != "points"):
        return None
    if size == "reference":
        return reference
    if size != "depth":
        height, width = map(int, size.split("x"))
        return _of_same_aspect((height, width), reference, at, "")
    depth = next((m for m in rig.modalities if m.kind == "depth"), None)
    if depth is None:
        raise SartmError(f"{at}.size': rig '{rig.name}' has no depth camera; give height x width, such as 480x640.")
    if depth.intrinsics is not None or depth.homography is not None or depth.calibration == "ros":
        raise SartmError(
            f"{at}.size': '{depth.name}' looks from another place than '{rig.reference}', so a mask of its size would "
            "not lie on its pixels. Let its driver, or depth_image_proc's register node, align it; or take as: points."
        )
    return _of_same_aspect(depth.size, reference, at, f" of '{depth.name}'")


def _of_same_aspect(size: Size, reference: Size, at: str, of: str) -> Size:
    if size[0] * size[1] > MOST_PIXELS:
        raise SartmError(f"{at}.size': {size[0]}x{size[1]}{of}: at most {MOST_PIXELS:,} pixels are published.")
    if abs(size[1] * reference[0] / (size[0] * reference[1]) - 1) > OTHER_ASPECT:
        raise SartmError(
            f"{at}.size': {size[0]}x{size[1]}{of} has another aspect than the mask, {reference[0]}x{reference[1]} "
            "(height x width): it would not show the same view. Choose one of the same aspect."
        )
    return size


def image_of(output: Output, segmentation: Segmentation) -> NDArray[Any]:
    """The image of a mask, of channels or of ids: uint8 [H, W], or float32 [H, W, classes]."""
    mask = segmentation.mask if output.size is None else nearest(segmentation.mask, output.size)
    if output.form != "channels":
        return output.table[mask]
    confidence = segmentation.confidence if output.size is None else nearest(segmentation.confidence, output.size)
    return np.where(mask[..., None] == np.array(output.chosen, np.uint8), confidence[..., None], np.float32(0))


def points_of(output: Output, cloud: Cloud) -> Cloud:
    """The points of its classes that were measured: [N]; or, where it has a size, an image of points."""
    if output.size is None:
        flat = cloud.reshape(-1)
        return flat[(output.table[flat["label"]] > 0) & np.isfinite(flat["z"])]
    kept = nearest(cloud, output.size).copy()
    others = output.table[kept["label"]] == 0
    for axis in "xyz":
        kept[axis][others] = np.nan
    return kept


def run_lengths(ids: NDArray[np.uint8]) -> bytes:
    """Runs of equal ids, row by row: 5 bytes each, the id and the length as int32, little-endian.

    Examples:
        >>> run_lengths(np.array([[7, 7], [7, 2]], np.uint8)).hex(" ", 5)
        '0703000000 0201000000'
    """
    flat = ids.reshape(-1)
    starts = np.flatnonzero(np.diff(flat, prepend=flat[0] + np.uint8(1)))
    runs = np.empty(len(starts), np.dtype([("id", "u1"), ("length", "<i4")]))
    runs["id"], runs["length"] = flat[starts], np.diff(starts, append=len(flat))
    return runs.tobytes()
