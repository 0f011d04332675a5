"""The network against independent references: sam2's own encoder and peft's own LoRA layer."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sartm_core.errors import SartmError
from sartm_core.model import lora
from sartm_core.model.backbone import BACKBONES, build_image_encoder
from sartm_core.model.decoder import ClassTokenDecoder
from sartm_core.model.info import describe
from sartm_core.model.network import MultiModalNetwork
from sartm_core.model.presets import PRESETS, any_sensor, build_network, mle_sam, preset, preset_for_rig
from sartm_core.model.routing import TopKRouting, agreement, edge_agreement, sum_of_others, weighted_sum
from sartm_core.rig import load_rig

MODALITIES = ("rgb", "thermal", "depth")


def network(backbone: str = "nano", name: str = "any_sensor", live_experts: bool = True) -> MultiModalNetwork:
    """A network whose experts do something: B is 0 at first, and tests with B = 0 test nothing."""
    torch.manual_seed(0)
    result = build_network(preset(name, backbone, MODALITIES, 5, 4)).eval()
    assert isinstance(result, MultiModalNetwork)
    if live_experts:
        for name, parameter in result.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.05)
    return result


@pytest.fixture(scope="module")
def live() -> MultiModalNetwork:
    return network()


WITH_EXPERTS = [name for name in PRESETS if not name.startswith(("mm_sam_adapter", "peer"))]


@pytest.fixture(scope="module", params=WITH_EXPERTS)
def of_each_preset(request: pytest.FixtureRequest) -> MultiModalNetwork:
    return network(name=request.param)


def planes(samples: int, size: tuple[int, int] = (64, 96), seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, len(MODALITIES), 3, *size, generator=generator)


def available(*rows: str) -> Tensor:
    """`available("101")`: one sample, the second modality absent."""
    return torch.tensor([[letter == "1" for letter in row] for row in rows])


@pytest.mark.parametrize("backbone", ["nano", "tiny"])
@pytest.mark.parametrize("size", [(64, 96), (224, 224), (96, 160)])
def test_before_training_the_encoder_is_sam2s_bit_for_bit(backbone: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    theirs = build_image_encoder(backbone).eval()
    ours = network(backbone, live_experts=False)
    fused = {name: tensor for name, tensor in theirs.state_dict().items() if ".qkv." not in name}
    own = {key.replace(".base_layer", ""): key for key in ours.encoder.state_dict()}
    ours.encoder.load_state_dict({own[name]: tensor for name, tensor in fused.items()}, strict=False)
    for mine, original in zip(ours.encoder.trunk.blocks, theirs.trunk.blocks, strict=True):
        parts = (mine.attn.qkv.q, mine.attn.qkv.k, mine.attn.qkv.v)
        for part, weight, bias in zip(
            parts, original.attn.qkv.weight.chunk(3), original.attn.qkv.bias.chunk(3), strict=True
        ):
            target = part.get_base_layer() if hasattr(part, "get_base_layer") else part
            with torch.no_grad():
                target.weight.copy_(weight)
                target.bias.copy_(bias)
    images = planes(1, size)[0]
    ours.experts.rows = torch.arange(3)
    with torch.no_grad():
        expected, got = theirs(images)["backbone_fpn"], ours.encoder(images)["backbone_fpn"]
    assert [tuple(level.shape[2:]) for level in got] == [(size[0] // s, size[1] // s) for s in (4, 8, 16)]
    for mine, original in zip(got, expected, strict=True):
        assert torch.equal(mine, original)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 1, 0), (2,)])
def test_batched_experts_equal_pefts_own_layer(live: MultiModalNetwork, order: tuple[int, ...]) -> None:
    """One pass with every row's own expert = stock peft, one adapter active at a time."""
    from peft.tuners.lora import Linear

    layer = live.encoder.trunk.blocks[1].attn.qkv.q  # a block that changes stage: output wider than input
    assert layer.get_base_layer().out_features == 2 * layer.get_base_layer().in_features
    rows = torch.tensor(order)
    x = torch.randn(len(order) * 4, 8, 8, layer.get_base_layer().in_features)  # four windows per row
    live.experts.rows = rows
    with torch.no_grad():
        got = layer(x)
        for row, modality in enumerate(order):
            layer.set_adapter(MODALITIES[modality])
            expected = Linear.forward(layer, x[4 * row : 4 * row + 4])
            torch.testing.assert_close(got[4 * row : 4 * row + 4], expected, rtol=0, atol=1e-6)
        layer.set_adapter(list(MODALITIES))


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 1, 0), (2,)])
def test_each_row_passes_its_own_patch_embedding(live: MultiModalNetwork, order: tuple[int, ...]) -> None:
    """One pass with every row's own expert = stock peft = the merged weights as one batched product."""
    from peft.tuners.lora import Conv2d

    layer = live.encoder.trunk.patch_embed.proj
    x = torch.randn(len(order), 3, 64, 96)
    live.experts.rows = torch.tensor(order)
    stacked = lora.StackedPatches(layer.get_base_layer(), len(MODALITIES), live.experts)
    with torch.no_grad():
        weights = [layer.get_base_layer().weight + layer.get_delta_weight(name) for name in MODALITIES]
        stacked.fill(torch.stack(weights))
        got, merged = layer(x), stacked(x)
        for row, modality in enumerate(order):
            layer.set_adapter(MODALITIES[modality])
            expected = Conv2d.forward(layer, x[row : row + 1])
            torch.testing.assert_close(got[row : row + 1], expected, rtol=0, atol=1e-5)
        layer.set_adapter(list(MODALITIES))
    torch.testing.assert_close(merged, got, rtol=0, atol=1e-5)


