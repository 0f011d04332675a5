import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sartm_core.errors import SartmError
from sartm_core.model.language import from_clip, from_file

NAMES = np.array(["Car", "fire extinguisher", "person"])
TABLE = np.arange(12, dtype=np.float16).reshape(3, 4)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    np.savez(tmp_path / "text.npz", names=NAMES, embeddings=TABLE)
    return tmp_path / "text.npz"


def test_rows_are_found_by_name(table: Path) -> None:
    teacher = from_file(table, ("person", "road", "fire_extinguisher"))
    assert teacher.embeddings.dtype == torch.float32
    np.testing.assert_array_equal(teacher.embeddings, [TABLE[2], np.zeros(4), TABLE[1]])
    assert teacher.known.tolist() == [True, False, True]


def test_an_array_with_its_names_beside_it(tmp_path: Path) -> None:
    np.save(tmp_path / "text.npy", TABLE)
    (tmp_path / "text.txt").write_text("\n".join(NAMES) + "\n")
    assert from_file(tmp_path / "text.npy", ("car",)).embeddings.tolist() == [[0, 1, 2, 3]]


def test_real_clip_embeddings(shared_data: Path) -> None:
    """Rows as the data's own description names them."""
    path = shared_data / "clip_text" / "lvis_vitb32_a_name.npy"
    teacher = from_file(path, ("car", "person", "fire_extinguisher", "hand_drill"))
    raw = np.load(path).astype(np.float32)
    np.testing.assert_array_equal(teacher.embeddings[:3], raw[[206, 792, 441]])
    assert teacher.known.tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"names": NAMES[:2], "embeddings": TABLE}, r"2 names, but embeddings of shape \(3, 4\)"),
        ({"embeddings": TABLE}, "cannot be read .*names"),
        ({"names": NAMES, "embeddings": TABLE[:, 0]}, "embeddings of shape"),
    ],
)
def test_malformed_files_are_named(tmp_path: Path, content: dict, expected: str) -> None:
    np.savez(tmp_path / "bad.npz", **content)
    with pytest.raises(SartmError, match=expected):
        from_file(tmp_path / "bad.npz", ("car",))


def test_unknown_classes_and_missing_files(table: Path, tmp_path: Path) -> None:
    with pytest.raises(SartmError, match="has none of the classes moon; it has 3 other names"):
        from_file(table, ("moon",))
    with pytest.raises(SartmError, match="cannot be read"):
        from_file(tmp_path / "none.npz", ("car",))
    (tmp_path / "cut.npz").write_bytes(table.read_bytes()[:40])
    with pytest.raises(SartmError, match="cut.npz: cannot be read"):
        from_file(tmp_path / "cut.npz", ("car",))


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP text model with random weights in the layout of the real ones."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

    folder = tmp_path_factory.mktemp("clip")
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    end = len(tokens) - 1
    config = CLIPTextConfig(
        vocab_size=len(tokens), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        projection_dim=16, max_position_embeddings=32, bos_token_id=end - 1, eos_token_id=end, pad_token_id=end,
    )  # fmt: skip
    CLIPTextModelWithProjection(config).save_pretrained(folder)
    return folder


def test_clip_embeds_each_name_as_alone(clip_folder: Path) -> None:
    """Padding and company change nothing; the prompt does."""
    names = ("car", "fire_extinguisher")
    teacher = from_clip(str(clip_folder), names)
    assert teacher.embeddings.shape == (2, 16)
    alone = torch.cat([from_clip(str(clip_folder), (name,)).embeddings for name in names])
    torch.testing.assert_close(teacher.embeddings, alone, rtol=1e-4, atol=1e-5)
    prompted = from_clip(str(clip_folder), names, prompt="a {}")
    assert not torch.allclose(prompted.embeddings, teacher.embeddings, atol=1e-3)


def test_wrong_prompts_and_models(clip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SartmError, match="expected '{}' where the class name goes, got 'a photo'"):
        from_clip(str(clip_folder), ("car",), prompt="a photo")
    with pytest.raises(SartmError, match="cannot be loaded"):
        from_clip(str(tmp_path), ("car",))
