"""SARTM's parts against their equations, written out per pixel and per sample."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sartm_core.errors import SartmError
from sartm_core.model.network import MultiModalNetwork
from sartm_core.model.presets import sartm
from sartm_core.model.rectification import CrossAttention, FeatureFusion, FeatureRectification, MeetTheReference
from sartm_core.model.routing import LanguageRouting

C, SIZE = 16, (3, 5)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def linear(layer: torch.nn.Module, x: np.ndarray) -> np.ndarray:
    """A Linear or a 1x1 convolution on the last axis."""
    weight = layer.weight.detach().numpy().astype(float)
    result = x @ weight.reshape(weight.shape[0], -1).T
    return result if layer.bias is None else result + layer.bias.detach().numpy()


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, C, *SIZE, generator=generator) for _ in range(2))  # type: ignore[return-value]


def test_rectification(pair: tuple[Tensor, Tensor]) -> None:
    """CMX eq. 1-6: out_1 = x_1 + 0.5 w_c2 x_2 + 0.5 w_s2 x_2, and the other way round."""
    torch.manual_seed(1)
    module = FeatureRectification(C)
    with torch.no_grad():
        got = [x.numpy() for x in module(*pair)]
    for p in range(2):
        x1, x2 = (np.moveaxis(x[p].numpy().astype(float), 0, -1) for x in pair)  # [h, w, C]
        both = np.concatenate([x1, x2], axis=-1)
        pooled = np.concatenate([both.mean(axis=(0, 1)), both.max(axis=(0, 1))])
        channel = sigmoid(linear(module.channel[2], np.maximum(linear(module.channel[0], pooled), 0)))
        spatial = sigmoid(linear(module.spatial[2], np.maximum(linear(module.spatial[0], both), 0)))
        expected_1 = x1 + 0.5 * channel[C:] * x2 + 0.5 * spatial[..., 1:] * x2
        expected_2 = x2 + 0.5 * channel[:C] * x1 + 0.5 * spatial[..., :1] * x1
        np.testing.assert_allclose(np.moveaxis(got[0][p], 0, -1), expected_1, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(np.moveaxis(got[1][p], 0, -1), expected_2, rtol=1e-4, atol=1e-5)


def test_cross_attention() -> None:
    """CMX eq. 7: G = softmax over the keys' channels of K^T V / sqrt(d); each stream reads the other's G."""
    torch.manual_seed(1)
    heads, tokens, width = 4, 6, C // 4
    module = CrossAttention(C, heads)
    one, other = torch.randn(1, tokens, C), torch.randn(1, tokens, C)
    with torch.no_grad():
        got_one, got_other = (x[0].numpy() for x in module(one, other))
    streams = [one[0].numpy().astype(float), other[0].numpy().astype(float)]
    contexts = []
    for x, layer in zip(streams, module.key_value, strict=True):
        key_value = linear(layer, x)
        per_head = []
        for h in range(heads):
            key = key_value[:, h * width : (h + 1) * width]
            value = key_value[:, C + h * width : C + (h + 1) * width]
            g = np.exp(key.T @ value / np.sqrt(width))
            per_head.append(g / g.sum(axis=0, keepdims=True))
        contexts.append(per_head)
    for got, query, context in ((got_one, streams[0], contexts[1]), (got_other, streams[1], contexts[0])):
        expected = np.concatenate([query[:, h * width : (h + 1) * width] @ context[h] for h in range(heads)], axis=1)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_fusion_has_no_memory_of_the_batch(pair: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(1)
    module = FeatureFusion(C, heads=4).train()
    with torch.no_grad():
        together = module(*pair)
        alone = module(pair[0][1:], pair[1][1:])
    assert together.shape == pair[0].shape
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-5)


class TestMeeting:
    @staticmethod
    def run(*rows: str) -> tuple[MeetTheReference, Tensor, Tensor, Tensor, Tensor]:
        torch.manual_seed(2)
        module = MeetTheReference(C, reference=1)
        availability = torch.tensor([[letter == "1" for letter in row] for row in rows])
        sample, modality = availability.nonzero(as_tuple=True)
        features = torch.randn(len(sample), C, *SIZE)
        with torch.no_grad():
            return module, features, module(features, sample, modality, availability), sample, modality

    @pytest.mark.parametrize("row", ["101", "010", "100"])
    def test_without_the_reference_or_a_partner_features_pass(self, row: str) -> None:
        _, features, got, _, _ = self.run(row)
        assert torch.equal(got, features)

    def test_every_partner_meets_the_reference(self) -> None:
        module, features, got, _, _ = self.run("111")
        with torch.no_grad():
            reference_a, first = module.rectification(features[1:2], features[0:1])
            reference_b, third = module.rectification(features[1:2], features[2:3])
            expected = [
                module.fusion(reference_a, first),
                (reference_a + reference_b) / 2,
                module.fusion(reference_b, third),
            ]
        torch.testing.assert_close(got, torch.cat(expected), rtol=1e-4, atol=1e-5)

    def test_samples_meet_only_their_own(self) -> None:
        module, features, got, sample, _ = self.run("110", "011", "101")
        for b, row in enumerate(("110", "011", "101")):
            availability = torch.tensor([[letter == "1" for letter in row]])
            rows, modality = availability.nonzero(as_tuple=True)
            with torch.no_grad():
                alone = module(features[sample == b], rows, modality, availability)
            torch.testing.assert_close(got[sample == b], alone, rtol=1e-4, atol=1e-5)


class TestLanguage:
    @staticmethod
    def inputs() -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        availability = torch.tensor([[True, False, True], [True, True, True]])
        sample, modality = availability.nonzero(as_tuple=True)
        generator = torch.Generator().manual_seed(4)
        return [torch.randn(5, w, 4, 4, generator=generator) for w in (8, 16, 64)], sample, modality, availability

    def test_weights(self) -> None:
        torch.manual_seed(3)
        routing = LanguageRouting((8, 16, 64), 32)
        text = torch.randn(6, 32)
        routing.set_text(text)
        features, sample, modality, availability = self.inputs()
        with torch.no_grad():
            weights, _ = routing(features, sample, modality, availability)
        unit = text.numpy() / np.linalg.norm(text.numpy(), axis=1, keepdims=True)
        direction = unit.mean(axis=0) / np.linalg.norm(unit.mean(axis=0))
        for level, projection in enumerate(routing.projections):
            pooled = linear(projection, features[level].mean(dim=(2, 3)).numpy())
            cosine = pooled @ direction / np.linalg.norm(pooled, axis=1) / 0.07
            for b in range(2):
                rows = [r for r in range(5) if sample[r] == b]
                guided = np.exp([cosine[r] - max(cosine) for r in rows])
                guided /= guided.sum()
                expected = np.zeros(3)
                expected[[int(modality[r]) for r in rows]] = (1 / len(rows) + 0.1 * guided) / 1.1
                np.testing.assert_allclose(weights[b, level], expected, rtol=1e-3, atol=1e-5)

    def test_another_text_width_is_refused(self) -> None:
        with pytest.raises(SartmError, match=r"expected \[classes, 32\], got \[6, 512\]. Set text_width"):
            LanguageRouting((8, 16, 64), 32).set_text(torch.randn(6, 512))

    def test_without_a_text_it_is_the_mean(self) -> None:
        features, sample, modality, availability = self.inputs()
        with torch.no_grad():
            weights, _ = LanguageRouting((8, 16, 64), 32)(features, sample, modality, availability)
        np.testing.assert_allclose(weights[0, 0], [0.5, 0, 0.5], rtol=1e-5)


def test_every_part_of_sartm_learns() -> None:
    torch.manual_seed(0)
    net = MultiModalNetwork(sartm("nano", ("rgb", "thermal"), 5, 4))
    net.routing.set_text(torch.randn(5, 512))
    net.freeze_pretrained(True)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    output = net(torch.randn(2, 2, 3, 64, 96), torch.ones(2, 2, dtype=torch.bool))
    (output.mask_logits.square().mean() + output.auxiliary_logits.square().mean()).backward()
    idle = {name for name, p in net.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())}
    assert not idle