def test_the_papers_networks_adapt_q_and_v_alone() -> None:
    for name in ("sartm", "mle_sam", "mean_fusion", "sam_lora", "shared_lora", "early_fusion"):
        adapted = {
            key.split(".lora_")[0].rsplit(".", 1)[1] for key in network(name=name).state_dict() if "lora_" in key
        }
        assert adapted == {"q", "v"}, name


class TestSamLora:
    """MLE-SAM's appendix: a LoRA per modality, each trained on its own, masks averaged."""

    @torch.no_grad()
    def test_the_answer_is_the_mean_of_each_modalitys_own(self) -> None:
        net, x = network(name="sam_lora"), planes(1)
        alone = torch.stack([net(x, available(one)).logits for one in ("100", "010", "001")])
        torch.testing.assert_close(net(x, available("111")).logits, alone.mean(dim=0), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(net(x, available("110")).logits, alone[:2].mean(dim=0), rtol=1e-4, atol=1e-5)

    def test_each_lora_learns_from_its_own_masks(self) -> None:
        """What the thermal camera sees changes nothing in how RGB's expert learns."""
        gradients = []
        for seed in (1, 2):
            net, x = network(name="sam_lora"), planes(1)
            x[:, 1] = planes(1, seed=seed)[:, 1]
            rows = net(x, available("111")).row_logits
            assert rows is not None
            F.cross_entropy(rows, torch.zeros(3, *rows.shape[2:], dtype=torch.long)).backward()
            gradients.append({n: p.grad for n, p in net.named_parameters() if ".lora_B." in n and p.grad is not None})
        for name, gradient in gradients[0].items():
            same = torch.allclose(gradient, gradients[1][name], rtol=1e-4, atol=1e-8)
            assert same == (".thermal." not in name), name


@pytest.mark.parametrize("name", WITH_EXPERTS)
def test_merged_and_stacked_weights_give_the_same_answer(name: str) -> None:
    training = network(name=name)
    x, a = planes(2), available("111", "011")
    with torch.no_grad():
        before = training(x, a)
        training.merge_experts()
        after = training(x, a)
    assert not any("lora_" in name for name, _ in training.named_parameters())
    torch.testing.assert_close(after.logits, before.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after.routing, before.routing, rtol=1e-4, atol=1e-5)


def test_the_inference_form_loads_merged_weights() -> None:
    merged = network()
    merged.merge_experts()
    fresh = MultiModalNetwork(merged.config, form="inference").eval()
    fresh.load_state_dict(merged.state_dict())
    with torch.no_grad():
        assert torch.equal(fresh(planes(1), available("110")).logits, merged(planes(1), available("110")).logits)


def test_a_broken_expert_is_not_merged() -> None:
    broken = network()
    with torch.no_grad():
        broken.encoder.trunk.blocks[2].attn.qkv.v.lora_B["thermal"].weight[0, 0] = torch.nan
    with pytest.raises(SartmError, match="expert of modality 'thermal' has non-finite values"):
        broken.merge_experts()


@pytest.mark.parametrize(("rank", "expected"), [(32, 1_326_080), (16, 663_040)])
def test_base_plus_experts_have_the_right_width(rank: int, expected: int) -> None:
    """1,275,904 at rank 32 would be the known mistake: input width taken for the output, half of q and v untouched."""
    encoder = build_image_encoder("base_plus")
    lora.split_qkv(encoder)
    lora.add_experts(encoder, ("rgb",), rank, lora.RowExperts())
    assert sum(p.numel() for name, p in encoder.named_parameters() if "lora_" in name) == expected


def test_every_element_of_q_v_and_patch_embedding_learns() -> None:
    live = network()
    live.freeze_pretrained(True)
    live(planes(1), available("111")).logits.square().mean().backward()
    for block in live.encoder.trunk.blocks:
        for part in (block.attn.qkv.q, block.attn.qkv.v):
            for name in MODALITIES:
                gradient = part.lora_B[name].weight.grad
                assert gradient is not None
                assert (gradient.abs().sum(dim=1) > 0).all()
    for name in MODALITIES:
        gradient = live.encoder.trunk.patch_embed.proj.lora_B[name].weight.grad
        assert gradient is not None
        assert (gradient.abs().flatten(1).sum(dim=1) > 0).all()


def test_the_network_takes_the_gpus_memory_layout() -> None:
    """What the torch backend does on CUDA, and parameters of five dimensions refuse."""
    net = network()
    net.merge_experts()
    net.to(memory_format=torch.channels_last)


def test_freezing_leaves_experts_routing_and_heads_to_train() -> None:
    net = network(live_experts=False)
    net.freeze_pretrained(True)
    frozen = {name for name, p in net.named_parameters() if not p.requires_grad}
    assert frozen == set(net.pretrained_parameters())
    assert {name.split(".")[0] for name in frozen} == {"encoder", "decoder"}
    assert not any("lora_" in name for name in frozen)
    trains = {name for name, p in net.named_parameters() if p.requires_grad}
    assert {"routing", "auxiliary", "conv_s0", "decoder", "encoder"} == {name.split(".")[0] for name in trains} - {
        "conv_s1"
    }
    net.freeze_pretrained(False)
    assert all(p.requires_grad for p in net.parameters())


class TestAvailability:
    @pytest.mark.parametrize("row", ["".join(bits) for bits in itertools.product("01", repeat=3) if "1" in bits])
    def test_every_subset_answers_and_weights_are_convex(self, of_each_preset: MultiModalNetwork, row: str) -> None:
        with torch.no_grad():
            output = of_each_preset(planes(1), available(row))
        assert torch.isfinite(output.logits).all()
        torch.testing.assert_close(output.routing.sum(dim=2), torch.ones(1, 3))
        absent = torch.tensor([letter == "0" for letter in row])
        assert (output.routing[0][:, absent] == 0).all()
        if of_each_preset.config.fusion != "top_k":
            assert (output.routing[0][:, ~absent] > 0).all()

    def test_what_an_absent_modality_shows_changes_nothing(self, of_each_preset: MultiModalNetwork) -> None:
        x, a = planes(2), available("111", "101")
        other = x.clone()
        other[1, 1] = torch.nan
        with torch.no_grad():
            assert torch.equal(of_each_preset(x, a).logits, of_each_preset(other, a).logits)

    def test_samples_do_not_touch_each_other(self, of_each_preset: MultiModalNetwork) -> None:
        x, a = planes(3), available("111", "010", "101")
        order = [2, 0, 1]
        with torch.no_grad():
            together, turned = of_each_preset(x, a), of_each_preset(x[order], a[order])
            alone = of_each_preset(x[1:2], a[1:2])
        torch.testing.assert_close(turned.logits, together.logits[order], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(alone.logits, together.logits[1:2], rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("name", sorted({*WITH_EXPERTS} - {"early_fusion", "sam_lora", "sartm_released"}))
    def test_the_fused_features_can_be_rebuilt_from_the_published_weights(self, name: str) -> None:
        """What the decoder really gets = the published coefficients times each modality's features."""
        net, x, a = network(name=name), planes(1), available("101")
        sample, modality = a.nonzero(as_tuple=True)
        eaten: list[tuple[Tensor, ...]] = []
        hook = net.decoder.register_forward_pre_hook(lambda _, inputs: eaten.append(inputs))
        with torch.no_grad():
            output = net(x, a)
            features = net.encode(x[sample, modality], modality)
            if net.meeting is not None:
                features[2] = net.meeting(features[2], sample, modality, a)
        hook.remove()
        for level, (rows, fused) in enumerate(zip(features, eaten[0], strict=True)):
            expected = torch.einsum("r,rchw->chw", output.routing[0, level, modality], rows)
            torch.testing.assert_close(fused[0], expected, rtol=0, atol=1e-6)

    def test_an_empty_sample_is_refused(self, of_each_preset: MultiModalNetwork) -> None:
        with pytest.raises(SartmError, match=r"at least one modality in every sample, got none in sample\(s\) \[1\]"):
            of_each_preset(planes(2), available("110", "000"))


@pytest.mark.parametrize("name", sorted(PRESETS.keys() - {"peer"}))  # code from outside
def test_all_31_subsets_of_five_modalities(name: str) -> None:
    torch.manual_seed(0)
    net = build_network(preset(name, "nano", ("rgb", "thermal", "depth", "lidar", "event"), 5, 2)).eval()
    subsets = [row for row in itertools.product([False, True], repeat=5) if any(row)]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        output = net(torch.randn(31, 5, 3, 32, 64, generator=generator), torch.tensor(subsets))
    assert torch.isfinite(output.logits).all()
    torch.testing.assert_close(output.routing.sum(dim=2), torch.ones(31, 3))


def test_one_packed_pass_takes_no_more_kernels_than_one_modality(live: MultiModalNetwork) -> None:
    """Operators that compute, with merged experts and with LoRA: M separate passes launch M times as many."""

    class Count(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            self.calls += not func.is_view
            return func(*args, **(kwargs or {}))

    merged = network()
    merged.merge_experts()
    for net in (merged, live):
        counts = []
        for rows in (1, 3):
            with torch.no_grad(), Count() as counter:
                net.encode(planes(1)[0, :rows], torch.arange(rows))
            counts.append(counter.calls)
        assert counts[1] <= counts[0]


def test_weighted_sum_against_a_loop() -> None:
    features, weights = torch.randn(4, 2, 3, 3), torch.rand(2, 3)
    sample, modality = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 2, 1, 2])
    expected = np.zeros((2, 2, 3, 3), np.float32)
    for row in range(4):
        expected[sample[row]] += weights[sample[row], modality[row]].item() * features[row].numpy()
    np.testing.assert_allclose(weighted_sum(features, weights, sample, modality), expected, rtol=1e-5, atol=1e-6)


def test_sides_that_do_not_fit_are_refused(live: MultiModalNetwork) -> None:
    with pytest.raises(SartmError, match="multiples of 32, got 100x96"):
        live(planes(1, (100, 96)), available("111"))


def test_unknown_backbone() -> None:
    with pytest.raises(SartmError, match=f"'huge' is unknown. Known: {', '.join(BACKBONES)}"):
        build_image_encoder("huge")


class TestMixtureOfExperts:
    """MLE-SAM's routing against its equations, written out."""

    @staticmethod
    def inputs() -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        a = available("111", "101")
        sample, modality = a.nonzero(as_tuple=True)
        generator = torch.Generator().manual_seed(2)
        features = [torch.randn(len(sample), width, 4, 4, generator=generator) for width in (8, 16, 64)]
        return features, sample, modality, a

    @pytest.mark.parametrize("k", [1, 2, 3])
    @pytest.mark.parametrize("use_mean", [True, False])
    def test_weights(self, k: int, use_mean: bool) -> None:
        torch.manual_seed(3)
        routing = TopKRouting((8, 16, 64), k, use_mean)
        features, sample, modality, a = self.inputs()
        with torch.no_grad():
            weights, _ = routing(features, sample, modality, a)
            for level in range(3):
                router = routing.routers[level]
                for b in range(2):
                    rows = [r for r in range(len(sample)) if sample[r] == b]
                    scores = {int(modality[r]): float(router(features[level][r].mean(dim=(1, 2)))) for r in rows}
                    best = sorted(scores, key=scores.__getitem__, reverse=True)[:k]
                    total = sum(np.exp(scores[m]) for m in best)
                    expected = np.zeros(3)
                    for m in best:
                        expected[m] = np.exp(scores[m]) / total
                    if use_mean:
                        mean = np.array([float(m in scores) / len(scores) for m in range(3)])
                        expected = (mean + 0.1 * expected) / 1.1
                    np.testing.assert_allclose(weights[b, level], expected, rtol=1e-4, atol=1e-6)

    def test_the_scale_learns(self) -> None:
        routing = TopKRouting((8, 16, 64), 1)
        features, sample, modality, a = self.inputs()
        weights, _ = routing(features, sample, modality, a)
        (weights * torch.randn_like(weights)).sum().backward()
        assert (routing.scales.grad != 0).all()
        assert all(router.weight.grad is not None for router in routing.routers)


def test_the_papers_decoder_has_the_papers_size() -> None:
    """SAM2's own parts at width 256; MLE-SAM's budget of 3,878,810 for 25 classes is made of them."""
    decoder = ClassTokenDecoder(256, 25, per_class=True)
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in decoder.named_children()}
    assert count["hypernetworks"] == 25 * 139_808
    assert count["output_upscaling"] == 73_952
    ours = ClassTokenDecoder(256, 25, per_class=False)
    shared = sum(p.numel() for p in ours.hypernetworks.parameters()) + ours.class_tokens.weight.numel()
    assert shared == 146_208


@pytest.mark.slow
def test_ablations_are_single_fields() -> None:
    config = mle_sam("nano", MODALITIES, 5, 4)
    for change in (
        {"top_k": 3},
        {"fusion": "top_k"},
        {"fusion": "mean"},
        {"auxiliary": "none", "inference": "mask"},
        {"auxiliary": "fpn"},
        {"auxiliary": "deeplab"},
        {"auxiliary": "segformer"},
        {"inference": "auxiliary"},
        {"lora_rank": 2},
        {"hypernetworks": "shared"},
    ):
        net = MultiModalNetwork(dataclasses.replace(config, **change)).eval()
        with torch.no_grad():
            assert torch.isfinite(net(planes(1), available("101")).logits).all()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"top_k": 4}, "expected top_k from 1 to 3, got 4"),
        ({"auxiliary": "none"}, "inference 'mean' needs an auxiliary head"),
        ({"lora_rank": 0}, "rank 0"),
    ],
)
def test_impossible_networks_are_refused(change: dict, expected: str) -> None:
    with pytest.raises(SartmError, match=expected):
        dataclasses.replace(any_sensor("nano", MODALITIES, 5, 4), **change)


