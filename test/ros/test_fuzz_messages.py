"""Any message, however wrong: it is read exactly or refused by name, and the pipeline goes on with the others."""

import time
import warnings
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st
from rosbags.image import message_to_cvimage

from sartm_core.errors import SartmError
from sartm_core.frames import Segmentation
from sartm_core.rig import Rig, rig_from_dict
from sartm_core.sensing.events import EVENT, encode_evt3
from sartm_ros.calibration import Calibrator
from sartm_ros.compressed import decode
from sartm_ros.event_stream import EventStream
from sartm_ros.messages import raw_array, stamp_ns
from sartm_ros.pipeline import Pipeline
from sartm_ros.point_cloud import cloud_points

EXAMPLES = 60
"""Of each property; a longer search raises it."""
SOAK_MESSAGES = 100_000

PHASES = (Phase.explicit, Phase.generate)
"""Add Phase.shrink for the smallest example of a failure; with it a failing run takes minutes."""

fuzz = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, phases=PHASES,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip

PLAIN = {
    "rgb8": ("u1", 3), "bgr8": ("u1", 3), "rgba8": ("u1", 4), "bgra8": ("u1", 4), "mono8": ("u1", 1),
    "mono16": ("u2", 1), "8UC1": ("u1", 1), "8UC2": ("u1", 2), "8UC3": ("u1", 3), "16UC1": ("u2", 1),
    "16SC1": ("i2", 1), "32FC1": ("f4", 1), "32FC2": ("f4", 2), "32FC3": ("f4", 3),
}  # fmt: skip
OTHER = {
    "rgb16": ("u2", 3), "bgr16": ("u2", 3), "bgra16": ("u2", 4), "16UC3": ("u2", 3), "8SC1": ("i1", 1),
    "32SC1": ("i4", 1), "64FC1": ("f8", 1), "64FC3": ("f8", 3), "8UC5": ("u1", 5), "32FC4": ("f4", 4),
    "bayer_rggb8": ("u1", 1), "bayer_gbrg16": ("u2", 1), "yuv422": ("u1", 2), "yuv422_yuy2": ("u1", 2),
}  # fmt: skip
JUNK_ENCODINGS = ("", "nv12", "8UC0", "8UC999999999", "64SC1", "rgb", "RGB8", "mono8\0", "\ud800", "{}%s")
COLOURS = {"bgr8": (2, 1, 0), "rgba8": (0, 1, 2), "bgra8": (2, 1, 0)}

seeds = st.integers(0, 2**32 - 1)
contents = st.sampled_from(["random", "random", "zeros", "ones", "nan", "ramp"])
uint32 = st.sampled_from([0, 1, 2, 3, 7, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1]) | st.integers(0, 2**32 - 1)
sides = st.integers(1, 9)


def some_array(shape: tuple[int, ...], kind: str, content: str, seed: int) -> np.ndarray:
    """Random bits (of floats also NaN, infinities and huge numbers), or one of the images that break statistics."""
    count = int(np.prod(shape))
    if content == "random":
        bits = np.random.default_rng(seed).bytes(count * np.dtype(kind).itemsize)
        return np.frombuffer(bits, kind).reshape(shape)
    if content == "nan" and kind[0] == "f":
        return np.full(shape, np.nan, kind)
    if content == "ramp":
        return np.arange(count).astype(kind).reshape(shape)
    return np.full(shape, content == "ones", kind)


def image_message(array: np.ndarray, encoding: str, padding: int = 0, big_endian: bool = False) -> SimpleNamespace:
    height, width = array.shape[:2]
    data = np.ascontiguousarray(array.astype(array.dtype.newbyteorder(">" if big_endian else "<")))
    rows = np.pad(data.view(np.uint8).reshape(height, -1), ((0, 0), (0, padding)), constant_values=0xA5)
    return SimpleNamespace(
        header=None, height=height, width=width, encoding=encoding, is_bigendian=int(big_endian),
        step=rows.shape[1], data=rows.tobytes(),
    )  # fmt: skip


@st.composite
def images(draw: Any, sizes: Any, encodings: list[str]) -> tuple[SimpleNamespace, np.ndarray]:
    """A message that is right, and its array."""
    encoding = draw(st.sampled_from(encodings))
    kind, channels = (PLAIN | OTHER)[encoding]
    height, width = draw(sizes)
    shape = (height, width) if channels == 1 else (height, width, channels)
    array = some_array(shape, kind, draw(contents), draw(seeds))
    return image_message(array, encoding, draw(st.integers(0, 9)), draw(st.booleans())), array


@st.composite
def cuts(draw: Any, data: bytes) -> bytes:
    """The data cut, extended, with bits flipped, or others altogether."""
    how = draw(st.sampled_from(["same", "cut", "cut", "flip", "flip", "more", "other"]))
    if how == "cut":
        return data[: draw(st.integers(0, len(data)))]
    if how == "flip" and data:
        changed = bytearray(data)
        for at, value in draw(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(1, 255)), max_size=6)):
            changed[at] ^= value
        return bytes(changed)
    return data + draw(st.binary(max_size=9)) if how == "more" else data if how == "same" else draw(st.binary())


@st.composite
def changed(draw: Any, message: SimpleNamespace, fields: dict[str, Any]) -> SimpleNamespace:
    """Up to three fields that say something else."""
    names = draw(st.sets(st.sampled_from(sorted(fields)), max_size=3))
    return SimpleNamespace(**vars(message) | {name: draw(fields[name]) for name in sorted(names)})


