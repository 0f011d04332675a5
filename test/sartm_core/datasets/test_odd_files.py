"""Data sets as disks, archives and other tools leave them: cut, doubled, hidden, renamed, in colours."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from sartm_core.cli import app
from sartm_core.datasets.files import read_image
from sartm_core.datasets.frame_folder import FrameFolder
from sartm_core.datasets.layouts import open_data
from sartm_core.errors import SartmError
from sartm_core.rig import load_rig

NAMES = [f"31_bag1a_rect_rgb_frame{number:010}" for number in range(12)]
PLACES = {"rgb": "rgb", "thermal": "thermal", "depth": "depth", "truth": "labels"}


def image(key: str, *shape: int, most: int = 255) -> np.ndarray:
    return np.random.default_rng([*key.encode()]).integers(0, most, shape, np.uint8, endpoint=True)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def pst900(tmp_path: Path) -> Path:
    root = tmp_path / "pst900"
    for folder in ("train", "test"):
        for name in NAMES:
            save(root / folder / "rgb" / f"{name}.png", image(name, 6, 8, 3))
            save(root / folder / "thermal" / f"{name}.png", image(name + "t", 6, 8))
            save(root / folder / "depth" / f"{name}.png", image(name + "d", 6, 8).astype(np.uint16) * 100)
            save(root / folder / "labels" / f"{name}.png", image(name + "l", 6, 8, most=4))
    return root


@pytest.fixture
def mfnet(tmp_path: Path) -> Path:
    root = tmp_path / "mfnet"
    for name in ("17000.00001D", "17000.00002N", "17001.00001D"):
        save(root / "images" / f"{name}.png", image(name, 6, 8, 4))
        save(root / "labels" / f"{name}.png", image(name, 6, 8, most=8))
    for split, name in {"train": "17000.00001D", "val": "17000.00002N", "test": "17001.00001D"}.items():
        (root / f"{split}.txt").write_text(f"{name}\n")
    return root


def check(root: Path) -> list[str]:
    result = CliRunner().invoke(app, ["data", "check", str(root), "--json"])
    return json.loads(result.stdout)["faults"]


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_jpeg_that_is_cut_is_no_image(tmp_path: Path, options: dict, share: float) -> None:
    """Decoders fill what is missing with grey: at 30 % of the bytes, 71 % of the pixels."""
    smooth = np.kron(image("smooth", 12, 16, 3), np.ones((10, 10, 1), np.uint8))
    noisy = np.clip(smooth + np.random.default_rng(0).normal(0, 10, smooth.shape), 0, 255).astype(np.uint8)
    thumbnail, whole = io.BytesIO(), tmp_path / "whole.jpg"
    Image.fromarray(noisy[::8, ::8]).save(thumbnail, "jpeg")
    exif = b"Exif\0\0" + thumbnail.getvalue()  # it has an end marker of its own
    Image.fromarray(noisy).save(whole, quality=90, exif=exif, **options)
    assert read_image(whole).shape == noisy.shape
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    with pytest.raises(SartmError, match=r"cut.jpg: is not a readable image. Download or write it again"):
        read_image(cut)
    cut.write_bytes(whole.read_bytes() + b"what a camera appends")
    np.testing.assert_array_equal(read_image(cut), read_image(whole))


@pytest.mark.parametrize("what", PLACES)
def test_a_missing_file_is_a_fault_whichever_it_is(pst900: Path, what: str) -> None:
    gone = pst900 / "test" / PLACES[what] / f"{NAMES[3]}.png"
    gone.unlink()
    data = open_data(pst900)
    assert len(data.frames("test")) == len(NAMES)
    assert [fault.startswith(f"{gone}: is missing") for fault in check(pst900)] == [True]


def test_a_missing_image_of_mfnet_is_a_fault(mfnet: Path) -> None:
    gone = mfnet / "images" / "17001.00001D.png"
    gone.unlink()
    assert [frame.id for frame in open_data(mfnet).frames("test")] == ["17001.00001D"]
    assert any(fault.startswith(f"{gone}: is missing") for fault in check(mfnet))


def test_suffixes_in_capitals_are_read(pst900: Path) -> None:
    data = open_data(pst900)
    before = [data.image(frame, "rgb") for frame in data.frames("test")]
    for folder in ("rgb", "labels"):
        for name in NAMES[::2]:
            (pst900 / "test" / folder / f"{name}.png").rename(pst900 / "test" / folder / f"{name}.PNG")
    after = [data.image(frame, "rgb") for frame in data.frames("test")]
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
    assert check(pst900) == []


def test_hidden_companions_are_no_frames(pst900: Path, mfnet: Path) -> None:
    for root in (pst900, mfnet):
        for path in [*root.rglob("*.png")]:
            path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7Mac OS X")
    assert len(open_data(pst900).frames("test")) == len(NAMES)
    assert check(pst900) == check(mfnet) == []


@pytest.mark.parametrize("line", ["{}", "{}.png", "images/{}.png", "images\\{}.PNG", "{}\n{}", "\ufeff{}"])
def test_an_id_may_have_dots_and_a_list_may_be_of_any_editor(mfnet: Path, line: str) -> None:
    (mfnet / "test.txt").write_text(line.format(*["17001.00001D"] * 2) + "\n")
    (frame,) = open_data(mfnet).frames("test")
    assert frame.id == "17001.00001D"
    assert open_data(mfnet).truth(frame).shape == (6, 8)


def test_a_frame_that_a_manifest_lists_twice_is_refused(small_recording: Path, tmp_path: Path) -> None:
    for name in ("manifest.json", "rig.yaml"):
        shutil.copy(small_recording / name, tmp_path)
    content = json.loads((tmp_path / "manifest.json").read_text())
    content["frames"].append(content["frames"][0])
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(SartmError, match=r"manifest.json: lists frame .* twice"):
        FrameFolder(tmp_path)


@pytest.mark.parametrize("stored", ["colours", "palette"])
def test_labels_in_colours_are_refused_not_read_as_their_red(pst900: Path, stored: str) -> None:
    rig = load_rig("pst900")
    colours = np.array([spec.color for spec in rig.classes], np.uint8)
    path = pst900 / "test" / "labels" / f"{NAMES[0]}.png"
    ids = np.asarray(Image.open(path))
    picture = Image.fromarray(colours[ids])
    if stored == "palette":
        picture = Image.fromarray(ids, mode="P")
        picture.putpalette(np.resize(colours, (256, 3)).tobytes())
    picture.save(path)
    assert [fault.startswith(f"{path}: expected class ids") for fault in check(pst900)] == [True]
    Image.fromarray(np.dstack([ids] * 3)).save(path)  # grey, in three channels
    assert check(pst900) == []
