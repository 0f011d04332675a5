"""Loads SAM's weights (`sam_vit_l_*.pth`, `facebook/sam-vit-large`) and ConvNeXt's into MM SAM-adapter."""

import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sartm_core.errors import SartmError
from sartm_core.model.convnext import ConvNext
from sartm_core.model.mm_sam_adapter import MMSamAdapter
from sartm_core.model.sam2_weights import LoadReport

_ORIGINAL = (
    (r"^image_encoder\.patch_embed\.proj\.", "patch_embed.projection."),
    (r"^image_encoder\.pos_embed$", "pos_embed"),
    (r"^image_encoder\.blocks\.(\d+)\.norm([12])\.", r"layers.\1.layer_norm\2."),
    (r"^image_encoder\.blocks\.(\d+)\.", r"layers.\1."),
)
"""Names of the original release -> those of `transformers`."""
_LEFT_OUT = ("neck.", "image_encoder.neck.", "prompt_encoder.", "mask_decoder.", "shared_image_embedding.")
_FILES = ("model.safetensors", "pytorch_model.bin")
_REMEDY = (
    "Give SAM's sam_vit_b_*.pth or sam_vit_l_*.pth, or a folder or file of `facebook/sam-vit-base` or `-large` "
    "(model.safetensors)."
)


def load_sam(network: MMSamAdapter, path: Path) -> LoadReport:
    """Loads the ViT; the adapter, the branches and the head are unchanged.

    Args:
        network: to load into.
        path: the original checkpoint, a file of `transformers`, or a folder that holds one; read with weights_only.

    Raises:
        SartmError: no such file, not a SAM checkpoint, or one of another size.
    """
    own = network.vit.state_dict()
    filled: dict[str, Tensor] = {}
    left_out: list[str] = []
    unexpected: list[str] = []
    for name, tensor in read_tensors(path, _REMEDY).items():
        target = _target(name)
        if target in own:
            if own[target].shape != tensor.shape:
                raise SartmError(
                    f"{path}: {name}: expected shape {tuple(own[target].shape)}, got {tuple(tensor.shape)}. The "
                    f"network's backbone is {network.config.backbone}; is the file of that size?"
                )
            filled[target] = tensor
        else:
            bare = name.removeprefix("vision_encoder.")
            (left_out if bare.startswith(_LEFT_OUT) else unexpected).append(name)
    if not filled:
        raise SartmError(f"{path}: has no tensors of SAM's image encoder. {_REMEDY}")
    deeper = [name for name in unexpected if re.search(r"(blocks|layers)\.\d+\.", name)]
    missing = tuple(name for name in own if name not in filled)
    if deeper or missing:
        name = (deeper or [f"it lacks {missing[0]}"])[0]
        raise SartmError(f"{path}: does not fit backbone {network.config.backbone}: {name}. Is it of another size?")
    network.vit.load_state_dict(own | filled)
    prefixed = tuple(f"vit.{name}" for name in filled)
    return LoadReport(prefixed, tuple(left_out), tuple(unexpected))


def load_branches(network: MMSamAdapter, path: Path) -> int:
    """Loads ConvNeXt's weights into every modality's branch (`facebook/convnext-small-384-22k-1k` and the like).

    Returns:
        Number of tensors of each branch.

    Raises:
        SartmError: no such file, not a ConvNeXt, or one of another size.
    """
    remedy = "Give a folder or file of a ConvNeXt of transformers, such as facebook/convnext-small-384-22k-1k."
    tensors = {name.removeprefix("convnext."): tensor for name, tensor in read_tensors(path, remedy).items()}
    if not network.config.adapter:
        raise SartmError("branch_weights: the network has no branches, since network.adapter is false.")
    count = 0
    for branch in network.branches.values():
        assert isinstance(branch, ConvNext)
        own = branch.body.state_dict()
        filled = {name: tensor for name, tensor in tensors.items() if name in own and own[name].shape == tensor.shape}
        # The norms of the four levels are ours: a classifier has only one, after pooling.
        missing = sorted(name for name in own if name not in filled and not name.startswith("hidden_states_norms."))
        if missing:
            raise SartmError(f"{path}: has no tensor for {missing[0]} {tuple(own[missing[0]].shape)}. {remedy}")
        branch.body.load_state_dict(own | filled)
        count = len(filled)
    return count


def _target(name: str) -> str:
    for pattern, replacement in _ORIGINAL:
        changed, count = re.subn(pattern, replacement, name)
        if count:
            return changed
    return name.removeprefix("vision_encoder.")


def read_tensors(path: Path, remedy: str) -> dict[str, Tensor]:
    """The tensors of a file, or of a file in a folder, on the CPU.

    Raises:
        SartmError: missing, or not readable; `remedy` ends the message.
    """
    file = path
    if path.is_dir():
        file = next((path / name for name in _FILES if (path / name).is_file()), path / _FILES[0])
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise SartmError(f"{file}: no such file. {remedy}") from None
    except SafetensorError as error:
        raise SartmError(f"{file}: is not a safetensors file ({error}). {remedy}") from error
    except Exception as error:  # the unpickler may raise anything
        raise SartmError(f"{file}: is not a checkpoint ({type(error).__name__}). {remedy}") from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise SartmError(f"{file}: expected a dictionary of tensors, got {type(content).__name__}. {remedy}")
    return content