@st.composite
def any_images(draw: Any, sizes: Any = st.tuples(sides, sides)) -> SimpleNamespace:  # noqa: B008
    message, _ = draw(images(sizes, [*PLAIN, *OTHER]))
    encodings = st.sampled_from([*PLAIN, *OTHER, *JUNK_ENCODINGS]) | st.text(max_size=8)
    fields = {
        "height": uint32, "width": uint32, "step": uint32, "encoding": encodings,
        "is_bigendian": st.integers(0, 255), "data": cuts(message.data),
    }  # fmt: skip
    return draw(changed(message, fields))


FORMATS = (
    "", "jpeg", "png", "rgb8; jpeg compressed bgr8", "bgr8; png compressed bgr8", "16UC1; compressedDepth",
    "16UC1; compressedDepth png", "32FC1; compressedDepth png", "16UC1; compressedDepth rvl", "32FC1",
)  # fmt: skip


def compressed_depth(counts: np.ndarray, kind: str, a: float, b: float) -> SimpleNamespace:
    header = np.array([0], "<i4").tobytes() + np.array([a, b], "<f4").tobytes()
    data = header + cv2.imencode(".png", counts)[1].tobytes()
    return SimpleNamespace(header=None, format=f"{kind}; compressedDepth png", data=data)


@st.composite
def any_compressed(draw: Any, sizes: Any = st.tuples(sides, sides)) -> SimpleNamespace:  # noqa: B008
    height, width = draw(sizes)
    shape = draw(st.sampled_from([(height, width), (height, width, 3), (height, width, 4)]))
    suffix = draw(st.sampled_from([".png", ".png", ".jpg", ".bmp", ".tiff", ".webp", ".pgm"]))
    kind = draw(st.sampled_from(["u1", "u2"])) if suffix == ".png" else "u1"
    shape = {".jpg": (height, width, 3), ".pgm": (height, width)}.get(suffix, shape)
    data = cv2.imencode(suffix, some_array(shape, kind, draw(contents), draw(seeds)))[1].tobytes()
    if draw(st.booleans()):
        data = draw(st.binary(min_size=12, max_size=12)) + data
    fields = {"format": st.sampled_from(FORMATS) | st.text(max_size=12), "data": cuts(data)}
    return draw(changed(SimpleNamespace(header=None, format=draw(st.sampled_from(FORMATS)), data=data), fields))


CLOUD_KINDS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}


@st.composite
def clouds(draw: Any) -> tuple[SimpleNamespace, np.ndarray]:
    """A cloud that is right, in any layout, and the float32 [N, 4] that were put in."""
    height, width = draw(st.integers(0, 4)), draw(st.integers(0, 9))
    intensity = draw(st.sampled_from([None, "intensity", "intensities", "reflectivity", "i"]))
    names = ["x", "y", "z", *([intensity] if intensity else []), *draw(st.sets(st.sampled_from(["ring", "t", "rgb"])))]
    big = draw(st.booleans())
    values, fields, offset = {}, [], draw(st.integers(0, 5))
    for name in draw(st.permutations(names)):
        datatype = draw(st.sampled_from([7, 7, 7, *CLOUD_KINDS]))
        values[name] = some_array((height, width), CLOUD_KINDS[datatype], draw(contents), draw(seeds))
        fields.append(SimpleNamespace(name=name, offset=offset, datatype=datatype, count=1))
        offset += values[name].dtype.itemsize + draw(st.sampled_from([0, 0, 3]))
    layout = {
        "names": [field.name for field in fields],
        "formats": [(">" if big else "<") + CLOUD_KINDS[field.datatype] for field in fields],
        "offsets": [field.offset for field in fields],
        "itemsize": offset + draw(st.integers(0, 4)),
    }
    rows = np.zeros((height, width), np.dtype(layout))
    for name, column in values.items():
        rows[name] = column
    padding = draw(st.integers(0, 5))
    message = SimpleNamespace(
        header=None, height=height, width=width, fields=fields, is_bigendian=big, point_step=rows.itemsize,
        row_step=rows.itemsize * width + padding, data=b"".join(row.tobytes() + b"\x7f" * padding for row in rows),
    )  # fmt: skip
    columns = [values[name].ravel() if name else np.zeros(height * width) for name in ("x", "y", "z", intensity)]
    with np.errstate(all="ignore"):
        points = np.stack([column.astype(np.float32) for column in columns], axis=1)
    return message, points[np.isfinite(points).all(axis=1)]


@st.composite
def any_clouds(draw: Any) -> SimpleNamespace:
    message, _ = draw(clouds())
    field = st.builds(
        SimpleNamespace, name=st.sampled_from("xyzi") | st.text(max_size=3), offset=st.integers(0, 20) | uint32,
        datatype=st.integers(0, 255) | st.integers(1, 8), count=uint32,
    )  # fmt: skip
    fields = {
        "height": uint32, "width": uint32, "point_step": uint32, "row_step": uint32, "data": cuts(message.data),
        "fields": st.lists(field, max_size=5) | st.permutations(message.fields), "is_bigendian": st.booleans(),
    }  # fmt: skip
    return draw(changed(message, fields))


def stamped(stamp_ns: int) -> SimpleNamespace:
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec), frame_id="")


STAMP = 1_700_000_000_000_000_000
stamps = st.integers(STAMP - 40_000_000, STAMP) | st.sampled_from([0, STAMP - 10**10, STAMP + 10**10])


