"""The six published data sets: a miniature of each is written as its authors lay it out, then read."""

import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from sartm_core.cli import app
from sartm_core.datasets.dataset import read_frame, seen_by
from sartm_core.datasets.layouts import open_data
from sartm_core.errors import SartmError
from sartm_core.learning.checkpoints import load_network
from sartm_core.learning.opening import open_source
from sartm_core.learning.recipe import DataSource

LESS_ONE = np.array([255, *range(254), 255], np.uint8)
FACTS = {  # modalities; frames of train, val, test in the miniature; published frames; first value that is no label
    "mfnet": ("rgb thermal", (3, 1, 2), {"train": 784, "val": 392, "test": 393}, 9),
    "pst900": ("rgb thermal depth", (9, 2, 2), {"train+val": 606, "test": 288}, 5),
    "fmb": ("rgb thermal", (9, 1, 2), {"train+val": 1220, "test": 280}, 15),
    "deliver": ("rgb depth event lidar", (2, 2, 2), {"train": 3983, "val": 2005, "test": 1897}, 26),
    "muses": ("rgb event lidar", (2, 1, 1), {"train": 1500, "val": 250, "test": 750}, 19),
    "mcubes": ("rgb polarization nir", (2, 1, 1), {"train": 302, "val": 96, "test": 102}, 20),
}
FILES = [(name, what) for name, facts in FACTS.items() for what in (*facts[0].split(), "truth")]
DELIVER_FRAMES = {  # place -> weather, split, tags faulty and fault
    "MAP_1_point2": ("cloud", "train", "none", "none"),
    "MAP_1_point2_motionblur": ("rain", "train", "rgb", "motion_blur"),
    "MAP_10_point102_lidarjitter": ("sun", "val", "lidar", "lidar_jitter"),
    "MAP_10_point102_overexposure": ("night", "val", "rgb", "over_exposure"),
    "MAP_12_point7_underexposure": ("fog", "test", "rgb", "under_exposure"),
    "MAP_12_point7_eventlowres": ("rain", "test", "event", "event_low_resolution"),
}
MUSES_FRAMES = {  # recording -> split, weather, light, kind of the projected files
    "REC0006_frame_043620": ("train", "clear", "day", ".npz"),
    "REC0006_frame_043999": ("train", "clear", "day", ".png"),
    "REC0011_frame_000001": ("val", "fog", "night", ".npy"),
    "REC0033_frame_000003": ("test", "snow", "night", ".npz"),
}


