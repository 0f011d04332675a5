"""The early-fusion baseline: one encoder over stacked planes."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from sartm_core.errors import SartmError
from sartm_core.learning.export import write_onnx
from sartm_core.model.presets import build_network, preset_for_rig
from sartm_core.rig import load_rig

RIG = load_rig("simrig5")


def _network(form: str = "training") -> torch.nn.Module:
    torch.manual_seed(0)
    network = build_network(preset_for_rig("early_fusion", "nano", RIG, lora_rank=1), form).eval()
    network.set_statistics(torch.full((5, 3), 2.0), torch.full((5, 3), 3.0))
    return network


def test_an_absent_modality_counts_as_its_mean() -> None:
    network, planes = _network(), torch.randn(2, 5, 3, 64, 96)
    availability = torch.ones(2, 5, dtype=torch.bool)
    availability[1, 2] = False
    with torch.no_grad():
        answer = network(planes, availability)
        planes[1, 2] = 2.0  # the mean
        assert torch.equal(answer.logits, network(planes, torch.ones(2, 5, dtype=torch.bool)).logits)
    assert answer.routing[0, 0].tolist() == [torch.tensor(0.2).item()] * 5
    assert answer.routing[1, 0].tolist() == [0.25, 0.25, 0.0, 0.25, 0.25]


def test_every_modality_has_its_own_channels() -> None:
    """Swapped planes are another input: the encoder knows which sensor it sees."""
    network, planes = _network(), torch.randn(1, 5, 3, 64, 96)
    whole = torch.ones(1, 5, dtype=torch.bool)
    with torch.no_grad():
        assert not torch.allclose(network(planes, whole).logits, network(planes.flip(1), whole).logits, atol=1e-3)


def test_one_pass_of_the_encoder_whatever_is_there() -> None:
    network = _network()
    calls = []
    network.encoder.register_forward_hook(lambda *arguments: calls.append(arguments[1][0].shape))
    with torch.no_grad():
        network(torch.randn(1, 5, 3, 64, 96), torch.ones(1, 5, dtype=torch.bool))
    assert calls == [(1, 15, 64, 96)]


def test_the_inference_form_answers_the_same() -> None:
    network, planes = _network(), torch.randn(1, 5, 3, 64, 96)
    whole = torch.ones(1, 5, dtype=torch.bool)
    with torch.no_grad():
        before = network(planes, whole).logits
        network.merge_experts()
        loaded = _network("inference")
        loaded.load_state_dict(network.state_dict())
        torch.testing.assert_close(loaded(planes, whole).logits, before)


@pytest.mark.slow
def test_its_graphs_answer_as_it_does(tmp_path: Path) -> None:
    network, planes, modality = _network(), torch.randn(3, 3, 64, 96), torch.tensor([0, 2, 3])
    network.merge_experts()
    present = torch.tensor([[True, False, True, True, False]])
    with torch.no_grad():
        logits = network.decode(network.encode(planes, modality), modality * 0, modality, present).logits
    expected = torch.nn.functional.interpolate(logits, size=(64, 96), mode="bilinear").argmax(dim=1)[0]
    write_onnx(network, (64, 96), np.dtype("float32"), 23, "fp32", tmp_path, argmax="network")
    rows = {"modality": modality.numpy()}
    encoder = onnxruntime.InferenceSession(tmp_path / "encoder.onnx")
    (normalised,) = encoder.run(None, {"planes": planes.numpy(), **rows})
    head = onnxruntime.InferenceSession(tmp_path / "head.onnx")
    mask, _, routing = head.run(None, {"normalised": normalised, **rows})
    assert (mask == expected.numpy()).mean() > 0.999
    # TensorRT's Cast makes uint8 of float and half alone (NvInfer.h, DataType::kUINT8).
    graph = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "head.onnx")).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    (cast,) = (node for node in graph.node if node.output[0] == "mask")
    assert (cast.op_type, kinds[cast.input[0]]) == ("Cast", onnx.TensorProto.FLOAT)
    np.testing.assert_allclose(routing[0], [1 / 3, 0, 1 / 3, 1 / 3, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("preset", "changes", "expected"),
    [
        ("early_fusion", {"half_size": ["depth"]}, "half_size: early fusion has one image"),
        ("early_fusion", {"adapts_patches": True}, "adapts_patches: early fusion has a patch embedding of its own"),
        ("any_sensor", {"fusion": "early"}, "adapts_patches: early fusion has a patch embedding of its own"),
    ],
)
def test_what_it_cannot_be_joined_with_is_refused(preset: str, changes: dict, expected: str) -> None:
    with pytest.raises(SartmError, match=expected):
        preset_for_rig(preset, "nano", RIG, lora_rank=1, changes=changes)
