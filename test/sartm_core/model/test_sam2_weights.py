"""SAM2's official checkpoint layout, written by sam2's own model with random weights."""

from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from sartm_core.cli import app
from sartm_core.errors import SartmError
from sartm_core.learning.checkpoints import load_initial_weights
from sartm_core.model.backbone import OFFICIAL
from sartm_core.model.network import MultiModalNetwork
from sartm_core.model.presets import any_sensor
from sartm_core.model.sam2_weights import load_sam2


def official_model(size: str, generation: str = "sam2.1") -> nn.Module:
    """The whole SAM2 of that size: image encoder, memory, prompts, mask decoder."""
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    torch.manual_seed(7)
    name = OFFICIAL[size].replace("sam2.1", generation)
    text = resources.files("sam2").joinpath(f"configs/{generation}/{name}").read_text()
    model = instantiate(OmegaConf.create(text).model, _convert_="all").eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed" in name:  # sam2 starts some of them at 0: zeros would match anything
                parameter.normal_(std=0.02)
    return model


def save(model: nn.Module, path: Path) -> Path:
    torch.save({"model": model.state_dict()}, path)
    return path


def ours(size: str) -> MultiModalNetwork:
    return MultiModalNetwork(any_sensor(size, ("rgb", "thermal"), 5, 2)).eval()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    model = official_model("tiny")
    return model, save(model, tmp_path_factory.mktemp("sam2") / "sam2.1_hiera_tiny.pt")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "inputs"),
    [
        ("tiny", [(64, 96), (224, 224), (160, 96)]),
        pytest.param("small", [(64, 96), (224, 224)], marks=pytest.mark.slow),
        pytest.param("base_plus", [(64, 96), (224, 224)], marks=pytest.mark.slow),
        pytest.param("large", [(64, 96)], marks=pytest.mark.slow),
    ],
)
def test_the_loaded_encoder_equals_sam2s_bit_for_bit(size: str, inputs: list[tuple[int, int]], tmp_path: Path) -> None:
    model = official_model(size)
    network = ours(size)
    report = load_sam2(network, save(model, tmp_path / "sam2.pt"))
    assert report.unexpected == ()
    network.experts.rows = torch.tensor([1, 0])
    with torch.no_grad():
        for height, width in inputs:
            images = torch.randn(2, 3, height, width)
            got = network.encoder(images)["backbone_fpn"]
            expected = model.image_encoder(images)["backbone_fpn"]
            assert all(torch.equal(mine, theirs) for mine, theirs in zip(got, expected, strict=True))


def test_the_mask_decoders_parts_are_sam2s(tiny: tuple[nn.Module, Path]) -> None:
    model, path = tiny
    network = ours("tiny")
    report = load_sam2(network, path)
    decoder = model.sam_mask_decoder
    sfm, tokens = torch.randn(1, 256, 4, 6), torch.randn(1, 5, 256)
    with torch.no_grad():
        position = network.decoder.position((4, 6))[None]
        assert torch.equal(position, model.sam_prompt_encoder.pe_layer((4, 6))[None])
        theirs = decoder.transformer(sfm, position, tokens)
        mine = network.decoder.transformer(sfm, position, tokens)
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
        assert torch.equal(network.decoder.output_upscaling(sfm), decoder.output_upscaling(sfm))
        assert torch.equal(network.conv_s0(sfm), decoder.conv_s0(sfm))
        assert torch.equal(network.conv_s1(sfm), decoder.conv_s1(sfm))
        dense = model.no_mem_embed.flatten() + model.sam_prompt_encoder.no_mask_embed.weight.flatten()
        assert torch.equal(network.decoder.dense_embedding, dense)
    assert any(name.startswith("memory_attention.") for name in report.left_out)
    # Every entry of the file is accounted for; the fused qkv fills three of ours.
    names = set(model.state_dict())
    assert len(report.left_out) == len(set(report.left_out))
    assert set(report.left_out) < names


