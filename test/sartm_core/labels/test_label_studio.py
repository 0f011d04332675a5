"""Label Studio's JSON: its brush, packed bit by bit here, and outlines in percent."""

import numpy as np
import pytest

SIZE = (20, 28)
MIXED = np.random.default_rng(5).integers(0, 3, SIZE).astype(np.uint8) * 100
"""Opacities 0, 100 and 200."""


def packed(alpha: np.ndarray, widths: tuple[int, ...] = (3, 4, 8, 16), literal: bool = False) -> list[int]:
    """Runs of a red, green, blue, alpha image, as https://github.com/thi-ng/umbrella (rle-pack) stores them."""
    values = np.dstack([np.zeros((*alpha.shape, 3), np.uint8), alpha]).ravel().tolist()
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{width - 1:04b}" for width in widths)
    place = 0
    while place < len(values):
        end = place
        while end < len(values) and (literal or values[end] == values[place]) and end - place < 1 << widths[-1]:
            end += 1
        kind = next(n for n, width in enumerate(widths) if end - place <= 1 << width)
        shown = values[place:end] if literal else values[place : place + 1]
        bits += f"{int(not literal)}{kind:02b}{end - place - 1:0{widths[kind]}b}" + "".join(f"{v:08b}" for v in shown)
        place = end
    bits += "0" * (8 - len(bits) % 8)
    return [int(bits[begin : begin + 8], 2) for begin in range(0, len(bits), 8)]


def region(kind: str, label: str | None, **value: object) -> dict:
    named = {} if label is None else {kind: [label]}
    size = {"original_height": SIZE[0], "original_width": SIZE[1], "image_rotation": 0}
    return {"id": "r1", "type": kind, "from_name": "tag", "to_name": "image", "value": {**value, **named}, **size}


def brush(label: str, alpha: np.ndarray, **how: object) -> dict:
    return region("brushlabels", label, format="rle", rle=packed(alpha, **how))


def task_of(*results: dict, image: str = "/data/upload/1/0a1b2c3d-train-100.png", **more: object) -> dict:
    annotation = {"id": 1, "was_cancelled": False, "ground_truth": False, "result": results}
    return {"id": 8, "data": {"image": image}, "annotations": [annotation], "predictions": [], **more}


SQUARE = region("polygonlabels", "car", points=[[25, 10], [75, 10], [75, 50], [25, 50]], closed=True)
INSIDE = np.zeros(SIZE, bool)
INSIDE[2:10, 7:21] = True


class TestRegions:
    @pytest.mark.parametrize("alpha", [MIXED, np.zeros(SIZE, np.uint8) + 255, np.eye(*SIZE, dtype=np.uint8) * 255])
    @pytest.mark.parametrize("how", [{}, {"literal": True}, {"widths": (1, 5, 9, 12)}])
    def test_brushes(self, task, write, imported, class_id, alpha, how) -> None:
        """Inside is what has any opacity."""
        write("project-1.json", [task_of(brush("car", alpha, **how))])
        np.testing.assert_array_equal(imported(task)["train/100"], np.where(alpha > 0, class_id("car"), 255))

    def test_a_brush_of_a_few_bytes_by_hand(self) -> None:
        """One pixel, opaque: 4 values of 8 bits; lengths of 3, 4, 8, 16 bits; a run of 3 zeros, a run of one 255."""
        from sartm_core.labels.brush import brush_mask

        bits = "0" * 29 + "100" + "00111" + "0010" + "0011" + "0111" + "1111" + "10001000000000"
        bits += "10000011111111" + "0" * 7
        data = [int(bits[begin : begin + 8], 2) for begin in range(0, len(bits) - len(bits) % 8, 8)]
        assert brush_mask(data, "here", (1, 1)).tolist() == [[True]]

    @pytest.mark.parametrize(
        "drawn",
        [
            SQUARE,
            region("rectanglelabels", "car", x=25, y=10, width=50, height=40, rotation=0),
            region("rectanglelabels", "car", x=25, y=50, width=8 / 28 * 100, height=70, rotation=-90),
            region("labels", "car", points=[[25, 10], [75, 10], [75, 50], [25, 50]]),
        ],
    )
    def test_outlines_in_percent(self, task, write, imported, class_id, drawn) -> None:
        write("project-1.json", [task_of(drawn)])
        np.testing.assert_array_equal(imported(task)["train/100"], np.where(INSIDE, class_id("car"), 255))

    def test_later_regions_cover_earlier_ones(self, task, write, imported, class_id) -> None:
        write("a.json", [task_of(brush("sky", MIXED), SQUARE, brush("road", np.where(MIXED == 100, 255, 0)))])
        expected = np.where(MIXED > 0, class_id("sky"), 255)
        expected[INSIDE] = class_id("car")
        expected[MIXED == 100] = class_id("road")
        np.testing.assert_array_equal(imported(task)["train/100"], expected)

    def test_labels_beside_their_regions_and_choices_are_understood(self, task, write, imported, class_id) -> None:
        outline = {key: value for key, value in SQUARE["value"].items() if key == "points"}
        results = [{**region("polygon", None, **outline)}, region("labels", "car", **outline)]
        results.append({"type": "choices", "value": {"choices": ["night"]}})
        write("project-1.json", [task_of(*results)])
        np.testing.assert_array_equal(imported(task)["train/100"], np.where(INSIDE, class_id("car"), 255))


