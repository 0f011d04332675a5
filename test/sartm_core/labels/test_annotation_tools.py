"""Labels out to annotation tools and back, and what counts as labelled."""

import io
import json
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from sartm_core.cli import app
from sartm_core.datasets.check import check_data
from sartm_core.datasets.dataset import TRUTH, Frame
from sartm_core.datasets.files import is_labelled
from sartm_core.datasets.frame_folder import FrameFolder, FrameFolderWriter, write_frame
from sartm_core.datasets.png import write_png
from sartm_core.deploy import load_segmenter
from sartm_core.errors import SartmError
from sartm_core.evaluation.evaluate import evaluate
from sartm_core.evaluation.results import as_dict
from sartm_core.labels.export_labels import export_labels
from sartm_core.labels.import_labels import import_labels
from sartm_core.learning.sampler import Draw
from sartm_core.learning.sources import DiskSource
from sartm_core.rig import ClassSpec, Rig, load_rig
from sartm_core.segmentation import Segmentation

runner = CliRunner()
RIG = load_rig("sim")
ROAD, SIDEWALK, CAR, SKY = (RIG.class_names.index(name) for name in ("road", "sidewalk", "car", "sky"))
SIZE = (20, 28)
EMPTY = np.full(SIZE, 255, np.uint8)


def truth_of(seed: int, classes: int = 9) -> np.ndarray:
    """Every class, and 255."""
    truth = np.random.default_rng(seed).integers(0, classes + 1, SIZE).astype(np.uint8)
    truth[truth == classes] = 255
    return truth


DRIVE = {
    "train/100": truth_of(1),
    "train/200": EMPTY,
    "train/day/1": truth_of(2),
    "val/300": truth_of(3),
    "val/400": truth_of(4),
}
NAMES = ["train-100", "train-200", "train-day__1", "val-300", "val-400"]
WITHOUT_RGB = "val/300"


def write_frame_folder(folder: Path, frames: dict[str, np.ndarray | None], rig: Rig = RIG) -> FrameFolder:
    """`<split>/<id>` -> labels."""
    rng = np.random.default_rng(0)
    with FrameFolderWriter(folder, rig, folder.name, {}) as writer:
        for place, truth in frames.items():
            split, identity = place.split("/", 1)
            images = {
                "rgb": rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8),
                "thermal": rng.integers(28000, 31000, SIZE).astype(np.uint16),
                "depth": rng.integers(0, 40000, SIZE).astype(np.uint16),
            }
            if place == WITHOUT_RGB:
                del images["rgb"]
            frame = Frame(split=split, id=identity, modalities=tuple(images))
            write_frame(writer.part, frame, images, truth)
            writer.add(frame)
    return FrameFolder(folder)


@pytest.fixture
def drive(tmp_path: Path) -> FrameFolder:
    return write_frame_folder(tmp_path / "drive", DRIVE)


@pytest.fixture
def blank(tmp_path: Path) -> FrameFolder:
    """The same frames, as `sartm bag extract` leaves them."""
    return write_frame_folder(tmp_path / "blank", dict.fromkeys(DRIVE, EMPTY))


def labels(folder: FrameFolder) -> dict[str, np.ndarray]:
    return {f"{frame.split}/{frame.id}": folder.truth(frame) for frame in folder.frames()}


def assert_labels(folder: FrameFolder, wanted: dict[str, np.ndarray]) -> None:
    for place, truth in labels(folder).items():
        np.testing.assert_array_equal(truth, wanted.get(place, EMPTY), err_msg=place)


def bytes_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of every file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def run(*arguments: str | Path) -> str:
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def colours(ids: np.ndarray) -> np.ndarray:
    return RIG.palette[ids]


def repaint(path: Path, form: str, rows: slice, class_id: int) -> None:
    """As an annotator does, with another program than ours."""
    pixels = np.array(Image.open(path))
    pixels[rows] = RIG.palette[class_id] if form == "cvat" else class_id
    Image.fromarray(pixels).save(path)