def test_the_first_generation_loads_as_well(tmp_path: Path) -> None:
    model = official_model("tiny", "sam2")
    network = ours("tiny")
    report = load_sam2(network, save(model, tmp_path / "sam2_hiera_tiny.pt"))
    assert report.unexpected == ()
    network.experts.rows = torch.tensor([0])
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(network.encoder(images)["vision_features"], model.image_encoder(images)["vision_features"])


def test_what_is_unknown_is_reported(tiny: tuple[nn.Module, Path], tmp_path: Path) -> None:
    torch.save({"model": {**tiny[0].state_dict(), "something_new.weight": torch.zeros(1)}}, tmp_path / "odd.pt")
    assert load_sam2(ours("tiny"), tmp_path / "odd.pt").unexpected == ("something_new.weight",)


def encoder_alone(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if name.startswith("image_encoder.")}


def as_peft_saves_it(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.replace("attn.qkv.", "attn.qkv.base_layer."): tensor for name, tensor in state.items()}


def without_one(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if name != "image_encoder.neck.convs.0.conv.bias"}


@pytest.mark.parametrize(
    ("harm", "count", "named"),
    [
        (encoder_alone, 95, "sam_mask_decoder.transformer.layers.0.self_attn.q_proj.weight"),
        (as_peft_saves_it, 24, "image_encoder.trunk.blocks.11.attn.qkv.bias"),  # a weight and a bias of 12 blocks
        (without_one, 1, "image_encoder.neck.convs.0.conv.bias"),
    ],
)
def test_what_is_missing_is_listed_by_the_check_and_by_a_run(
    tiny: tuple[nn.Module, Path], tmp_path: Path, harm: Any, count: int, named: str
) -> None:
    """What is not loaded would stay random, and a run would freeze it."""
    state = tiny[0].state_dict()
    kept = harm(state)
    torch.save({"model": kept}, tmp_path / "part.pt")
    network = ours("tiny")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(SartmError, match=rf"part.pt: lacks {count} tensors of SAM2, (?s:.*)\n  {named}\n") as caught:
        load_initial_weights(network, str(tmp_path / "part.pt"))
    listed = [line.strip() for line in str(caught.value).splitlines() if line.startswith("  ")]
    assert len(listed) == len({*listed}) == count
    assert {*listed} <= {*state} - {*kept}
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    checked = CliRunner().invoke(app, ["weights", "check", str(tmp_path / "part.pt"), "--backbone", "tiny"])
    assert checked.exit_code == 1
    assert f"lacks {count} tensors of SAM2," in checked.output


def test_experts_keep_what_they_have_learned(tiny: tuple[nn.Module, Path]) -> None:
    network = ours("tiny")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items() if "lora_" in name}
    load_sam2(network, tiny[1])
    after = network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


class TestWrongFiles:
    def test_another_size(self, tiny: tuple[nn.Module, Path]) -> None:
        with pytest.raises(SartmError, match="is of size tiny, the network's backbone is nano. Set backbone: tiny"):
            load_sam2(ours("nano"), tiny[1])

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(SartmError, match="no such file. `sartm weights pull` fetches SAM2"):
            load_sam2(ours("nano"), tmp_path / "none.pt")

    def test_truncated(self, tiny: tuple[nn.Module, Path], tmp_path: Path) -> None:
        cut = tmp_path / "cut.pt"
        cut.write_bytes(tiny[1].read_bytes()[:100_000])
        with pytest.raises(SartmError, match="cut.pt: is not a checkpoint"):
            load_sam2(ours("tiny"), cut)

    def test_something_else(self, tmp_path: Path) -> None:
        torch.save({"state_dict": {}}, tmp_path / "other.pt")
        with pytest.raises(SartmError, match="expected a dictionary with the key 'model'"):
            load_sam2(ours("tiny"), tmp_path / "other.pt")
        torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "other.pt")
        with pytest.raises(SartmError, match="has no SAM2 image encoder"):
            load_sam2(ours("tiny"), tmp_path / "other.pt")
