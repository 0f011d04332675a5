"""COCO's JSON against pycocotools' own drawing and areas drawn by hand."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

SIZE = (20, 28)
NAMES = {7: "road", 3: "car", 9: "sky"}


def box(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    area = np.zeros(SIZE, bool)
    area[top:bottom, left:right] = True
    return area


def ring() -> np.ndarray:
    return box(2, 14, 3, 20) & ~box(5, 9, 6, 12)


def uncompressed(area: np.ndarray) -> dict:
    """Column by column, beginning with what is outside."""
    counts, inside = [0], False
    for value in area.ravel(order="F").tolist():
        if value != inside:
            counts.append(0)
            inside = value
        counts[-1] += 1
    return {"size": list(area.shape), "counts": counts}


def compressed(area: np.ndarray) -> dict:
    encoded = coco_mask.encode(np.asfortranarray(area, np.uint8))
    return {"size": list(area.shape), "counts": encoded["counts"].decode()}


def coco(*annotations: tuple[int, object], file_name: str = "images/train-100.png", **more: object) -> dict:
    return {
        "info": {},
        "images": [{"id": 5, "file_name": file_name, "height": SIZE[0], "width": SIZE[1], "license": None}],
        "categories": [{"id": number, "name": name, "supercategory": ""} for number, name in NAMES.items()],
        "annotations": [
            {"id": 40 + n, "image_id": 5, "category_id": category, "segmentation": area, "iscrowd": 0, "bbox": [0] * 4}
            for n, (category, area) in enumerate(annotations)
        ],
        **more,
    }


POLYGON = [[4, 3, 12, 3, 12, 9, 4, 9]]


class TestAreas:
    @pytest.mark.parametrize(
        ("area", "expected"),
        [
            (POLYGON, box(3, 9, 4, 12)),
            ([*POLYGON, [20, 10, 26, 10, 26, 18, 20, 18]], box(3, 9, 4, 12) | box(10, 18, 20, 26)),
            ([*POLYGON, [8, 6, 16, 6, 16, 12, 8, 12]], box(3, 9, 4, 12) | box(6, 12, 8, 16)),  # parts that overlap
            ([[-5, -5, 40, -5, 40, 4, -5, 4]], box(0, 4, 0, 28)),
            (uncompressed(ring()), ring()),
            (compressed(ring()), ring()),
            (compressed(np.random.default_rng(1).random(SIZE) < 0.5), np.random.default_rng(1).random(SIZE) < 0.5),
        ],
    )
    def test_drawn_by_hand(self, task, write, imported, class_id, area, expected) -> None:
        write("annotations/instances_default.json", coco((3, area)))
        truth = imported(task)
        np.testing.assert_array_equal(truth.pop("train/100"), np.where(expected, class_id("car"), 255))
        assert truth == {}

    @pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools' decode, with NumPy 2
    def test_as_pycocotools_draws_them_later_above_earlier(self, task, write, imported, class_id) -> None:
        """Neither the smaller nor the lower category id is on top."""
        rng = np.random.default_rng(0)
        drawn = [(7, [[0, 0, 28, 0, 28, 20, 0, 20]]), (3, [[2.5, 3.2, 20.7, 1.1, 25.3, 17.8, 9.4, 12.6]])]
        drawn += [(9, [rng.uniform(0, 20, 12).round(2).tolist()]), (3, compressed(rng.random(SIZE) < 0.1))]
        drawn += [(7, [[5, 5, 24, 6, 20, 16]])]
        path = write("coco.json", coco(*drawn))
        with contextlib.redirect_stdout(io.StringIO()):
            reference = COCO(str(path))
        expected = np.full(SIZE, 255, np.uint8)
        for annotation in reference.dataset["annotations"]:
            expected[reference.annToMask(annotation) == 1] = class_id(NAMES[annotation["category_id"]])
        assert len(np.unique(expected)) == 3
        np.testing.assert_array_equal(imported(task)["train/100"], expected)

    def test_a_crowd_is_of_its_class(self, task, write, imported, class_id) -> None:
        content = coco((3, uncompressed(ring())))
        content["annotations"][0]["iscrowd"] = 1
        write("coco.json", content)
        np.testing.assert_array_equal(imported(task)["train/100"], np.where(ring(), class_id("car"), 255))

    def test_the_hole_of_one_shows_what_lies_below(self, task, write, imported, class_id) -> None:
        write("coco.json", coco((9, POLYGON), (3, compressed(ring()))))
        expected = np.where(ring(), class_id("car"), np.where(box(3, 9, 4, 12), class_id("sky"), 255))
        np.testing.assert_array_equal(imported(task)["train/100"], expected)


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "train-100.png",
            "100.jpg",
            "images\\train-100.png",
            "train-100_png.rf.0a1b2c3d4e5f.jpg",  # Roboflow
            "0a1b2c3d-train-100.png",  # Label Studio
        ],
    )
    def test_images_by_file_name(self, task, write, imported, name) -> None:
        write("coco.json", coco((3, POLYGON), file_name=name))
        assert list(imported(task)) == ["train/100"]

    def test_categories_that_nothing_uses_do_not_matter(self, task, write, imported) -> None:
        """Roboflow lists the project's name as category 0."""
        content = coco((3, POLYGON))
        content["categories"].append({"id": 0, "name": "my project"})
        write("coco.json", content)
        assert list(imported(task)) == ["train/100"]

    def test_unknown_categories_are_named_all_at_once(self, task, write, refused) -> None:
        content = coco((3, POLYGON), (9, POLYGON), (7, POLYGON))
        content["categories"] = [{"id": 3, "name": "Car"}, {"id": 9, "name": "lava"}, {"id": 7, "name": "road"}]
        write("coco.json", content)
        message = refused(task)
        assert message.startswith(f"{task}: classes 'Car', 'lava' are not in the rig: road, marking, ")
        assert "'Car' differs from 'car' in upper and lower case" in message
        assert "--table: a CSV with the columns name (the tool's) and class (the rig's, or empty)" in message

    def test_a_table_translates_names(self, task, tmp_path, write, imported, class_id) -> None:
        """What is of no class covers what it lies on."""
        content = coco((7, [[0, 0, 28, 0, 28, 20, 0, 20]]), (3, POLYGON), (9, compressed(ring() & box(10, 20, 0, 28))))
        content["categories"] = [{"id": 7, "name": "Street"}, {"id": 3, "name": "bird"}, {"id": 9, "name": "car"}]
        write("coco.json", content)
        (tmp_path / "names.csv").write_text("name,class\nStreet,road\nbird,\n")
        expected = np.full(SIZE, class_id("road"), np.uint8)
        expected[box(3, 9, 4, 12)] = 255
        expected[ring() & box(10, 20, 0, 28)] = class_id("car")
        np.testing.assert_array_equal(imported(task, "--table", tmp_path / "names.csv")["train/100"], expected)

    def test_a_table_without_names_is_refused(self, task, tmp_path, write, refused) -> None:
        write("coco.json", coco((3, POLYGON)))
        (tmp_path / "ids.csv").write_text("id,name\n3,car\n")
        assert "ids.csv: translates no names; annotations need a CSV" in refused(task, "--table", tmp_path / "ids.csv")

    def test_one_file_and_images_without_annotations(self, write, imported) -> None:
        content = coco((3, POLYGON))
        content["images"].append({"id": 6, "file_name": "train-200.png", "height": 20, "width": 28})
        write("other/note.json", {"a": 1})
        assert list(imported(write("coco.json", content))) == ["train/100"]

    def test_several_files(self, task, write, imported) -> None:
        write("train/_annotations.coco.json", coco((3, POLYGON)))
        write("valid/_annotations.coco.json", coco((3, POLYGON), file_name="val-300.png"))
        assert list(imported(task)) == ["train/100", "val/300"]


