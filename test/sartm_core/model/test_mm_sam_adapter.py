"""MM SAM-adapter: beside transformers' own encoder, with any sensors missing, as graphs, and through training."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import ConvNextConfig, ConvNextForImageClassification, SamConfig, SamModel, SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionEncoder
from typer.testing import CliRunner

from sartm_core.cli import app
from sartm_core.deploy import load_segmenter
from sartm_core.errors import SartmError
from sartm_core.learning.overrides import read_recipe
from sartm_core.model.adapter_config import AdapterConfig
from sartm_core.model.convnext import CONVNEXTS, ConvNext
from sartm_core.model.mm_sam_adapter import MMSamAdapter
from sartm_core.model.presets import PRESETS, build_network, mm_sam_adapter, mm_sam_adapter_released, preset_for_rig
from sartm_core.model.road_fusion import RoadFusion
from sartm_core.model.sam1_weights import load_branches, load_sam
from sartm_core.model.sam_vit import VITS, SamVit, VitShape
from sartm_core.model.vit_adapter import Extractor, ViTAdapter, places_of
from sartm_core.rig import load_rig

NAMES = ("rgb", "thermal", "depth")
runner = CliRunner()


def network_of(seed: int = 0, form: str = "training", **changes: Any) -> MMSamAdapter:
    torch.manual_seed(seed)
    config = dataclasses.replace(mm_sam_adapter("nano", NAMES, 5, 1), **changes)
    network = build_network(config, form).eval()
    assert isinstance(network, MMSamAdapter)
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.05)
        elif name.endswith((".gate", ".gamma", "local_scale")):
            nn.init.constant_(parameter, 0.3)
    return network


def library_config(shape: VitShape) -> SamVisionConfig:
    return SamVisionConfig(
        hidden_size=shape.width, num_hidden_layers=shape.depth, num_attention_heads=shape.heads,
        mlp_dim=4 * shape.width, image_size=shape.image, patch_size=16, window_size=shape.window,
        global_attn_indexes=list(shape.global_blocks), output_channels=32,
    )  # fmt: skip


class TestTheViT:
    def test_with_closed_gates_it_is_transformers_encoder_to_the_bit(self) -> None:
        network = network_of()
        for injector in network.adapter.injectors:
            nn.init.zeros_(injector.gate)
        library = SamVisionEncoder(library_config(VITS["nano"])).eval()
        library.neck = nn.Identity()
        library.load_state_dict(network.vit.state_dict())
        images = torch.randn(2, 3, 256, 256)
        pyramid = [torch.randn(2, 64, side, side) for side in (32, 16, 8)]
        with torch.no_grad():
            tokens = network.vit.tokens(images).permute(0, 2, 3, 1) + network.vit.positions(16, 16)
            ours, _ = network.adapter(network.vit, tokens, pyramid)
            assert torch.equal(ours[-1], library(images).last_hidden_state)
            nn.init.constant_(network.adapter.injectors[0].gate, 0.1)
            changed, _ = network.adapter(network.vit, tokens, pyramid)
        assert not torch.equal(ours[-1], changed[-1])

    @pytest.mark.parametrize(("name", "published"), [("base", 86e6 + 3.5e6), ("large", 308.3e6)])
    def test_published_sizes(self, name: str, published: float) -> None:
        """SAM's image encoders; the neck, which is not used, has 0.8 million."""
        with torch.device("meta"):
            count = sum(parameter.numel() for parameter in SamVit(VITS[name]).parameters())
        assert count == pytest.approx(published, rel=0.01)

    def test_convnext_small_has_its_published_size(self) -> None:
        """50.22 million with its classifier of 1000 classes."""
        with torch.device("meta"):
            count = sum(parameter.numel() for parameter in ConvNext("small").parameters())
        assert count + 768 * 1000 + 1000 == pytest.approx(50.22e6, rel=0.01)

    def test_the_branches_are_convnexts_of_their_papers_sizes(self) -> None:
        """arXiv 2201.03545, table 1, without the classifier of 1,000 classes: S 50 M and B 89 M in all."""
        with torch.device("meta"):
            small, base = (sum(p.numel() for p in ConvNext(name).parameters()) for name in ("small", "base"))
        assert small == pytest.approx(50.2e6 - 769_000, rel=0.01)
        assert base == pytest.approx(88.6e6 - 1_025_000, rel=0.01)

    @pytest.mark.parametrize("size", [(128, 160), (256, 256), (320, 96)])
    def test_any_size(self, size: tuple[int, int]) -> None:
        planes = torch.randn(1, 3, 3, *size)
        output = network_of()(planes, torch.ones(1, 3, dtype=torch.bool))
        assert output.logits.shape == (1, 5, size[0] // 4, size[1] // 4)

    def test_a_size_that_cannot_be(self) -> None:
        with pytest.raises(SartmError, match="multiples of 32, got 100x96"):
            network_of()(torch.randn(1, 3, 3, 100, 96), torch.ones(1, 3, dtype=torch.bool))


class TestTheAdapter:
    def test_places_are_the_centres_of_cells(self) -> None:
        assert places_of([(2, 2), (1, 1)])[0].tolist() == [
            [0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75], [0.5, 0.5],
        ]  # fmt: skip

    def test_tokens_ask_the_pyramid_at_their_own_place(self) -> None:
        """A change in one corner of the pyramid moves the tokens there most."""
        torch.manual_seed(1)
        adapter = ViTAdapter(64, 2, parts=1)
        nn.init.ones_(adapter.injectors[0].gate)
        vit = SamVit(VitShape(64, 0, 2, ()))
        tokens = torch.zeros(1, 8, 8, 64)
        levels = [torch.randn(1, 64, side, side) for side in (16, 8, 4)]
        changed = [level.clone() for level in levels]
        changed[0][..., :4, :4] += 3
        with torch.no_grad():
            (before,), (after,) = (adapter(vit, tokens, each)[0] for each in (levels, changed))
            moved = (before - after).abs().sum(3)[0]
        assert moved[:2, :2].mean() > 5 * moved[5:, 5:].mean()

    def test_without_extractors_the_pyramid_is_what_came(self) -> None:
        adapter, vit = ViTAdapter(64, 2, extractors=False), SamVit(VITS["nano"])
        levels = [torch.randn(1, 64, side, side) for side in (16, 8, 4)]
        _, pyramid = adapter(vit, torch.randn(1, 8, 8, 64), levels)
        for before, after in zip(levels, pyramid, strict=True):
            assert torch.equal(before, after)
        assert len(ViTAdapter(64, 2).extractors) == 6  # one per part, two more at the end


class TestTheFusion:
    def rows(self, availability: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        sample, modality = availability.nonzero(as_tuple=True)
        return torch.randn(len(sample), 16, 6, 8), sample, modality

    def test_it_starts_as_a_convex_sum_that_is_reported(self) -> None:
        torch.manual_seed(0)
        availability = torch.tensor([[True, True, True], [True, False, True], [False, True, False]])
        features, sample, modality = self.rows(availability)
        fused, weights = RoadFusion(16)(features, sample, modality, availability)
        assert torch.allclose(weights.sum(1), torch.ones(3))
        assert ((weights > 0) == availability).all()
        for index in range(3):
            mine = sample == index
            expected = (features[mine] * weights[index, modality[mine]][:, None, None, None]).sum(0)
            torch.testing.assert_close(fused[index], expected, atol=1e-5, rtol=1e-5)

    def test_what_is_absent_changes_nothing_and_order_does_not_matter(self) -> None:
        torch.manual_seed(0)
        fusion = RoadFusion(16).eval()
        for parameter in fusion.parameters():
            nn.init.normal_(parameter, std=0.2)
        both = torch.tensor([[True, True, False]])
        features, sample, modality = self.rows(both)
        fused, weights = fusion(features, sample, modality, both)
        backwards, again = fusion(features.flip(0), sample, modality.flip(0), both)
        torch.testing.assert_close(fused, backwards)
        torch.testing.assert_close(weights, again)
        # In a batch with other samples, the same.
        more = torch.tensor([[True, True, False], [True, True, True]])
        others = torch.cat([features, torch.randn(3, 16, 6, 8)])
        rows, which = more.nonzero(as_tuple=True)
        torch.testing.assert_close(fusion(others, rows, which, more)[0][:1], fused)

    def test_a_partner_is_looked_at(self) -> None:
        torch.manual_seed(0)
        fusion = RoadFusion(16)
        nn.init.ones_(fusion.others.gamma)
        both = torch.tensor([[True, True]])
        features, sample, modality = self.rows(both)
        first, _ = fusion(features, sample, modality, both)
        swapped = torch.stack([features[0], features[1].roll(3, dims=0)])
        second, _ = fusion(swapped, sample, modality, both)
        assert not torch.allclose(first, second)

    def test_it_takes_any_size(self) -> None:
        fusion, both = RoadFusion(16), torch.tensor([[True, True]])
        for height, width in ((6, 8), (3, 20)):
            fused, _ = fusion(
                torch.randn(2, 16, height, width), torch.zeros(2, dtype=torch.long), torch.arange(2), both
            )
            assert fused.shape == (1, 16, height, width)


class TestTheNetwork:
    def test_weights_are_convex_and_absent_ones_zero_at_every_level(self) -> None:
        availability = torch.tensor([[True, True, True], [True, False, False], [False, True, True]])
        output = network_of()(torch.randn(3, 3, 3, 64, 96), availability)
        torch.testing.assert_close(output.routing.sum(2), torch.ones(3, 3))
        assert ((output.routing > 0) == availability[:, None]).all()

    def test_what_is_absent_is_never_read(self) -> None:
        network, planes = network_of(), torch.randn(2, 3, 3, 64, 96)
        availability = torch.tensor([[True, False, True], [False, True, False]])
        spoilt = planes.clone()
        spoilt[~availability] = float("nan")
        with torch.no_grad():
            torch.testing.assert_close(network(planes, availability).logits, network(spoilt, availability).logits)

    def test_samples_do_not_see_each_other(self) -> None:
        network, planes = network_of(), torch.randn(2, 3, 3, 64, 96)
        availability = torch.tensor([[True, False, True], [False, True, True]])
        with torch.no_grad():
            together = network(planes, availability).logits
            alone = torch.cat([network(planes[i : i + 1], availability[i : i + 1]).logits for i in range(2)])
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)

    def test_every_modality_matters_with_and_without_rgb(self) -> None:
        network, planes = network_of(), torch.randn(1, 3, 3, 64, 96)
        for absent in ((), (0,)):
            availability = torch.ones(1, 3, dtype=torch.bool)
            availability[:, list(absent)] = False
            with torch.no_grad():
                before = network(planes, availability).logits
                for index in availability[0].nonzero().flatten().tolist():
                    changed = planes.clone()
                    changed[:, index] = torch.randn(3, 64, 96)
                    assert not torch.allclose(before, network(changed, availability).logits, atol=1e-3)

    @pytest.mark.parametrize(
        ("changes", "seen"),
        [
            ({"adapter": False}, {"rgb"}),
            ({"branch": "reference"}, {"rgb"}),
            ({"branch": "auxiliary"}, set(NAMES)),
            ({"fusion": "add"}, set(NAMES)),
            ({"extractors": False}, set(NAMES)),
            ({"symmetric": True}, set(NAMES)),
            ({"vit_features": "quarters", "extractors": False}, set(NAMES)),
        ],
    )
    def test_ablations(self, changes: dict[str, Any], seen: set[str]) -> None:
        network, planes = network_of(**changes), torch.randn(1, 3, 3, 64, 96)
        every = torch.ones(1, 3, dtype=torch.bool)
        with torch.no_grad():
            before = network(planes, every)
            torch.testing.assert_close(before.routing.sum(2), torch.ones(1, 3))
            for index, name in enumerate(NAMES):
                changed = planes.clone()
                changed[:, index] = torch.randn(3, 64, 96)
                differs = not torch.allclose(before.logits, network(changed, every).logits, atol=1e-4)
                assert differs == (name in seen), name
        if changes.get("branch") == "auxiliary":
            assert (before.routing[..., 0] == 0).all()
        alone = torch.tensor([[False, False, True]])
        assert torch.isfinite(network(planes, alone).logits).all()

    def test_training_reaches_every_part(self) -> None:
        network = network_of().train()
        output = network(torch.randn(2, 3, 3, 64, 96), torch.tensor([[True, True, True], [False, True, True]]))
        output.logits.square().mean().backward()
        without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert [name for name in without if "rel_pos" not in name] == []

    def test_freezing_and_layer_wise_decay(self) -> None:
        network = network_of()
        network.freeze_pretrained(True)
        assert not any(p.requires_grad for p in network.vit.parameters())
        assert all(p.requires_grad for p in network.adapter.parameters())
        scales = [network.learning_rate_scale(f"vit.layers.{index}.attn.qkv.weight", 0.9) for index in range(4)]
        assert scales == pytest.approx([0.9**4, 0.9**3, 0.9**2, 0.9])
        assert network.learning_rate_scale("vit.pos_embed", 0.9) == pytest.approx(0.9**5)
        assert network.learning_rate_scale("head.classify.weight", 0.9) == 1.0

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"adapter": "no"}, "network.adapter: expected bool, got 'no'"),
            ({"fusion": "magic"}, "network.fusion: expected road, add, got 'magic'"),
            (
                {"lora_rank": 3},
                "'lora_rank' cannot be changed; these can: adapter, branch, drop_path, extractors",
            ),
        ],
    )
    def test_wrong_changes_are_named(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(SartmError, match=message):
            preset_for_rig("mm_sam_adapter", "nano", load_rig("sim"), 1, changes)

    def test_another_backbone(self) -> None:
        with pytest.raises(SartmError, match="backbone 'tiny': .* is built on SAM's ViT: nano, base, large"):
            preset_for_rig("mm_sam_adapter", "tiny", load_rig("sim"), 1)


RELEASED_SCALES = {  # name in our network -> share of the learning rate, whether weight decay acts on it
    "vit.pos_embed": (0.0717898, True),
    "vit.patch_embed.projection.weight": (0.0717898, True),
    "vit.patch_embed.projection.bias": (0.0717898, False),
    "vit.layers.0.attn.qkv.weight": (0.0797664, True),
    "vit.layers.0.attn.rel_pos_h": (0.0797664, True),
    "vit.layers.11.layer_norm1.weight": (0.2541866, False),
    "vit.layers.23.mlp.lin2.weight": (0.9, True),
    "vit.layers.23.mlp.lin2.bias": (0.9, False),
    "branches.rgb.body.embeddings.patch_embeddings.weight": (0.0717898, True),
    "branches.rgb.body.embeddings.patch_embeddings.bias": (0.0717898, True),
    "branches.lidar.body.encoder.stages.2.layers.26.dwconv.weight": (0.0717898, True),
    "branches.lidar.body.encoder.stages.2.layers.26.layer_scale_parameter": (0.0717898, True),
    "branches.lidar.body.hidden_states_norms.stage4.bias": (0.0717898, True),
    "fusions.0.own.query.weight": (1.0, False),
    "fusions.3.recalibrate.rows.weight": (1.0, False),
    "lifts.0.weight": (1.0, True),
    "level_embedding": (1.0, True),
    "adapter.injectors.0.gate": (1.0, False),
    "adapter.extractors.5.feed_forward.enter.weight": (1.0, True),
    "finest.weight": (1.0, True),
    "head.classify.weight": (1.0, True),
    "head.classify.bias": (1.0, False),
}
"""What the authors' optimiser constructor gives to the same tensors of their network of ViT-L and two ConvNeXt-S, with
24 layers and a decay of 0.9 (iacopo97/Multimodal-SAM-Adapter @58ea0b8, run on 2026-11-29)."""


def as_large(config: AdapterConfig) -> MMSamAdapter:
    """Without memory for its weights."""
    with torch.device("meta"):
        network = build_network(dataclasses.replace(config, backbone="large", modalities=("rgb", "lidar")))
    assert isinstance(network, MMSamAdapter)
    return network


@pytest.fixture(scope="module")
def large() -> MMSamAdapter:
    return as_large(mm_sam_adapter_released("nano", NAMES, 25, 1))


class TestAsReleased:
    """Figures of iacopo97/Multimodal-SAM-Adapter @58ea0b8, run apart from this repository on 2026-11-29."""

    @pytest.mark.parametrize(("vit_features", "blocks"), [("last", [24] * 4), ("quarters", [6, 12, 18, 24])])
    def test_blocks_before_what_each_level_adds(self, vit_features: str, blocks: list[int]) -> None:
        """Where every block adds 1 and the rest nothing, levels show how many came before: theirs [6, 12, 18, 24]."""
        config = dataclasses.replace(mm_sam_adapter("nano", ("rgb", "depth"), 3, 1), vit_features=vit_features)
        network = build_network(config)
        assert isinstance(network, MMSamAdapter)
        seen: list[float] = []

        class One(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x + 1

        for parameter in network.parameters():
            nn.init.zeros_(parameter)
        network.vit.shape = dataclasses.replace(network.vit.shape, depth=24)
        network.vit.layers, network.vit._drop_rates = nn.ModuleList(One() for _ in range(24)), [0.0] * 24
        for norm in network.norms:
            norm.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs[0].unique().tolist()))
        network.eval()(torch.randn(1, 2, 3, 64, 64), torch.ones(1, 2, dtype=torch.bool))
        assert seen == blocks

    def test_learning_rates_and_weight_decay_of_every_kind_of_tensor(self, large: MMSamAdapter) -> None:
        parameters = dict(large.named_parameters())
        for name, (scale, decays) in RELEASED_SCALES.items():
            assert large.learning_rate_scale(name, 0.9) == pytest.approx(scale, abs=1e-6), name
            assert large.has_weight_decay(name, parameters[name]) == decays, name

    def test_in_the_papers_form_branches_are_new_parts(self) -> None:
        network = network_of()
        for name, parameter in network.named_parameters():
            assert network.has_weight_decay(name, parameter) == (parameter.ndim > 1)
            assert name.startswith("vit.") or network.learning_rate_scale(name, 0.9) == 1.0

    def test_where_stochastic_depth_acts(self, large: MMSamAdapter) -> None:
        """Theirs: 36 blocks of each branch from 0 to 0.4, the six extractors 0.3, the ViT's blocks never."""
        for branch in large.branches.values():
            rates = [part.drop_prob for part in branch.modules() if type(part).__name__ == "ConvNextDropPath"]
            expected = np.linspace(0, 0.4, 36)
            assert rates == pytest.approx(expected[-len(rates) :].tolist())
            assert len(rates) >= 35
        assert [extractor._drop_path for extractor in large.adapter.extractors] == pytest.approx([0.3] * 6)
        assert not any(large.vit._drop_rates)
        paper = as_large(mm_sam_adapter("nano", NAMES, 25, 1))
        assert max(paper.vit._drop_rates) == pytest.approx(0.3)
        assert not any(extractor._drop_path for extractor in paper.adapter.extractors)

    def test_a_dropped_update_is_the_feed_forward_layers_alone(self) -> None:
        torch.manual_seed(0)
        extractor = Extractor(16, 2, drop_path=0.5).train()
        places, tokens = places_of([(4, 4), (2, 2), (1, 1)]), torch.randn(40, 4, 16)
        pyramid, shapes = torch.randn(1, 21, 16).expand(40, -1, -1), [(4, 4), (2, 2), (1, 1)]
        tokens = tokens[:1].expand(40, -1, -1)
        with torch.no_grad():
            attended = pyramid + extractor.attention(pyramid, places, tokens, [(2, 2)])
            update = extractor.feed_forward(attended, shapes)
            updated = extractor(pyramid, places, shapes, tokens, (2, 2))
        dropped = [torch.allclose(updated[i], attended[i]) for i in range(40)]
        kept = [torch.allclose(updated[i], attended[i] + 2 * update[i], atol=1e-5) for i in range(40)]
        assert [a != b for a, b in zip(dropped, kept, strict=True)] == [True] * 40
        assert 8 < sum(kept) < 32

    def test_only_the_listed_fields_differ_between_the_presets(self) -> None:
        paper, released = (
            PRESETS[name]("large", NAMES, 5, 1) for name in ("mm_sam_adapter", "mm_sam_adapter_released")
        )
        assert isinstance(paper, AdapterConfig)
        assert isinstance(released, AdapterConfig)
        differing = {f.name for f in dataclasses.fields(paper) if getattr(paper, f.name) != getattr(released, f.name)}
        assert differing == {"vit_features", "drop_path", "parameter_groups"}