def test_unknown_preset() -> None:
    with pytest.raises(SartmError, match="preset 'magic' is unknown. Known: any_sensor, sartm"):
        preset("magic", "nano", MODALITIES, 5, 4)


def test_agreement_is_the_cosine_with_the_sum_of_the_others() -> None:
    availability = torch.tensor([[True, True, True], [False, True, False]])
    sample = availability.nonzero()[:, 0]
    level = torch.rand(4, 6, 2, 3) - 0.3
    got = agreement(level, sum_of_others(level, sample, availability))
    for row in range(3):
        others = level[[other for other in range(3) if other != row]].sum(dim=0)
        product = (level[row] * others).sum(dim=0)
        cosine = product / level[row].norm(dim=0) / others.norm(dim=0)
        assert float(got[row]) == pytest.approx(float(cosine.mean()), abs=1e-5)
    assert float(got[3]) == 0.0  # alone
    torch.testing.assert_close(agreement(level[:3], sum_of_others(level[:3], sample[:3], availability[:1])), got[:3])


def test_edges_that_lie_elsewhere_do_not_agree() -> None:
    """A shift by two pixels of a smooth image: the cosine of the pixels hardly sees it."""
    torch.manual_seed(0)
    scene = torch.nn.functional.avg_pool2d(torch.rand(1, 8, 34, 42), 3, stride=1) + 1.0
    knocked = scene.roll(2, dims=3)
    for other, least, most in ((scene, 0.999, 1.001), (-2 * scene, -1.001, -0.999), (knocked, -0.5, 0.5)):
        assert least < float(edge_agreement(scene, other)) < most
    assert float(agreement(scene, knocked)) > 0.98
    blank = torch.full_like(scene, 3.0)
    assert float(edge_agreement(scene, blank)) == float(edge_agreement(blank, blank)) == 0.0
    for scale in (100, 30_000):  # squares that sums, and then already the squares, would carry out of range
        assert float(edge_agreement(scene.half() * scale, scene.half() * scale)) == pytest.approx(1.0, abs=5e-3)


