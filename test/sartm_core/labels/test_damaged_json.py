"""Whatever a field holds: labels, or an error that names the file. Never a traceback."""

import base64
import copy
import io
import json
import random
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from sartm_core.errors import SartmError
from sartm_core.labels.import_labels import FORMATS, import_labels

VALUES = (None, True, -1, 0, 10**40, 1e300, 0.5, "", "car", "\ud800", [], [[]], {}, {"a": 1}, [1, 2, 3], "9" * 99)


def png() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.eye(4, dtype=bool)).save(stream, "PNG")
    return stream.getvalue()


def full_brush() -> list[int]:
    """All 2240 values are 255."""
    bits = f"{2240:032b}" + "00111" + "0010001101111111" + "1" + "11" + f"{2239:016b}" + "1" * 8
    return [int(bits[begin : begin + 8], 2) for begin in range(0, len(bits), 8)]


def contents() -> dict[str, Any]:
    text, packed = base64.b64encode(png()).decode(), base64.b64encode(zlib.compress(png())).decode()
    polygon = [[1, 1], [9, 1], [9, 8]]
    compressed = coco_mask.encode(np.asfortranarray(np.eye(20, 28, dtype=np.uint8)))["counts"]
    box = {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 15, "rectanglelabels": ["car"]}
    sized = {"original_height": 20, "original_width": 28}
    coco: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "train-100.png", "height": 20, "width": 28}],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 8]]},
            {"id": 2, "image_id": 1, "category_id": 1, "segmentation": {"size": [20, 28], "counts": [500, 60]}},
            {
                "id": 3,
                "image_id": 1,
                "category_id": 1,
                "segmentation": {"size": [20, 28], "counts": compressed.decode()},
            },
        ],
    }
    results = [
        {"id": "a", "type": "polygonlabels", "value": {"points": polygon, "polygonlabels": ["car"]}, **sized},
        {"id": "b", "type": "rectanglelabels", "value": box, **sized},
        {
            "id": "c",
            "type": "brushlabels",
            "value": {"rle": full_brush(), "brushlabels": ["car"]},
            **sized,
        },
    ]
    return {
        "COCO": coco,
        "Labelme": {
            "imagePath": "train-100.png",
            "imageHeight": 20,
            "imageWidth": 28,
            "shapes": [
                {"label": "car", "shape_type": "polygon", "points": polygon},
                {"label": "car", "shape_type": "circle", "points": polygon[:2]},
                {"label": "car", "shape_type": "mask", "points": [[2, 2], [5, 5]], "mask": text},
            ],
        },
        "Label Studio": [{"id": 1, "data": {"image": "train-100.png"}, "annotations": [{"result": results}]}],
        "Supervisely": {
            "size": {"height": 20, "width": 28},
            "objects": [
                {"classTitle": "car", "geometryType": "bitmap", "bitmap": {"data": packed, "origin": [2, 2]}},
                {
                    "classTitle": "car",
                    "geometryType": "polygon",
                    "points": {"exterior": polygon, "interior": [polygon]},
                },
            ],
        },
    }


def places(content: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = list(content.items() if isinstance(content, dict) else enumerate(content)) if content else []
    return [way] + [
        place
        for key, value in inner
        for place in (places(value, (*way, key)) if isinstance(value, dict | list) else [(*way, key)])
    ]


def changed(content: Any, way: tuple[Any, ...], value: Any) -> Any:
    if not way:
        return value
    result = copy.deepcopy(content)
    inner = result
    for step in way[:-1]:
        inner = inner[step]
    inner[way[-1]] = value
    return result


@pytest.mark.parametrize("name", FORMATS)
def test_any_value_in_any_field(frames, task: Path, name: str) -> None:
    content = contents()[name]
    path = task / "train-100.png.json"
    chance = random.Random(0)
    refusals: list[str] = []
    taken = 0
    for way in places(content):
        for value in chance.sample(VALUES, 8):
            path.write_text(json.dumps(changed(content, way, value)))
            try:
                import_labels(frames, task)
                taken += 1
            except SartmError as error:
                refusals.append(str(error))
    assert all(str(task) in refusal for refusal in refusals)
    assert len(refusals) > 100
    assert taken > 10