@st.composite
def any_packets(draw: Any, size: tuple[int, int]) -> SimpleNamespace:
    """Words that may mean something, and bytes that do not; rarely another size or encoding."""
    words = st.lists(st.integers(0, 0xFFFF), max_size=40).map(lambda many: np.array(many, "<u2").tobytes())
    message = SimpleNamespace(
        header=stamped(draw(stamps)), height=size[0], width=size[1], encoding="evt3",
        events=draw(words | st.binary(max_size=41) | cuts(encode_evt3(some_events(draw(st.integers(0, 40)), 5_000)))),
    )  # fmt: skip
    if draw(st.integers(0, 4)):
        return message
    return draw(changed(message, {"height": uint32, "width": uint32, "encoding": st.text(max_size=5)}))


def some_events(count: int, span_us: int, seed: int = 0, begin_us: int = 4_090) -> np.ndarray:
    rng = np.random.default_rng(seed)
    events = np.zeros(count, EVENT)
    events["x"], events["y"] = rng.integers(0, 40, count), rng.integers(0, 30, count)
    events["t"], events["p"] = begin_us + np.sort(rng.integers(0, span_us, count)), rng.integers(0, 2, count)
    return events


def read(reader: Any, message: SimpleNamespace) -> np.ndarray | None:
    """What a reader returns; None where it refuses. Any other exception is the test's failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return reader(message)
        except SartmError:
            return None


# Images


@fuzz
@given(images(st.tuples(sides, sides), list(PLAIN)))
def test_a_plain_image_comes_back_exactly(case: tuple[SimpleNamespace, np.ndarray]) -> None:
    message, array = case
    order = COLOURS.get(message.encoding)
    expected = array if order is None else array[..., list(order)]
    got = raw_array(message)
    assert got.dtype == expected.dtype
    assert got.dtype.isnative
    assert got.shape == expected.shape
    assert got.tobytes() == expected.tobytes()  # bit for bit, NaN included


@fuzz
@given(images(st.tuples(sides, sides), list(PLAIN)))
def test_plain_images_as_rosbags_reads_them(case: tuple[SimpleNamespace, np.ndarray]) -> None:
    message, array = case
    message = image_message(array, message.encoding, 0, bool(message.is_bigendian))  # rosbags knows no padding
    wanted = "rgb8" if message.encoding in COLOURS else None
    np.testing.assert_array_equal(raw_array(message), message_to_cvimage(message, wanted))


@fuzz
@given(images(st.tuples(sides, sides), ["16UC3", "8SC1", "32SC1", "64FC1", "64FC3", "8UC5", "32FC4"]))
def test_padding_in_the_rows_of_other_encodings_is_no_pixels(case: tuple[SimpleNamespace, np.ndarray]) -> None:
    message, array = case
    got = read(raw_array, message)
    if got is not None:
        expected = array[..., ::-1] if array.shape[2:] == (3,) else array
        assert got.tobytes() in (expected.tobytes(), array.tobytes())


@pytest.mark.parametrize("encoding", ["rgb16", "bgr16", "rgba16", "bgra16"])
def test_deep_colours_come_in_the_order_red_green_blue(encoding: str) -> None:
    order = [encoding.index(letter) for letter in "rgb"]
    array = np.zeros((2, 3, 3 + encoding.count("a")), np.uint16)
    array[..., order] = [1000, 2000, 3000]
    assert raw_array(image_message(array, encoding))[..., :3].tolist() == [[[1000, 2000, 3000]] * 3] * 2


@pytest.mark.parametrize("encoding", ["bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"])
def test_a_mosaic_of_one_colour_is_that_colour(encoding: str) -> None:
    colour = {"r": 200, "g": 100, "b": 50}
    tile = np.array([colour[letter] for letter in encoding[6:10]], np.uint8).reshape(2, 2)
    got = raw_array(image_message(np.tile(tile, (4, 4)), encoding))
    assert got.shape == (8, 8, 3)
    assert got[4, 4].tolist() == [200, 100, 50]


@pytest.mark.parametrize(("encoding", "luma"), [("yuv422", 1), ("yuv422_yuy2", 0)])
def test_yuv_becomes_colours(encoding: str, luma: int) -> None:
    pixels = np.full((4, 6, 2), 128, np.uint8)
    pixels[..., luma] = 180
    got = raw_array(image_message(pixels, encoding))
    assert got.shape == (4, 6, 3)
    assert np.ptp(got) <= 1  # grey


@fuzz
@given(any_images())
@example(image_message(np.zeros((1, 1), np.uint8), "mono8"))
def test_any_image_is_read_or_refused(message: SimpleNamespace) -> None:
    got = read(raw_array, message)
    if got is not None:
        assert got.shape[:2] == (message.height, message.width)
        assert got.ndim in (2, 3)
        assert got.size > 0
        assert got.dtype.kind in "uif"


@pytest.mark.parametrize("encoding", [*PLAIN, *OTHER, "nv12", "8UC999999999"])
@pytest.mark.parametrize("side", [2**31, 2**32 - 1])
def test_an_image_that_claims_everything_costs_nothing(encoding: str, side: int) -> None:
    for step in (0, 1, 2**32 - 1):
        message = SimpleNamespace(
            header=None, height=side, width=side, encoding=encoding, is_bigendian=0, step=step, data=bytes(64)
        )
        assert read(raw_array, message) is None


# Compressed images


@fuzz
@given(st.tuples(sides, sides), st.sampled_from(["u1", "u2"]), st.sampled_from([1, 3, 4]), seeds)
def test_a_png_gives_back_every_bit(size: tuple[int, int], kind: str, channels: int, seed: int) -> None:
    array = some_array(size if channels == 1 else (*size, channels), kind, "random", seed)
    written = array if channels == 1 else array[..., [2, 1, 0, 3][:channels]]
    got = decode(SimpleNamespace(format="png", data=cv2.imencode(".png", written)[1].ravel()))
    np.testing.assert_array_equal(got, array if channels == 1 else array[..., :3])


@fuzz
@given(st.tuples(sides, sides), seeds)
def test_compressed_depth_gives_back_the_counts(size: tuple[int, int], seed: int) -> None:
    counts = some_array(size, "u2", "random", seed)
    np.testing.assert_array_equal(decode(compressed_depth(counts, "16UC1", 0.0, 0.0)), counts)


@fuzz
@given(st.tuples(sides, sides), seeds, st.floats(0.5, 100.0), st.floats(0.5, 20.0))
def test_compressed_inverse_depth_gives_back_the_metres(
    size: tuple[int, int], seed: int, quantization: float, far_m: float
) -> None:
    """As compressed_depth_image_transport writes it: counts = a / depth + b, 0 where nothing was measured."""
    metres = np.random.default_rng(seed).uniform(0.3, far_m + 0.3, size).astype(np.float32)
    a = quantization * (quantization + 1)
    b = 1 - a / (far_m + 0.3)
    counts = np.floor(a / metres.astype(np.float64) + b).astype(np.uint16)
    counts[0, 0] = 0
    got = decode(compressed_depth(counts, "32FC1", a, b))
    assert got.dtype == np.float32
    assert np.array_equal(np.isnan(got), counts == 0)
    back = a / got[counts > 0].astype(np.float64) + b
    np.testing.assert_allclose(back, counts[counts > 0], atol=0.01)


PAM = b"P7\nWIDTH 4\nHEIGHT 4\nDEPTH 2\nMAXVAL 255\nTUPLTYPE GRAYSCALE_ALPHA\nENDHDR\n" + bytes(32)


@fuzz
@given(any_compressed())
@example(SimpleNamespace(format="pam", data=PAM))
@example(SimpleNamespace(format="32FC1; compressedDepth png", data=bytes(12) + PAM))
def test_any_compressed_image_is_read_or_refused(message: SimpleNamespace) -> None:
    got = read(decode, message)
    if got is not None:
        assert got.ndim == 2 or got.shape[2:] == (3,)
        assert got.size > 0
        assert got.dtype in (np.uint8, np.uint16, np.float32)


def test_a_jpeg_that_claims_more_than_it_holds_is_refused_at_once() -> None:
    """600 bytes that claim 9000 x 9000; at 32000 x 32000 reading them takes 6 GB and 10 s."""
    data = bytearray(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = (9000).to_bytes(2, "big") * 2
    begin = time.perf_counter()
    assert read(decode, SimpleNamespace(format="jpeg", data=bytes(data))) is None
    assert time.perf_counter() - begin < 0.2


# Point clouds


@fuzz
@given(clouds())
def test_a_cloud_in_any_layout_gives_back_its_points(case: tuple[SimpleNamespace, np.ndarray]) -> None:
    message, points = case
    got = read(cloud_points, message)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, points)


@fuzz
@given(any_clouds())
def test_any_cloud_is_read_or_refused(message: SimpleNamespace) -> None:
    got = read(cloud_points, message)
    if got is not None:
        assert got.dtype == np.float32
        assert got.shape[1:] == (4,)
        assert len(got) <= len(message.data)
        assert np.isfinite(got).all()


@pytest.mark.parametrize("point_step", [0, 1, 12, 2**32 - 1])
@pytest.mark.parametrize("row_step", [0, 12, 2**32 - 1])
def test_a_cloud_that_claims_everything_costs_nothing(point_step: int, row_step: int) -> None:
    fields = [SimpleNamespace(name=name, offset=0, datatype=2, count=1) for name in "xyz"]
    for height, width in ((2**31, 2**31), (2**32 - 1, 0), (0, 2**32 - 1), (2**32 - 1, 1)):
        message = SimpleNamespace(
            height=height, width=width, fields=fields, is_bigendian=False, point_step=point_step, row_step=row_step,
            data=bytes(64),
        )  # fmt: skip
        got = read(cloud_points, message)
        assert got is None or len(got) == 0


# Events


RAW_SIZE = (30, 40)


def small_rig(modalities: dict[str, dict[str, Any]]) -> Rig:
    for name, fields in modalities.items():
        fields.setdefault("topic", f"/{name}")
        fields.setdefault("size", [24, 32])
    content = {"name": "small", "reference": next(iter(modalities)), "modalities": modalities}
    return rig_from_dict({**content, "classes": [{"name": "road", "color": [1, 2, 3]}]}, "test")


def event_stream(window_s: float = 0.03) -> EventStream:
    fields = {"kind": "event", "encoding": "counts", "size": list(RAW_SIZE), "window_s": window_s}
    return EventStream(small_rig({"event": fields}).modalities[0])


def packet(events: bytes, stamp_ns: int) -> SimpleNamespace:
    height, width = RAW_SIZE
    return SimpleNamespace(header=stamped(stamp_ns), height=height, width=width, encoding="evt3", events=events)


@fuzz
@given(
    st.integers(1, 300), st.sampled_from([50, 5_000, 300_000]), st.sampled_from([0, 4_090, 2**24 - 100]), seeds,
    st.lists(st.floats(0, 1), max_size=9), st.lists(st.floats(-0.2, 1.2), min_size=1, max_size=4),
    st.sampled_from([0.00001, 0.001, 0.03, 0.7]), st.integers(0, 1),
)  # fmt: skip
def test_the_events_of_a_window_however_they_were_packed(
    count: int, span_us: int, begin_us: int, seed: int, parts: list[float], ends: list[float], window_s: float, odd: int
) -> None:
    """`begin_us` lets the 24 bits of the sensor's clock run over; a packet may begin in the middle of an event."""
    events = some_events(count, span_us, seed, begin_us)
    data = encode_evt3(events)
    times_ns = STAMP + (events["t"] - begin_us) * 1000
    word_of_event = np.flatnonzero(np.frombuffer(data, "<u2") >> 12 == 2)
    stream = event_stream(window_s)
    edges = sorted({0, len(data), *(2 * int(part * len(data) / 2) for part in parts)})
    for begin, end in pairwise(edges):
        inside = np.flatnonzero((word_of_event >= begin // 2) & (word_of_event < end // 2))
        following = min(np.searchsorted(word_of_event, begin // 2), count - 1)
        first = inside[0] if len(inside) else following  # a driver stamps it with its first event
        stamp = int(times_ns[first])
        stream.add(packet(data[begin:end] + b"\x20" * odd, stamp), stamp)
    for end in ends:
        stamp = STAMP + int(end * span_us) * 1000
        expected = events[(times_ns > stamp - round(window_s * 1e9)) & (times_ns <= stamp)]
        got = stream.until(stamp)
        for name in ("x", "y", "p"):
            np.testing.assert_array_equal(got[name], expected[name])


@fuzz
@given(st.lists(st.tuples(any_packets(RAW_SIZE), stamps), max_size=6), stamps)
def test_any_packets_are_read_or_refused(packets: list[tuple[SimpleNamespace, int]], stamp: int) -> None:
    stream = event_stream()
    for message, arrival in packets:
        read(lambda one, at=arrival: stream.add(one, at), message)
        assert stream.until(stamp).dtype == EVENT
    assert stream.add(packet(encode_evt3(some_events(5, 100)), STAMP + 10**11), STAMP + 10**11) in (True, False)
    assert len(stream.until(STAMP + 10**11 + 10**6)) == 5  # and it still works


# The pipeline


CAMERA = {"intrinsics": {"fx": 25.0, "fy": 25.0, "cx": 16.0, "cy": 12.0}}
OTHER_CAMERA = {"size": [12, 16], "intrinsics": {"fx": 12.0, "fy": 12.0, "cx": 8.0, "cy": 6.0}, "plane_m": 10.0}
COMPRESSED = {"message": "sensor_msgs/msg/CompressedImage"}
RIGS = {
    "registered": small_rig({
        "rgb": {"kind": "rgb", **CAMERA}, "thermal": {"kind": "thermal"}, "depth": {"kind": "depth"},
        "lidar": {"kind": "lidar", "encoding": "projected"}, "event": {"kind": "event", "encoding": "counts"},
    }),
    "warped": small_rig({
        "rgb": {"kind": "rgb", **CAMERA}, "thermal": {"kind": "thermal", **OTHER_CAMERA, "depth_from": "depth"},
        "depth": {"kind": "depth", **OTHER_CAMERA, "depth_from": "depth"},
        "nir": {"kind": "nir", "encoding": "counts", "homography": [[1, 0, 2], [0, 1, 1], [0, 0, 1]]},
        "event": {"kind": "event", "encoding": "counts", **OTHER_CAMERA, "depth_from": "depth"},
        "polarization": {"kind": "polarization", **OTHER_CAMERA},
    }),
    "eight bit": small_rig({
        "rgb": {"kind": "rgb", **COMPRESSED}, "thermal": {"kind": "thermal", "encoding": "image", **OTHER_CAMERA},
        "depth": {"kind": "depth", "encoding": "image"}, "lidar": {"kind": "lidar", "encoding": "image"},
        "event": {"kind": "event", "encoding": "image"}, "nir": {"kind": "nir", **COMPRESSED},
    }),
    "physical": small_rig({
        "thermal": {"kind": "thermal", "encoding": "kelvin", **CAMERA},
        "window": {"kind": "thermal", "encoding": "window", **OTHER_CAMERA},
        "depth": {"kind": "depth", **COMPRESSED, **OTHER_CAMERA}, "nir": {"kind": "nir", "encoding": "counts"},
        "rendered": {"kind": "lidar", "encoding": "projected", "message": "sensor_msgs/msg/Image"},
    }),
}  # fmt: skip


class Stub:
    """A segmenter that takes everything."""

    def __init__(self, rig: Rig) -> None:
        self.bundle = SimpleNamespace(rig=rig)

    def segment(self, planes: Any, size: Any = None) -> Segmentation:
        return Segmentation(np.zeros(size, np.uint8), np.ones(size, np.float32), np.zeros((3, 5), np.float32))


@st.composite
def any_sets(draw: Any, rig: Rig) -> dict[str, SimpleNamespace]:
    messages = {}
    for modality in rig.modalities:
        if not draw(st.integers(0, 5)):
            continue  # absent
        sizes = st.just(modality.size) | st.just(modality.size) | st.tuples(sides, sides)
        kinds = {
            "sensor_msgs/msg/Image": any_images(sizes),
            "sensor_msgs/msg/CompressedImage": any_compressed(sizes),
            "sensor_msgs/msg/PointCloud2": any_clouds(),
            "event_camera_msgs/msg/EventPacket": any_packets(modality.size),
        }
        messages[modality.name] = draw(kinds[modality.message])
    return messages


def run(pipeline: Pipeline, messages: dict[str, SimpleNamespace]) -> Any:
    """One set through the pipeline, with all that is promised of any set."""
    for name, message in messages.items():
        read(
            lambda one, of=name: pipeline.preparation.arrived(of, one, STAMP if one.header is None else stamp_ns(one)),
            message,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = pipeline.run(STAMP, messages)
    planes = result.frames.planes
    assert set(planes) | set(result.broken) == set(messages)
    assert not set(planes) & set(result.broken)
    assert all(result.broken.values())
    for name, plane in planes.items():
        assert plane.ndim == 3, name
        assert plane.shape[0] == 3, name
        assert plane.size > 0, name
        assert plane.dtype == pipeline.segmenter.bundle.rig.dtype, name
        assert np.isfinite(plane).all(), name
    assert (result.segmentation is None) == (not planes)
    return result


@pytest.mark.parametrize("name", RIGS)
@fuzz
@given(data=st.data())
def test_any_set_goes_through_the_pipeline(name: str, data: Any) -> None:
    run(Pipeline(RIGS[name], Stub(RIGS[name])), data.draw(any_sets(RIGS[name])))


@pytest.mark.parametrize("name", RIGS)
@fuzz
@given(data=st.data())
def test_a_broken_message_counts_as_absent(name: str, data: Any) -> None:
    """What the others become is what they become without it."""
    messages = data.draw(any_sets(RIGS[name]))
    try:
        broken = run(Pipeline(RIGS[name], Stub(RIGS[name])), messages)
    except Exception:
        assume(False)  # the test above owns that
    assume(broken.broken)
    healthy = {modality: message for modality, message in messages.items() if modality not in broken.broken}
    alone = run(Pipeline(RIGS[name], Stub(RIGS[name])), healthy)
    assert alone.broken == {}
    for modality in broken.broken:
        assert modality in run(Pipeline(RIGS[name], Stub(RIGS[name])), {modality: messages[modality]}).broken
    for modality in healthy:
        np.testing.assert_array_equal(broken.frames.planes[modality], alone.frames.planes[modality])


def test_broken_depth_breaks_nothing_but_depth() -> None:
    rig = RIGS["warped"]
    thermal = image_message(np.arange(192, dtype=np.uint16).reshape(12, 16), "mono16")
    for depth in (np.ones((12, 16), np.uint8), np.ones((7, 5), np.uint16)):
        encoding = "mono8" if depth.dtype == np.uint8 else "16UC1"
        result = run(Pipeline(rig, Stub(rig)), {"thermal": thermal, "depth": image_message(depth, encoding)})
        assert set(result.broken) == {"depth"}
        alone = run(Pipeline(rig, Stub(rig)), {"thermal": thermal})
        np.testing.assert_array_equal(result.frames.planes["thermal"], alone.frames.planes["thermal"])


@pytest.mark.parametrize(
    ("rig", "modality", "encoding", "kind"),
    [
        ("warped", "polarization", "32SC1", "i4"),
        ("warped", "polarization", "8SC1", "i1"),
        ("warped", "thermal", "32SC1", "i4"),
        ("warped", "nir", "8SC1", "i1"),
        ("physical", "window", "64FC1", "f8"),
    ],
)
def test_pixels_that_opencv_cannot_warp_break_only_their_modality(
    rig: str, modality: str, encoding: str, kind: str
) -> None:
    size = RIGS[rig].modality(modality).size
    run(Pipeline(RIGS[rig], Stub(RIGS[rig])), {modality: image_message(np.ones(size, kind), encoding)})


def test_pixels_without_a_temperature_are_finite() -> None:
    frame = np.full((24, 32), 300, np.float32)
    frame[0, :3] = np.nan, np.inf, -np.inf
    run(Pipeline(RIGS["physical"], Stub(RIGS["physical"])), {"thermal": image_message(frame, "32FC1")})


@pytest.mark.parametrize("width", [1, 2, 3, 4, 32])
def test_an_image_of_one_channel_is_no_point_cloud(width: int) -> None:
    """`encoding: projected` from a node that projects already, and sends the range only."""
    rig = RIGS["physical"]
    ones = image_message(np.ones((24, width), np.float32), "32FC1")
    result = run(Pipeline(rig, Stub(rig)), {"rendered": ones})
    assert "rendered" in result.broken or result.frames.planes["rendered"].all()


HUGE = np.array([[1e300, 1, 1], [1, 1, 1]])
BLIND = np.full((24, 32), np.nan, np.float32)
DARK = np.where(np.arange(768).reshape(24, 32) % 2 > 0, np.inf, -np.inf).astype(np.float32)


@pytest.mark.parametrize(
    ("rig", "modality", "message"),
    [
        ("registered", "thermal", image_message(BLIND, "32FC1")),
        ("registered", "thermal", image_message(DARK, "32FC1")),
        ("registered", "depth", image_message(np.full((24, 32), 1e300), "64FC1")),
        (
            "registered",
            "lidar",
            SimpleNamespace(
                height=1, width=2, point_step=24, row_step=48, data=HUGE.tobytes(), is_bigendian=False,
                fields=[SimpleNamespace(name=n, offset=8 * i, datatype=8, count=1) for i, n in enumerate("xyz")],
            ),
        ),
        ("physical", "depth", compressed_depth(np.full((12, 16), 3, np.uint16), "32FC1", 0.0, 3.0)),
        ("physical", "depth", compressed_depth(np.full((12, 16), 1, np.uint16), "32FC1", 3e38, 0.9999999)),
    ],
    ids=["all NaN", "all infinite", "doubles", "cloud of doubles", "0 / 0", "too large"],
)  # fmt: skip
def test_no_message_makes_numpy_warn(rig: str, modality: str, message: SimpleNamespace) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Pipeline(RIGS[rig], Stub(RIGS[rig])).run(STAMP, {modality: message})


# Calibrations


FROM_ROS = {"calibration": "ros", "camera_info": "/info"}
UNCALIBRATED = small_rig({
    "rgb": {"kind": "rgb", **FROM_ROS},
    "thermal": {"kind": "thermal", "size": [12, 16], **FROM_ROS},
    "nir": {"kind": "nir", "encoding": "counts", "size": [12, 16], **FROM_ROS, "depth_from": "depth"},
    "depth": {"kind": "depth", "size": [12, 16], **FROM_ROS, "depth_from": "depth"},
    "lidar": {"kind": "lidar", "encoding": "projected", "calibration": "ros"},
})  # fmt: skip
FRAMES = {name: f"{name}_optical" for name in UNCALIBRATED.names}

numbers = st.sampled_from([0.0, 1.0, 25.0, -3.0, np.nan, np.inf, -np.inf, 1e300, 5e-324]) | st.floats(-100, 100)
sane = st.floats(20, 100)


def pinhole(fx: float, fy: float, cx: float, cy: float, size: tuple[int, int], **other: Any) -> SimpleNamespace:
    p = np.array([fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1, 0])
    fields = {"k": p.reshape(3, 4)[:, :3].ravel(), "p": p, "d": np.zeros(5), "height": size[0], "width": size[1]}
    return SimpleNamespace(**fields | other)


@st.composite
def any_camera_infos(draw: Any, frame_id: str) -> SimpleNamespace:
    header = SimpleNamespace(frame_id=draw(st.just(frame_id) | st.just(frame_id) | st.text(max_size=3)))
    # fx of a millionth of the reference's would let registration by depth draw squares of millions of pixels
    values = [draw(sane | sane | numbers.filter(lambda v: not 0 < v < 5)) for _ in range(4)]
    fields = {
        "p": st.lists(numbers.filter(lambda v: not 0 < v < 5), min_size=12, max_size=12).map(np.array),
        "k": st.lists(numbers.filter(lambda v: not 0 < v < 5), min_size=9, max_size=9).map(np.array),
        "d": st.lists(numbers, max_size=14).map(np.array), "height": uint32, "width": uint32,
    }  # fmt: skip
    return draw(changed(pinhole(*values, (24, 32), header=header), fields))


@st.composite
def transforms(draw: Any) -> SimpleNamespace:
    links = []
    frames = ["base", "mast", *FRAMES.values()]
    for child in draw(st.sets(st.sampled_from(frames))):
        turn = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 4)))
        length = np.linalg.norm(turn)
        turn = turn / length if length > 1e-3 else np.array([0, 0, 0, 1.0])
        if not draw(st.integers(0, 2)):
            nothing, infinite = np.full(4, np.nan), np.full(4, np.inf)
            turn = draw(st.sampled_from([turn * 1.008, turn * 0.992, turn * 3, nothing, infinite, turn * 0]))
        move = draw(st.tuples(*[st.floats(-9, 9) | numbers] * 3) | st.just((0.0, 0.0, 0.0)))
        slash = draw(st.sampled_from(["", "", "/"]))
        links.append(transform(slash + draw(st.sampled_from(frames)), child, move, turn))
    return SimpleNamespace(transforms=links)


def transform(parent: str, child: str, move: Any = (0, 0, 0), turn: Any = (0, 0, 0, 1)) -> SimpleNamespace:
    return SimpleNamespace(
        header=SimpleNamespace(frame_id=parent), child_frame_id=child,
        transform=SimpleNamespace(
            translation=SimpleNamespace(x=float(move[0]), y=float(move[1]), z=float(move[2])),
            rotation=SimpleNamespace(x=float(turn[0]), y=float(turn[1]), z=float(turn[2]), w=float(turn[3])),
        ),
    )  # fmt: skip


def check_calibration(rig: Rig) -> None:
    """Whatever was taken over can be computed with."""
    for modality in rig.modalities:
        if modality.intrinsics is not None:
            assert np.isfinite(modality.intrinsics.matrix).all(), modality.name
            assert np.isfinite(np.linalg.inv(modality.intrinsics.matrix)).all(), modality.name
        if modality.extrinsics is not None:
            pose = modality.extrinsics.matrix
            assert np.isfinite(pose).all(), modality.name
            np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-6)


@fuzz
@given(data=st.data())
def test_any_camera_info_is_taken_or_refused(data: Any) -> None:
    calibrator = Calibrator(UNCALIBRATED)
    for name in data.draw(st.lists(st.sampled_from(UNCALIBRATED.names), max_size=5)):
        message = data.draw(any_camera_infos(FRAMES[name]))
        read(lambda one, of=name: calibrator.camera_info(of, one), message)
        check_calibration(calibrator.rig)


@fuzz
@given(data=st.data())
def test_any_transforms_are_taken_or_passed_over(data: Any) -> None:
    calibrator = Calibrator(UNCALIBRATED)
    for name in UNCALIBRATED.names:
        calibrator.frame(name, FRAMES[name])
    for message in data.draw(st.lists(transforms(), min_size=1, max_size=3)):
        calibrator.transforms(message)
        check_calibration(calibrator.rig)


def test_rotations_that_are_a_little_off_add_up_without_an_exception() -> None:
    calibrator = Calibrator(UNCALIBRATED)
    chain = [FRAMES["rgb"], "mast", "base", FRAMES["lidar"]]
    for name in ("rgb", "lidar"):
        calibrator.frame(name, FRAMES[name])
    links = [transform(*pair, turn=(0, 0, 0, 1.005)) for pair in pairwise(chain)]
    calibrator.transforms(SimpleNamespace(transforms=links))
    assert calibrator.rig.modality("lidar").extrinsics is not None


@pytest.mark.parametrize(
    ("move", "turn"),
    [
        ((0, 0, 0), (np.nan,) * 4),
        ((0, 0, 0), (0, 0, 0, np.nan)),
        ((np.nan, 0, 0), (0, 0, 0, 1)),
        ((0, np.inf, 0), (0, 0, 0, 1)),
    ],
)
def test_transforms_that_are_no_numbers_are_ignored(turn: Any, move: Any) -> None:
    calibrator = Calibrator(UNCALIBRATED)
    for name in ("rgb", "lidar"):
        calibrator.frame(name, FRAMES[name])
    calibrator.transforms(SimpleNamespace(transforms=[transform(FRAMES["rgb"], FRAMES["lidar"], move, turn)]))
    assert calibrator.rig.modality("lidar").extrinsics is None


@pytest.mark.parametrize(
    "values", [(np.inf, np.inf, 1, 1), (25, np.inf, 1, 1), (25, 25, np.nan, 1), (25, 25, 1, np.inf)]
)
def test_a_camera_info_that_is_no_numbers_is_refused(values: tuple[float, ...]) -> None:
    message = pinhole(*values, (12, 16), header=SimpleNamespace(frame_id="f"))
    with pytest.raises(SartmError, match="is no calibration"):
        Calibrator(UNCALIBRATED).camera_info("thermal", message)


@pytest.mark.slow
@fuzz
@given(data=st.data())
def test_no_calibration_stops_the_pipeline(data: Any) -> None:
    calibrator = Calibrator(UNCALIBRATED)
    for name in UNCALIBRATED.names:
        calibrator.frame(name, FRAMES[name])
        read(lambda one, of=name: calibrator.camera_info(of, one), data.draw(any_camera_infos(FRAMES[name])))
    try:
        for child in FRAMES.values():
            move = data.draw(st.tuples(*[numbers] * 3) | st.just((0.0, 0.0, 0.0)))
            calibrator.transforms(SimpleNamespace(transforms=[transform(FRAMES["rgb"], child, move)]))
        calibrator.transforms(data.draw(transforms()))
    except Exception:
        assume(False)  # another test owns that
    focal = [m.intrinsics.fx for m in calibrator.rig.modalities if m.intrinsics is not None]
    assume(max(focal, default=1) / min(focal, default=1) < 20)  # the next test owns that
    pipeline = Pipeline(calibrator.rig, Stub(UNCALIBRATED))
    grey = image_message(np.arange(192, dtype=np.uint16).reshape(12, 16), "mono16")
    messages = {"thermal": grey, "nir": grey, "depth": image_message(np.full((12, 16), 2000, np.uint16), "16UC1")}
    messages["rgb"] = image_message(np.ones((24, 32, 3), np.uint8), "rgb8")
    messages["lidar"] = data.draw(clouds())[0]
    run(pipeline, messages)


def test_an_identity_for_a_camera_matrix_does_not_stop_the_node() -> None:
    """Drivers of cameras that were never calibrated send zeros or an identity."""
    calibrator = Calibrator(UNCALIBRATED)
    header = SimpleNamespace(frame_id="f")
    calibrator.camera_info("rgb", pinhole(500, 500, 16, 12, (24, 32), header=header))
    read(lambda one: calibrator.camera_info("depth", one), pinhole(1, 1, 0, 0, (12, 16), header=header))
    calibrator.frame("depth", "f")
    calibrator.transforms(SimpleNamespace(transforms=[transform("f", "g")]))
    depth = image_message(np.full((12, 16), 2000, np.uint16), "16UC1")
    begin = time.perf_counter()
    run(Pipeline(calibrator.rig, Stub(UNCALIBRATED)), {"depth": depth})
    assert time.perf_counter() - begin < 0.5


@pytest.mark.soak
@pytest.mark.parametrize("name", RIGS)
def test_a_hundred_thousand_messages(name: str) -> None:
    """One pipeline takes them all: a message leaves nothing behind that breaks the next."""
    rig = RIGS[name]
    pipeline = Pipeline(rig, Stub(rig))
    seen = 0

    @settings(fuzz, max_examples=SOAK_MESSAGES // (4 * len(RIGS)))  # sets of four messages and more on average
    @given(messages=any_sets(rig))
    def feed(messages: dict[str, SimpleNamespace]) -> None:
        nonlocal seen
        run(pipeline, messages)
        seen += len(messages)

    feed()
    assert seen >= 0.9 * SOAK_MESSAGES / len(RIGS)