class TestRoundTrip:
    @pytest.mark.parametrize(("form", "folder"), [("cvat", "SegmentationClass"), ("ids", "masks")])
    def test_the_same_classes_come_back(self, drive, blank, tmp_path, form, folder) -> None:
        task = tmp_path / "task"
        out = run("data", "export-labels", drive.folder, "--out", task, "--format", form)
        assert out == f"{task}: 5 images and masks\n"
        assert run("data", "import-labels", blank.folder, "--from", task) == f"{blank.folder}: 4 frames labelled\n"
        assert_labels(blank, DRIVE)

        for name, class_id in (("train-100", CAR), ("train-200", SKY), ("val-400", 255)):
            repaint(task / folder / f"{name}.png", form, np.s_[2:9], class_id)
        run("data", "import-labels", blank.folder, "--from", task)
        wanted = {place: truth.copy() for place, truth in DRIVE.items()}
        for place, class_id in (("train/100", CAR), ("train/200", SKY), ("val/400", 255)):
            wanted[place][2:9] = class_id
        assert_labels(blank, wanted)

    @pytest.mark.parametrize("form", ["cvat", "ids"])
    def test_classes_of_any_name(self, tmp_path, form) -> None:
        """CSV has commas of its own, and CVAT's black label must not take the place of a class."""
        names = ["background", 'sign, "stop"', "Car", "car", "void"]
        specs = tuple(ClassSpec(name=name, color=(10, 20, 30 + index)) for index, name in enumerate(names))
        frames = {"train/1": truth_of(7, len(names)), "train/2": EMPTY}
        folder = write_frame_folder(tmp_path / "mine", frames, RIG.model_copy(update={"classes": specs}))
        export_labels(folder, tmp_path / "task", form)
        before = labels(folder)
        write_png(folder.path(folder.frames()[0], TRUTH), EMPTY)
        assert import_labels(folder, tmp_path / "task") == 1
        assert_labels(folder, before)

    def test_classes_that_share_a_colour_come_back_as_ids(self, tmp_path) -> None:
        specs = tuple(ClassSpec(name=spec.name, color=(90, 90, 90)) for spec in RIG.classes)
        rig = RIG.model_copy(update={"classes": specs})
        folder = write_frame_folder(tmp_path / "mine", {"train/1": truth_of(1)}, rig)
        export_labels(folder, tmp_path / "task", "ids")
        write_png(folder.path(folder.frames()[0], TRUTH), EMPTY)
        assert import_labels(folder, tmp_path / "task") == 1
        assert_labels(folder, {"train/1": truth_of(1)})


