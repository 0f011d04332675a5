"""The bundle: one folder that holds all that inference needs, described by `bundle.json`."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from sartm_core.checked_yaml import Checked, check
from sartm_core.deploy.onnx_files import external_files
from sartm_core.errors import SartmError
from sartm_core.files import sha256
from sartm_core.rig import Rig, Size

FORMAT = 6
DESCRIPTION_FILE = "bundle.json"
WEIGHTS_FILE = "weights.safetensors"
HEAD_FILE = "head.onnx"

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
"""A file of the bundle's own folder."""
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


Argmax = Literal["frame", "network"]
HEAD_OUTPUTS: dict[Argmax, tuple[str, ...]] = {
    "frame": ("scores", "routing"),
    "network": ("mask", "confidence", "routing"),
}
"""What `head.onnx`, and every backend's network, answers."""


class NetworkShape(Checked):
    """What the network is built from; modalities and classes come from the rig.

    Attributes:
        changes: to the preset, see `preset_for_rig`.
    """

    preset: str
    backbone: str
    lora_rank: int
    changes: dict[str, Any] = Field(default_factory=dict)


class Graphs(Checked):
    """What the encoders' graphs and `head.onnx` are.

    Attributes:
        opset: 20 for TensorRT 10.3 (JetPack 6) and later, 23 for ONNX Runtime and TensorRT 10.14 and later.
        precision: that the graphs compute in; normalisation, LayerNorm, softmax and the routing stay float32. In
            int8 are linear layers of the encoder, for CPUs.
        features: channels, height, width of what goes from one to the other, by name.
        encoders: file -> the modalities that pass it, in one batch; each modality passes one.
    """

    opset: int
    precision: Literal["fp32", "fp16", "int8"]
    features: dict[str, tuple[int, int, int]]
    encoders: dict[FileName, tuple[str, ...]]


class Bundle(Checked):
    """The content of `bundle.json`.

    Attributes:
        rig: what the model was trained for: modalities, encodings, classes, palette.
        network: its shape; the normalisation lies with the weights, or in the graphs.
        size: height, width of the network's input.
        fit: how camera images are brought to that size; `window`: windows of that size slide over them.
        stride: rows, columns between windows.
        argmax: where the best class is chosen: `frame`, of the scores interpolated to the frame's size, or `network`,
            at the network's size, from which masks return by nearest neighbour.
        graphs: None where the bundle holds only `weights.safetensors`, for the torch backend; it may hold both.
        files: SHA-256 of every other file.
        recipe: the training run, as it was read.
        figures: mean IoU on validation, per condition and subset.
        parity: how far the graphs' masks are from the checkpoint's, where it was measured.
        versions: of the libraries that made it.
    """

    format: Literal[5, 6]
    name: str
    rig: Rig
    network: NetworkShape
    size: Size
    fit: Literal["stretch", "letterbox", "corner", "crop", "window"]
    stride: Size | None = None
    argmax: Argmax = "network"
    graphs: Graphs | None = None
    files: dict[FileName, Sha256]
    recipe: dict[str, Any]
    figures: dict[str, Any]
    parity: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str]

    @model_validator(mode="after")
    def _sliding(self) -> "Bundle":
        if (self.fit == "window") != (self.stride is not None):
            raise ValueError("stride: goes with fit: window")
        if self.stride is not None and any(s > w for s, w in zip(self.stride, self.size, strict=True)):
            raise ValueError(f"stride: expected at most size {list(self.size)}: no gaps between windows")
        if self.fit == "window" and self.argmax != "frame":
            raise ValueError("argmax: windows are blended by their scores, so 'frame' is expected")
        return self


def has_weights(bundle: Bundle) -> bool:
    """Whether it holds what the torch backend runs and `sartm export` takes."""
    return WEIGHTS_FILE in bundle.files


def encoder_files(bundle: Bundle) -> dict[str, list[int]]:
    """The encoders' graphs that a bundle holds -> which modalities pass each; rows go in this order."""
    assert bundle.graphs is not None
    index = {name: place for place, name in enumerate(bundle.rig.names)}
    return {file: [index[name] for name in names] for file, names in bundle.graphs.encoders.items()}


Shapes = dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
"""Input -> smallest and largest shape."""