class TestTasks:
    @pytest.mark.parametrize(
        "more",
        [
            {"image": "/data/local-files/?d=drive%2Ftrain-100.png"},
            {"image": "s3://bucket/drive/train-100.png?X-Amz-Signature=0a1b"},
            {"image": "https://host/a%20b/100.png"},
            {"file_upload": "0a1b2c3d-train-100.png", "data": {"picture": "x", "weather": "y"}},
            {"data": {"picture": "train-100.png", "stamp": 5}},
        ],
    )
    def test_images_by_address(self, task, write, imported, more) -> None:
        write("project-1.json", [task_of(SQUARE, **more)])
        assert list(imported(task)) == ["train/100"]

    def test_one_task_per_file(self, task, write, imported) -> None:
        write("1.json", task_of(SQUARE))
        write("2.json", task_of(SQUARE, image="val-300.png"))
        assert list(imported(task)) == ["train/100", "val/300"]

    def test_which_annotation_counts(self, task, write, imported, refused, class_id) -> None:
        content = task_of(SQUARE)
        done = content["annotations"][0]
        other = {**done, "result": [brush("sky", MIXED)]}
        write("a.json", [{**content, "annotations": [done, other]}])
        assert "image '/data/upload/1/0a1b2c3d-train-100.png': has 2 annotations. Mark one as ground truth" in refused(
            task
        )
        write("a.json", [{**content, "annotations": [{**other, "was_cancelled": True}, done]}])
        assert np.unique(imported(task)["train/100"]).tolist() == [class_id("car"), 255]
        write("a.json", [{**content, "annotations": [done, {**other, "ground_truth": True}]}])
        assert np.unique(imported(task)["train/100"]).tolist() == [class_id("sky"), 255]

    def test_tasks_without_annotations_change_nothing(self, task, write, imported) -> None:
        write("a.json", [task_of(), {**task_of(image="val-300.png"), "annotations": []}])
        assert imported(task) == {}


WRONG = packed(MIXED)


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (
            [region("ellipselabels", "car", x=1, y=1)],
            "(ellipselabels): is no area that can be imported. Remove it; brush",
        ),
        ([region("keypointlabels", "car", x=1, y=1)], "(keypointlabels): is no area that can be imported"),
        (
            [region("polygon", None, points=[[1, 2]] * 3)],
            "region r1 (polygon): has no label. Give it one, or remove it.",
        ),
        ([{**SQUARE, "image_rotation": 90}], "was drawn in an image rotated by 90 degrees"),
        ([{**SQUARE, "original_width": 280}], "is 20x280 (height x width), but its image"),
        ([SQUARE, {**SQUARE, "original_width": 280}], "drawn in images of several sizes: [(20, 28), (20, 280)]"),
        ([region("polygonlabels", None, points=[[1, 2]] * 3)], "has 0 labels (); expected one"),
        ([region("brushlabels", None, brushlabels=["car", "sky"], rle=[])], "has 2 labels (car, sky); expected one"),
        ([region("polygonlabels", "car", points=[[1, 2]])], "has 1 points; expected 3"),
        ([region("polygonlabels", "car", points=[[1, 2], [3]])], "region r1 (polygonlabels): is damaged"),
        ([region("polygonlabels", "car", points=[[1, 2], [3]])], "points.1.1: Field required"),
        ([region("rectanglelabels", "car", x=1, y=1, width=3)], "height: Field required"),
        ([region("brushlabels", "car", rle="abc")], "rle: Input should be a valid list"),
        ([region("brushlabels", "car", rle=[])], "region r1 (brushlabels): its rle does not fill an image of 20x28"),
        ([region("brushlabels", "car", rle=[1, 300])], "its rle holds values that are no bytes"),
        ([region("brushlabels", "car", rle=WRONG[:-9])], "its rle does not fill an image of 20x28"),
        ([region("brushlabels", "car", rle=WRONG[:40])], "its rle does not fill an image of 20x28"),
        ([region("brushlabels", "car", rle=packed(MIXED.T)[:4] + [255] * 60)], "its rle does not fill an image"),
        ([brush("car", MIXED[:10])], "its rle does not fill an image of 20x28"),
        ([brush("lava", MIXED)], "class 'lava' is not in the rig"),
        ([{"value": {}}], "result.0.type: Field required"),
    ],
)
def test_faults_are_named(task, write, refused, results, message) -> None:
    write("project-1.json", [task_of(*results)])
    output = refused(task)
    assert output.startswith(str(task))
    assert message in output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            [{"image": "100.png", "tag": []}],
            "project-1.json: holds no annotations that are understood: COCO, Label Studio",
        ),
        ([{"data": {}, "annotations": []}], "project-1.json, task None: its data name no image"),
        ([{"data": {"image": "100.png"}, "annotations": 5}], "annotations: Input should be a valid list"),
        ([], "holds no annotations that are understood"),
    ],
)
def test_other_exports_are_named(write, refused, content, message) -> None:
    assert message in refused(write("project-1.json", content))
