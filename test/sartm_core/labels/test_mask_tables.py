"""Masks as Roboflow, Labelme and CVAT really export them, and files beside them that nobody can read."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIZE = (20, 28)
PIXELS = np.random.default_rng(4).integers(0, 4, SIZE).astype(np.uint8)
"""0 = background, then three classes in an order that is not the rig's."""

NAMES = ("sky", "road", "car")
ROBOFLOW = "Pixel Value, Class\n0, background\n1, sky\n2, road\n3, car\n"


@pytest.fixture
def expected(class_id) -> np.ndarray:
    return np.array([255, *map(class_id, NAMES)], np.uint8)[PIXELS]


def save(path: Path, pixels: np.ndarray = PIXELS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def voc_palette() -> list[int]:
    """https://host.robots.ox.ac.uk/pascal/VOC: the bits of the index, from the highest of each channel down."""
    palette = np.zeros((256, 3), int)
    for index in range(256):
        for bit in range(8):
            palette[index, bit % 3] |= (index >> bit & 1) << 7 - bit // 3
    return palette.ravel().tolist()


def save_voc(path: Path, pixels: np.ndarray = PIXELS) -> None:
    image = Image.fromarray(pixels)
    image.putpalette(voc_palette())
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    with Image.open(path) as stored:
        assert stored.mode == "P"


class TestRoboflow:
    def test_as_it_exports_them(self, task, imported, expected) -> None:
        """A folder per split, with a table and images beside the masks."""
        for split, identity in (("train", "train-100"), ("valid", "val-300")):
            stem = f"{identity}_png.rf.0a1b2c3d4e5f60718293a4b5c6d7e8f9"
            save(task / split / f"{stem}_mask.png")
            save(task / split / f"{stem}.png", np.zeros((*SIZE, 3), np.uint8))
            (task / split / "_classes.csv").write_text(ROBOFLOW)
        (task / "README.roboflow.txt").write_text("exported via roboflow.com")
        (task / "README.dataset.txt").write_text("my project")
        truth = imported(task)
        assert list(truth) == ["train/100", "val/300"]
        np.testing.assert_array_equal(truth["train/100"], expected)
        np.testing.assert_array_equal(truth["val/300"], expected)

    def test_each_folder_has_its_own_numbers(self, task, imported, expected, class_id) -> None:
        save(task / "train/100_mask.png")
        (task / "train/_classes.csv").write_text(ROBOFLOW)
        save(task / "valid/300_mask.png")
        (task / "valid/_classes.csv").write_text("Pixel Value,Class\n0,background\n1,car\n2,sky\n3,road\n")
        truth = imported(task)
        np.testing.assert_array_equal(truth["train/100"], expected)
        other = np.array([255, *map(class_id, ("car", "sky", "road"))])
        np.testing.assert_array_equal(truth["val/300"], other[PIXELS])


class TestLabelme:
    @pytest.mark.parametrize("folder", ["SegmentationClass", "SegmentationClassPNG"])
    def test_voc_export(self, task, imported, expected, folder) -> None:
        """`_background_` is 0, `__ignore__` is stored as 255; older versions keep arrays in SegmentationClass."""
        pixels = PIXELS.copy()
        pixels[0] = 255
        save_voc(task / folder / "train-100.png", pixels)
        if folder == "SegmentationClassPNG":
            (task / "SegmentationClass").mkdir()
            np.save(task / "SegmentationClass/train-100.npy", pixels.astype(np.int32))
        (task / "JPEGImages").mkdir()
        (task / "class_names.txt").write_text("_background_\nsky\nroad\ncar")
        expected[0] = 255
        np.testing.assert_array_equal(imported(task)["train/100"], expected)

    def test_the_folder_of_the_masks_alone(self, task, imported, expected) -> None:
        """The table above it counts, too."""
        save_voc(task / "SegmentationClass/train-100.png")
        (task / "class_names.txt").write_text("_background_\nsky\nroad\ncar")
        np.testing.assert_array_equal(imported(task / "SegmentationClass")["train/100"], expected)

    def test_its_list_of_labels(self, task, tmp_path, imported, expected) -> None:
        """Where `__ignore__`, -1, comes first."""
        save_voc(task / "train-100.png")
        (tmp_path / "labels.txt").write_text("__ignore__\n_background_\nsky\nroad\ncar\n")
        np.testing.assert_array_equal(imported(task, "--table", tmp_path / "labels.txt")["train/100"], expected)

    def test_a_list_that_does_not_say_where_it_begins(self, task, refused) -> None:
        save_voc(task / "SegmentationClass/train-100.png")
        (task / "class_names.txt").write_text("sky\nroad\ncar\n")
        assert f"{task / 'class_names.txt'}: is not a label table" in refused(task)


class TestForms:
    @pytest.mark.parametrize(
        "table",
        [
            ROBOFLOW,
            "id,name\n0,background\n1,sky\n2,road\n3,car\n",
            "id, name\n0, background\n1, sky\n2, road\n3, car\n",
            "id;name\n0;background\n1;sky\n2;road\n3;car\n",
            "id,name,class\n0,nothing,\n1,heaven,sky\n2,street,road\n3,auto,car\n",
        ],
    )
    @pytest.mark.parametrize("mode", ["L", "three equal channels", "LA", "RGBA", "16 bit"])
    def test_grey_in_any_form(self, task, imported, expected, table, mode) -> None:
        opaque = np.full(SIZE, 255, np.uint8)
        forms = {
            "L": PIXELS,
            "three equal channels": np.dstack([PIXELS] * 3),
            "LA": np.dstack([PIXELS, opaque]),
            "RGBA": np.dstack([PIXELS] * 3 + [opaque]),
            "16 bit": PIXELS.astype(np.uint16),
        }
        save(task / "train-100.PNG", forms[mode])
        (task / "classes.csv").write_text(table)
        np.testing.assert_array_equal(imported(task)["train/100"], expected)

    def test_one_bit(self, task, imported, class_id) -> None:
        save(task / "train-100.png", PIXELS > 1)
        (task / "classes.csv").write_text("id,name\n0,background\n1,car\n")
        np.testing.assert_array_equal(imported(task)["train/100"], np.where(PIXELS > 1, class_id("car"), 255))

    @pytest.mark.parametrize("suffix", ["jpg", "tif", "npy"])
    def test_other_files_are_no_masks(self, task, refused, suffix) -> None:
        (task / f"train-100.{suffix}").write_bytes(b"")
        assert f"holds no PNG masks, and no annotations in JSON. train-100.{suffix} is none: export PNG" in refused(
            task
        )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("_classes.csv", "Value,Label\n0,background\n1,road\n", "_classes.csv: is not a label table"),
        ("my table.csv", "a,b\n1,2\n", "my table.csv: is not a label table"),
        ("train.txt", "train-100\ntrain-200\n", "train.txt: is not a label table"),
        ("dataset.json", '{"classes": ["road"]}', "dataset.json: is not a label table"),
        ("panoptic.json", "[1, 2]", "panoptic.json: is not a label table"),
        ("annotations.xml", "<annotations/>", "annotations.xml: is not a label table"),
        ("data.yaml", "names: [road]", "data.yaml: is not a label table"),
    ],
)
def test_a_table_that_is_not_understood_is_refused(task, refused, imported, tmp_path, name, content, message) -> None:
    """Until it is moved away, or another is given: the rig's ids would shift every class."""
    save(task / "train-100.png")
    (task / name).write_text(content)
    output = refused(task)
    assert message in output
    assert "If it is no table, move it elsewhere, or give the right one with --table." in output
    (tmp_path / "right.csv").write_text(ROBOFLOW)
    assert list(imported(task, "--table", tmp_path / "right.csv")) == ["train/100"]


