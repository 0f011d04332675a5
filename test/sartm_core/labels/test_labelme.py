"""Labelme's JSON, against its published way of drawing (Pillow, in the file's order) and areas drawn by hand."""

import base64
import io
import math

import numpy as np
import pytest
from PIL import Image, ImageDraw

SIZE = (20, 28)


def shape(label: str, kind: str | None, *points: list[float], **more: object) -> dict:
    return {"label": label, "shape_type": kind, "points": list(points), "group_id": None, "flags": {}, **more}


def labelme(*shapes: dict, **more: object) -> dict:
    size = {"imageHeight": SIZE[0], "imageWidth": SIZE[1]}
    return {"version": "5.5.0", "imageData": None, "imagePath": "train-100.png", "shapes": shapes, **size, **more}


def png(area: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(area).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def area(*rows: str) -> np.ndarray:
    """At the top left of an image: `#` is inside."""
    whole = np.zeros(SIZE, bool)
    whole[: len(rows), : len(rows[0])] = [[character == "#" for character in row] for row in rows]
    return whole


RING = np.array([[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]], bool)


class TestShapes:
    @pytest.mark.parametrize(
        ("drawn", "expected"),
        [
            (shape("car", "rectangle", [1, 1], [3, 2]), area(".....", ".###.", ".###.")),
            (shape("car", "rectangle", [3, 2], [1, 1]), area(".....", ".###.", ".###.")),
            (shape("car", "polygon", [1, 1], [3, 1], [3, 2], [1, 2]), area(".....", ".###.", ".###.")),
            (shape("car", None, [1, 1], [3, 1], [3, 2], [1, 2]), area(".....", ".###.", ".###.")),
            (shape("car", "oriented_rectangle", [1, 1], [3, 1], [3, 2], [1, 2]), area(".....", ".###.", ".###.")),
            (shape("car", "circle", [2, 2], [2, 3]), area(".....", "..#..", ".###.", "..#..")),
            (
                shape("car", "mask", [1, 1], [4, 3], mask=png(RING)),
                area(".....", ".####", ".#..#", ".####"),
            ),
            (
                shape("car", "mask", [1.4, 1.9], [4.2, 3.7], mask=png(RING.astype(np.uint8) * 255)),
                area(".....", ".####", ".#..#", ".####"),
            ),
        ],
    )
    def test_drawn_by_hand(self, task, write, imported, class_id, drawn, expected) -> None:
        """First and last pixels are inside."""
        write("train-100.json", labelme(drawn))
        truth = imported(task)
        np.testing.assert_array_equal(truth["train/100"], np.where(expected, class_id("car"), 255))
        assert list(truth) == ["train/100"]

    def test_as_labelme_draws_them(self, task, write, imported, class_id) -> None:
        """A group changes nothing: later shapes cover earlier ones; `_background_` cuts, `__ignore__` covers."""
        rng = np.random.default_rng(3)
        names = ["road", "car", "_background_", "sky", "__ignore__", "car", "road"]
        outlines = [rng.uniform(-3, 30, (7, 2)).round(3).tolist() for _ in names]
        shapes = [shape(name, "polygon", *points, group_id=1) for name, points in zip(names, outlines, strict=True)]
        shapes.append(shape("person", "circle", [14.2, 9.7], [17.1, 12.3], group_id=1))
        write("train-100.json", labelme(*shapes))
        expected = Image.new("L", SIZE[::-1], 255)
        for name, points in zip(names, outlines, strict=True):
            value = 255 if name.startswith("_") else class_id(name)
            ImageDraw.Draw(expected).polygon([tuple(point) for point in points], fill=value, outline=value)
        radius = math.hypot(17.1 - 14.2, 12.3 - 9.7)
        corners = (14.2 - radius, 9.7 - radius, 14.2 + radius, 9.7 + radius)
        ImageDraw.Draw(expected).ellipse(corners, fill=class_id("person"), outline=class_id("person"))
        assert {class_id("road"), class_id("car"), class_id("person"), 255} <= set(np.unique(expected))
        np.testing.assert_array_equal(imported(task)["train/100"], np.asarray(expected))


class TestFiles:
    SQUARE = shape("car", "rectangle", [1, 1], [3, 2])

    def test_beside_their_images_one_file_each(self, task, write, imported) -> None:
        """PNG images are no masks; older versions store neither size nor path."""
        for name in ("train-100", "val-300"):
            Image.new("RGB", SIZE[::-1]).save(task / f"{name}.png")
        write("train-100.json", labelme(self.SQUARE, imagePath="..\\images\\train-100.png"))
        write("val-300.json", {"shapes": [self.SQUARE]})
        assert list(imported(task)) == ["train/100", "val/300"]

    def test_the_image_counts_rather_than_the_files_name(self, task, write, imported) -> None:
        write("copy of it.json", labelme(self.SQUARE, imagePath="val-300.png"))
        assert list(imported(task)) == ["val/300"]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (labelme(shape("car", "line", [1, 1], [3, 2])), "shape 0 ('car', line): has no area. Remove it; polygon, "),
            (labelme(shape("car", "point", [1, 1])), "shape 0 ('car', point): has no area"),
            (labelme(SQUARE, shape("car", "polygon", [1, 1])), "shape 1 ('car', polygon): has 1 points; expected 3"),
            (labelme(shape("car", "circle", [1, 1])), "shape 0 ('car', circle): has 1 points; expected 2"),
            (labelme(shape("car", "rectangle", *[[1, 1]] * 3)), "('car', rectangle): has 3 points; expected 2"),
            (labelme(shape("car", "mask", [1, 1], [4, 3])), "('car', mask): its mask is missing"),
            (labelme(shape("car", "mask", [1, 1], [4, 3], mask="\u20ac")), "('car', mask): its mask is not base64"),
            (labelme(shape("car", "mask", [1, 1], [4, 3], mask="abcd")), "its mask is not a PNG image"),
            (labelme(shape("car", "mask", [1, 1], [4, 3], mask="")), "its mask is not a PNG image"),
            (labelme(shape("car", "mask", [1, 1], [5, 3], mask=png(RING))), "its mask is 3x4 (height x width), its"),
            (labelme(shape("car", "mask", [26, 1], [29, 3], mask=png(RING))), "reaches beyond the image (20x28)"),
            (labelme({"label": "car"}), "shapes.0.points: Field required"),
            (labelme({"points": []}), "shapes.0.label: Field required"),
            (labelme(shape("car", "polygon", [1], [2, 3])), "shapes.0.points.0.1: Field required"),
            (labelme(shape("car", "polygon", [1, None])), "shapes.0.points.0.1: Input should be a valid number"),
            (labelme(shapes=None), "shapes: Input should be a valid list"),
            (
                labelme(SQUARE, imageHeight=28, imageWidth=20),
                "train-100.json: is 28x20 (height x width), but its image",
            ),
            (labelme(shape("Car", "rectangle", [1, 1], [3, 2])), "'Car' differs from 'car' in upper and lower case"),
            (labelme(shape("car-1", "rectangle", [1, 1], [3, 2])), "class 'car-1' is not in the rig"),
        ],
    )
    def test_faults_are_named(self, task, write, refused, content, message) -> None:
        write("train-100.json", content)
        output = refused(task)
        assert output.startswith(str(task))
        assert message in output