def graph_shapes(bundle: Bundle) -> dict[str, Shapes]:
    """File -> input -> smallest and largest shape; rows run from 1 to the number of modalities that pass there."""
    assert bundle.graphs is not None

    def rows(count: int, *shape: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (1, *shape), (count, *shape)

    files: dict[str, Shapes] = {
        file: {"planes": rows(len(theirs), 3, *bundle.size), "modality": rows(len(theirs))}
        for file, theirs in encoder_files(bundle).items()
    }
    count = len(bundle.rig.names)
    features = {name: rows(count, *shape) for name, shape in bundle.graphs.features.items()}
    return files | {HEAD_FILE: {**features, "modality": rows(count)}}


def read_bundle(directory: Path) -> Bundle:
    """Reads and checks `bundle.json` and the hashes of the other files.

    Raises:
        SartmError: a file is missing or damaged, or of another format; says which and what to do.
    """
    bundle = read_description(directory)
    for name, expected in bundle.files.items():
        _check_file(directory / name, expected)
        if name.endswith(".onnx"):
            _check_external(directory / name, bundle)
    return bundle


def read_description(directory: Path) -> Bundle:
    """Reads and checks `bundle.json` alone, in milliseconds.

    Raises:
        SartmError: it is missing or damaged, or of another format; says what to do.
    """
    path = directory / DESCRIPTION_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SartmError(
            f"{directory} is not a bundle: it has no {DESCRIPTION_FILE}. Write one with `sartm export`."
        ) from None
    except (ValueError, RecursionError) as error:
        raise SartmError(f"{path}: is no JSON file: {error}. Export the bundle again.") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found not in (5, FORMAT):  # 6 added argmax and windows
        raise SartmError(f"{path}: expected format {FORMAT}, got {found}. Export with this version of sartm.")
    bundle = check(content, Bundle, str(path))
    if bundle.graphs is not None:
        passing = sorted(name for names in bundle.graphs.encoders.values() for name in names)
        if passing != sorted(bundle.rig.names):
            raise SartmError(
                f"{path}: graphs.encoders: expected each of {', '.join(bundle.rig.names)} once, got "
                f"{', '.join(passing)}. Export the bundle again."
            )
    needed = {WEIGHTS_FILE} if bundle.graphs is None else {HEAD_FILE, *encoder_files(bundle)}
    if missing := sorted(needed - set(bundle.files)):
        raise SartmError(f"{path}: files: expected {missing[0]} among them. Export the bundle again.")
    return bundle


def _check_file(path: Path, expected: str) -> None:
    if not path.is_file():
        raise SartmError(f"{path} is missing. Copy the whole folder that `sartm export` wrote, or export again.")
    if (found := sha256(path)) != expected:
        raise SartmError(
            f"{path}: expected SHA-256 {expected[:12]}..., got {found[:12]}...: the file is damaged or belongs to "
            "another bundle. Copy the folder again, or export again."
        )


def _check_external(path: Path, bundle: Bundle) -> None:
    """A graph may take its tensors from other files, which then need a hash, too."""
    for name in sorted(external_files(path) - set(bundle.files)):
        raise SartmError(
            f"{path}: takes tensors from {name!r}, a file that {DESCRIPTION_FILE} does not list. Export the bundle "
            "again."
        )


def check_serves(bundle_rig: Rig, rig: Rig) -> None:
    """Checks that a model trained for `bundle_rig` can serve the sensors of `rig`.

    `rig` may have fewer modalities; see `check_inputs`. The classes must be the same.

    Raises:
        SartmError: names the field, what the bundle expects and what the rig has.
    """
    if rig.class_names != bundle_rig.class_names:
        raise SartmError(
            f"rig '{rig.name}': the bundle was trained for the classes {', '.join(bundle_rig.class_names)}; "
            f"the rig file lists {', '.join(rig.class_names)}. "
            "Copy the bundle's classes into the rig file, or train with this rig."
        )
    check_inputs(bundle_rig, rig)


def check_inputs(bundle_rig: Rig, rig: Rig) -> None:
    """Checks that what `rig` encodes is what the model was trained on, whatever its classes.

    Each modality must exist in the bundle under the same name, with equal `input_fields`.

    Raises:
        SartmError: names the field, what the bundle expects and what the rig has.
    """
    for modality in rig.modalities:
        if modality.name not in bundle_rig.names:
            raise SartmError(
                f"rig '{rig.name}': the bundle was not trained with a modality '{modality.name}'; it knows "
                f"{', '.join(bundle_rig.names)}. Rename or remove it in the rig file, or train with this rig."
            )
        expected, found = bundle_rig.modality(modality.name).input_fields, modality.input_fields
        for field, value in expected.items():
            wanted, got = _as_in_yaml(value), _as_in_yaml(found.get(field))
            if wanted != got:
                raise SartmError(
                    f"rig '{rig.name}', modality '{modality.name}': the bundle was trained with {field} '{wanted}', "
                    f"the rig file says '{got}'. Set {field}: {wanted}, or train with this rig."
                )


def _as_in_yaml(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