class TestExport:
    def test_what_cvat_expects(self, drive, tmp_path) -> None:
        """Its format 'Segmentation mask 1.1'."""
        task = tmp_path / "task"
        assert export_labels(drive, task, "cvat") == 5
        assert (task / "labelmap.txt").read_text().splitlines() == [
            "# label:color_rgb:parts:actions",
            "background:0,0,0::",
            "road:128,64,128::",
            "marking:255,255,255::",
            "sidewalk:244,35,232::",
            "terrain:152,251,152::",
            "building:70,70,70::",
            "vegetation:107,142,35::",
            "pole:153,153,153::",
            "sign:220,220,0::",
            "car:0,0,142::",
            "person:220,20,60::",
            "cyclist:119,11,32::",
            "animal:165,82,42::",
            "cone:250,130,20::",
            "sky:70,130,180::",
        ]
        assert (task / "ImageSets/Segmentation/default.txt").read_text().split() == NAMES
        assert sorted(path.stem for path in (task / "SegmentationClass").iterdir()) == NAMES
        assert sorted(path.stem for path in (task / "images").iterdir()) == NAMES
        for name, truth in zip(NAMES, DRIVE.values(), strict=True):
            mask = Image.open(task / "SegmentationClass" / f"{name}.png")
            assert mask.mode == "RGB"
            wanted = np.zeros((*SIZE, 3), np.uint8)
            for index, spec in enumerate(RIG.classes):
                wanted[truth == index] = spec.color
            np.testing.assert_array_equal(np.asarray(mask), wanted)

    def test_the_annotator_sees_the_reference_or_what_there_is(self, drive, tmp_path) -> None:
        export_labels(drive, tmp_path / "task", "cvat")
        shown = {name: np.asarray(Image.open(tmp_path / "task/images" / f"{name}.png")) for name in NAMES}
        frames = dict(zip(NAMES, drive.frames(), strict=True))
        for name in set(NAMES) - {"val-300"}:
            np.testing.assert_array_equal(shown[name], drive.image(frames[name], "rgb"))
        thermal = drive.image(frames["val-300"], "thermal")
        hottest, coldest = (shown["val-300"][thermal == value][0].sum() for value in (thermal.max(), thermal.min()))
        assert shown["val-300"].shape == (*SIZE, 3)
        assert hottest > coldest + 300

    def test_ids_and_their_table(self, drive, tmp_path) -> None:
        export_labels(drive, tmp_path / "task", "ids")
        lines = (tmp_path / "task/classes.csv").read_text().splitlines()
        assert lines[:2] == ["id,name,red,green,blue", "0,road,128,64,128"]
        assert lines[-1] == "13,sky,70,130,180"
        assert len(lines) == 15
        for name, truth in zip(NAMES, DRIVE.values(), strict=True):
            mask = Image.open(tmp_path / "task/masks" / f"{name}.png")
            assert mask.mode == "L"
            np.testing.assert_array_equal(np.asarray(mask), truth)

    def test_one_split_alone(self, drive, tmp_path) -> None:
        assert "2 images and masks" in run(
            "data", "export-labels", drive.folder, "--out", tmp_path / "task", "--split", "val"
        )
        assert sorted(path.stem for path in (tmp_path / "task/images").iterdir()) == ["val-300", "val-400"]
        assert (tmp_path / "task/ImageSets/Segmentation/default.txt").read_text() == "val-300\nval-400\n"

    def test_frames_without_a_label_file_are_exported_empty(self, tmp_path) -> None:
        folder = write_frame_folder(tmp_path / "mine", {"train/1": None})
        export_labels(folder, tmp_path / "task", "ids")
        assert (np.asarray(Image.open(tmp_path / "task/masks/train-1.png")) == EMPTY).all()

    def test_wrong_use_is_named(self, drive, tmp_path) -> None:
        (tmp_path / "task").mkdir()
        command = ["data", "export-labels", str(drive.folder), "--out"]
        result = runner.invoke(app, [*command, str(tmp_path / "task")])
        assert result.exit_code == 1
        assert f"error: {tmp_path / 'task'}: already exists and is not overwritten" in result.output
        result = runner.invoke(app, [*command, str(tmp_path / "new"), "--split", "night"])
        assert result.exit_code == 1
        assert "has no split 'night'. It has: train, val;" in result.output
        result = runner.invoke(app, [*command, str(tmp_path / "new"), "--format", "coco"])
        assert result.exit_code == 2
        assert "expected cvat or ids, got 'coco'" in result.output
        assert sorted(path.name for path in tmp_path.iterdir()) == ["drive", "task"]

    @pytest.mark.parametrize(
        ("colour", "message"),
        [
            ((244, 35, 232), "class 'sky' has the same colour as 'sidewalk', [244, 35, 232]"),
            ((0, 0, 0), "class 'sky' has the same colour as unlabelled pixels, [0, 0, 0]"),
        ],
    )
    def test_colours_that_would_not_come_back_are_refused(self, tmp_path, colour, message) -> None:
        specs = (*RIG.classes[:-1], ClassSpec(name="sky", color=colour))
        folder = write_frame_folder(tmp_path / "mine", {"train/1": EMPTY}, RIG.model_copy(update={"classes": specs}))
        with pytest.raises(SartmError, match="or export ids") as error:
            export_labels(folder, tmp_path / "task", "cvat")
        assert message in str(error.value)
        assert not (tmp_path / "task").exists()