def test_two_tables_are_refused(task, refused) -> None:
    save(task / "train-100.png")
    (task / "classes.csv").write_text(ROBOFLOW)
    (task / "labelmap.txt").write_text("road:1,2,3::\n")
    assert f"{task}: several files may be the table of its masks: classes.csv, labelmap.txt" in refused(task)


def test_masks_and_annotations_in_one_folder_are_refused(task, refused, imported) -> None:
    save(task / "SegmentationClass/train-100.png")
    shape = {"label": "car", "shape_type": "rectangle", "points": [[1, 1], [5, 5]]}
    (task / "val-300.json").write_text(json.dumps({"shapes": [shape]}))
    assert f"{task}: holds both annotations ({task / 'val-300.json'}) and masks" in refused(task)
    assert list(imported(task / "val-300.json")) == ["val/300"]


def test_annotations_in_several_formats_are_refused(task, refused) -> None:
    (task / "a.json").write_text(json.dumps({"shapes": []}))
    (task / "b.json").write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    assert "holds annotations in several formats: Labelme (" in refused(task)


def test_annotations_beside_a_file_that_is_not_understood_are_refused(task, refused) -> None:
    (task / "a.json").write_text(json.dumps({"shapes": []}))
    (task / "b.json").write_text('{"frames": []}')
    assert f"{task / 'b.json'}: holds no annotations that are understood: COCO, Label Studio" in refused(task)


def test_hidden_files_are_not_read(task, imported) -> None:
    """macOS packs one beside every file of an archive."""
    save(task / "train-100.png")
    (task / "_classes.csv").write_text(ROBOFLOW)
    for name in ("._train-100.png", "._classes.csv", "._a.json"):
        (task / name).write_bytes(b"\0\5\x16\7")
    assert list(imported(task)) == ["train/100"]


def test_a_table_in_json_may_lie_in_the_folder(task, imported, expected) -> None:
    save(task / "train-100.png")
    categories = [{"id": number, "name": name} for number, name in enumerate(("background", *NAMES))]
    path = task / "coco.json"
    path.write_text(json.dumps({"images": [], "annotations": [], "categories": categories}))
    relative = path.parent / ".." / path.parent.name / path.name
    np.testing.assert_array_equal(imported(task, "--table", relative)["train/100"], expected)


@pytest.mark.parametrize("name", ["masks.zip", "nothing"])
def test_neither_folder_nor_json(task, refused, name) -> None:
    (task / "masks.zip").write_bytes(b"PK")
    assert "Give the folder that holds the masks or annotations." in refused(task / name)