class TestWeights:
    def original(self, shape: VitShape = VITS["nano"]) -> dict[str, torch.Tensor]:
        """A checkpoint in the layout of the original release."""
        torch.manual_seed(3)
        d, side, head = shape.width, shape.image // 16, shape.width // shape.heads
        tensors = {
            "image_encoder.pos_embed": (1, side, side, d),
            "image_encoder.patch_embed.proj.weight": (d, 3, 16, 16),
            "image_encoder.patch_embed.proj.bias": (d,),
            "image_encoder.neck.0.weight": (32, d, 1, 1),
            "prompt_encoder.no_mask_embed.weight": (1, 32),
            "mask_decoder.iou_token.weight": (1, 32),
        }
        for index in range(shape.depth):
            block = f"image_encoder.blocks.{index}"
            span = 2 * (side if index in shape.global_blocks else shape.window) - 1
            tensors |= {
                f"{block}.norm1.weight": (d,), f"{block}.norm1.bias": (d,), f"{block}.norm2.weight": (d,),
                f"{block}.norm2.bias": (d,), f"{block}.attn.qkv.weight": (3 * d, d), f"{block}.attn.qkv.bias": (3 * d,),
                f"{block}.attn.proj.weight": (d, d), f"{block}.attn.proj.bias": (d,),
                f"{block}.attn.rel_pos_h": (span, head), f"{block}.attn.rel_pos_w": (span, head),
                f"{block}.mlp.lin1.weight": (4 * d, d), f"{block}.mlp.lin1.bias": (4 * d,),
                f"{block}.mlp.lin2.weight": (d, 4 * d), f"{block}.mlp.lin2.bias": (d,),
            }  # fmt: skip
        return {name: torch.randn(size) for name, size in tensors.items()}

    def test_the_original_release(self, tmp_path: Path) -> None:
        tensors = self.original()
        torch.save(tensors, tmp_path / "sam_vit_n.pth")
        network = network_of()
        report = load_sam(network, tmp_path / "sam_vit_n.pth")
        assert len(report.matched) == len(tensors) - 3
        assert set(report.left_out) == {
            "image_encoder.neck.0.weight", "prompt_encoder.no_mask_embed.weight", "mask_decoder.iou_token.weight",
        }  # fmt: skip
        assert report.unexpected == ()
        own = network.vit.state_dict()
        assert torch.equal(own["layers.2.attn.qkv.weight"], tensors["image_encoder.blocks.2.attn.qkv.weight"])
        assert torch.equal(own["layers.1.layer_norm2.bias"], tensors["image_encoder.blocks.1.norm2.bias"])
        assert torch.equal(own["pos_embed"], tensors["image_encoder.pos_embed"])

    def test_a_folder_of_transformers(self, tmp_path: Path) -> None:
        """As `facebook/sam-vit-large`: the whole SamModel, saved by the library."""
        decoder = {"hidden_size": 32, "num_attention_heads": 2, "mlp_dim": 32, "iou_head_hidden_dim": 16}
        config = SamConfig(
            vision_config=library_config(VITS["nano"]),
            prompt_encoder_config={"hidden_size": 32, "image_size": 256, "image_embedding_size": 16},
            mask_decoder_config=decoder,
        )
        library = SamModel(config)
        library.save_pretrained(tmp_path / "sam")
        network = network_of()
        report = load_sam(network, tmp_path / "sam")
        assert report.unexpected == ()
        for name, tensor in network.vit.state_dict().items():
            assert torch.equal(tensor, library.vision_encoder.state_dict()[name]), name

    def test_another_size_another_file_and_none(self, tmp_path: Path) -> None:
        torch.save(self.original(VitShape(96, 4, 2, (1, 3), 4, 256)), tmp_path / "wide.pth")
        torch.save(self.original(VitShape(64, 6, 2, (1, 3), 4, 256)), tmp_path / "deep.pth")
        torch.save({"model": {}}, tmp_path / "sam2.pt")
        (tmp_path / "text.pth").write_text("no checkpoint")
        for name, message in (
            ("wide.pth", "expected shape .* backbone is nano; is the file of that size"),
            ("deep.pth", "does not fit backbone nano"),
            ("sam2.pt", "expected a dictionary of tensors"),
            ("text.pth", "is not a checkpoint"),
            ("missing.pth", "no such file. Give SAM's sam_vit_b"),
        ):
            with pytest.raises(SartmError, match=message):
                load_sam(network_of(), tmp_path / name)

    def test_convnexts_of_transformers_fill_every_branch(self, tmp_path: Path) -> None:
        widths, depths = CONVNEXTS["nano"]
        library = ConvNextForImageClassification(ConvNextConfig(hidden_sizes=list(widths), depths=list(depths)))
        for parameter in library.parameters():
            nn.init.normal_(parameter)
        library.save_pretrained(tmp_path / "convnext")
        network = network_of()
        count = load_branches(network, tmp_path / "convnext")
        expected = library.convnext.state_dict()
        for name in NAMES:
            own = network.branches[name].body.state_dict()
            same = [key for key in own if key in expected and torch.equal(own[key], expected[key])]
            assert len(same) == count
        save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
        with pytest.raises(SartmError, match="has no tensor for embeddings"):
            load_branches(network, tmp_path / "other.safetensors")


