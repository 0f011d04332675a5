"""SARTM as released: its answer beside sam2's own classes, its file, and what it trains."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from released_sartm import ReleasedSartm
from torch import Tensor, nn

from sartm_core.errors import SartmError
from sartm_core.learning.export import write_onnx
from sartm_core.model.presets import build_network, preset_for_rig, sartm_released
from sartm_core.model.sam2_weights import load_sam2
from sartm_core.model.sartm_released import SartmReleased
from sartm_core.model.sartm_weights import load_released, read_released
from sartm_core.rig import load_rig

SIZE = (64, 96)
NAMES = ("rgb", "thermal")
MEAN = torch.tensor([[123.675, 116.28, 103.53], [0.0, 0.0, 0.0]])
STD = torch.tensor([[58.395, 57.12, 57.375], [255.0, 255.0, 255.0]])


def network(form: str = "training", rank: int = 2) -> SartmReleased:
    torch.manual_seed(0)
    result = build_network(sartm_released("nano", NAMES, 5, rank), form).eval()
    assert isinstance(result, SartmReleased)
    result.set_statistics(MEAN, STD)
    return result


def planes(samples: int = 1) -> Tensor:
    return torch.randint(0, 256, (samples, 2, 3, *SIZE), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def normalised(x: Tensor) -> Tensor:
    """[M, 3, H, W], as their loader gives them."""
    return (x.float() - MEAN[:, :, None, None]) / STD[:, :, None, None]


@pytest.fixture(scope="module")
def published() -> ReleasedSartm:
    return ReleasedSartm(SIZE)


@pytest.fixture
def loaded(published: ReleasedSartm, tmp_path: Path) -> SartmReleased:
    result = network()
    load_released(result, read_released(published.save(tmp_path / "published.pth")))
    return result


def enlarged(logits: Tensor) -> Tensor:
    return F.interpolate(logits, size=SIZE, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("rows", [[0, 1], [0], [1]])
def test_it_answers_as_their_definition(published: ReleasedSartm, loaded: SartmReleased, rows: list[int]) -> None:
    """Of one modality alone their code has no case; the mean over those that are there is its own answer."""
    x = planes()
    present = torch.tensor([[index in rows for index in range(2)]])
    with torch.no_grad():
        output = loaded(x, present)
        loaded.merge_experts()
        merged = loaded(x, present)
    expected = published(normalised(x[0])[rows])
    assert expected.std() > 0.05
    for got in (output, merged):
        torch.testing.assert_close(enlarged(got.logits)[0], expected, rtol=0, atol=1e-5)
        assert got.routing[0, 0].tolist() == [(index in rows) / len(rows) for index in range(2)]


def test_where_an_image_shows_nothing_the_other_one_decides(published: ReleasedSartm, tmp_path: Path) -> None:
    """SAM2's object score hides all masks of an image, which its training code never meant for classes."""
    x, whole = planes(), torch.ones(1, 2, dtype=torch.bool)
    images = normalised(x[0])
    score, ours = published.decoded(images)[1], network()
    hidden, shift = int(score.argmin()), float(score.mean())
    published.raise_scores(-shift)  # one is above 0, one below
    load_released(ours, read_released(published.save(tmp_path / "hidden.pth")))
    expected, alone = published(images), published(images[[1 - hidden]])
    published.raise_scores(shift)
    with torch.no_grad():
        got = ours(x, whole).logits
        nothing = ours(x, torch.tensor([[hidden == 0, hidden == 1]])).logits
    torch.testing.assert_close(enlarged(got)[0], alone / 2, rtol=0, atol=1e-5)
    # Theirs lies 512 lower, where float32 has steps of 6e-5.
    torch.testing.assert_close(enlarged(got)[0].softmax(dim=0), expected.softmax(dim=0), rtol=0, atol=1e-4)
    assert not nothing.any()


def test_the_inference_form_holds_only_what_decides(loaded: SartmReleased) -> None:
    x, whole = planes(2), torch.ones(2, 2, dtype=torch.bool)
    bundle = network("inference")
    with torch.no_grad():
        before = loaded(x, whole).logits
        loaded.merge_experts()
        bundle.load_state_dict(loaded.state_dict())
        torch.testing.assert_close(bundle(x, whole).logits, before, rtol=0, atol=1e-5)
    assert not [name for name in bundle.state_dict() if name.startswith("branch.")]