class TestWhereMasksAre:
    @pytest.mark.parametrize(
        "place",
        [
            "train-100.png",
            "100.png",
            "a/b/c/100.png",
            "SegmentationClass/train-100.png",
            "SegmentationClass/images/train-100.png",  # CVAT repeats the folder that the images were uploaded with
            "masks/monday/100.png",
        ],
    )
    def test_at_any_depth_by_name_or_id(self, blank, tmp_path, place) -> None:
        write_png(tmp_path / "task" / place, DRIVE["train/100"])
        assert import_labels(blank, tmp_path / "task") == 1
        assert_labels(blank, {"train/100": DRIVE["train/100"]})

    def test_ids_that_hold_folders(self, blank, tmp_path) -> None:
        write_png(tmp_path / "task/day__1.png", DRIVE["train/day/1"])
        assert import_labels(blank, tmp_path / "task") == 1
        assert_labels(blank, {"train/day/1": DRIVE["train/day/1"]})

    def test_images_and_instances_beside_them_are_not_masks(self, blank, tmp_path) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
        for folder in ("images", "SegmentationObject", "JPEGImages"):
            write_png(tmp_path / "task" / folder / "train-100.png", noise)
        write_png(tmp_path / "task/SegmentationClass/train-100.png", colours(DRIVE["train/100"]))
        assert import_labels(blank, tmp_path / "task") == 1
        assert_labels(blank, {"train/100": DRIVE["train/100"]})
        write_png(tmp_path / "plain/images/val-400.png", noise)
        write_png(tmp_path / "plain/val-400.png", DRIVE["val/400"])
        assert import_labels(blank, tmp_path / "plain") == 1

    def test_an_id_of_two_splits_needs_the_split(self, tmp_path) -> None:
        """simrig-5 numbers each split from 0."""
        folder = write_frame_folder(tmp_path / "mine", {"train/0": EMPTY, "val/0": EMPTY})
        write_png(tmp_path / "task/0.png", truth_of(1))
        with pytest.raises(SartmError, match=r"0\.png: .*several frames \(train/0, val/0\); expected train-0\.png"):
            import_labels(folder, tmp_path / "task")
        (tmp_path / "task/0.png").rename(tmp_path / "task/val-0.png")
        assert import_labels(folder, tmp_path / "task") == 1
        assert_labels(folder, {"val/0": truth_of(1)})

    @pytest.mark.parametrize("other", ["100.png", "second/train-100.png"])
    def test_two_masks_of_one_frame_are_refused(self, blank, tmp_path, other) -> None:
        before = bytes_of(blank.folder)
        write_png(tmp_path / "task/train-100.png", truth_of(1))
        write_png(tmp_path / "task" / other, truth_of(2))
        with pytest.raises(SartmError, match=r"labels train/100, and so does .*Keep only one") as error:
            import_labels(blank, tmp_path / "task")
        assert str(tmp_path / "task/train-100.png") in str(error.value)
        assert str(tmp_path / "task" / other) in str(error.value)
        assert bytes_of(blank.folder) == before


