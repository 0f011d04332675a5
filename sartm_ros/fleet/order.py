"""What is done with every recording of a fleet, and the key that tells whether a result is of this order."""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field

from sartm_core.checked_yaml import Checked
from sartm_core.rig import Rig

FORMAT = "sartm-fleet/1"


class Segmenting(Checked):
    """Masks, as `sartm bag segment` writes them.

    Attributes:
        node: name that prefixes the topics.
        overlay: also the classes' colours over the image.
    """

    action: Literal["segment"] = "segment"
    node: str = "/perception"
    overlay: bool = False


class Evaluating(Checked):
    """Scores, as `sartm bag evaluate` writes them; see `bag.evaluate.BagEvaluation`."""

    action: Literal["evaluate"] = "evaluate"
    truth_topic: str
    truth_tolerance_s: float = 0.02
    tags_topic: str | None = None
    protocols: tuple[str, ...] = ("clean",)
    window_s: float = 10.0


class Extracting(Checked):
    """Frame folders, as `sartm bag extract` writes them; see `bag.extract.Extraction`."""

    action: Literal["extract"] = "extract"
    every_s: float = 0.5
    validation: float = 0.2
    complete: bool = False
    limit: int | None = None
    truth_topic: str | None = None
    tags_topic: str | None = None


class Labelling(Extracting):
    """Frame folders with a teacher's labels, as `sartm data autolabel` writes them.

    Attributes:
        teacher: a segmentation model of transformers: a folder that every machine sees, or a hub name.
        classes: see `labels.teachers.TeacherMap`.
        min_confidence: pixels below it stay unlabelled.
        every_frame: also frames whose RGB is too dark, too bright or blurred.
    """

    action: Literal["autolabel"] = "autolabel"  # type: ignore[assignment]
    teacher: str
    classes: dict[str, str | None]
    min_confidence: float = 0.8
    every_frame: bool = False


What = Annotated[Segmenting | Evaluating | Extracting | Labelling, Field(discriminator="action")]


class Order(Checked):
    """One run over a fleet.

    Attributes:
        what: the action and its options.
        rig: of all recordings.
        bundle, bundle_sha256: its folder and its hash; None for actions that need no model.
        stamps: see `bag.replay.ReplayOptions`.
        definitions: folder of .msg files, for types that the recordings do not define.
        device: `cpu` or `cuda`, the same wherever a recording is done: their masks differ in the last digits.
        threads: of the CPU, for the network of one task; the same everywhere for the same reason.
    """

    what: What
    rig: Rig
    bundle: str | None = None
    bundle_sha256: str | None = None
    stamps: Literal["header", "recorded"] = "header"
    definitions: str | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = Field(1, gt=0)


def key_of(order: Order, source: str, size: int) -> dict[str, Any]:
    """What a result depends on. A result with the same key needs not be made again.

    Args:
        order: of the run.
        source: where the recording is.
        size: bytes of its files: a recording that was still being copied is done again.
    """
    return {"source": source, "size": size, **order_key(order)}


def order_key(order: Order) -> dict[str, Any]:
    """The part of the key that all recordings of a run share."""
    rig = json.dumps(order.rig.model_dump(mode="json"), sort_keys=True)
    return {
        "bundle": order.bundle_sha256,
        "rig": hashlib.sha256(rig.encode()).hexdigest(),
        "options": {**order.what.model_dump(mode="json"), "stamps": order.stamps, "device": order.device},
    }
