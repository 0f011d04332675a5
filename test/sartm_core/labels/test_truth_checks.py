"""What no label file may be: colours, palettes, ids beyond the classes, another view than its image's."""

import numpy as np
import pytest
from PIL import Image

from sartm_core.datasets.check import check_data
from sartm_core.datasets.dataset import TRUTH
from sartm_core.datasets.files import check_view, class_ids, read_image
from sartm_core.errors import SartmError

SIZE = (20, 28)
IDS = np.random.default_rng(0).integers(0, 14, SIZE).astype(np.uint8)


def of_palette(path, grey: bool) -> None:
    image = Image.fromarray(IDS)
    colours = np.random.default_rng(1).integers(0, 256, (256, 3))
    image.putpalette((np.arange(256)[:, None].repeat(3, axis=1) if grey else colours).ravel().tolist())
    image.save(path)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (np.full(SIZE, 14, np.uint8), "/truth: holds the label 14 in 560 pixels; expected 0 to 13, or 255"),
        (np.full(SIZE, 200, np.uint8), "/truth: holds the label 200 in 560 pixels"),
        (np.full(SIZE, 65535, np.uint16), "/truth: holds the label 65535 in 560 pixels"),
        (np.full(SIZE, 2**32 - 1, np.uint32), "/truth: holds the label 4294967295 in 560 pixels"),
        (np.full(SIZE, -1, np.int16), "/truth: holds the label -1 in 560 pixels"),
        (np.dstack([IDS, IDS, 13 - IDS]), "/truth: expected class ids .* got colours"),
    ],
)
def test_values_that_are_no_classes(stored, message) -> None:
    with pytest.raises(SartmError, match=message):
        class_ids("/truth", stored, 14)


def test_shifted_ids() -> None:
    """0 is unlabelled there, and 255."""
    stored = np.array([[0, 1, 14, 255]], np.uint8)
    assert class_ids("/truth", stored, 14, shift=1).tolist() == [[255, 0, 13, 255]]
    with pytest.raises(SartmError, match="label 15 in 1 pixels; expected 1 to 14"):
        class_ids("/truth", stored + (stored == 14), 14, shift=1)
    with pytest.raises(SartmError, match="label -1 in 1 pixels; expected 1 to 14"):
        class_ids("/truth", np.array([[-1, 3]], np.int16), 14, shift=1)


def test_palettes_are_named_unless_they_are_grey(tmp_path) -> None:
    path = tmp_path / "1.png"
    of_palette(path, grey=True)
    np.testing.assert_array_equal(class_ids(path, read_image(path), 14), IDS)
    of_palette(path, grey=False)
    with pytest.raises(SartmError, match=r"1\.png: expected class ids .* got a palette. .*sartm data import-labels"):
        class_ids(path, read_image(path), 14)


@pytest.mark.parametrize(
    ("size", "fits", "fits_scaled"),
    [
        ((480, 640), True, True),
        ((240, 320), False, True),
        ((720, 960), False, True),
        ((241, 320), False, True),  # rounded
        ((480, 600), False, False),  # cropped
        ((640, 480), False, False),  # rotated
        ((480, 480), False, False),
    ],
)
def test_labels_show_what_their_image_shows(size, fits, fits_scaled) -> None:
    for scaled, good in ((False, fits), (True, fits_scaled)):
        if good:
            check_view("truth.png", size, "rgb.png", (480, 640, 3), scaled)
            continue
        with pytest.raises(SartmError) as error:
            check_view("truth.png", size, "rgb.png", (480, 640, 3), scaled)
        assert f"truth.png: is {size[0]}x{size[1]} (height x width), but its image rgb.png is 480x640" in str(
            error.value
        )
        assert ("not resized" in str(error.value)) is not scaled


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (IDS[:, :20], "is 20x20 (height x width), but its image"),
        (IDS.T, "is 28x20 (height x width), but its image"),
        (IDS[::2, ::2], "is 10x14 (height x width), but its image"),
        (np.full(SIZE, 200, np.uint8), "holds the label 200 in 560 pixels"),
        (np.dstack([IDS, IDS, 13 - IDS]), "got colours"),
        (None, "got a palette"),
    ],
)
def test_the_check_of_a_data_set_says_the_same(frames, stored, message) -> None:
    path = frames.path(frames.frames()[0], TRUTH)
    if stored is None:
        of_palette(path, grey=False)
    else:
        Image.fromarray(np.ascontiguousarray(stored)).save(path)
    (fault,) = check_data(frames).faults
    assert fault.startswith(f"{path}: ")
    assert message in fault


def test_three_equal_channels_are_ids(frames) -> None:
    Image.fromarray(np.dstack([IDS] * 3)).save(frames.path(frames.frames()[0], TRUTH))
    assert check_data(frames).faults == []
    np.testing.assert_array_equal(frames.truth(frames.frames()[0]), IDS)