class TestTables:
    """What the values of masks mean."""

    truth = DRIVE["train/100"]

    def take(self, blank: FrameFolder, tmp_path: Path, mask: Image.Image | np.ndarray, *more: str | Path) -> None:
        (tmp_path / "task").mkdir(exist_ok=True)
        image = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
        image.save(tmp_path / "task/train-100.png")
        out = run("data", "import-labels", blank.folder, "--from", tmp_path / "task", *more)
        assert "1 frames labelled" in out

    def test_without_a_table_ids_and_colours_are_those_of_the_rig(self, blank, tmp_path) -> None:
        self.take(blank, tmp_path, self.truth)
        assert_labels(blank, {"train/100": self.truth})
        self.take(blank, tmp_path, colours(DRIVE["val/400"]))
        assert_labels(blank, {"train/100": DRIVE["val/400"]})

    def test_palette_images_of_colours(self, blank, tmp_path) -> None:
        """The index is the writer's own business: here it counts from the other end."""
        image = Image.fromarray(np.where(self.truth == 255, 100, 50 - self.truth.astype(int)).astype(np.uint8))
        palette = np.zeros((256, 3), np.uint8)
        palette[50 - np.arange(len(RIG.classes))] = [spec.color for spec in RIG.classes]
        image.putpalette(palette.ravel().tolist())
        self.take(blank, tmp_path, image)
        with Image.open(tmp_path / "task/train-100.png") as image:
            assert image.mode == "P"
        assert_labels(blank, {"train/100": self.truth})

    def test_palette_images_of_ids(self, blank, tmp_path) -> None:
        """The palette is for the eye: the table knows no colours."""
        rows = [f"{index + 1},{name}" for index, name in enumerate(RIG.class_names)]
        (tmp_path / "ids.csv").write_text("\n".join(["id,name", "0,background", *rows]))
        image = Image.fromarray(np.where(self.truth == 255, 0, self.truth + 1).astype(np.uint8))
        image.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
        self.take(blank, tmp_path, image, "--table", tmp_path / "ids.csv")
        with Image.open(tmp_path / "task/train-100.png") as image:
            assert image.mode == "P"
        assert_labels(blank, {"train/100": self.truth})

    def test_ids_of_16_bit(self, blank, tmp_path) -> None:
        rows = [f"{1000 * index},{name}" for index, name in enumerate(RIG.class_names)]
        (tmp_path / "ids.csv").write_text("\n".join(["id,name", *rows]))
        stored = np.where(self.truth == 255, 255, self.truth.astype(np.uint16) * 1000).astype(np.uint16)
        self.take(blank, tmp_path, stored, "--table", tmp_path / "ids.csv")
        assert_labels(blank, {"train/100": self.truth})

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])  # Excel's
    def test_csv_of_ids(self, blank, tmp_path, encoding) -> None:
        """The file in the folder is taken by itself; several of the tool's classes may be none."""
        (tmp_path / "task").mkdir()
        rows = ["7, road ", "3,sky", "4,car", "0,background", "9,void"]
        (tmp_path / "task/classes.csv").write_text("\n".join(["id,name", *rows]), encoding=encoding)
        mask = np.zeros(SIZE, np.uint8)
        mask[0], mask[1], mask[2], mask[3], mask[4] = 7, 3, 4, 9, 255
        self.take(blank, tmp_path, mask)
        wanted = EMPTY.copy()
        wanted[0], wanted[1], wanted[2] = ROAD, SKY, CAR
        assert_labels(blank, {"train/100": wanted})

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    def test_a_table_of_both_that_excel_wrote_keeps_its_ids(self, blank, tmp_path, encoding) -> None:
        (tmp_path / "both.csv").write_text("id,name,red,green,blue\n0,sky,1,2,3\n1,road,4,5,6\n", encoding=encoding)
        mask = np.zeros(SIZE, np.uint8)
        mask[5:] = 1
        self.take(blank, tmp_path, mask, "--table", tmp_path / "both.csv")
        assert_labels(blank, {"train/100": np.where(mask == 0, SKY, ROAD).astype(np.uint8)})

    def test_csv_of_colours(self, blank, tmp_path) -> None:
        (tmp_path / "colours.csv").write_text("name,red,green,blue\nroad,1,2,3\nsky,3,2,1\nbackground,9,9,9\n")
        mask = np.zeros((*SIZE, 3), np.uint8)
        mask[0], mask[1], mask[2] = (1, 2, 3), (3, 2, 1), (9, 9, 9)
        self.take(blank, tmp_path, mask, "--table", tmp_path / "colours.csv")
        wanted = EMPTY.copy()
        wanted[0], wanted[1] = ROAD, SKY
        assert_labels(blank, {"train/100": wanted})

    def test_labelmap_of_a_tool_with_colours_of_its_own(self, blank, tmp_path) -> None:
        """Colours that the rig has for other classes; a background that is not black, as in CVAT's manual."""
        (tmp_path / "task").mkdir()
        own = "# label:color_rgb:parts:actions\n\nbackground:0,128,0::\nsky:128,64,128::\nroad:70,130,180:a,b:c\n"
        (tmp_path / "task/labelmap.txt").write_text(own)
        mask = np.zeros((*SIZE, 3), np.uint8)
        mask[0], mask[1], mask[2] = (0, 128, 0), (128, 64, 128), (70, 130, 180)
        self.take(blank, tmp_path, mask)
        wanted = EMPTY.copy()
        wanted[1], wanted[2] = SKY, ROAD
        assert_labels(blank, {"train/100": wanted})

    def test_categories_of_coco(self, blank, tmp_path) -> None:
        categories = [{"id": 90, "name": "car"}, {"id": 1, "name": "sidewalk"}, {"id": 0, "name": "background"}]
        (tmp_path / "coco.json").write_text(json.dumps({"images": [], "categories": categories}))
        mask = np.zeros(SIZE, np.uint8)
        mask[0], mask[1] = 90, 1
        self.take(blank, tmp_path, mask, "--table", tmp_path / "coco.json")
        wanted = EMPTY.copy()
        wanted[0], wanted[1] = CAR, SIDEWALK
        assert_labels(blank, {"train/100": wanted})

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("labelmap.txt", "lava:1,2,3::", "class 'lava' is not in the rig: road, marking, sidewalk, "),
            ("t.csv", "id,name\n0,road\n1,lava\n", "class 'lava' is not in the rig: road, marking, sidewalk, "),
            ("t.json", '{"categories": [{"id": 1, "name": "lava"}]}', "class 'lava' is not in the rig: road"),
            ("t.csv", "id,name\n3,road\n3,sky\n", "assigns id 3 to several classes, including 'sky'"),
            ("t.csv", "id,name\n0,road\n1\n", "is not a label table"),
            ("t.csv", "id,name\n0,Road\n", "class 'Road' is not in the rig: "),
            ("t.csv", "id,name\n0,Road\n", " 'Road' differs from 'road' in upper and lower case."),
            ("t.csv", "name,class\nstreet,road\nstreet,sky\n", "assigns the name 'street' to several classes"),
            ("t.csv", "name,class\nstreet,road\n", "lists neither ids nor colours, which the masks need"),
            ("t.csv", "id,name\none,road\n", "is not a label table"),
            ("t.csv", "name\nroad\n", "neither id nor colour nor class"),
            ("t.csv", "", "is not a label table"),
            pytest.param("t.csv", f"id,name\n0,{'x' * 200_000}\n", "is not a label table", id="a huge field"),
            ("t.json", "[]", "is not a label table"),
            ("t.json", "{", "is not a label table"),
            ("t.json", '{"categories": [{"id": 1, "name": 5}]}', "is not a label table"),
            ("labelmap.txt", "road\n", "is not a label table"),
            ("labelmap.txt", "road:1,2::", "is not a label table"),
            ("labelmap.txt", "\ud800", "is not a label table"),
            ("nosuch.csv", None, "is not a label table"),
        ],
    )
    def test_faults_of_tables_are_named(self, blank, tmp_path, name, content, message) -> None:
        write_png(tmp_path / "task/train-100.png", self.truth)
        if content is not None:
            (tmp_path / name).write_bytes(content.encode(errors="surrogatepass"))
        command = ["data", "import-labels", str(blank.folder), "--from", str(tmp_path / "task")]
        result = runner.invoke(app, [*command, "--table", str(tmp_path / name)])
        assert result.exit_code == 1
        assert f"error: {tmp_path / name}: " in result.output
        assert message in result.output
        assert_labels(blank, {})

    def test_a_mask_with_an_ambiguous_colour_is_refused(self, blank, tmp_path) -> None:
        (tmp_path / "t.csv").write_text("name,red,green,blue\nroad,1,2,3\nsky,1,2,3\ncar,4,5,6\n")
        mask = np.full((*SIZE, 3), (4, 5, 6), np.uint8)
        self.take(blank, tmp_path, mask, "--table", tmp_path / "t.csv")
        assert_labels(blank, {"train/100": np.full(SIZE, CAR, np.uint8)})
        write_png(tmp_path / "task/train-100.png", np.full((*SIZE, 3), (1, 2, 3), np.uint8))
        with pytest.raises(SartmError, match=r"contains colour \(1, 2, 3\), which .*t\.csv assigns to several classes"):
            import_labels(blank, tmp_path / "task", tmp_path / "t.csv")

    def test_masks_of_another_kind_than_the_table_are_refused(self, blank, tmp_path) -> None:
        """One channel beside labelmap.txt is the place in that list for CVAT, and the rig's id for others."""
        export_labels(blank, tmp_path / "task", "cvat")
        write_png(tmp_path / "task/SegmentationClass/train-100.png", np.zeros(SIZE, np.uint8))
        with pytest.raises(SartmError, match=r"train-100\.png: has a single channel of ids, but .*labelmap\.txt lists"):
            import_labels(blank, tmp_path / "task")
        (tmp_path / "ids.csv").write_text("id,name\n0,road\n")
        write_png(tmp_path / "plain/train-100.png", np.full((*SIZE, 3), (0, 0, 1), np.uint8))
        with pytest.raises(SartmError, match=r"train-100\.png: has colours, but .*ids\.csv lists ids"):
            import_labels(blank, tmp_path / "plain", tmp_path / "ids.csv")
        assert_labels(blank, {})