def without(content: dict, *way: object) -> dict:
    inner = content
    for step in way[:-1]:
        inner = inner[step]
    del inner[way[-1]]
    return content


def counts(value: object, size: tuple[int, int] = SIZE) -> dict:
    return coco((3, {"size": list(size), "counts": value}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "coco.json: is not valid JSON"),
        ("[" * 100_000, "coco.json: is not valid JSON"),
        (without(coco((3, POLYGON)), "categories"), "categories: Field required"),
        (without(coco((3, POLYGON)), "images", 0, "file_name"), "images.0.file_name: Field required"),
        (without(coco((3, POLYGON)), "annotations", 0, "image_id"), "annotations.0.image_id: Field required"),
        (coco((3, [[1, 2, 3, 4]])), "annotations.0.segmentation.polygons.0: List should have at least 6 items"),
        (coco((3, [[1, 2, 3, 4, 5, "x"]])), "annotations.0.segmentation.polygons.0.5: Input should be a valid number"),
        (coco((3, [[1, 2, 3, 4, 5, 1e12]])), "annotations.0.segmentation.polygons.0.5: Input should be less than"),
        (coco((3, [[1, 2, 3, 4, 5, float("nan")]])), "segmentation.polygons.0.5: Input should be a finite number"),
        (coco((3, [[1, 2, 3, 4, 5, 6, 7]])), "annotation 40: a polygon of its segmentation has an odd number"),
        (coco(*[(3, "x")] * 5), "annotations.0.segmentation.polygons: Input should be a valid list"),
        (coco(*[(3, "x")] * 5), "and 2 more"),
        (coco((3, [])), "annotation 40: has no segmentation, only a box. Export masks or polygons."),
        (coco((3, None)), "annotation 40: has no segmentation, only a box. Export masks or polygons."),
        (coco((4, POLYGON)), "annotation 40: category_id 4 is not among the categories"),
        (without(coco((3, POLYGON)), "images", 0), "annotation 40: image_id 5 is not among the images"),
        (coco((3, POLYGON), categories=[{"id": 3, "name": "car"}] * 2), "several of its images or categories share an"),
        (counts([10, 20]), "annotation 40: the run lengths of its segmentation do not fill the image"),
        (counts([10, 1000]), "annotation 40: the run lengths of its segmentation do not fill the image"),
        (counts([600, -40]), "annotation 40: the run lengths of its segmentation do not fill the image"),
        (counts([]), "annotation 40: the run lengths of its segmentation do not fill the image"),
        (counts(""), "annotation 40: the run lengths of its segmentation do not fill the image"),
        (counts("99"), "annotation 40: the run lengths of its segmentation do not fill the image"),
        (counts("9oooo"), "annotation 40: the run lengths of its segmentation are damaged"),
        (counts("\u20ac~"), "annotation 40: the run lengths of its segmentation are damaged"),
        (counts([600], (20, 30)), "annotation 40: its run lengths are of size [20, 30], its image is [20, 28]"),
        (coco((3, POLYGON), images=[{"id": 5, "file_name": "100.png", "height": 640, "width": 640}]), "is 640x640"),
        (coco((3, POLYGON), images=[{"id": 5, "file_name": "100.png", "height": 640, "width": 640}]), "not resized"),
        (coco((3, POLYGON), file_name="frame_000001.png"), "none of its 1 images belongs to a frame; expected names"),
        ({"images": [], "annotations": [{"segments_info": []}], "categories": []}, "COCO's panoptic annotations"),
        ({"images": [], "annotations": None, "categories": []}, "annotations: Input should be a valid list"),
        ({"images": [], "annotations": 5, "categories": []}, "annotations: Input should be a valid list"),
    ],
)
def test_faults_are_named(task, write, refused, content, message) -> None:
    path = write("coco.json", content)
    output = refused(task)
    assert output.startswith((str(path), str(task)))
    assert message in output


def test_a_fault_in_the_last_image_leaves_everything_as_it_was(task, write, refused) -> None:
    content = coco((3, POLYGON))
    content["images"].append({"id": 6, "file_name": "val-300.png", "height": 20, "width": 28})
    content["annotations"].append({"id": 90, "image_id": 6, "category_id": 3, "segmentation": counts([1])})
    content["annotations"][1]["segmentation"] = {"size": [20, 28], "counts": [1]}
    write("coco.json", content)
    assert "annotation 90: the run lengths" in refused(task)


def test_two_annotations_of_one_frame_are_refused(task, write, refused) -> None:
    write("a.json", coco((3, POLYGON)))
    write("b.json", coco((9, POLYGON), file_name="100.png"))
    assert f"{task / 'b.json'}, image '100.png': labels train/100, and so does {task / 'a.json'}" in refused(task)
