"""First labels by a model of `transformers` that knows RGB."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from transformers import (
    AutoImageProcessor,
    DPTImageProcessor,
    MobileViTImageProcessor,
    SegformerConfig,
    SegformerForImageClassification,
    SegformerForSemanticSegmentation,
    SegformerImageProcessor,
)
from typer.testing import CliRunner

from sartm_core.cli import app
from sartm_core.datasets.check import check_data
from sartm_core.datasets.dataset import TRUTH, Frame
from sartm_core.datasets.files import is_labelled
from sartm_core.datasets.frame_folder import FrameFolder, FrameFolderWriter, write_frame
from sartm_core.datasets.image_quality import why_poor
from sartm_core.errors import SartmError
from sartm_core.labels.teachers import AutoLabels, Teacher, TeacherMap, autolabel
from sartm_core.learning.sampler import Draw
from sartm_core.learning.sources import DiskSource
from sartm_core.rig import Rig, load_rig

runner = CliRunner()
RIG = load_rig("sim")
ROAD, SIDEWALK, VEGETATION, CAR, PERSON, SKY = (
    RIG.class_names.index(name) for name in ("road", "sidewalk", "vegetation", "car", "person", "sky")
)
NONE = len(RIG.classes)
"""Where the teacher's share of none of the classes stands."""
SIZE = (48, 64)
EMPTY = np.full(SIZE, 255, np.uint8)
KNOWS = ("street", "car", "truck", "rider", "tree", "heaven")
"""The teacher's classes."""
MAPPING = {"street": "road", "car": "car", "truck": "car", "tree": "vegetation", "heaven": None}
"""`rider` is not named."""