@pytest.mark.slow
def test_its_graphs_answer_as_it_does(loaded: SartmReleased, tmp_path: Path) -> None:
    loaded.merge_experts()
    x = planes()[0]
    answers = {}
    with torch.no_grad():
        for rows in ([0, 1], [1]):
            present = torch.tensor([[index in rows for index in range(2)]])
            answers[tuple(rows)] = loaded(x[None], present).logits[0].numpy()
    write_onnx(loaded, SIZE, np.dtype("uint8"), 23, "fp32", tmp_path)
    encoder, head = (onnxruntime.InferenceSession(tmp_path / f"{name}.onnx") for name in ("encoder", "head"))
    for rows, expected in answers.items():
        modality = {"modality": np.array(rows)}
        levels = encoder.run(None, {"planes": x[list(rows)].numpy(), **modality})
        scores, routing = head.run(None, dict(zip(("ffp", "ifp", "sfm"), levels, strict=True)) | modality)
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4)
        assert routing[0].tolist() == [(index in rows) / len(rows) for index in range(2)]


class TestTraining:
    def output(self, net: SartmReleased, x: Tensor):
        net.train()
        return net(x, torch.ones(len(x), 2, dtype=torch.bool))

    def test_what_is_frozen_is_what_they_freeze(self) -> None:
        """The encoder without its updates, the object score and the prompt encoder; the transformer learns."""
        net = network()
        net.freeze_pretrained(True)
        learning = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
        frozen = {name for name, _ in net.named_parameters()} - learning
        assert all("lora_" in name for name in learning if name.startswith("encoder."))
        assert {name.split(".")[1] for name in frozen if name.startswith("decoder.")} == {
            "object_score", "no_point", "dense_embedding",
        }  # fmt: skip
        assert {
            "conv_s0.weight",
            "decoder.transformer.layers.0.norm1.weight",
            "decoder.class_tokens.weight",
        } <= learning

    def test_the_other_losses_see_the_first_modality_alone(self) -> None:
        net, x = network(), planes(2)
        changed = x.clone()
        changed[:, 1] = 255 - changed[:, 1]
        fused, again = self.output(net, x).fused, self.output(net, changed).fused
        assert all(torch.equal(before, after) for before, after in zip(fused, again, strict=True))
        assert [tuple(level.shape[1:]) for level in fused] == [(8, 16, 24), (16, 8, 12), (64, 4, 6)]
        changed[:, 0] = 255 - changed[:, 0]
        assert not torch.equal(self.output(net, changed).fused[2], fused[2])

    def test_their_second_head_is_new_in_every_call(self) -> None:
        net, x = network(), planes(2)
        torch.manual_seed(5)
        first, second = (self.output(net, x).auxiliary_logits for _ in range(2))
        assert first is not None
        assert second is not None
        assert not torch.allclose(first, second)
        torch.manual_seed(5)
        assert torch.equal(self.output(net, x).auxiliary_logits, first)  # and yet a run repeats itself
        net.eval()
        assert net(x, torch.ones(2, 2, dtype=torch.bool)).auxiliary_logits is None

    def test_updates_are_as_wide_as_in_their_code(self) -> None:
        """In the three blocks that change stage half of q and of v never moves."""
        net, x = network(), planes(2)
        net.freeze_pretrained(True)
        for name, parameter in net.named_parameters():
            if "lora_A" in name:
                nn.init.normal_(parameter, std=0.1)
        optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            output = self.output(net, x)
            (output.logits.square().mean() + output.auxiliary_logits.square().mean()).backward()
            optimizer.step()
        changing = 0
        for block in net.encoder.trunk.blocks:
            q, v = (part.lora_B["shared"].weight for part in (block.attn.qkv.q, block.attn.qkv.v))
            assert q[: block.dim].any(dim=1).all()
            assert v[-block.dim :].any(dim=1).all()
            changing += block.dim_out > block.dim
            assert not q[block.dim :].any()
            assert not v[: block.dim_out - block.dim].any()
        assert changing == 3

    def test_sam2s_weights_are_its_start(self, tmp_path: Path) -> None:
        """Their own code adds no embedding for "no memory" to the features; sam2 does."""
        model = ReleasedSartm(SIZE, classes=3)  # as many masks as SAM2 has
        official = {
            name.removeprefix("sam.").replace(".qkv.qkv.", ".qkv."): tensor
            for name, tensor in model.state_dict().items()
            if name.startswith("sam.") and "linear_" not in name
        }
        torch.save({"model": official}, tmp_path / "sam2.pt")
        net = network()
        report = load_sam2(net, tmp_path / "sam2.pt")
        assert report.unexpected == ()
        decoder, sam = net.decoder, model.sam
        assert torch.equal(decoder.dense_embedding, sam.sam_prompt_encoder.no_mask_embed.weight[0])
        assert torch.equal(decoder.no_point.weight, sam.sam_prompt_encoder.not_a_point_embed.weight)
        assert torch.equal(decoder.iou_token.weight, sam.sam_mask_decoder.iou_token.weight)
        token = torch.randn(2, 64)
        assert torch.equal(decoder.object_score(token), sam.sam_mask_decoder.pred_obj_score_head(token))


