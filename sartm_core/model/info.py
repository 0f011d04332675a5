"""Parameters and cost of a network, without running it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sartm_core.model.contract import Network, NetworkConfiguration
from sartm_core.model.presets import build_network


def describe(config: NetworkConfiguration, size: tuple[int, int]) -> dict[str, Any]:
    """Parameters and GFLOP (1 multiply-add = 2) of a network with merged experts, at an input size (height, width).

    Returns:
        `parameters` (total, trainable with SAM2's frozen, per part, LoRA per expert), `frozen` (parameters per
        part), and `gflop`: the encoder for one modality, the rest, and the whole network for 1 to M modalities.

    Raises:
        SartmError: a side is not a multiple of 32.
    """
    network = build_network(config)
    network.freeze_pretrained(True)
    parameters = {
        "total": _count(network),
        "trainable": sum(p.numel() for p in network.parameters() if p.requires_grad),
        **network.parameter_table(),
    }
    frozen: dict[str, int] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            part = ".".join(name.split(".")[: 2 if name.startswith("decoder") else 1])
            frozen[part] = frozen.get(part, 0) + parameter.numel()
    _make_countable(network)
    encoder = _gflop(network, size, present=[0], decode=False)
    whole = [_gflop(network, size, range(count), decode=True) for count in range(1, len(config.modalities) + 1)]
    gflop = {"encoder_per_modality": encoder, "after_the_encoder": whole[0] - encoder, "whole": whole}
    return {"parameters": parameters, "frozen": frozen, "gflop": gflop}


def gflop_of(config: NetworkConfiguration, size: tuple[int, int], choices: Sequence[Sequence[int]]) -> list[float]:
    """GFLOP of the whole network for each choice of present modalities, as `describe` counts them.

    Args:
        config: of the network.
        size: height, width of the input.
        choices: indices of modalities, ascending; not empty.
    """
    network = build_network(config)
    _make_countable(network)
    return [_gflop(network, size, present, decode=True) for present in choices]


def _make_countable(network: Network) -> None:
    network.merge_experts()
    network.eval().requires_grad_(False).to("meta")


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _gflop(network: Network, size: tuple[int, int], present: Sequence[int], decode: bool) -> float:
    """Counted on the meta device; only the indices, on which the cost depends, have values."""
    modality = torch.tensor(present)
    sample = torch.zeros_like(modality)
    availability = torch.zeros(1, len(network.config.modalities), dtype=torch.bool)
    availability[0, modality] = True
    planes = torch.zeros(len(modality), 3, *size, device="meta")
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        features = network.encode(planes, modality)
        if decode:
            network.decode(features, sample, modality, availability)
    return counter.get_total_flops() / 1e9
