"""Any message, however wrong: it is read exactly or refused by name."""

from itertools import pairwise
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from fuzzing import (
    COLOURS,
    OTHER,
    PLAIN,
    STAMP,
    any_clouds,
    any_compressed,
    any_images,
    any_packets,
    clouds,
    compressed_depth,
    fuzz,
    image_message,
    images,
    read,
    seeds,
    sides,
    small_rig,
    some_array,
    some_events,
    stamped,
    stamps,
)
from hypothesis import example, given
from hypothesis import strategies as st
from rosbags.image import message_to_cvimage

from sartm_core.errors import SartmError
from sartm_core.sensing.evt3 import encode_evt3
from sartm_ros.decoding.compressed_images import decode
from sartm_ros.decoding.event_streams import EventStream
from sartm_ros.decoding.images import raw_array
from sartm_ros.decoding.point_clouds import cloud_points

pytestmark = pytest.mark.slow

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


def test_a_jpeg_that_claims_more_than_it_holds_is_refused_at_once(monkeypatch) -> None:
    """600 bytes that claim 9000 x 9000; at 32000 x 32000 reading them takes 6 GB and 10 s."""
    data = bytearray(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = (9000).to_bytes(2, "big") * 2
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("its pixels were asked for"))
    with pytest.raises(SartmError, match="declares 9000x9000 pixels"):
        decode(SimpleNamespace(format="jpeg", data=bytes(data)))


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


def event_stream(window_s: float = 0.03) -> EventStream:
    fields = {"kind": "event", "encoding": "counts", "size": list(RAW_SIZE), "window_s": window_s}
    return EventStream(small_rig({"event": fields}).modalities[0])


def packet(events: bytes, stamp_ns: int) -> SimpleNamespace:
    height, width = RAW_SIZE
    return SimpleNamespace(header=stamped(stamp_ns), height=height, width=width, seq=0, encoding="evt3", events=events)


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
        stream.add([packet(data[begin:end] + b"\x20" * odd, stamp)], [stamp])
    for end in ends:
        stamp = STAMP + int(end * span_us) * 1000
        expected = events[(times_ns > stamp - round(window_s * 1e9)) & (times_ns <= stamp)]
        counts = np.zeros((*RAW_SIZE, 2))
        np.add.at(counts, (expected["y"], expected["x"], 1 - expected["p"].astype(int)), 1)
        np.testing.assert_array_equal(stream.until(stamp), counts)


@fuzz
@given(st.lists(st.tuples(any_packets(RAW_SIZE), stamps), max_size=6), stamps)
def test_any_packets_are_read_or_refused(packets: list[tuple[SimpleNamespace, int]], stamp: int) -> None:
    stream = event_stream()
    for message, arrival in packets:
        read(lambda one, at=arrival: stream.add([one], [at]), message)
        assert stream.until(stamp).shape == (*RAW_SIZE, 2)
    assert stream.add([packet(encode_evt3(some_events(5, 100)), STAMP + 10**11)], [STAMP + 10**11]) in (True, False)
    assert stream.until(STAMP + 10**11 + 10**6).sum() == 5  # and it still works
