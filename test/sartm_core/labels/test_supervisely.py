"""Supervisely's JSON, against its documentation's bitmap, OpenCV, and areas drawn by hand."""

import base64
import io
import json
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

SIZE = (20, 28)
DOCUMENTED = (
    "eJzrDPBz5+WS4mJgYOD19HAJAtLMIMwIInOeqf8BUmwBPiGuQPr///9Lb86/C2QxlgT5BTM4PLuRBuTwebo4hlTMSa44cOHAB6DqY0yORgq8YkAZBk9XP"
    "5d1TglNANAFGzA="
)
"""https://developer.supervisely.com, Objects, Bitmap: [[1, 1, 1], [1, 0, 0], [1, 1, 1]]."""


def bitmap(label: str, data: str, x: int, y: int) -> dict:
    return {"classTitle": label, "geometryType": "bitmap", "bitmap": {"data": data, "origin": [x, y]}, "tags": []}


def outline(label: str, kind: str, exterior: list, interior: list | None = None) -> dict:
    points = {"exterior": exterior, "interior": [] if interior is None else interior}
    return {"classTitle": label, "geometryType": kind, "points": points, "tags": []}


def annotation(*objects: dict, **more: object) -> dict:
    return {"description": "", "tags": [], "size": {"height": SIZE[0], "width": SIZE[1]}, "objects": objects, **more}


def encoded(image: np.ndarray, compress: bool = True) -> str:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return base64.b64encode(zlib.compress(stream.getvalue()) if compress else stream.getvalue()).decode()


def box(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    area = np.zeros(SIZE, bool)
    area[top:bottom, left:right] = True
    return area


E_SHAPE = box(5, 8, 10, 13) & ~box(6, 7, 11, 13)
SQUARE = outline("car", "polygon", [[4, 3], [12, 3], [12, 9], [4, 9]])
HOLE = [[6, 5], [9, 5], [9, 7], [6, 7]]


@pytest.fixture
def project(task, write):
    """Writes a project with these annotations."""

    def put(**annotations: dict) -> None:
        write("meta.json", {"classes": [{"title": "car", "shape": "bitmap", "color": "#00FF00"}], "tags": []})
        write("key_id_map.json", {"tags": {}, "objects": {}, "figures": {}, "videos": {}})
        write("obj_class_to_machine_color.json", {"car": [1, 1, 1]})
        for name, content in annotations.items():
            write(f"ds0/ann/{name.replace('_', '-')}.png.json", content)
            for folder in ("img", "masks_machine"):
                (task / "ds0" / folder).mkdir(exist_ok=True)
                Image.new("RGB", SIZE[::-1], (1, 1, 1)).save(task / "ds0" / folder / f"{name.replace('_', '-')}.png")

    return put


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        (bitmap("car", DOCUMENTED, 10, 5), E_SHAPE),
        (bitmap("car", encoded(E_SHAPE[5:8, 10:13]), 10, 5), E_SHAPE),
        (bitmap("car", encoded(E_SHAPE[5:8, 10:13], compress=False), 10, 5), E_SHAPE),
        (bitmap("car", encoded(np.dstack([E_SHAPE[5:8, 10:13] * 255] * 4).astype(np.uint8)), 10, 5), E_SHAPE),
        (SQUARE, box(3, 10, 4, 13)),
        (outline("car", "polygon", SQUARE["points"]["exterior"], [HOLE]), box(3, 10, 4, 13) & ~box(5, 8, 6, 10)),
        (outline("car", "rectangle", [[4, 3], [12, 9]]), box(3, 10, 4, 13)),
    ],
)
def test_drawn_by_hand(task, project, imported, class_id, drawn, expected) -> None:
    """Images, and masks of the same, lie beside it."""
    project(train_100=annotation(drawn))
    truth = imported(task)
    np.testing.assert_array_equal(truth["train/100"], np.where(expected, class_id("car"), 255))
    assert list(truth) == ["train/100"]


