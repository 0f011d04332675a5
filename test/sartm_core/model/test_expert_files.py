"""Experts on disk, read back by stock peft."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import nn

from sartm_core.errors import SartmError
from sartm_core.model import lora
from sartm_core.model.backbone import build_image_encoder
from sartm_core.model.expert_files import load_expert, save_experts, with_modalities
from sartm_core.model.network import MultiModalNetwork
from sartm_core.model.presets import any_sensor, mean_fusion, preset_for_rig
from sartm_core.rig import load_rig


def network(rank: int = 4, modalities: tuple[str, ...] = ("rgb", "thermal")) -> MultiModalNetwork:
    torch.manual_seed(0)
    net = MultiModalNetwork(any_sensor("nano", modalities, 5, rank)).eval()
    for name, parameter in net.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.05)
    return net


def test_stock_peft_reads_what_we_write(tmp_path: Path) -> None:
    """The plain encoder with peft's own adapter answers like ours with that modality's expert."""
    net = network()
    save_experts(net, tmp_path)
    torch.manual_seed(0)
    plain = build_image_encoder("nano").eval()
    lora.split_qkv(plain)
    own = {key.replace(".base_layer", ""): value for key, value in net.encoder.state_dict().items()}
    plain.load_state_dict({key: value for key, value in own.items() if "lora_" not in key})
    theirs = PeftModel.from_pretrained(plain, tmp_path / "thermal").eval()
    images = torch.randn(2, 3, 64, 96)
    net.experts.rows = torch.tensor([1, 1])
    with torch.no_grad():
        expected = theirs.base_model.model(images)["backbone_fpn"]
        got = net.encoder(images)["backbone_fpn"]
    for mine, other in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


def test_an_expert_returns_and_the_others_are_not_touched(tmp_path: Path) -> None:
    source, target = network(), network()
    with torch.no_grad():
        for name, parameter in target.named_parameters():
            if "lora_" in name:
                parameter.zero_()
    save_experts(source, tmp_path)
    load_expert(target, "thermal", tmp_path / "thermal")
    for name, tensor in target.state_dict().items():
        if "lora_" in name:
            expected = source.state_dict()[name] if ".thermal." in name else torch.zeros_like(tensor)
            assert torch.equal(tensor, expected)


def test_experts_of_the_papers_networks_are_distinguished_from_ours(tmp_path: Path) -> None:
    papers = MultiModalNetwork(mean_fusion("nano", ("rgb", "thermal"), 5, 4))
    save_experts(papers, tmp_path / "theirs")
    with pytest.raises(SartmError, match=r"lacks 2 of 30 layers.*network.adapts_patches"):
        load_expert(network(), "rgb", tmp_path / "theirs" / "rgb")
    save_experts(network(), tmp_path / "ours")
    with pytest.raises(SartmError, match=r"patch_embed.*has no such layer.*network.adapts_patches"):
        load_expert(papers, "rgb", tmp_path / "ours" / "rgb")


@pytest.mark.parametrize(
    ("rank", "folder", "name", "expected"),
    [
        (8, "rgb", "rgb", r"expected shape \(8, 32\) \(rank 8\), got \(4, 32\)"),
        (4, "nosuch", "rgb", "no such file"),
        (4, "rgb", "depth", "the network has no expert 'depth'; it has rgb, thermal"),
    ],
)
def test_adapters_that_do_not_fit_are_refused(tmp_path: Path, rank: int, folder: str, name: str, expected: str) -> None:
    save_experts(network(), tmp_path)
    with pytest.raises(SartmError, match=expected):
        load_expert(network(rank), name, tmp_path / folder)


def test_a_new_modality_joins_a_trained_network() -> None:
    """What the old modalities answer does not change, whatever their new order; the new one starts as plain SAM2."""
    old = network()
    old.set_statistics(torch.rand(2, 3), torch.rand(2, 3) + 0.5)
    new = with_modalities(old, ("depth", "thermal", "rgb")).eval()
    x = torch.randn(1, 3, 3, 64, 96)
    with torch.no_grad():
        before = old(x[:, [2, 1]], torch.tensor([[True, True]]))
        after = new(x, torch.tensor([[False, True, True]]))
    torch.testing.assert_close(after.logits, before.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after.routing[..., [2, 1]], before.routing, rtol=1e-4, atol=1e-5)
    fresh = {name: p for name, p in new.named_parameters() if ".depth." in name}
    assert all((p == 0).all() for name, p in fresh.items() if "lora_B" in name)
    assert len(fresh) == 2 * (2 * len(new.encoder.trunk.blocks) + 1)  # A and B of q, v, and the patch embedding


def test_a_sparse_modality_can_be_left_out() -> None:
    full = MultiModalNetwork(preset_for_rig("any_sensor", "nano", load_rig("simrobot"), 4, {"half_size": ["lidar"]}))
    assert with_modalities(full, ("rgb", "thermal")).config.half_size == ()
