"""The rig file: one robot's sensors and classes, parsed and checked once, then passed as a typed value."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from sartm_core.calibration import Extrinsics, Intrinsics, Lens
from sartm_core.checked_yaml import Checked, check, read_yaml
from sartm_core.errors import SartmError
from sartm_core.kinds import DepthModality, Modality, Size
from sartm_core.resources import resolve_config
from sartm_core.segmentation import UNLABELLED

__all__ = ["ClassSpec", "Modality", "Rig", "Size", "SynchronizerSettings", "load_rig", "rig_from_dict"]


class ClassSpec(Checked):
    """One semantic class; its id is its place in the rig's list."""

    name: str
    color: tuple[int, int, int]

    @field_validator("color")
    @classmethod
    def _bytes(cls, color: tuple[int, int, int]) -> tuple[int, int, int]:
        if any(not 0 <= value <= 255 for value in color):
            raise ValueError("expected red, green, blue from 0 to 255")
        return color


class SynchronizerSettings(Checked):
    """How long the node waits for modalities that are late or silent."""

    max_wait_s: float = Field(0.1, gt=0)
    stale_after_s: float = Field(0.5, gt=0)


class Rig(Checked):
    """One robot's sensor set. The order of the modalities and of the classes is part of every trained model."""

    name: str
    description: str = ""
    reference: str
    modalities: tuple[Annotated[Modality, Field(discriminator="kind")], ...]
    classes: tuple[ClassSpec, ...]
    synchronizer: SynchronizerSettings = SynchronizerSettings()

    @field_validator("modalities", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """The file says `thermal: {...}`; the name becomes a field of the modality."""
        if not isinstance(value, dict):
            return value
        for name, fields in value.items():
            if not isinstance(fields, dict):
                raise ValueError(f"'{name}': expected a mapping with kind, size, topic")
        return [{"name": name, **fields} for name, fields in value.items()]

    @model_validator(mode="after")
    def _consistent(self) -> "Rig":
        if not self.modalities:
            raise ValueError("modalities: expected at least one")
        if self.reference not in self.names:
            raise ValueError(f"reference: '{self.reference}' is none of the modalities ({', '.join(self.names)})")
        if not 0 < len(self.classes) < UNLABELLED:
            raise ValueError(f"classes: expected 1 to {UNLABELLED - 1}, got {len(self.classes)}")
        for what, values in (
            ("modalities: the name", self.names),
            ("modalities: the topic", [modality.topic for modality in self.modalities]),
            ("classes: the name", self.class_names),
        ):
            doubled = sorted({value for value in values if list(values).count(value) > 1})
            if doubled:
                raise ValueError(f"{what} '{doubled[0]}' is used twice")
        return self

    @model_validator(mode="after")
    def _registrable(self) -> "Rig":
        reference = self.modality(self.reference)
        for modality in self.modalities:
            at = f"modalities.{modality.name}"
            from_ros = modality.calibration == "ros" and modality.intrinsics is None and not modality.points
            if from_ros and modality.camera_info is None:
                raise ValueError(f"{at}.camera_info: expected a topic, since calibration is ros")
            if modality.depth_from is None:
                continue
            source = next((other for other in self.modalities if other.name == modality.depth_from), None)
            if not isinstance(source, DepthModality) or source.encoding != "metres":
                raise ValueError(
                    f"{at}.depth_from: '{modality.depth_from}' is not a depth modality with encoding metres"
                )
            for camera in (reference, modality):
                if camera.intrinsics is None and camera.calibration == "file":
                    raise ValueError(f"modalities.{camera.name}.intrinsics: needed, since {at} has depth_from")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities' names, in the order of `availability` and of the routing weights."""
        return tuple(modality.name for modality in self.modalities)

    @property
    def point_sources(self) -> tuple[str, ...]:
        """The modalities that measure positions, best first: depth cameras in metres, then LiDARs that deliver points.

        An image that a homography warps is none of them: the ranges in it are those of another place.
        """
        depth = [m for m in self.modalities if isinstance(m, DepthModality) and m.encoding == "metres"]
        lidars = [m for m in self.modalities if m.delivers_points]
        return tuple(m.name for m in (*depth, *lidars) if m.homography is None)

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self.classes)

    @cached_property
    def palette(self) -> NDArray[np.uint8]:
        """uint8 [256, 3], RGB of each class id; ids without a class, 255 among them, are black."""
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(self.classes)] = [spec.color for spec in self.classes]
        return palette

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 when every modality is 8 bit, else float32: one dtype for all planes of the rig."""
        return np.dtype(np.uint8 if all(modality.eight_bit for modality in self.modalities) else np.float32)

    def only(self, names: Sequence[str]) -> "Rig":
        """The rig with some of its modalities; without the reference the first of them takes its place.

        Raises:
            SartmError: the rig lacks one of them, or none is left.
        """
        for name in names:
            self.modality(name)
        kept = tuple(modality for modality in self.modalities if modality.name in names)
        if not kept:
            raise SartmError(f"rig '{self.name}': expected some of {', '.join(self.names)}, got no modality.")
        reference = self.reference if self.reference in names else kept[0].name
        return self.model_copy(update={"modalities": kept, "reference": reference})

    def enlarged(self, pixels: dict[str, int]) -> "Rig":
        """The rig with another `enlarge` of the LiDARs and event cameras among these modalities: name -> pixels."""
        replaced = (
            m.model_copy(update={"enlarge": pixels[m.name]}) if hasattr(m, "enlarge") and m.name in pixels else m
            for m in self.modalities
        )
        return self.model_copy(update={"modalities": tuple(replaced)})

    def calibrated(self, name: str, **fields: Intrinsics | Extrinsics | Lens) -> "Rig":
        """The rig with `intrinsics`, `extrinsics` or `lens` of one modality filled in."""
        replaced = (m.model_copy(update=fields) if m.name == name else m for m in self.modalities)
        return self.model_copy(update={"modalities": tuple(replaced)})

    def modality(self, name: str) -> Modality:
        """The modality of that name.

        Raises:
            SartmError: the rig has none.
        """
        for modality in self.modalities:
            if modality.name == name:
                return modality
        raise SartmError(f"rig '{self.name}' has no modality '{name}'. It has: {', '.join(self.names)}.")


def load_rig(name_or_path: str | Path) -> Rig:
    """Reads a rig file, or a shipped rig by its name (`sim`, `rgbt`, ...).

    Raises:
        SartmError: no such rig, or faults in the file; the message names each field.
    """
    return read_yaml(resolve_config(str(name_or_path), "rigs"), Rig)


def rig_from_dict(content: dict[str, Any], source: str) -> Rig:
    """A rig out of `bundle.json` (`Rig.model_dump(mode="json")`); `source` names the file in errors."""
    return check(content, Rig, source)