def damaged(truth: np.ndarray) -> bytes:
    """A PNG whose end is missing."""
    stream = io.BytesIO()
    Image.fromarray(truth).save(stream, "PNG")
    return stream.getvalue()[:-60]


def broken(truth: np.ndarray) -> bytes:
    """A PNG whose second chunk of pixels has lost its name."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", truth.shape[1], truth.shape[0], 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in truth))
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", pixels[:20]), chunk(b"\xff\xff\xff\xff", pixels[20:])]
    return b"\x89PNG\r\n\x1a\n" + b"".join([*chunks, chunk(b"IEND", b"")])


def spoilt(truth: np.ndarray, value: int) -> np.ndarray:
    result = truth.copy()
    result[3, 4:6] = value
    return result


def off_colour(truth: np.ndarray) -> np.ndarray:
    """Smoothing mixes colours at the edges."""
    result = colours(truth)
    result[3, 4:7] = (129, 64, 128)
    return result


LAST = DRIVE["val/400"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (off_colour(LAST), "contains colour (129, 64, 128) in 3 pixels, which the rig does not list"),
        (
            spoilt(LAST, 14),
            "contains id 14, which the rig does not list. It lists 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13.",
        ),
        (LAST[:10], "is 10x28 (height x width), but its image"),
        (colours(LAST)[:, ::2], "is 20x14 (height x width), but its image"),
        (b"no picture", "is not a readable image"),
        (b"", "is not a readable image"),
        pytest.param(damaged(LAST), "is not a readable image", id="cut off"),
        pytest.param(broken(LAST), "is not a readable image", id="a broken chunk"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\x02IHDR\x00\x00\x00\x00\x00\x00", "is not a readable image"),
    ],
)
def test_a_fault_in_the_last_mask_leaves_everything_as_it_was(drive, tmp_path, content, message) -> None:
    for name in NAMES:
        write_png(tmp_path / "task" / f"{name}.png", np.full(SIZE, CAR, np.uint8))
    last = tmp_path / "task" / f"{NAMES[-1]}.png"
    if isinstance(content, bytes):
        last.write_bytes(content)
    else:
        write_png(last, content)
    before = bytes_of(drive.folder)
    result = runner.invoke(app, ["data", "import-labels", str(drive.folder), "--from", str(tmp_path / "task")])
    assert result.exit_code == 1
    assert f"error: {last}: {message}" in result.output
    assert bytes_of(drive.folder) == before


def test_the_size_is_that_of_the_image_that_was_shown(drive, tmp_path) -> None:
    """val-300 has no RGB."""
    write_png(tmp_path / "task/val-300.png", truth_of(9))
    assert import_labels(drive, tmp_path / "task") == 1
    assert_labels(drive, {**DRIVE, "val/300": truth_of(9)})


def test_only_masks_of_other_frames(drive, tmp_path) -> None:
    write_png(tmp_path / "task/test-1.png", EMPTY)
    write_png(tmp_path / "task/deeper/frame_000001.png", EMPTY)
    with pytest.raises(SartmError, match=r"task: none of its 2 masks belongs to a frame; .*names such as train-100"):
        import_labels(drive, tmp_path / "task")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(SartmError, match="nothing: holds no PNG masks, and no annotations in JSON"):
        import_labels(drive, tmp_path / "nothing")
    with pytest.raises(
        SartmError, match="elsewhere: no such folder. Give the folder that holds the masks or annotations"
    ):
        import_labels(drive, tmp_path / "elsewhere")
    result = runner.invoke(app, ["data", "import-labels", str(tmp_path), "--from", str(tmp_path / "task")])
    assert result.exit_code == 1
    assert "is not a frame folder" in result.output


@pytest.mark.parametrize("form", ["cvat", "ids"])
def test_empty_masks_and_frames_without_a_mask_change_nothing(drive, tmp_path, form) -> None:
    """What annotators did not come to must not wipe out what autolabel did."""
    blank = write_frame_folder(tmp_path / "blank", dict.fromkeys(DRIVE, EMPTY))
    export_labels(blank, tmp_path / "task", form)
    folder = tmp_path / "task" / ("SegmentationClass" if form == "cvat" else "masks")
    (folder / "val-400.png").unlink()
    before = bytes_of(drive.folder)
    assert import_labels(drive, tmp_path / "task") == 0
    assert bytes_of(drive.folder) == before
    repaint(folder / "val-300.png", form, np.s_[:], SKY)
    assert "1 frames labelled" in run("data", "import-labels", drive.folder, "--from", tmp_path / "task")
    assert_labels(drive, {**DRIVE, "val/300": np.full(SIZE, SKY, np.uint8)})


class TestLabelled:
    def test_one_pixel_is_enough(self, tmp_path) -> None:
        path = tmp_path / "truth.png"
        assert not is_labelled(path)
        write_png(path, EMPTY)
        assert not is_labelled(path)
        one = EMPTY.copy()
        one[-1, -1] = 0
        write_png(path, one)
        assert is_labelled(path)

    def test_an_empty_file_of_twelve_megapixels_is_empty(self, tmp_path) -> None:
        """As `sartm bag extract` writes it, and as `import-labels` does."""
        empty = np.full((3000, 4000), 255, np.uint8)
        frame = Frame(split="train", id="1", modalities=())
        write_frame(tmp_path, frame, {}, empty)
        assert not is_labelled(tmp_path / "train/truth/1.png")
        write_png(tmp_path / "truth.png", empty)
        assert not is_labelled(tmp_path / "truth.png")
        empty[-1, -1] = 3
        write_png(tmp_path / "truth.png", empty)
        assert is_labelled(tmp_path / "truth.png")

    def test_large_files_are_not_even_read(self, tmp_path, monkeypatch) -> None:
        path = tmp_path / "truth.png"
        write_png(path, np.random.default_rng(0).integers(0, 256, (300, 400)).astype(np.uint8))
        monkeypatch.setattr("cv2.imread", lambda *arguments: pytest.fail("was read"))
        assert is_labelled(path)

    def test_an_unreadable_file_is_reported_when_it_is_read(self, drive) -> None:
        """Leaving it out without a word would hide the damage."""
        frame = drive.frames("val")[1]
        drive.path(frame, TRUTH).write_bytes(b"no picture")
        assert is_labelled(drive.path(frame, TRUTH))
        source = DiskSource(drive, RIG, "val")
        with pytest.raises(SartmError, match=r"val/truth/400\.png: is not a readable image"):
            source.read(Draw(1, 1, SIZE))


class TestEmptyLabels:
    """As `sartm bag extract` leaves them."""

    def test_the_check_reports_them(self, drive) -> None:
        out = run("data", "check", drive.folder)
        assert "remark: train: 1 of its 3 label images are empty (255): not labelled yet." in out
        assert "remark: val" not in out
        assert "0 faults" in out

    def test_checking_an_unlabelled_frame_folder(self, blank) -> None:
        found = check_data(blank)
        assert found.remarks[:2] == [
            "train: 3 of its 3 label images are empty (255): not labelled yet.",
            "val: 2 of its 2 label images are empty (255): not labelled yet.",
        ]
        assert sum(found.pixels.values()) == 0
        assert found.faults == []

    def test_the_check_counts_pixels_of_labelled_frames(self, drive) -> None:
        pixels = check_data(drive).pixels
        stacked = np.stack(list(DRIVE.values()))
        assert pixels == {name: int((stacked == index).sum()) for index, name in enumerate(RIG.class_names)}

    def test_training_leaves_them_out(self, drive, blank) -> None:
        source = DiskSource(drive, RIG, "train")
        assert [frame.id for frame in source.frames] == ["100", "day/1"]
        for number, place in enumerate(("train/100", "train/day/1")):
            np.testing.assert_array_equal(source.read(Draw(number, number, SIZE))[1], DRIVE[place])
        with pytest.raises(SartmError, match=r"no labelled frames in split 'train'\. `sartm data check` says"):
            DiskSource(blank, RIG, "train")

    def test_training_leaves_out_frames_without_any_of_its_sensors(self, drive, caplog) -> None:
        """As where a camera was unplugged: a step without any would be a step without a network."""
        frames = [
            f.model_copy(update={"modalities": ("lidar",)}) if f.id == "100" else f for f in drive.frames("train")
        ]
        part = SimpleNamespace(name="drive", rig=drive.rig, frames=lambda split: frames, path=drive.path)
        source = DiskSource(part, RIG.only(["rgb", "thermal"]), "train")  # type: ignore[arg-type]
        assert [frame.id for frame in source.frames] == ["day/1"]
        assert "1 of 2 frames are left out: they have none of rgb, thermal" in caplog.text
        with pytest.raises(SartmError, match=r"no labelled frame of split 'train' has any of event"):
            DiskSource(part, load_rig("simrig5").only(["event"]), "train")  # type: ignore[arg-type]

    def test_scores_leave_them_out(self, drive, blank) -> None:
        """With a limit, too: it counts labelled frames."""
        asked = []

        def segment(planes: dict[str, np.ndarray], size: tuple[int, int]) -> Segmentation:
            asked.append(planes["rgb"])
            return Segmentation(np.zeros(size, np.uint8), np.ones(size, np.float32), np.eye(3, 5, dtype=np.float32))

        segmenter = SimpleNamespace(bundle=load_segmenter("any_sensor_simrig5").bundle, segment=segment)
        figures = as_dict(evaluate(segmenter, drive, "train", limit=2))
        assert figures["clean"]["frames"] == 2
        shown = [drive.image(drive.frames("train")[index], "rgb").transpose(2, 0, 1) for index in (0, 2)]
        np.testing.assert_array_equal(np.stack(asked), np.stack(shown))
        with pytest.raises(SartmError, match="blank: split 'train' has no labelled frames to score"):
            evaluate(segmenter, blank, "train")