def test_as_opencv_fills_them_later_above_earlier(task, project, imported, class_id) -> None:
    rng = np.random.default_rng(2)
    names = ["road", "sky", "car", "road"]
    rings = [[rng.integers(-3, 30, (6, 2)).tolist() for _ in range(3)] for _ in names]
    project(
        val_300=annotation(
            *(outline(name, "polygon", ring[0], ring[1:]) for name, ring in zip(names, rings, strict=True))
        )
    )
    expected = np.full(SIZE, 255, np.uint8)
    for name, (exterior, *holes) in zip(names, rings, strict=True):
        area = cv2.fillPoly(np.zeros(SIZE, np.uint8), [np.array(exterior, np.int32)], 1)
        for hole in holes:
            area = cv2.fillPoly(area, [np.array(hole, np.int32)], 0)
        expected[area == 1] = class_id(name)
    assert len(np.unique(expected)) == 4
    np.testing.assert_array_equal(imported(task)["val/300"], expected)


def test_several_data_sets(task, project, write, imported) -> None:
    project(train_100=annotation(SQUARE), val_300=annotation())
    write("ds1/ann/200.jpg.json", annotation(SQUARE))
    assert list(imported(task)) == ["train/100", "train/200"]


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ([outline("car", "line", [[1, 1], [2, 2]])], "object 0 ('car', line): is no area that can be imported. Remove"),
        ([{"classTitle": "car", "geometryType": "cuboid", "faces": []}], "('car', cuboid): is no area"),
        ([SQUARE, outline("car", "polygon", [[1, 1]])], "object 1 ('car', polygon): has 1 points; expected 3"),
        ([outline("car", "rectangle", [[1, 1]] * 3)], "('car', rectangle): has 3 points; expected 2"),
        ([{"classTitle": "car", "geometryType": "polygon"}], "('car', polygon): its points are missing"),
        ([{"classTitle": "car", "geometryType": "bitmap"}], "('car', bitmap): its bitmap is missing"),
        ([{"geometryType": "bitmap"}], "objects.0.classTitle: Field required"),
        ([bitmap("car", "\u20ac", 1, 1)], "its mask is not base64"),
        ([bitmap("car", "abcd", 1, 1)], "the data of its bitmap are damaged"),
        ([bitmap("car", base64.b64encode(zlib.compress(b"x")).decode(), 1, 1)], "its mask is not a PNG image"),
        ([bitmap("car", encoded(np.zeros((3, 3, 3), np.uint8)), 1, 1)], "its mask is not a PNG image of one channel"),
        ([bitmap("car", DOCUMENTED, 26, 5)], "(3x3, height x width, at x 26, y 5) reaches beyond the image (20x28)"),
        ([bitmap("car", DOCUMENTED, -1, 5)], "reaches beyond the image"),
        ([outline("lava", "rectangle", [[4, 3], [12, 9]])], "class 'lava' is not in the rig"),
    ],
)
def test_faults_are_named(task, project, refused, objects, message) -> None:
    project(train_100=annotation(*objects))
    output = refused(task)
    assert output.startswith(str(task))
    assert message in output


def test_other_sizes_are_named(task, project, refused) -> None:
    project(train_100=annotation(SQUARE, size={"height": 28, "width": 20}))
    assert "train-100.png.json: is 28x20 (height x width), but its image" in refused(task)
    project(train_100=annotation(SQUARE, size={"height": 28}))
    assert "size.width: Field required" in refused(task)


def test_machine_masks_alone(task, imported, class_id) -> None:
    """Three equal channels, that of a class by its name; what humans see lies beside them."""
    (task / "obj_class_to_machine_color.json").write_text(json.dumps({"car": [2, 2, 2], "sky": [1, 1, 1]}))
    for folder, value in (("masks_machine", 2), ("masks_human", 90), ("img", 7)):
        (task / "ds0" / folder).mkdir(parents=True)
        Image.fromarray(np.where(E_SHAPE[..., None], value, 0).astype(np.uint8).repeat(3, axis=2)).save(
            task / "ds0" / folder / "train-100.png"
        )
    np.testing.assert_array_equal(imported(task)["train/100"], np.where(E_SHAPE, class_id("car"), 255))