class TestFiles:
    def refused(self, content: object, path: Path) -> str:
        torch.save(content, path)
        with pytest.raises(SartmError) as error:
            load_released(network(), read_released(path))
        assert str(path) in str(error.value)
        assert "Give the .pth file that SARTM's authors publish" in str(error.value)
        return str(error.value)

    def test_every_tensor_is_accounted_for(self, published: ReleasedSartm, tmp_path: Path) -> None:
        released = read_released(published.save(tmp_path / "published.pth"))
        assert (released.backbone, released.classes, released.lora_rank) == ("nano", 5, 2)
        assert sum(load_released(network(), released)) == len(published.state_dict())

    @pytest.mark.parametrize(
        "name",
        [
            "sam.image_encoder.trunk.blocks.1.attn.qkv.linear_b_v3.weight",
            "sam.image_encoder.neck.convs.0.conv.bias",
            "sam.sam_mask_decoder.output_hypernetworks_mlps.5.layers.2.bias",
            "sam.sam_prompt_encoder.not_a_point_embed.weight",
            "sam.sam_mask_decoder.mask_tokens.weight",
        ],
    )
    def test_a_missing_tensor_is_named(self, published: ReleasedSartm, tmp_path: Path, name: str) -> None:
        state = dict(published.state_dict())
        del state[name]
        assert f"has no tensor {name}" in self.refused(state, tmp_path / "short.pth")

    def test_an_unknown_tensor_is_named(self, published: ReleasedSartm, tmp_path: Path) -> None:
        more = {**published.state_dict(), "sam.image_encoder.trunk.blocks.0.attn.qkv.linear_a_q4.weight": torch.ones(2)}
        assert "unknown tensors, the first is sam.image_encoder.trunk.blocks.0.attn.qkv.linear_a_q4" in self.refused(
            more, tmp_path / "more.pth"
        )

    def test_a_tensor_of_another_shape_is_named(self, published: ReleasedSartm, tmp_path: Path) -> None:
        other = {**published.state_dict(), "sam.sam_mask_decoder.conv_s0.weight": torch.ones(3, 64, 1, 1)}
        assert "for conv_s0.weight expected shape (8, 64, 1, 1), got (3, 64, 1, 1)" in self.refused(
            other, tmp_path / "other.pth"
        )

    def test_other_files_are_refused(self, published: ReleasedSartm, tmp_path: Path) -> None:
        saved = {"model_state_dict": published.state_dict(), "epoch": 3}  # their *_checkpoint.pth
        assert "expected a dictionary of tensors" in self.refused(saved, tmp_path / "run_checkpoint.pth")
        sam2 = {"sam.sam_mask_decoder.mask_tokens.weight": torch.ones(4, 64)}
        assert "is not SARTM's" in self.refused(sam2, tmp_path / "sam2.pth")
        state = published.state_dict() | {
            "sam.image_encoder.trunk.patch_embed.proj.weight": torch.ones(40, 3, 7, 7),
        }
        assert "got unknown (40 wide, 7 blocks)" in self.refused(state, tmp_path / "wide.pth")
        (tmp_path / "text.pth").write_text("not found")
        with pytest.raises(SartmError, match="text.pth: is not a checkpoint"):
            read_released(tmp_path / "text.pth")
        with pytest.raises(SartmError, match="no such file"):
            read_released(tmp_path / "none.pth")


@pytest.mark.parametrize("changes", [{"rectification": True}, {"hypernetworks": "shared"}, {"auxiliary": "fpn"}])
def test_what_it_cannot_be_joined_with_is_refused(changes: dict) -> None:
    with pytest.raises(SartmError, match="network.fusion: logits is SAM2's own decoder on each modality"):
        preset_for_rig("sartm_released", "nano", load_rig("rgbt"), lora_rank=1, changes=changes)