def save(path: Path, image: np.ndarray) -> np.ndarray:
    """Colours in the order red, green, blue, alpha; returns the image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".npy", ".npz"):
        (np.save if path.suffix == ".npy" else np.savez_compressed)(path, image)
    elif image.dtype == np.uint16 and image.ndim == 3:
        assert cv2.imwrite(str(path), image[..., ::-1])
    else:
        Image.fromarray(image).save(path)
    return image


def noise(name: str, *shape: int, kind: type = np.uint8) -> np.ndarray:
    return np.random.default_rng([*name.encode()]).integers(0, np.iinfo(kind).max, shape, kind, endpoint=True)


def labels(name: str, values, width: int = 8) -> np.ndarray:
    """Every value occurs."""
    return np.random.default_rng([*name.encode()]).permuted(np.resize(np.array([*values], np.uint8), (6, width)))


def mfnet(root: Path, stored: dict) -> None:
    lists = {"train": ["00001D", "00004N", "00001D_flip", "00006N"], "val": ["00093D"], "test": ["00123N", "00124D"]}
    for split, names in lists.items():
        for name in set(names) - {"00001D_flip"}:  # this one is of another repack
            key = f"images/{name}.png"
            four = save(root / key, noise(key, 6, 8, 4))
            stored[key, "rgb"], stored[key, "thermal"] = four[..., :3], four[..., 3]
            stored[key, "truth"] = save(root / f"labels/{name}.png", labels(key, range(9)))
            stored[key, "tags"] = {"condition": {"D": "day", "N": "night"}[name[5]]}
        (root / f"{split}.txt").write_text("\n".join(names) + "\n\n")


def pst900(root: Path, stored: dict) -> None:
    for folder, numbers in {"train": range(1, 12), "test": (1, 90)}.items():
        for name in (f"31_bag1a_rect_rgb_frame{number:010}.png" for number in numbers):
            key, base = f"{folder}/rgb/{name}", root / folder
            stored[key, "rgb"] = save(root / key, noise(key, 6, 8, 3))
            stored[key, "thermal"] = save(base / "thermal" / name, noise(key + "t", 6, 8))
            save(base / "thermal_raw" / name, noise(key + "raw", 6, 8, kind=np.uint16))
            stored[key, "depth"] = save(base / "depth" / name, noise(key + "d", 6, 8, kind=np.uint16))
            stored[key, "truth"] = save(base / "labels" / name, labels(key, range(5)))


def fmb(root: Path, stored: dict) -> None:
    for folder, numbers in {"train": range(10, 20), "test": (10, 90)}.items():
        for number in numbers:
            name, base = f"{number:05}.png", root / folder
            key = f"{folder}/Visible/{name}"
            stored[key, "rgb"] = save(root / key, noise(key, 6, 8, 3))
            grey = stored[key, "thermal"] = noise(key + "t", 6, 8)
            save(base / "Infrared" / name, grey if number % 2 else np.dstack([grey] * 3))
            save(base / "color" / name, noise(key + "c", 6, 8, 3))
            stored[key, "truth"] = LESS_ONE[save(base / "Label" / name, labels(key, [*range(15), 255]))]


def deliver(root: Path, stored: dict) -> None:
    for place, (weather, split, faulty, fault) in DELIVER_FRAMES.items():
        below = f"{weather}/{split}/{place}/045050"
        key = f"img/{below}_rgb_front.png"
        stored[key, "rgb"] = save(root / key, noise(key, 6, 8, 3))
        stored[key, "depth"] = save(root / f"hha/{below}_depth_front.png", noise(key + "h", 6, 8, 3))
        save(root / f"depth/{below}_depth_front.png", noise(key + "d", 6, 8, 3))
        stored[key, "lidar"] = save(root / f"lidar/{below}_lidar_front.png", noise(key + "l", 6, 8, 3))
        half = np.tile(noise(key + "e", 3), (521, 521, 1))
        half[300:, 100:] = (250, 0, 7)
        stored[key, "event"] = whole = half.repeat(2, axis=0).repeat(2, axis=1)
        save(root / f"event/{below}_event_front.png", half if faulty == "event" else whole)
        ids = labels(key, [*range(26), 255])
        save(root / f"semantic/{below}_semantic_front.png", np.dstack([ids, noise(key + "s", 6, 8, 3)]))
        stored[key, "truth"] = LESS_ONE[ids]
        stored[key, "tags"] = {"condition": weather, "faulty": faulty, "fault": fault}


def muses(root: Path, stored: dict) -> None:
    """With the sensors as the SDK projects them, beside raw files that must not be touched then."""
    for name, (split, weather, light, suffix) in MUSES_FRAMES.items():
        below = f"{split}/{weather}/{light}/{name}"
        key = f"frame_camera/{below}_frame_camera.png"
        stored[key, "rgb"] = save(root / key, noise(key, 6, 8, 3))
        counts = stored[key, "event"] = noise(key + "e", 6, 8, 3)
        counts[..., 2] = 0  # positive, negative, nothing
        points = stored[key, "lidar"] = noise(key + "l", 6, 8, 3).astype(np.float32) / 2  # range, intensity, height
        points[points[..., 0] < 40] = 0
        points[0, :2] = (50.5, 0, 0), (60, 3, -1.5)
        for sensor, image, raw in (("event_camera", counts, "h5"), ("lidar", points, "bin")):
            if suffix == ".png":  # the SDK calls cv2.imwrite, which takes the first channel for blue
                image = (counts if sensor == "event_camera" else ((points + 100) * 150).astype(np.uint16))[..., ::-1]
            save(root / f"projected_to_rgb/{sensor}/{below}_{sensor}{suffix}", image)
            (root / f"{sensor}/{below}").parent.mkdir(parents=True, exist_ok=True)
            (root / f"{sensor}/{below}_{sensor}.{raw}").write_bytes(b"never read")
        if split != "test":
            file = root / f"gt_semantic/{below}_gt_labelTrainIds.png"
            stored[key, "truth"] = save(file, labels(key, [*range(19), 255]))
        stored[key, "tags"] = {"condition": f"{weather} {light}", "weather": weather, "light": light}


def mcubes(root: Path, stored: dict) -> None:
    places = {"train": ["1208_2_0000000150", "1208_2_0000000180"], "val": ["0401_1_0000000030"], "test": ["42_3_07"]}
    for split, names in places.items():
        for name in (f"outscene{place}" for place in names):
            key = f"polL_color/{name}.png"
            kind, scale = (np.uint8, 1) if name.endswith("180") else (np.uint16, 255 / 65535)
            colour = save(root / key, noise(key, 6, 200, 3, kind=kind))
            stored[key, "rgb"] = np.round(colour[:, 192:] * scale).astype(np.uint8)
            nir = save(root / f"NIR_warped/{name}.png", noise(key + "n", 6, 200, kind=kind))
            stored[key, "nir"] = np.round(nir[:, 192:] * scale).astype(np.uint8)
            save(root / f"NIR_warped_mask/{name}.png", noise(key + "m", 6, 200))
            folders = ("polL_aolp_sin", "polL_aolp_cos", "polL_dolp")
            planes = [save(root / f"{each}/{name}.npy", noise(key + each, 6, 200) / 128 - 1) for each in folders]
            stored[key, "polarization"] = np.stack(planes, axis=-1)[:, 192:].astype(np.float32)
            stored[key, "truth"] = save(root / f"GT/{name}.png", labels(key, [*range(20), 255], 200))[:, 192:]
        (root / "list_folder").mkdir(exist_ok=True)
        (root / f"list_folder/{split}.txt").write_text("".join(f"outscene{place} front\n" for place in names))


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, tuple[Path, dict]]:
    """Name -> root; (colour file below it; modality, truth or tags) -> what the reader must give."""
    # Folders whose names are also parts of paths, splits, weathers and modalities.
    above = tmp_path_factory.mktemp("miniatures") / "img" / "train_rain_sun_img"
    result = {name: (above / name, {}) for name in FACTS}
    for build in (mfnet, pst900, fmb, deliver, muses, mcubes):
        build(*result[build.__name__])
    return result


@pytest.fixture
def copied(written, tmp_path):
    """Copies a miniature, so that it may be harmed."""
    return lambda name: Path(shutil.copytree(written[name][0], tmp_path / name))


@pytest.mark.parametrize("name", FACTS)
def test_frames_and_splits(written, name) -> None:
    data, (modalities, counts, published, _) = open_data(written[name][0]), FACTS[name]
    assert (data.name, data.rig.name, data.expected) == (name, name, published)
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        frames = data.frames(split)
        assert len(frames) == len({frame.id for frame in frames}) == count
        assert {(frame.split, *frame.modalities) for frame in frames} == {(split, *modalities.split())}
    assert len(data.frames()) == sum(counts)
    with pytest.raises(SartmError, match="night"):
        data.frames("night")


@pytest.mark.parametrize("name", FACTS)
def test_every_pixel_and_tag_comes_back(written, name) -> None:
    root, stored = written[name]
    data = open_data(root)
    assert {data.path(frame, "rgb").relative_to(root).as_posix() for frame in data.frames()} == {k for k, _ in stored}
    for frame in data.frames():
        key = data.path(frame, "rgb").relative_to(root).as_posix()
        assert frame.tags == stored.get((key, "tags"), {})
        for what in (*FACTS[name][0].split(), "truth"):
            if (key, what) not in stored:  # hidden labels
                with pytest.raises(SartmError, match=r"snow/night/REC0033_frame_000003_gt_labelTrainIds\.png"):
                    data.truth(frame)
                continue
            read, expected = data.truth(frame) if what == "truth" else data.image(frame, what), stored[key, what]
            assert (read.dtype, read.shape) == (expected.dtype, expected.shape)
            np.testing.assert_allclose(read, expected, atol=1e-4 * (read.dtype == np.float32), err_msg=f"{key} {what}")


@pytest.mark.parametrize(("name", "what"), FILES)
@pytest.mark.parametrize("harm", ["missing", "cut", "no file of its kind"])
def test_a_bad_file_is_named(copied, name, what, harm) -> None:
    root = copied(name)
    data = open_data(root)
    frame = data.frames("train")[0]
    path = data.path(frame, what)
    if what == "polarization" and harm == "missing":  # the last of its three
        path = root / "polL_dolp" / path.name
    kept = path.read_bytes()[: path.stat().st_size // 2] if harm == "cut" else b"<html>Too many downloads</html>"
    path.write_bytes(kept)
    if harm == "missing":
        path.unlink()
    elif (name, what, harm) == ("mfnet", "thermal", "no file of its kind"):  # the fourth channel is wanting
        save(path, noise("three", 6, 8, 3))
    with pytest.raises(SartmError) as caught:
        _ = data.truth(frame) if what == "truth" else data.image(frame, what)
    # Without a projected file it is the raw one that cannot be read.
    assert str(path.relative_to(root).with_suffix("")).removeprefix("projected_to_rgb/") in str(caught.value)


@pytest.mark.parametrize("name", FACTS)
def test_the_commands(copied, written, name, tmp_path) -> None:
    data, stored, out = open_data(copied(name)), written[name][1], tmp_path / "sheet.png"
    train = [data.path(frame, "rgb") for frame in data.frames("train")]
    checked, measured, drawn = (
        CliRunner().invoke(app, ["data", *command, str(data.root)])
        for command in (["check", "--json"], ["stats", "--json"], ["preview", "--count", "1", "--out", str(out)])
    )
    assert [checked.exit_code, measured.exit_code, drawn.exit_code] == [0, 0, 0], checked.output + measured.output
    found, planes = json.loads(checked.stdout), json.loads(measured.stdout)["modalities"]["rgb"]
    assert (found["faults"], [*found["counts"].values()]) == ([], [*FACTS[name][1]])
    images = np.stack([stored[path.relative_to(data.root).as_posix(), "rgb"] for path in train])
    np.testing.assert_allclose([planes["mean"], planes["std"]], [images.mean((0, 1, 2)), images.std((0, 1, 2))], 1e-4)
    assert out.read_bytes()[:4] == b"\x89PNG"
    train[0].write_bytes(b"no picture")
    faulty = CliRunner().invoke(app, ["data", "check", str(data.root)])
    assert faulty.exit_code == 1
    assert f"{train[0]}: is not a readable image" in faulty.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", FACTS)
def test_one_epoch_and_every_protocol(written, name, tmp_path) -> None:
    recipe = f"""
    name: mini
    preset: any_sensor
    backbone: nano
    train_backbone: true
    lora_rank: 2
    data: {{root: {written[name][0]}}}
    robustness: {{passes: two}}
    stages: [{{size: [32, 64], epochs: 1, batch: 2, learning_rate: 0.001}}]
    workers: 0"""
    (tmp_path / "mini.yaml").write_text(recipe)
    command = ["train", str(tmp_path / "mini.yaml"), "--out", str(tmp_path / "run"), "--accelerator", "cpu"]
    assert (result := CliRunner().invoke(app, command)).exit_code == 0, result.output
    out, split = tmp_path / "scores", "val" if name == "muses" else "test"
    command = ["evaluate", str(tmp_path / "run" / "last.ckpt"), "--data", str(written[name][0]), "--split", split]
    assert (result := CliRunner().invoke(app, [*command, "--protocol", "all", "--out", str(out)])).exit_code == 0
    figures = json.loads((out / "metrics.json").read_text())
    names = FACTS[name][0].split()
    assert figures["modalities"] == names
    assert figures["drop_mean"]["subsets"] == figures["zero_mean"]["subsets"] == 2 ** len(names) - 1
    assert len(figures["noise"]) == 2 * len(names)
    tagged = {"mfnet": 2, "deliver": 2, "muses": 1}.get(name, 0)
    assert len(figures["conditions"]) == tagged


SMALL = [
    "backbone=nano", "initial_weights=null", "branch_weights=null", "precision=32-true", "workers=0", "accumulate=1",
    "stages=[{size: [32, 64], epochs: 1, batch: 2, learning_rate: 0.001}]", "statistics_frames=2",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("name", "split"), [("deliver", "test"), ("fmb", "test"), ("muses", "val")])
def test_mm_sam_adapters_recipes(written, name, split, tmp_path) -> None:
    """As they are, but for the size of images and network: data, augmentation, losses, normalisation, fit."""
    recipe = Path(__file__).parents[3] / f"training/recipes/mm_sam_adapter_{name}.yaml"
    changes = [*SMALL, *(["stride=[32, 64]"] if name == "muses" else [])]
    command = ["train", str(recipe), "--data", str(written[name][0]), "--out", str(tmp_path), "--accelerator", "cpu"]
    command += [part for change in changes for part in ("--set", change)]
    assert (result := CliRunner().invoke(app, command)).exit_code == 0, result.output
    best, root = str(tmp_path / "best.ckpt"), str(written[name][0])
    _, rig, trained = load_network(Path(best))
    assert trained.preset == "mm_sam_adapter_released"
    assert [getattr(modality, "enlarge", 1) for modality in rig.modalities] == [1, 2 if name == "muses" else 1]
    command = ["evaluate", best, "--data", root, "--split", split, "--limit", "1"]
    assert (result := CliRunner().invoke(app, command)).exit_code == 0, result.output


@pytest.mark.parametrize("name", FACTS)
def test_a_label_beyond_the_classes_is_named(copied, name) -> None:
    data, value = open_data(copied(name)), FACTS[name][3]
    frame = data.frames("train")[0]
    path = data.path(frame, "truth")
    image = np.array(Image.open(path))
    image[3, -1] = value
    save(path, image)
    with pytest.raises(SartmError, match=f"{path}.* label {value} "):
        data.truth(frame)


def test_an_unknown_folder(tmp_path) -> None:
    with pytest.raises(SartmError) as caught:
        open_data(tmp_path)
    assert all(text in str(caught.value) for text in (str(tmp_path), *FACTS))


@pytest.mark.parametrize(("name", "held_out"), [("pst900", ["000004", "000011"]), ("fmb", ["00015"])])
def test_the_validation_set_is_fixed(copied, name, held_out) -> None:
    """What these ids fell into stays so: a checkpoint must not meet in validation what it was trained on."""
    data = open_data(copied(name))
    train, val = (data.frames(split) for split in ("train", "val"))
    assert [frame.id[-len(held_out[0]) :] for frame in val] == held_out
    assert not {frame.id for frame in train} & {frame.id for frame in val}
    for frame in train[:5]:
        for path in [data.path(frame, what) for what in (*frame.modalities, "truth")]:
            path.rename(path.with_name(f"new_{path.name}"))
    assert [frame.id for frame in data.frames("val") if "new" not in frame.id] == [frame.id for frame in val]
    assert [frame.id for frame in data.frames("train") if "new" not in frame.id] == [frame.id for frame in train[5:]]


def test_mfnet_as_repacked_for_rgbx(copied) -> None:
    root = copied("mfnet")
    shutil.rmtree(root / "images")
    save(root / "rgb/00001D.jpg", np.full((16, 16, 3), (200, 60, 20), np.uint8))
    save(root / "ther/00001D.jpg", np.full((16, 16), 90, np.uint8))
    data = open_data(root)
    frame = next(frame for frame in data.frames("train") if frame.id == "00001D")
    np.testing.assert_allclose(data.image(frame, "rgb"), np.full((16, 16, 3), (200, 60, 20)), atol=3)
    np.testing.assert_allclose(data.image(frame, "thermal"), np.full((16, 16), 90), atol=3)
    (root / "ther/00001D.jpg").unlink()
    with pytest.raises(SartmError, match="ther/00001D"):
        data.image(frame, "thermal")


def test_data_are_read_as_the_model_sees_them(written) -> None:
    data = open_data(written["muses"][0])
    frame = data.frames("train")[0]
    model = data.rig.only(("rgb", "lidar")).enlarged({"rgb": 2, "lidar": 2})
    plain, seen = read_frame(data, frame).planes, read_frame(seen_by(data, model), frame).planes
    assert [name for name in plain if not np.array_equal(plain[name], seen[name])] == ["lidar"]
    assert (seen["lidar"][0] > 0).sum() > (plain["lidar"][0] > 0).sum()
    assert seen_by(data, data.rig) is data
    with pytest.raises(SartmError, match=r"data\.enlarge: 2 is for LiDARs and event cameras; rgb, thermal have none"):
        open_source(DataSource(root=str(written["fmb"][0]), enlarge=2), "train")


@pytest.fixture
def raw_muses(copied):
    root = copied("muses")
    shutil.rmtree(root / "projected_to_rgb")
    rgb, event = [[1000, 0, 960], [0, 1000, 540], [0, 0, 1]], [[500, 0, 320], [0, 500, 240], [0, 0, 1]]
    lidar2rgb = [[0, -1, 0, 0.5], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    event2rgb = [[0, -1, 0, 0.1], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    calibration = {"extrinsics": {"lidar2rgb": lidar2rgb, "event2rgb": event2rgb}}
    calibration["intrinsics"] = {"rgb": {"K": rgb}, "event": {"K": event}}
    (root / "calib.json").write_text(json.dumps(calibration))
    frame = open_data(root).frames("train")[0]
    return root, "train/clear/day/REC0006_frame_043620", lambda modality: open_data(root).image(frame, modality)


def test_muses_raw_lidar(raw_muses) -> None:
    """In the camera the nearest point is (-0.494, -0.5035, 10): column 960 - 49.4, row 540 - 50.35."""
    root, stem, read = raw_muses
    near, far = (10, 0.994, 0.5035, 42, 7, 1e9), (20, 1.488, 1.007, 9, 7, 1e9)  # in one pixel
    too_near, behind, outside = (0.9, 0, 0, 1, 0, 0), (-10, 0.994, 0.5035, 1, 0, 0), (10, 40, 0, 1, 0, 0)
    np.array([near, far, too_near, behind, outside], np.float64).tofile(root / f"lidar/{stem}_lidar.bin")
    image = read("lidar")
    assert (image.shape, image.dtype) == ((1080, 1920, 3), np.float32)
    assert np.argwhere(image.any(axis=-1)).tolist() == [[489, 910]]
    np.testing.assert_allclose(image[489, 910], [np.sqrt(100 + 0.994**2 + 0.5035**2), 42, 0.5035], rtol=1e-6)


@pytest.mark.parametrize("harm", [b"{", b"[]", b"{}", b'{"intrinsics": {"rgb": {"K": "none"}}}', 0, 9, 40, 100])
def test_muses_raw_lidar_faults(raw_muses, harm) -> None:
    """A calibration that is none, or a file cut to some bytes."""
    root, stem, read = raw_muses
    file = "calib.json" if isinstance(harm, bytes) else f"lidar/{stem}_lidar.bin"
    np.ones((4, 6)).tofile(root / f"lidar/{stem}_lidar.bin")
    (root / file).write_bytes(bytes(harm))
    with pytest.raises(SartmError, match=file):
        read("lidar")


def test_muses_raw_events(raw_muses, monkeypatch) -> None:
    """Pixel (330, 235) looks along (0.02, -0.01, 1), turned by event2rgb (0.01, 0.02, 1): column 970, row 560."""
    root, stem, read = raw_muses
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "h5py", None)
        with pytest.raises(SartmError, match=f"{stem}_event_camera.h5.*pip install h5py hdf5plugin"):
            read("event")
    h5py = pytest.importorskip("h5py", reason="raw events need h5py")
    plugin = pytest.importorskip("hdf5plugin", reason="raw events are packed with a filter of hdf5plugin")
    with pytest.raises(SartmError, match=f"{stem}_event_camera.h5"):  # the miniature's is none
        read("event")
    x, y, t = [330] * 5 + [0], [235] * 5 + [479], [969_999, 970_000, 980_000, 990_000, 1_000_000, 1_000_000]
    with h5py.File(root / f"event_camera/{stem}_event_camera.h5", "w") as file:
        for column, values in {"x": x, "y": y, "t": t, "p": [1, 1, 0, 1, 1, 0]}.items():
            file.create_dataset(f"events/{column}", data=np.array(values), **plugin.Blosc())
    image = read("event")
    assert image[560, 970, :2].tolist() == [3, 1]  # brighter, darker; one is too old
    assert (image.shape[:2], image.sum()) == ((1080, 1920), 4)  # that of the corner falls beside the image
