"""Every encoding that docs/node.md lists, with padded rows, both byte orders and odd sizes, against its definition.

The messages are put together byte by byte, and the right values come from the definitions: sensor_msgs'
image_encodings.hpp, V4L2's pixel formats (linux/videodev2.h), ITU-R BT.601. Neither our code nor OpenCV takes part.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from sartm_core.errors import SartmError
from sartm_ros.decoding.images import raw_array

SIZES = [(6, 8), (5, 7)]
PADDINGS = [0, 5]
COLOURS = {
    "rgb8": ("u1", "rgb"), "bgr8": ("u1", "bgr"), "rgba8": ("u1", "rgba"), "bgra8": ("u1", "bgra"),
    "rgb16": ("u2", "rgb"), "bgr16": ("u2", "bgr"), "rgba16": ("u2", "rgba"), "bgra16": ("u2", "bgra"),
    "mono8": ("u1", "m"), "mono16": ("u2", "m"),
}  # fmt: skip
"""Type of a channel, and the channels in their order in memory."""
GENERIC = {
    f"{bits}{kind}C{channels}": (f"{letter}{bits // 8}", channels)
    for bits, kind, letter in (
        (8, "U", "u"), (8, "S", "i"), (16, "U", "u"), (16, "S", "i"), (32, "S", "i"), (32, "F", "f"), (64, "F", "f")
    )
    for channels in (1, 2, 3, 4)
} | {"16UC": ("u2", 1), "32FC": ("f4", 1)}  # fmt: skip
BAYER = [f"bayer_{pattern}{bits}" for pattern in ("rggb", "bggr", "gbrg", "grbg") for bits in (8, 16)]
PACKED = {"yuyv": "yuyv", "yuv422_yuy2": "yuyv", "uyvy": "uyvy", "yuv422": "uyvy"}
"""The four bytes of two pixels."""
SEMI_PLANAR = {"nv12": (2, 2, "uv"), "nv21": (2, 2, "vu"), "nv16": (1, 2, "uv"), "nv61": (1, 2, "vu"),
               "nv24": (1, 1, "uv"), "nv42": (1, 1, "vu")}  # fmt: skip
"""Rows and columns of pixels that share a pair, and the pair."""


def message(
    encoding: str, size: tuple[int, int], rows: list[bytes], padding: int, big: bool = False
) -> SimpleNamespace:
    data = b"".join(row + b"\xa5" * padding for row in rows)
    return SimpleNamespace(
        height=size[0], width=size[1], encoding=encoding, is_bigendian=int(big), step=len(rows[0]) + padding, data=data
    )


def rows_of(pixels: NDArray, big: bool) -> list[bytes]:
    return [row.astype(row.dtype.newbyteorder(">" if big else "<")).tobytes() for row in pixels]


def random_pixels(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> NDArray:
    if kind[0] == "f":
        return rng.normal(0, 100, shape).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)


def ways(kind: str) -> list[tuple[tuple[int, int], int, bool]]:
    orders = [False] if kind.endswith("1") else [False, True]
    return [(size, padding, big) for size in SIZES for padding in PADDINGS for big in orders]


@pytest.mark.parametrize("encoding", COLOURS)
def test_colours_and_grey(encoding: str, rng: np.random.Generator) -> None:
    kind, channels = COLOURS[encoding]
    for size, padding, big in ways(kind):
        values = {channel: random_pixels(rng, kind, size) for channel in channels}
        stored = np.stack([values[channel] for channel in channels], axis=-1)
        got = raw_array(message(encoding, size, rows_of(stored.reshape(size[0], -1), big), padding, big))
        wanted = values["m"] if channels == "m" else np.stack([values[channel] for channel in "rgb"], axis=-1)
        np.testing.assert_array_equal(got, wanted, f"{size} {padding} {big}")
        assert got.dtype == np.dtype(kind)


@pytest.mark.parametrize("encoding", GENERIC)
def test_opencvs_names(encoding: str, rng: np.random.Generator) -> None:
    kind, channels = GENERIC[encoding]
    for size, padding, big in ways(kind):
        stored = random_pixels(rng, kind, (*size, channels))
        got = raw_array(message(encoding, size, rows_of(stored.reshape(size[0], -1), big), padding, big))
        np.testing.assert_array_equal(got, stored[..., 0] if channels == 1 else stored, f"{size} {padding} {big}")


@pytest.mark.parametrize("encoding", BAYER)
def test_bayer_mosaics(encoding: str) -> None:
    """Colours that change linearly: any interpolation between neighbours finds them within the image."""
    pattern, bits = encoding[6:10], int(encoding[10:])
    top = 2**bits // 256
    for size, padding, big in ways(f"u{bits // 8}"):
        size = (size[0] * 2, size[1] * 2 - size[1] % 2)
        y, x = np.mgrid[: size[0], : size[1]]
        scene = {"r": (200 - 3 * x + y) * top, "g": (60 + 2 * x + 4 * y) * top, "b": (20 + 5 * x) * top}
        colour_of = np.array(list(pattern)).reshape(2, 2)[y % 2, x % 2]
        mosaic = np.select([colour_of == name for name in "rgb"], [scene[name] for name in "rgb"]).astype(
            f"u{bits // 8}"
        )
        got = raw_array(message(encoding, size, rows_of(mosaic, big), padding, big))
        wanted = np.stack([scene[name] for name in "rgb"], axis=-1) * (255 / (2**bits - 1))
        assert (got.shape, got.dtype) == ((*size, 3), np.uint8)
        np.testing.assert_allclose(got[1:-1, 1:-1], wanted[1:-1, 1:-1], atol=1.1, err_msg=f"{size} {padding} {big}")


def to_rgb(y: NDArray, u: NDArray, v: NDArray) -> NDArray:
    """ITU-R BT.601, 8 bits with 219 steps of Y above 16 and 224 of the colour differences around 128."""
    luma, blue, red = (y - 16.0) / 219, (u - 128.0) / 224, (v - 128.0) / 224
    r, b = luma + 2 * (1 - 0.299) * red, luma + 2 * (1 - 0.114) * blue
    g = (luma - 0.299 * r - 0.114 * b) / 0.587
    return np.clip(np.stack([r, g, b], axis=-1) * 255, 0, 255)


def chroma(rng: np.random.Generator, size: tuple[int, int], rows: int, columns: int) -> NDArray:
    return rng.integers(60, 196, (-(-size[0] // rows), -(-size[1] // columns)), dtype=np.uint8)


def spread(plane: NDArray, size: tuple[int, int], rows: int, columns: int) -> NDArray:
    """Each pixel's own value of a plane that several share."""
    return np.array([[plane[y // rows, x // columns] for x in range(size[1])] for y in range(size[0])])


@pytest.mark.parametrize("encoding", PACKED)
def test_packed_yuv(encoding: str, rng: np.random.Generator) -> None:
    for size, padding, _ in ways("u1"):
        even = (size[0], size[1] + size[1] % 2)
        luma = rng.integers(60, 200, even, dtype=np.uint8)
        u, v = chroma(rng, size, 1, 2), chroma(rng, size, 1, 2)
        rows = []
        for y in range(size[0]):
            row = bytearray()
            for pair in range(even[1] // 2):
                lumas = iter(luma[y, 2 * pair : 2 * pair + 2].tolist())
                values = {"u": u[y, pair], "v": v[y, pair]}
                row += bytes(next(lumas) if name == "y" else int(values[name]) for name in PACKED[encoding])
            rows.append(bytes(row))
        got = raw_array(message(encoding, size, rows, padding))
        wanted = to_rgb(luma[:, : size[1]], spread(u, size, 1, 2), spread(v, size, 1, 2))
        assert got.shape == (*size, 3)
        np.testing.assert_allclose(got, wanted, atol=1.5, err_msg=f"{size} {padding}")


def semi_planar(
    encoding: str, size: tuple[int, int], padding: int, rng: np.random.Generator
) -> tuple[SimpleNamespace, NDArray]:
    """A message of an NV image, and its colours; the pairs' rows are padded in proportion, as V4L2's are."""
    rows, columns, order = SEMI_PLANAR[encoding]
    step = size[1] + size[1] % 2 + padding * 2
    luma = rng.integers(60, 200, size, dtype=np.uint8)
    planes = {"u": chroma(rng, size, rows, columns), "v": chroma(rng, size, rows, columns)}
    data = b"".join(row.tobytes().ljust(step, b"\xa5") for row in luma)
    for y in range(len(planes["u"])):
        pairs = bytes(int(planes[name][y, x]) for x in range(planes["u"].shape[1]) for name in order)
        data += pairs.ljust(step * 2 // columns, b"\xa5")
    made = SimpleNamespace(height=size[0], width=size[1], encoding=encoding, is_bigendian=0, step=step, data=data)
    wanted = to_rgb(luma, spread(planes["u"], size, rows, columns), spread(planes["v"], size, rows, columns))
    return made, wanted


@pytest.mark.parametrize("encoding", SEMI_PLANAR)
def test_semi_planar_yuv(encoding: str, rng: np.random.Generator) -> None:
    for size in [*SIZES, (480, 640)]:
        for padding in PADDINGS:
            made, wanted = semi_planar(encoding, size, padding, rng)
            got = raw_array(made)
            assert got.shape == (*size, 3)
            np.testing.assert_allclose(got, wanted, atol=1.5, err_msg=f"{size} {padding}")


@pytest.mark.parametrize("encoding", [*COLOURS, "16UC1", "32FC1", *BAYER, *PACKED, *SEMI_PLANAR])
@pytest.mark.parametrize("change", ["short", "a row with a rest", "small step", "no pixels"])
def test_contradictions_are_refused(encoding: str, change: str, rng: np.random.Generator) -> None:
    """None of them may become an image: raspicam_node#77 sent rows of 1248 bytes and said 1230."""
    size = (6, 8)
    if encoding in SEMI_PLANAR:
        made, _ = semi_planar(encoding, size, 0, rng)
    else:
        kind, channels = (COLOURS | GENERIC).get(encoding, ("u2" if encoding.endswith("16") else "u1", 1))
        count = 2 if encoding in PACKED else channels if isinstance(channels, int) else len(channels)
        made = message(encoding, size, [bytes(size[1] * count * int(kind[1]))] * size[0], 0)
    assert raw_array(made).shape[:2] == size
    if change == "short":
        made.data = made.data[:-1]
    elif change == "a row with a rest":
        made.data += bytes(made.step // 2)
    elif change == "small step":
        made.step -= 1
    else:
        made.width = 0
    with pytest.raises(SartmError, match=f"{made.width}x6 {encoding}"):
        raw_array(made)


def test_whole_rows_may_follow(rng: np.random.Generator) -> None:
    """A sensor's 1088 lines, 1080 of them the picture's."""
    pixels = random_pixels(rng, "u1", (6, 24))
    made = message("rgb8", (6, 8), rows_of(pixels, False), 0)
    made.data += bytes(2 * made.step)
    np.testing.assert_array_equal(raw_array(made), pixels.reshape(6, 8, 3))


def test_an_unknown_encoding_is_named() -> None:
    with pytest.raises(SartmError, match="encoding 'yuv420p' is not supported. Supported are rgb8, .* nv12"):
        raw_array(message("yuv420p", (6, 8), [bytes(8)] * 9, 0))


@pytest.mark.soak
def test_any_size_and_any_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        height, width, padding = (int(rng.integers(low, high)) for low, high in ((2, 40), (2, 40), (0, 70)))
        monkeypatch.setitem(globals(), "SIZES", [(height, width)])
        monkeypatch.setitem(globals(), "PADDINGS", [padding])
        test_colours_and_grey(str(rng.choice(list(COLOURS))), rng)
        test_opencvs_names(str(rng.choice(list(GENERIC))), rng)
        test_packed_yuv(str(rng.choice(list(PACKED))), rng)
        made, wanted = semi_planar(str(rng.choice(list(SEMI_PLANAR))), (height, width), padding, rng)
        np.testing.assert_allclose(raw_array(made), wanted, atol=1.5)
