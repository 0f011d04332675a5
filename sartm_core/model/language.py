"""The text teacher: embeddings of class names, from a file or from CLIP's text model. Never needed for inference."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sartm_core.errors import SartmError


@dataclass(frozen=True, slots=True)
class TextTeacher:
    """Embeddings of a rig's classes.

    Attributes:
        embeddings: float32 [C, D]; 0 for a class without a text.
        known: bool [C]; classes without a text are excluded from the language losses.
    """

    embeddings: Tensor
    known: Tensor


def texts_of(recipe: dict[str, Any], class_names: tuple[str, ...]) -> TextTeacher | None:
    """The teacher named by a recipe (as stored in a bundle); None if it names none."""
    source = recipe.get("texts")
    if not source:
        return None
    if source.get("file"):
        return from_file(Path(source["file"]), class_names)
    return from_clip(source["clip"], class_names, source.get("prompt", "{}"))


def from_file(path: Path, class_names: tuple[str, ...]) -> TextTeacher:
    """Selects the classes' rows from a table of named embeddings.

    Names are matched ignoring case, with `_` for spaces; without a `car`, LVIS's `car_(automobile)` matches.

    Args:
        path: a `.npz` with `names` [N] and `embeddings` [N, D], or a `.npy` [N, D] with its names in the `.txt`
            beside it.
        class_names: C names.

    Raises:
        SartmError: the file is missing or malformed, or has none of the classes.
    """
    names, table = _read_table(path)
    exact = {_key(name): index for index, name in reversed(list(enumerate(names)))}
    without_suffix = {key.split("_(")[0]: index for key, index in reversed(exact.items())}
    rows = without_suffix | exact
    found = [rows.get(_key(name)) for name in class_names]
    if all(row is None for row in found):
        raise SartmError(f"{path}: has none of the classes {', '.join(class_names)}; it has {len(names)} other names.")
    embeddings = torch.zeros(len(class_names), table.shape[1])
    for index, row in enumerate(found):
        if row is not None:
            embeddings[index] = torch.from_numpy(table[row].astype(np.float32))
    return TextTeacher(embeddings, torch.tensor([row is not None for row in found]))


def from_clip(model: str, class_names: tuple[str, ...], prompt: str = "{}") -> TextTeacher:
    """Runs CLIP's text model.

    Args:
        model: a local folder or a name on the Hugging Face hub, such as `openai/clip-vit-base-patch32`.
        class_names: C names; `_` is read as a space.
        prompt: contains `{}` for the name; SARTM uses the bare names.

    Raises:
        SartmError: the prompt has no `{}`, or the model cannot be loaded.
    """
    if "{}" not in prompt:
        raise SartmError(f"prompt: expected '{{}}' where the class name goes, got '{prompt}'.")
    from transformers import AutoTokenizer, CLIPTextModelWithProjection

    try:
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        text_model = CLIPTextModelWithProjection.from_pretrained(model)  # in evaluation mode
    except (OSError, ValueError) as error:
        raise SartmError(
            f"text model '{model}': cannot be loaded ({str(error).splitlines()[0]}). Give a folder that holds a CLIP "
            "model, a name on the Hugging Face hub, or use a file of embeddings."
        ) from error
    prompts = [prompt.format(name.replace("_", " ")) for name in class_names]
    with torch.no_grad():
        embeddings = text_model(**tokenizer(prompts, padding=True, return_tensors="pt")).text_embeds
    return TextTeacher(embeddings.float(), torch.ones(len(class_names), dtype=torch.bool))


def _key(name: str) -> str:
    return name.strip().lower().replace(" ", "_")


def _read_table(path: Path) -> tuple[list[str], np.ndarray]:
    remedy = (
        "Expected a .npz with 'names' and 'embeddings', or a .npy with its names, one per line, in the .txt beside it."
    )
    try:
        if path.suffix == ".npz":
            with path.open("rb") as stream, np.load(stream) as content:
                names, table = [str(name) for name in content["names"]], content["embeddings"]
        else:
            table = np.load(path)
            names = path.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise SartmError(f"{path}: cannot be read ({error}). {remedy}") from error
    if table.ndim != 2 or len(names) != len(table):
        raise SartmError(f"{path}: {len(names)} names, but embeddings of shape {table.shape}. {remedy}")
    return names, table
