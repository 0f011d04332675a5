"""The bundle: one folder that holds all that inference needs, described by `bundle.json`."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from sartm_core.checked_yaml import Checked, check
from sartm_core.errors import SartmError
from sartm_core.files import sha256
from sartm_core.rig import Rig, Size

FORMAT = 1
DESCRIPTION_FILE = "bundle.json"
WEIGHTS_FILE = "weights.safetensors"


class NetworkShape(Checked):
    """What `MultiModalNetwork` is built from; modalities and classes come from the rig.

    Attributes:
        changes: to the preset, see `preset_for_rig`.
    """

    preset: str
    backbone: str
    lora_rank: int
    changes: dict[str, Any] = Field(default_factory=dict)


class Bundle(Checked):
    """The content of `bundle.json`.

    Attributes:
        rig: what the model was trained for: modalities, encodings, classes, palette.
        network: its shape; the normalisation lies with the weights.
        size: height, width of the network's input.
        fit: how camera images are brought to that size.
        weights_sha256: of `weights.safetensors`.
        recipe: the training run, as it was read.
        figures: mean IoU on validation, per condition and subset.
        versions: of the libraries that made it.
    """

    format: Literal[1]
    name: str
    rig: Rig
    network: NetworkShape
    size: Size
    fit: Literal["stretch", "letterbox", "crop"]
    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    recipe: dict[str, Any]
    figures: dict[str, Any]
    versions: dict[str, str]


def read_bundle(directory: Path) -> Bundle:
    """Reads and checks `bundle.json` and the weights' hash.

    Raises:
        SartmError: a file is missing or damaged, or of another format; says which and what to do.
    """
    path = directory / DESCRIPTION_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SartmError(
            f"{directory} is no bundle: it has no {DESCRIPTION_FILE}. Write one with `sartm export`."
        ) from None
    except json.JSONDecodeError as error:
        raise SartmError(f"{path}: is no JSON file: {error}. Export the bundle again.") from error
    if content.get("format") != FORMAT:
        raise SartmError(
            f"{path}: expected format {FORMAT}, got {content.get('format')}. Export with this version of sartm."
        )
    bundle = check(content, Bundle, str(path))
    weights = directory / WEIGHTS_FILE
    if not weights.is_file():
        raise SartmError(f"{weights} is missing. Copy the whole folder that `sartm export` wrote, or export again.")
    if (found := sha256(weights)) != bundle.weights_sha256:
        raise SartmError(
            f"{weights}: expected SHA-256 {bundle.weights_sha256[:12]}..., got {found[:12]}...: the file is damaged or "
            "belongs to another bundle. Copy the folder again, or export again."
        )
    return bundle