def scene(seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Well exposed and sharp; patches, so that a network sees more than noise."""
    rng = np.random.default_rng(seed)
    patches = cv2.resize(rng.integers(40, 200, (6, 8, 3)).astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
    return np.clip(patches + rng.normal(0, 12, patches.shape), 5, 250).astype(np.uint8)


POOR = {
    "too dark": scene() // 8,
    "over-exposed or clipped": 255 - scene() // 8,
    "blurred": cv2.GaussianBlur(scene(), (0, 0), 12),
}


def write_frame_folder(
    folder: Path, frames: list[tuple[dict[str, np.ndarray], np.ndarray | None]], rig: Rig = RIG
) -> Any:
    """Images and labels of train/0, train/1, ..."""
    with FrameFolderWriter(folder, rig, folder.name, {}) as writer:
        for number, (images, truth) in enumerate(frames):
            frame = Frame(split="train", id=str(number), modalities=tuple(m for m in rig.names if m in images))
            write_frame(writer.part, frame, images, truth)
            writer.add(frame)
    return FrameFolder(folder)


def with_thermal(rgb: np.ndarray | None, size: tuple[int, int] = SIZE) -> dict[str, np.ndarray]:
    thermal = {"thermal": np.random.default_rng(0).integers(28000, 31000, size).astype(np.uint16)}
    return thermal if rgb is None else {"rgb": rgb, **thermal}


def labels(folder: FrameFolder) -> list[np.ndarray | None]:
    frames = folder.frames()
    return [folder.truth(frame) if folder.path(frame, TRUTH).is_file() else None for frame in frames]


def tiny(names: tuple[str, ...] = KNOWS, kind: Any = SegformerForSemanticSegmentation) -> Any:
    torch.manual_seed(0)
    config = SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[8, 16], patch_sizes=[3, 3],
        strides=[2, 2], num_attention_heads=[1, 1], mlp_ratios=[1, 1], decoder_hidden_size=16,
        id2label=dict(enumerate(names)), label2id={name: index for index, name in enumerate(names)},
    )  # fmt: skip
    return kind(config).eval()


def save(folder: Path, model: Any, processor: Any = None) -> Path:
    model.save_pretrained(folder)
    (processor or SegformerImageProcessor(size={"height": 40, "width": 56})).save_pretrained(folder)
    return folder


def answers(probabilities: dict[str, float]) -> Any:
    """A model that gives every pixel these probabilities; a millionth to what is not named."""
    model = tiny()
    bias = torch.tensor([probabilities.get(name, 1e-6) for name in KNOWS]).log()
    with torch.no_grad():
        model.decode_head.classifier.weight.zero_()
        model.decode_head.classifier.bias.copy_(bias)
    return model


@pytest.fixture(scope="module")
def car_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Torn between car and truck; only both together are certain."""
    model = answers({"car": 0.5, "truck": 0.35, "street": 0.1, "heaven": 0.05})
    return save(tmp_path_factory.mktemp("teacher") / "car", model)


@pytest.fixture(scope="module")
def seeing_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its answers depend on the image: each class wins somewhere, and is certain in some of these places."""
    model, processor = tiny(), SegformerImageProcessor(size={"height": 40, "width": 56})
    pixels = processor(images=[scene(seed) for seed in range(4)], return_tensors="pt")["pixel_values"]
    head = model.decode_head.classifier
    with torch.no_grad():
        spread = model(pixels).logits.std(dim=(0, 2, 3))
        head.weight.mul_(2.5 / spread[:, None, None, None])
        head.bias.sub_(model(pixels).logits.mean(dim=(0, 2, 3)))
    return save(tmp_path_factory.mktemp("teacher") / "seeing", model)


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    path = tmp_path / "map.yaml"
    path.write_text(json.dumps({"classes": MAPPING}))
    return path


class Says:
    """A teacher that gives each image the same probabilities, [C + 1, H, W] or one [C + 1] for all pixels."""

    def __init__(self, probabilities: np.ndarray) -> None:
        self.given = np.asarray(probabilities, np.float32)
        self.seen: list[np.ndarray] = []

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        self.seen.append(image)
        if self.given.ndim == 3:
            return self.given
        return np.broadcast_to(self.given[:, None, None], (len(self.given), *image.shape[:2]))


def certain(class_id: int, value: float = 0.95) -> np.ndarray:
    """Of the rig's classes and none; the rest goes to the first of them, or to none."""
    share = np.zeros(NONE + 1)
    share[NONE if class_id != NONE else 0] = 1 - value
    share[class_id] = value
    return share


def run(*arguments: str | Path | float) -> str:
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def fails(*arguments: str | Path) -> str:
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    return " ".join(result.output.split())


class TestTeacher:
    def by_hand(self, folder: Path, image: np.ndarray) -> np.ndarray:
        """Road, vegetation, car, none: float32 [4, H, W]."""
        model = SegformerForSemanticSegmentation.from_pretrained(folder).eval()
        pixels = AutoImageProcessor.from_pretrained(folder)(images=image, return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            small = model(pixels).logits
        logits = torch.nn.functional.interpolate(small, size=image.shape[:2], mode="bilinear", align_corners=False)
        exponents = np.exp(logits[0].double().numpy())
        street, car, truck, rider, tree, heaven = exponents / exponents.sum(axis=0)
        return np.stack([street, tree, car + truck, rider + heaven])

    def test_classes_that_share_one_are_added_up(self, seeing_teacher) -> None:
        image = scene(5, (50, 70))  # of neither the network's size nor its shape
        wanted = self.by_hand(seeing_teacher, image)
        given = Teacher(str(seeing_teacher), TeacherMap(classes=MAPPING), RIG).probabilities(image)
        assert given.shape == (NONE + 1, 50, 70)
        np.testing.assert_allclose(given[[ROAD, VEGETATION, CAR, NONE]], wanted, atol=1e-5)
        rest = [index for index in range(len(RIG.classes)) if index not in (ROAD, VEGETATION, CAR)]
        assert (given[rest] == 0).all()
        assert set(wanted.argmax(axis=0).ravel().tolist()) == {0, 1, 2, 3}  # the teacher does see something

    def test_labels_are_those_of_the_model_run_by_hand(self, seeing_teacher, mapping, tmp_path) -> None:
        folder = write_frame_folder(tmp_path / "drive", [(with_thermal(scene(seed)), None) for seed in (1, 2)])
        command = ["data", "autolabel", folder.folder, "--teacher", seeing_teacher, "--mapping", mapping]
        run(*command, "--min-confidence", 0.5)
        counts = np.zeros(256, int)
        for seed, found in zip((1, 2), labels(folder), strict=True):
            shares = self.by_hand(seeing_teacher, scene(seed))
            best, confidence = shares.argmax(axis=0), shares.max(axis=0)
            wanted = np.where(confidence >= 0.5, np.array([ROAD, VEGETATION, CAR, 255])[best], 255)
            doubtful = np.abs(confidence - 0.5) < 1e-4
            np.testing.assert_array_equal(found[~doubtful], wanted[~doubtful])
            counts += np.bincount(found.ravel(), minlength=256)
        assert counts[[ROAD, VEGETATION, CAR, 255]].min() > 50
        assert counts.sum() == counts[[ROAD, VEGETATION, CAR, 255]].sum()

    def test_the_order_of_colours_is_red_green_blue(self, tmp_path) -> None:
        """OpenCV's order would give labels that look nearly right."""
        folder = write_frame_folder(tmp_path / "drive", [({"rgb": scene(3)}, None)])
        teacher = Says(certain(CAR))
        autolabel(folder, teacher, 0.8)
        np.testing.assert_array_equal(teacher.seen[0], scene(3))

    def test_a_name_that_the_teacher_has_twice_counts_twice(self, tmp_path) -> None:
        model = answers({"car": 0.4, "truck": 0.5, "street": 0.1})
        folder = save(tmp_path / "teacher", model)
        config = json.loads((folder / "config.json").read_text())
        config["id2label"]["2"] = "car"  # was truck
        del config["label2id"]
        (folder / "config.json").write_text(json.dumps(config))
        given = Teacher(str(folder), TeacherMap(classes={"car": "car"}), RIG).probabilities(scene())
        np.testing.assert_allclose(given[CAR], 0.9, atol=1e-4)
        np.testing.assert_allclose(given[NONE], 0.1, atol=1e-4)


class TestCommand:
    def test_an_unlabelled_frame_folder_becomes_training_data(self, car_teacher, mapping, tmp_path) -> None:
        """Car has 0.5, truck 0.35: together they are certain enough."""
        drive = write_frame_folder(tmp_path / "drive", [(with_thermal(scene(seed)), EMPTY) for seed in range(3)])
        with pytest.raises(SartmError, match="no labelled frames in split 'train'"):
            DiskSource(drive, RIG, "train")
        out = run("data", "autolabel", drive.folder, "--teacher", car_teacher, "--mapping", mapping)
        assert out == f"{drive.folder}: 3 frames labelled, 100 % of their pixels; unchanged: none\n"
        for found in labels(drive):
            assert found.shape == SIZE
            assert (found == CAR).all()
        checked = json.loads(run("data", "check", drive.folder, "--json"))
        assert checked["pixels"]["car"] == 3 * SIZE[0] * SIZE[1]
        assert checked["faults"] == []
        assert not any("not labelled yet" in remark for remark in checked["remarks"])
        source = DiskSource(drive, RIG, "train")
        assert len(source) == 3
        assert (source.read(Draw(1, 1, SIZE))[1] == CAR).all()

    def test_skipped_frames_are_reported(self, car_teacher, mapping, tmp_path) -> None:
        frames = [(with_thermal(image), EMPTY) for image in (scene(), *POOR.values(), scene() // 9, None)]
        frames.append((with_thermal(scene()), np.full(SIZE, SKY, np.uint8)))
        drive = write_frame_folder(tmp_path / "drive", frames)
        command = ["data", "autolabel", drive.folder, "--teacher", car_teacher, "--mapping", mapping]
        assert run(*command).endswith(
            ": 1 frames labelled, 100 % of their pixels; unchanged: 2 too dark, 1 over-exposed or clipped, "
            "1 blurred, 1 without RGB, 1 already labelled\n"
        )
        assert [set(np.unique(found).tolist()) for found in labels(drive)] == [{CAR}, *[{255}] * 5, {SKY}]
        out = run(*command, "--every-frame")
        assert "4 frames labelled" in out
        assert "unchanged: 1 without RGB, 2 already labelled" in out
        assert [set(np.unique(found).tolist()) for found in labels(drive)] == [*[{CAR}] * 5, {255}, {SKY}]
        assert "2 frames labelled" in run(*command, "--overwrite")
        assert set(np.unique(labels(drive)[6]).tolist()) == {CAR}

    def test_a_teacher_that_is_sure_of_nothing_labels_no_frame(self, car_teacher, mapping, tmp_path) -> None:
        drive = write_frame_folder(tmp_path / "drive", [(with_thermal(scene(seed)), EMPTY) for seed in range(2)])
        command = ["data", "autolabel", drive.folder, "--teacher", car_teacher, "--mapping", mapping]
        out = run(*command, "--min-confidence", 0.9)
        assert ": 0 frames labelled, 0 % of their pixels; 2 without a confident pixel; unchanged: none" in out
        assert not any(is_labelled(drive.path(frame, TRUTH)) for frame in drive.frames())
        assert "2 frames labelled" in run(*command, "--min-confidence", 0.8)
        run(*command, "--min-confidence", 0.9, "--overwrite")  # labels that are no longer certain must not stay
        assert check_data(drive).pixels["car"] == 0

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("classes: {cart: car}", "mapping: 'cart' is not a class of teacher"),
            ("classes: {cart: car}", "Did you mean car"),
            ("classes: {zebra: null}", "It knows street, car, truck, rider, tree, heaven"),
            ("classes: {truck: lorry}", "'lorry' is not a class of the rig: road, marking, sidewalk, terrain"),
            ("classes: {}", "map.yaml: classes: "),
            ("classes: {car: car}\nconfidence: 0.5", "map.yaml: confidence: unknown field"),
            ("{", "map.yaml: is not a YAML file"),
            (None, "map.yaml: cannot be read: No such file or directory"),
        ],
    )
    def test_faults_of_a_mapping_are_named(self, car_teacher, tmp_path, content, message) -> None:
        drive = write_frame_folder(tmp_path / "drive", [(with_thermal(scene()), EMPTY)])
        path = tmp_path / "map.yaml"
        if content is not None:
            path.write_text(content)
        assert message in fails("data", "autolabel", drive.folder, "--teacher", car_teacher, "--mapping", path)
        assert (labels(drive)[0] == EMPTY).all()

    def test_an_unknown_teacher(self, mapping, tmp_path) -> None:
        drive = write_frame_folder(tmp_path / "drive", [(with_thermal(scene()), EMPTY)])
        (tmp_path / "nothing").mkdir()
        for folder in (tmp_path / "nosuch", tmp_path / "nothing"):
            output = fails("data", "autolabel", drive.folder, "--teacher", folder, "--mapping", mapping)
            assert f"error: teacher '{folder}': cannot be loaded (" in output
            assert "Give a folder that holds a semantic-segmentation model of transformers, or a name on" in output

    def test_weights_that_were_cut_off(self, mapping, tmp_path) -> None:
        """As a download that stopped, or git without LFS, leaves them."""
        drive = write_frame_folder(tmp_path / "drive", [(with_thermal(scene()), EMPTY)])
        weights = save(tmp_path / "teacher", tiny()) / "model.safetensors"
        for content in (weights.read_bytes()[:900], b"version https://git-lfs.github.com/spec/v1\n"):
            weights.write_bytes(content)
            output = fails("data", "autolabel", drive.folder, "--teacher", weights.parent, "--mapping", mapping)
            assert f"error: teacher '{weights.parent}': cannot be loaded (" in output

    def test_a_model_without_a_head_for_segmentation(self, mapping, tmp_path) -> None:
        """transformers fills the head with random numbers: every label would be noise."""
        drive = write_frame_folder(tmp_path / "drive", [(with_thermal(scene()), EMPTY)])
        folder = save(tmp_path / "encoder", tiny(kind=SegformerForImageClassification))
        output = fails("data", "autolabel", drive.folder, "--teacher", folder, "--mapping", mapping)
        assert f"error: teacher '{folder}': cannot be loaded (its weights lack decode_head." in output

    @pytest.mark.parametrize(
        ("processor", "option"),
        [
            (DPTImageProcessor(do_pad=True, size_divisor=32), "do_pad"),
            (MobileViTImageProcessor(do_center_crop=True), "do_center_crop"),
        ],
    )
    def test_preprocessing_that_shifts_or_cuts_the_image(self, mapping, tmp_path, processor, option) -> None:
        drive = write_frame_folder(tmp_path / "drive", [(with_thermal(scene()), EMPTY)])
        folder = save(tmp_path / "teacher", tiny(), processor)
        output = fails("data", "autolabel", drive.folder, "--teacher", folder, "--mapping", mapping)
        assert f"teacher '{folder}': its preprocessing sets {option}; masks would not fit the images" in output

    def test_unavailable_devices(self, car_teacher, mapping, tmp_path, monkeypatch) -> None:
        drive = write_frame_folder(tmp_path / "drive", [(with_thermal(scene()), EMPTY)])
        command = ["data", "autolabel", drive.folder, "--teacher", car_teacher, "--mapping", mapping, "--device"]
        assert "device 'gpu' is unknown. Known: cpu, cuda" in fails(*command, "gpu")
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        assert "device 'cuda': torch finds no CUDA device" in fails(*command, "cuda")

    def test_no_rgb_camera(self, car_teacher, mapping, tmp_path) -> None:
        drive = write_frame_folder(tmp_path / "drive", [(with_thermal(None), EMPTY)], RIG.only(["thermal", "depth"]))
        output = fails("data", "autolabel", drive.folder, "--teacher", car_teacher, "--mapping", mapping)
        assert "rig 'sim': has no RGB camera, which the teacher needs" in output

    def test_not_a_frame_folder(self, car_teacher, mapping, tmp_path) -> None:
        output = fails("data", "autolabel", tmp_path, "--teacher", car_teacher, "--mapping", mapping)
        assert "is not a frame folder" in output


class TestCertainty:
    def test_what_is_doubtful_or_none_of_the_classes_stays_unlabelled(self, tmp_path) -> None:
        rows = [
            certain(ROAD, 0.95),
            certain(SKY, 0.8),  # just enough
            certain(SKY, 0.79),
            certain(NONE, 0.95),  # surely something that the rig does not have
            np.full(NONE + 1, 1 / (NONE + 1)),
            0.45 * np.eye(NONE + 1)[CAR] + 0.55 * np.eye(NONE + 1)[NONE],
        ]
        probabilities = np.repeat(np.stack(rows, axis=1), 8, axis=1)[:, :, None].repeat(SIZE[1], axis=2)
        folder = write_frame_folder(tmp_path / "drive", [({"rgb": scene()}, None)])
        done = autolabel(folder, Says(probabilities), 0.8)
        wanted = np.repeat(np.array([ROAD, SKY, 255, 255, 255, 255], np.uint8), 8)
        np.testing.assert_array_equal(labels(folder)[0], np.broadcast_to(wanted[:, None], SIZE))
        assert done == AutoLabels(1, 0, 0, 0, {}, pytest.approx(1 / 3))

    def test_none_wins_over_a_class_even_at_a_low_threshold(self, tmp_path) -> None:
        folder = write_frame_folder(tmp_path / "drive", [({"rgb": scene()}, None)])
        autolabel(folder, Says(0.45 * np.eye(NONE + 1)[CAR] + 0.55 * np.eye(NONE + 1)[NONE]), 0.0)
        assert (labels(folder)[0] == 255).all()

    def test_the_share_is_of_labelled_frames(self, tmp_path) -> None:
        folder = write_frame_folder(tmp_path / "drive", [({"rgb": scene()}, None), ({"rgb": POOR["too dark"]}, None)])
        half = np.zeros((NONE + 1, *SIZE), np.float32)
        half[PERSON, :, :32] = half[NONE, :, 32:] = 1
        seen = []
        done = autolabel(folder, Says(half), 0.8, progress=lambda frames, total: seen.append((frames, total)))
        assert done == AutoLabels(1, 0, 0, 0, {"too dark": 1}, 0.5)
        assert seen == [(1, 2), (2, 2)]


class TestWhichFrames:
    @pytest.mark.parametrize("reason", list(POOR))
    def test_poor_frames(self, tmp_path, reason) -> None:
        folder = write_frame_folder(tmp_path / "drive", [({"rgb": POOR[reason]}, None), ({"rgb": scene()}, None)])
        teacher = Says(certain(CAR))
        assert autolabel(folder, teacher, 0.8) == AutoLabels(1, 0, 0, 0, {reason: 1}, 1.0)
        assert labels(folder)[0] is None
        assert len(teacher.seen) == 1
        assert autolabel(folder, teacher, 0.8, every_frame=True) == AutoLabels(1, 0, 1, 0, {}, 1.0)
        assert (labels(folder)[0] == CAR).all()

    def test_bright_halves_are_clipped_though_the_mean_is_fair(self) -> None:
        image = scene() // 2 + 20
        assert why_poor(image) is None
        image[: SIZE[0] * 2 // 5] = 255
        assert image.mean() < 200
        assert why_poor(image) == "over-exposed or clipped"
        image[: SIZE[0] * 2 // 5] = 0
        assert why_poor(image) == "over-exposed or clipped"

    @pytest.mark.parametrize("size", [(256, 320), (480, 640), (1080, 1920)])
    def test_sharpness_does_not_depend_on_the_resolution(self, day_frame, size) -> None:
        """Seen pixel by pixel, every large image would be blurred."""
        image = cv2.resize(day_frame.raw["rgb"], size[::-1], interpolation=cv2.INTER_AREA)
        assert why_poor(cv2.GaussianBlur(image, (0, 0), size[1] / 400)) is None
        assert why_poor(cv2.GaussianBlur(image, (0, 0), size[1] / 100)) == "blurred"

    def test_labels_of_a_person_are_kept(self, tmp_path) -> None:
        """An empty image does not count as a label."""
        person = EMPTY.copy()
        person[5, 7] = SIDEWALK
        frames = [({"rgb": scene()}, person), ({"rgb": scene()}, EMPTY)]
        folder = write_frame_folder(tmp_path / "drive", frames)
        stored = folder.path(folder.frames()[0], TRUTH)
        before = stored.read_bytes(), stored.stat().st_mtime_ns
        assert autolabel(folder, Says(certain(CAR)), 0.8) == AutoLabels(1, 0, 1, 0, {}, 1.0)
        assert (stored.read_bytes(), stored.stat().st_mtime_ns) == before
        assert (labels(folder)[1] == CAR).all()
        assert autolabel(folder, Says(certain(SKY)), 0.8, overwrite=True) == AutoLabels(2, 0, 0, 0, {}, 1.0)
        assert all((found == SKY).all() for found in labels(folder))

    def test_without_rgb(self, tmp_path) -> None:
        folder = write_frame_folder(tmp_path / "drive", [(with_thermal(None), None), (with_thermal(scene()), None)])
        assert autolabel(folder, Says(certain(CAR)), 0.8) == AutoLabels(1, 0, 0, 1, {}, 1.0)
        assert labels(folder)[0] is None


class TestGeometry:
    def test_labels_have_the_size_of_the_reference(self, tmp_path) -> None:
        """Thermal is the reference, of half the size or half as large again; ids are never mixed."""
        rig = RIG.model_copy(update={"reference": "thermal"})
        frames = [(with_thermal(scene(), size), None) for size in ((24, 32), (72, 96))] + [({"rgb": scene()}, None)]
        folder = write_frame_folder(tmp_path / "drive", frames, rig)
        quarters = np.zeros((NONE + 1, *SIZE), np.float32)
        quarters[ROAD, :24, :32] = quarters[SKY, :24, 32:] = quarters[CAR, 24:, :32] = quarters[NONE, 24:, 32:] = 1
        assert autolabel(folder, Says(quarters), 0.8).share == 0.75
        small, large, whole = labels(folder)
        wanted = np.array([[ROAD, SKY], [CAR, 255]], np.uint8)
        np.testing.assert_array_equal(small, wanted.repeat(12, axis=0).repeat(16, axis=1))
        np.testing.assert_array_equal(large, wanted.repeat(36, axis=0).repeat(48, axis=1))
        np.testing.assert_array_equal(whole, wanted.repeat(24, axis=0).repeat(32, axis=1))
        assert check_data(folder).faults == []

    def test_of_several_rgb_cameras_the_reference_is_used(self, tmp_path) -> None:
        """The other one was warped to it, with holes and shifts."""
        left = RIG.modality("rgb").model_copy(update={"name": "left", "topic": "/left"})
        rig = RIG.model_copy(update={"modalities": (left, *RIG.modalities)})
        folder = write_frame_folder(tmp_path / "drive", [({"left": scene(1), "rgb": scene(2)}, None)], rig)
        teacher = Says(certain(CAR))
        autolabel(folder, teacher, 0.8)
        np.testing.assert_array_equal(teacher.seen[0], scene(2))

    @pytest.mark.parametrize("channels", ["grey", "alpha"])
    def test_every_rgb_that_can_be_trained_with(self, car_teacher, tmp_path, channels) -> None:
        colours = scene()
        grey = colours[..., 1]
        stored = grey if channels == "grey" else np.dstack([colours, np.full(SIZE, 255, np.uint8)])
        folder = write_frame_folder(tmp_path / "drive", [({"rgb": stored}, None)])
        teacher = Teacher(str(car_teacher), TeacherMap(classes=MAPPING), RIG)
        assert autolabel(folder, teacher, 0.8).labelled == 1
        assert (labels(folder)[0] == CAR).all()
        says = Says(certain(SKY))
        autolabel(folder, says, 0.8, overwrite=True)
        np.testing.assert_array_equal(says.seen[0], np.dstack([grey] * 3) if channels == "grey" else colours)

    def test_an_rgb_that_cannot_be_used_is_named(self, tmp_path) -> None:
        folder = write_frame_folder(tmp_path / "drive", [({"rgb": scene().astype(np.uint16)}, None)])
        with pytest.raises(SartmError, match=r"train/rgb/0\.png: rgb: expected 8-bit pixels \(uint8\), got uint16"):
            autolabel(folder, Says(certain(CAR)), 0.8)
        folder.path(folder.frames()[0], "rgb").write_bytes(b"no picture")
        with pytest.raises(SartmError, match=r"train/rgb/0\.png: is not a readable image") as error:
            autolabel(folder, Says(certain(CAR)), 0.8)
        assert str(error.value).count("train/rgb/0.png") == 1
