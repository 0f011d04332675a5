"""Stored labels to class ids, wherever they come from: what is no id is named, never scored."""

import numpy as np
import pytest

from sartm_core.datasets.files import class_ids
from sartm_core.errors import SartmError

IDS = np.array([[0, 1, 255], [2, 2, 0]], np.uint8)


@pytest.mark.parametrize(
    "stored",
    [IDS, np.repeat(IDS[..., None], 3, axis=2), np.dstack([IDS] * 3 + [np.full_like(IDS, 255)]), IDS.astype(np.uint16)],
)
def test_grey_images_in_any_form(stored: np.ndarray) -> None:
    got = class_ids("/truth", stored, classes=3)
    assert np.array_equal(got, IDS)
    assert got.dtype == np.uint8


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.dstack([IDS, IDS, IDS + 1]), "/truth: expected class ids .* got colours. Labels of a palette"),
        (IDS.astype(np.float32), "/truth: expected class ids .* got float32"),
        (np.where(IDS == 2, 3, IDS).astype(np.uint8), "/truth: holds the label 3 in 2 pixels; expected 0 to 2"),
        (np.where(IDS == 2, 200, IDS).astype(np.uint8), "/truth: holds the label 200 in 2 pixels; expected 0 to 2"),
    ],
)
def test_what_is_no_class_is_named(stored: np.ndarray, expected: str) -> None:
    with pytest.raises(SartmError, match=expected):
        class_ids("/truth", stored, classes=3)
