"""Untrained networks as bundles: small, and their answers differ from frame to frame and from sensor to sensor."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from sartm_core.deploy.bundle import FORMAT, WEIGHTS_FILE, Bundle, NetworkShape
from sartm_core.files import sha256
from sartm_core.learning.export import describe, write_onnx
from sartm_core.model.network import MultiModalNetwork
from sartm_core.model.presets import preset_for_rig
from sartm_core.rig import Rig, Size


def untrained_bundle(
    folder: Path, rig: Rig, preset: str = "any_sensor", opset: int | None = None, size: Size = (64, 160),
    backbone: str = "nano", half_size: tuple[str, ...] = (), seed: int = 0,
) -> Path:  # fmt: skip
    """Writes weights, or graphs where `opset` is given. Equal arguments, equal network."""
    torch.manual_seed(seed)
    changes = {"text_width": 16, "half_size": list(half_size)}
    network = MultiModalNetwork(preset_for_rig(preset, backbone, rig, 4, changes), form="inference").eval()
    for name, parameter in network.named_parameters():
        if name.endswith(("qkv.weight", "patch_embed.proj.weight")):  # another for each modality
            torch.nn.init.normal_(parameter, std=0.05)
        elif name.endswith("qkv.bias"):
            torch.nn.init.zeros_(parameter)
    network.load_state_dict(network.state_dict())  # experts share k, as trained ones do
    network.set_statistics(torch.rand(len(rig.names), 3) * 100, torch.rand(len(rig.names), 3) * 50 + 20)
    folder.mkdir()
    graphs = None
    if opset is None:
        save_file(network.state_dict(), folder / WEIGHTS_FILE)
    else:
        graphs = write_onnx(network, size, rig.dtype, opset, "fp32", folder)
    shape = NetworkShape(preset=preset, backbone=backbone, lora_rank=4, changes=changes)
    bundle = Bundle(
        format=FORMAT, name="untrained", rig=rig, network=shape, size=size, fit="stretch", argmax="frame",
        graphs=graphs,
        files={path.name: sha256(path) for path in folder.iterdir()}, recipe={}, figures={}, versions={},
    )  # fmt: skip
    describe(folder, bundle)
    return folder