class TestHalfSize:
    @pytest.fixture
    def networks(self) -> tuple[MultiModalNetwork, MultiModalNetwork]:
        """The same weights, all modalities at full size, and depth at half."""
        both = []
        for half_size in ((), ("depth",)):
            torch.manual_seed(0)
            config = preset("any_sensor", "nano", ("rgb", "thermal", "depth"), 5, 4)
            config = dataclasses.replace(config, half_size=half_size, sparse=("depth",))
            both.append(MultiModalNetwork(config).eval())
        return both[0], both[1]

    def test_the_others_are_encoded_as_before_and_rows_keep_their_order(self, networks) -> None:
        full, half = networks
        planes, modality = torch.rand(5, 3, 64, 128) * 255, torch.tensor([2, 0, 2, 1, 0])
        with torch.inference_mode():
            wanted, got = full.encode(planes, modality), half.encode(planes, modality)
        for one, other in zip(wanted, got, strict=True):
            assert one.shape == other.shape
            torch.testing.assert_close(one[[1, 3, 4]], other[[1, 3, 4]])
            assert not torch.allclose(one[[0, 2]], other[[0, 2]])
            assert not torch.allclose(other[0], other[2])

    def test_empty_pixels_do_not_thin_out_what_a_sparse_sensor_measured(self, networks) -> None:
        """One measured pixel of four counts for all four; in a dense image it would be a quarter."""
        _, half = networks
        sparse, dense = torch.zeros(1, 3, 64, 128), torch.zeros(1, 3, 64, 128)
        sparse[:, :, ::2, ::2] = 8.0
        dense[:] = 8.0
        with torch.inference_mode():
            measured, whole = (half.encode(planes, torch.tensor([2])) for planes in (sparse, dense))
        for one, other in zip(measured, whole, strict=True):
            torch.testing.assert_close(one, other)

    def test_sides_that_64_does_not_divide_are_filled_up_with_the_border(self, networks) -> None:
        full, half = networks
        planes, modality = torch.rand(1, 3, 48, 80).repeat_interleave(2, 2).repeat_interleave(2, 3), torch.tensor([2])
        filled = torch.nn.functional.pad(planes, (0, 32, 0, 32), mode="replicate")
        with torch.inference_mode():
            wanted, got = half.encode(filled, modality), half.encode(planes, modality)
            shapes = [level.shape for level in full.encode(planes, modality)]
        for one, other, shape in zip(wanted, got, shapes, strict=True):
            assert other.shape == shape
            height, width = shape[2] - 1, shape[3] - 1  # at the border the enlargement has other neighbours
            torch.testing.assert_close(one[:, :, :height, :width], other[:, :, :height, :width])

    def test_sides_are_multiples_of_32(self, networks) -> None:
        with pytest.raises(SartmError, match="multiples of 32, got 80x128"):
            networks[1].encode(torch.zeros(1, 3, 80, 128), torch.tensor([0]))

    def test_an_unknown_modality_is_refused(self) -> None:
        with pytest.raises(SartmError, match="half_size: 'radar' is none of rgb"):
            preset_for_rig("any_sensor", "nano", load_rig("sim"), 4, {"half_size": ["radar"]})

    @pytest.mark.slow
    def test_three_more_modalities_at_half_size_cost_less_than_one_at_full(self) -> None:
        names = ("rgb", "depth", "lidar", "event")
        config = preset("any_sensor", "tiny", names, 25, 8)
        cost = {}
        for half_size in ((), names[1:]):
            whole = describe(dataclasses.replace(config, half_size=half_size), (448, 640))["gflop"]["whole"]
            cost[half_size] = [value / whole[0] for value in whole]
        assert cost[names[1:]][3] < cost[()][1]
        assert cost[names[1:]][3] < 1.9
