"""Compressed images as drivers and image_transport send them; the right values are the images before compression."""

import io
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sartm_core.errors import SartmError
from sartm_core.rig import Rig
from sartm_ros.decoding.images import raw_array
from sartm_ros.frame_sets import FrameSetProcessor


def compressed(form: str, data: bytes) -> SimpleNamespace:
    return SimpleNamespace(format=form, data=data)


@pytest.fixture
def scene() -> NDArray[np.uint8]:
    """Smooth colours, RGB [48, 64, 3]: JPEG changes them by little."""
    y, x = np.mgrid[:48, :64]
    return np.stack([200 - 2 * x, 60 + 2 * y + x, 30 + 3 * x], axis=-1).astype(np.uint8)


def pillow(image: NDArray[Any], form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, form, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    "form", ["jpeg", "rgb8; jpeg compressed bgr8", "bgr8;jpeg", "bayer_rggb8; jpeg compressed bgr8"]
)
def test_jpeg_has_the_colours_of_its_content(form: str, scene: NDArray[np.uint8]) -> None:
    got = raw_array(compressed(form, pillow(scene, "JPEG", quality=95)))
    np.testing.assert_allclose(got, scene.astype(int), atol=6)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("rest", [b"", b"\x00" * 64, b"\x00" * 5000, b"\xff" * 100])
def test_a_buffer_that_goes_on_behind_the_picture(rest: bytes, progressive: bool, scene: NDArray[np.uint8]) -> None:
    """V4L2 drivers send the whole buffer (usb_cam#336)."""
    data = pillow(scene, "JPEG", quality=95, progressive=progressive)
    np.testing.assert_allclose(raw_array(compressed("jpeg", data + rest)), scene.astype(int), atol=6)


def progressive(size: int, scans: int) -> bytes:
    """A grey JPEG whose last scan is repeated: some hundred bytes each."""
    data = pillow(np.zeros((size, size), np.uint8), "JPEG", progressive=True)
    tables = data.rfind(b"\xff\xc4")  # of the last scan
    return data[:-2] + data[tables:-2] * scans + data[-2:]


def test_a_small_file_of_many_scans_is_refused_and_a_camera_is_not() -> None:
    """200 scans of 67 megapixels took 26 s."""
    bomb = progressive(2048, 200)
    assert len(bomb) < 1_500_000
    with pytest.raises(SartmError, match=r"2048x2048 pixels in 2\d\d scans; at most 268,435,456 pixels in all scans"):
        raw_array(compressed("jpeg", bomb))
    assert raw_array(compressed("jpeg", progressive(512, 200))).shape == (512, 512)
    assert raw_array(compressed("jpeg", progressive(2048, 1))).shape == (2048, 2048)


def test_a_picture_far_larger_than_the_rig_says_is_not_decoded(sim_rig: Rig) -> None:
    """A megabyte may hold 67 megapixels; one of another size than the rig's, of a camera, is read."""
    processor = FrameSetProcessor(sim_rig, sim_rig)
    for size, is_read in ((1500, True), (6000, False)):
        data = cv2.imencode(".png", np.full((size, size), 7, np.uint8))[1].tobytes()
        frames = processor.process(0, {"rgb": compressed("png", data)})
        assert ("declares 6000x6000 pixels; at most" in frames.broken.get("rgb", "")) != is_read


def test_what_a_message_calls_itself_is_shown_not_obeyed() -> None:
    """A terminal would obey the escape, and a log would show a second line."""
    with pytest.raises(SartmError) as caught:
        raw_array(compressed("\x1b[2J\n[INFO] all is well", b"none"))
    assert r"format '\x1b[2J\n[INFO] all is well'" in str(caught.value)


def with_preview(data: bytes, preview: bytes) -> bytes:
    """A JPEG with a whole JPEG in its header, as cameras write previews."""
    return data[:2] + b"\xff\xe1" + (len(preview) + 2).to_bytes(2, "big") + preview + data[2:]


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
@pytest.mark.parametrize("has_preview", [False, True])
def test_a_picture_that_is_cut_off_is_refused(share: float, has_preview: bool, rng: np.random.Generator) -> None:
    noise = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    data = pillow(noise, "JPEG", quality=95)
    if has_preview:
        data = with_preview(data, pillow(noise[::4, ::4], "JPEG"))
        assert raw_array(compressed("jpeg", data)).shape == (48, 64, 3)
    with pytest.raises(SartmError, match=r"truncated after \d+ bytes: the end-of-file marker is missing"):
        raw_array(compressed("jpeg", data[: int(len(data) * share)]))


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize(
    "form", ["bayer_{}8; jpeg compressed ", "bayer_{}8; png compressed bayer_{}8", "bayer_{}16; png compressed "]
)
def test_a_mosaic_that_was_compressed_becomes_colours(form: str, pattern: str, scene: NDArray[np.uint8]) -> None:
    """Drivers that compress before they demosaic (image_transport_plugins#68)."""
    y, x = np.mgrid[:48, :64]
    channel = np.array(["rgb".index(name) for name in pattern]).reshape(2, 2)[y % 2, x % 2]
    mosaic = np.take_along_axis(scene, channel[..., None], axis=2)[..., 0]
    if "16" in form:
        data = cv2.imencode(".png", mosaic.astype(np.uint16) * 257)[1].tobytes()
    else:
        data = pillow(mosaic, "JPEG", quality=100) if "jpeg" in form else pillow(mosaic, "PNG")
    got = raw_array(compressed(form.format(pattern, pattern), data))
    assert (got.shape, got.dtype) == (scene.shape, np.uint8)
    np.testing.assert_allclose(got[2:-2, 2:-2], scene[2:-2, 2:-2].astype(int), atol=6)


def test_a_grey_image_of_a_bayer_camera_stays_grey(scene: NDArray[np.uint8]) -> None:
    data = pillow(scene[..., 0], "PNG")
    np.testing.assert_array_equal(raw_array(compressed("bayer_rggb8; png compressed mono8", data)), scene[..., 0])


@pytest.mark.parametrize("source", ["rgb8", "bgr8"])
def test_tiff_keeps_its_sources_order(source: str, scene: NDArray[np.uint8]) -> None:
    """compressed_image_transport hands the message to OpenCV as it is, where JPEG and PNG are converted first."""
    stored = scene if source == "rgb8" else scene[..., ::-1]
    data = cv2.imencode(".tiff", np.ascontiguousarray(stored))[1].tobytes()
    np.testing.assert_array_equal(raw_array(compressed(f"{source}; tiff compressed ", data)), scene)


def test_tiff_holds_ranges(rng: np.random.Generator) -> None:
    metres = rng.random((8, 9)).astype(np.float32) * 20
    data = cv2.imencode(".tiff", metres)[1].tobytes()
    np.testing.assert_array_equal(raw_array(compressed("32FC1; tiff compressed ", data)), metres)