RECIPE = """
name: adapter
preset: mm_sam_adapter
backbone: nano
train_backbone: true
layer_decay: 0.9
data: {root: nowhere}
robustness: {passes: two, subset_share: 0.5}
stages: [{size: [64, 96], samples: 16, batch: 4, learning_rate: 1.0e-3}]
workers: 0
validate_every: 2
validation_frames: 4
statistics_frames: 4
"""


@pytest.fixture(scope="module")
def trained(small_recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    (folder / "recipe.yaml").write_text(RECIPE)
    command = ["train", str(folder / "recipe.yaml"), "--data", str(small_recording), "--out", str(folder / "run")]
    result = runner.invoke(app, [*command, "--modalities", "rgb,lidar"])
    assert result.exit_code == 0, result.output
    return folder / "run"


@pytest.mark.slow
class TestThroughTheHouse:
    def test_training_decays_by_layer(self, trained: Path) -> None:
        state = torch.load(trained / "last.ckpt", map_location="cpu", weights_only=True)
        rates = {round(group["initial_lr"], 4) for group in state["optimizer_states"][0]["param_groups"]}
        assert rates == {round(0.9**power, 4) for power in range(6)}

    def test_evaluation(self, trained: Path, small_recording: Path) -> None:
        command = ["evaluate", str(trained / "best.ckpt"), "--data", str(small_recording), "--protocol", "subsets"]
        result = runner.invoke(app, [*command, "--limit", "2", "--json"])
        assert result.exit_code == 0, result.output
        assert '"drop_mean"' in result.output

    @pytest.mark.soak
    @pytest.mark.parametrize("size", ["64x96", "96x64"])
    def test_graphs_agree_with_torch_on_every_subset(self, trained: Path, tmp_path: Path, size: str) -> None:
        for form in ("torch", "onnx"):
            command = [
                "export",
                str(trained / "best.ckpt"),
                "--out",
                str(tmp_path / form),
                "--to",
                form,
                "--size",
                size,
            ]
            result = runner.invoke(app, command)
            assert result.exit_code == 0, result.output
        reference, graphs = (load_segmenter(tmp_path / form, device="cpu") for form in ("torch", "onnx"))
        assert sorted(path.name for path in (tmp_path / "onnx").glob("*.onnx")) == [
            "encoder_lidar.onnx", "encoder_rgb.onnx", "head.onnx",
        ]  # fmt: skip
        rng = np.random.default_rng(0)
        rig = reference.bundle.rig
        planes = {m.name: (rng.random((3, *m.size)) * 100).astype(rig.dtype) for m in rig.modalities}
        for kept in (("rgb", "lidar"), ("lidar", "rgb"), ("lidar",), ("rgb",)):
            shown = {name: planes[name] for name in kept}
            wanted, got = reference.segment(shown), graphs.segment(shown)
            np.testing.assert_allclose(got.routing, wanted.routing, atol=1e-4)
            np.testing.assert_allclose(got.confidence, wanted.confidence, atol=1e-3)
            assert (got.mask == wanted.mask).mean() > 0.999

    @pytest.mark.parametrize("recipe", sorted(Path(__file__).parents[3].glob("training/recipes/mm_sam_adapter_*.yaml")))
    def test_recipes_are_the_released_settings(self, recipe: Path) -> None:
        read = read_recipe(recipe)
        assert (read.preset, read.backbone, read.layer_decay) == ("mm_sam_adapter_released", "large", 0.9)
        assert read.weight_decay == pytest.approx(0.01)
        assert (read.warm_up, read.warm_up_share, read.warm_up_ratio) == ("exponential", 0.1, 0.1)
        (stage,) = read.stages
        assert (stage.epochs, stage.batch, stage.learning_rate) == (100, 8, 2e-4)
        images = 8 // read.accumulate // 2  # of each of two GPUs, of whose images together 100,000 pixels are taken
        assert images * (read.losses.ohem_least_pixels or 0) == 100_000
        assert stage.size == ((800, 800) if "fmb" in recipe.name else (1024, 1024))
        assert (read.fit, read.stride) == (("window", (640, 640)) if "muses" in recipe.name else ("corner", None))
        assert (read.augmentation.blur, read.augmentation.largest_class) == (0.2, 0.75)

    def test_there_are_recipes(self) -> None:
        names = {path.stem for path in Path(__file__).parents[3].glob("training/recipes/mm_sam_adapter_*.yaml")}
        assert {"mm_sam_adapter_deliver", "mm_sam_adapter_fmb", "mm_sam_adapter_muses"} <= names
