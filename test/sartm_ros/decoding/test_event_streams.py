"""Packets of an event camera: gathered, and cut to the window of a set."""

import contextlib
import itertools
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from slow_evt3 import slow_decoder

from sartm_core.errors import SartmError
from sartm_core.kinds import EventModality
from sartm_core.sensing.events import EVENT
from sartm_core.sensing.evt3 import Evt3Decoder, encode_evt3
from sartm_ros.bag.reader import read_messages
from sartm_ros.decoding.event_arrays import event_array
from sartm_ros.decoding.event_streams import MARK_NS, EventStream
from sartm_ros.decoding.images import stamp_ns

START = 1_700_000_000_000_000_000
MS = 1_000_000
SIZE = (180, 240)


@pytest.fixture
def stream() -> EventStream:
    return EventStream(
        EventModality(kind="event", name="event", size=SIZE, topic="/e", encoding="counts", window_s=0.03)
    )


def packet(begin_us: int, microseconds: list[int], **changes: object) -> tuple[SimpleNamespace, int]:
    """Events at these times after `begin_us` of the sensor's clock, which began at START."""
    events = np.zeros(len(microseconds), EVENT)
    events["t"] = begin_us + np.array(microseconds, np.int64)
    events["x"], events["y"], events["p"] = 7, 9, 1
    fields = {
        "height": SIZE[0],
        "width": SIZE[1],
        "seq": 0,
        "encoding": "evt3",
        "events": encode_evt3(events),
    } | changes
    return SimpleNamespace(**fields), START + (begin_us + microseconds[0] if microseconds else begin_us) * 1000


def add(stream: EventStream, message: SimpleNamespace, stamp: int) -> bool:
    return stream.add([message], [stamp])


def test_the_window_ends_at_the_sets_stamp_over_several_packets(stream: EventStream) -> None:
    for begin_ms in range(0, 100, 10):
        add(stream, *packet(begin_ms * 1000, list(range(0, 10_000, 1000))))
    for end_ms, begin_ms in ((55, 26), (5, 0), (99, 70), (110, 81)):
        counts = stream.until(START + end_ms * MS)
        assert counts.shape == (*SIZE, 2)
        assert counts[9, 7].tolist() == [min(end_ms, 99) + 1 - begin_ms, 0]
        assert counts.sum() == counts[9, 7, 0]
    assert stream.until(START + 500 * MS).sum() == 0
    assert stream.until(START - 1).sum() == 0


def test_few_of_the_packets_are_matched_with_other_sensors(stream: EventStream) -> None:
    marks = [add(stream, *packet(ms * 1000, [0, 500])) for ms in range(100)]
    assert sum(marks) == 100 * MS // MARK_NS


def test_a_scene_without_events_is_no_dead_camera(stream: EventStream) -> None:
    message, stamp = packet(0, [])
    assert stream.add([message], [stamp])
    assert stream.until(stamp).sum() == 0


def test_memory_is_bounded(stream: EventStream) -> None:
    for ms in range(0, 5000, 10):
        add(stream, *packet(ms * 1000, list(range(0, 10_000, 100))))
    assert len(stream._chunks) <= 102
    assert stream._count == sum(len(chunk.cells) for chunk in stream._chunks)


def test_a_recording_that_loops_forgets_the_future(stream: EventStream) -> None:
    add(stream, *packet(20_000_000, [0]))
    message, stamp = packet(0, [0, 5])
    assert stream.add([message], [stamp])
    assert stream.until(stamp + MS).sum() == 2
    assert len(stream._chunks) == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"encoding": "evt2"}, r"encoding 'evt2': expected evt3, mono or libcaer\. Change it in the driver"),
        ({"width": 640, "height": 480}, r"640x480 pixels: the rig file says size: \[180, 240\]"),
    ],
)
def test_packets_that_cannot_be_used_say_why(stream: EventStream, changes: dict, expected: str) -> None:
    with pytest.raises(SartmError, match=expected):
        add(stream, *packet(0, [0], **changes))


def some_events(count: int = 4000) -> np.ndarray:
    rng = np.random.default_rng(0)
    events = np.zeros(count, EVENT)
    events["t"] = np.sort(rng.integers(1_000_000, 1_020_000, count))
    events["x"], events["y"] = rng.integers(0, SIZE[1], count), rng.integers(0, SIZE[0], count)
    events["p"] = rng.integers(0, 2, count)
    return events


DVS = get_typestore(Stores.ROS2_KILTED)
DVS.register(get_types_from_msg("uint16 x\nuint16 y\nbuiltin_interfaces/Time ts\nbool polarity", "dvs_msgs/msg/Event"))
DVS.register(
    get_types_from_msg(
        "std_msgs/Header header\nuint32 height\nuint32 width\ndvs_msgs/Event[] events", "dvs_msgs/msg/EventArray"
    )
)


def serialised_array(rows: list[tuple[int, int, int, bool]], frame_id: str = "") -> bytes:
    """A dvs_msgs/EventArray, by rosbags; rows: x, y, nanoseconds, polarity."""
    make = DVS.types
    time = lambda stamp: make["builtin_interfaces/msg/Time"](*divmod(stamp, 1_000_000_000))  # noqa: E731
    events = [make["dvs_msgs/msg/Event"](x, y, time(stamp), polarity) for x, y, stamp, polarity in rows]
    header = make["std_msgs/msg/Header"](time(START), frame_id)
    array = make["dvs_msgs/msg/EventArray"](header, *SIZE, events)
    return bytes(DVS.serialize_cdr(array, "dvs_msgs/msg/EventArray"))


def counted(events: np.ndarray) -> np.ndarray:
    counts = np.zeros((*SIZE, 2))
    np.add.at(counts, (events["y"], events["x"], 1 - events["p"].astype(int)), 1)
    return counts


def mono(events: np.ndarray, base_us: int) -> bytes:
    """As event_camera_codecs' decoder reads it: bits 0 to 31 nanoseconds, 32 to 47 x, 48 to 62 y, 63 polarity."""
    return b"".join(
        struct.pack("<IHH", (int(t) - base_us) * 1000, int(x), int(y) | int(p) << 15) for x, y, t, p in events.tolist()
    )


def libcaer(events: np.ndarray, base_us: int) -> bytes:
    """libcaer's polarity events: bit 0 valid, 1 polarity, 2 to 16 y, 17 to 31 x; 31 bits of microseconds."""
    return b"".join(
        struct.pack("<Ii", 1 | int(p) << 1 | int(y) << 2 | int(x) << 17, (int(t) - base_us) & 0x7FFFFFFF)
        for x, y, t, p in events.tolist()
    )


@pytest.mark.parametrize(("encoding", "form", "base_us"), [
    ("mono", mono, 900_000), ("libcaer", libcaer, 900_000), ("libcaer", libcaer, 1_010_000 - (1 << 31)),
])  # fmt: skip
def test_other_encodings(stream: EventStream, encoding: str, form: Callable, base_us: int) -> None:
    events = some_events()
    message, _ = packet(0, [0], encoding=encoding, events=form(events, base_us), time_base=base_us * 1000)
    stream.add([message], [START])
    for end_ms in (29, 13, 2):
        inside = events[events["t"] - events["t"][0] <= end_ms * 1000]
        assert np.array_equal(stream.until(START + end_ms * MS), counted(inside))
    message.events = message.events[:-3]
    with pytest.raises(SartmError, match="an event packet of 31997 bytes: expected a multiple of 8"):
        stream.add([message], [START])


def evt21(events: np.ndarray) -> bytes:
    """EVT 2.1: 64 bits of type, time (6 bits), x (a multiple of 32), y, and a bit for each of 32 columns."""
    words, high = [], -1
    for x, y, t, p in events.tolist():
        if t >> 6 != high:
            high = t >> 6
            words.append((0x8 << 60) | (high & 0xFFFFFFF) << 32)
        words.append(p << 60 | (t & 63) << 54 | (x & ~31) << 43 | y << 32 | 1 << (x & 31))
    return np.array(words, "<u8").tobytes()


def evt2(events: np.ndarray) -> bytes:
    words, high = [], -1
    for x, y, t, p in events.tolist():
        if t >> 6 != high:
            high = t >> 6
            words.append((0x8 << 28) | (high & 0xFFFFFFF))
        words.append(p << 28 | (t & 63) << 22 | x << 11 | y)
    return np.array(words, "<u4").tobytes()


@pytest.mark.parametrize("form", [evt21, evt2, lambda events: mono(events, 900_000)])
def test_another_format_that_is_called_evt3_is_refused(stream: EventStream, form: Callable) -> None:
    """metavision_driver#61: a GenX320's EVT 2.1, labelled evt3, gave events in places where there were none."""
    message, stamp = packet(0, [0], events=form(some_events()))
    with pytest.raises(SartmError, match=r"\d+ of (its )?\d+ (words are not EVT 3.0|events lie off)"):
        stream.add([message], [stamp])
    good, stamp = packet(20_000, list(range(1000)))
    stream.add([good], [stamp])
    assert stream.until(stamp + 10 * MS).sum() == 1000


def test_padding_and_a_few_damaged_words_are_no_other_format(stream: EventStream) -> None:
    words = np.frombuffer(encode_evt3(some_events()), "<u2")
    padded = np.insert(words, np.arange(0, len(words), 16), 0x9999)  # event_camera_renderer#8
    padded[5::500] = 0xB123
    message, stamp = packet(0, [0], events=padded.astype("<u2").tobytes())
    stream.add([message], [stamp])
    assert stream.until(stamp + 29 * MS).sum() > 3900


def test_event_arrays_carry_their_own_times(stream: EventStream) -> None:
    stream.add([event_array(serialised_array([(3, 4, START + 5 * MS, True)]))], [START])
    counts = stream.until(START + 5 * MS)
    assert counts[4, 3].tolist() == [1, 0]
    assert counts.sum() == 1
    assert stream.until(START + 4 * MS).sum() == 0


@pytest.mark.parametrize("count", [0, 1, 2, 3, 100])
@pytest.mark.parametrize("frame_id", ["", "c", "cam", "event_camera"])
def test_event_arrays_of_any_length_are_read_as_another_library_reads_them(count: int, frame_id: str) -> None:
    rng = np.random.default_rng(count)
    rows = [
        (int(rng.integers(240)), int(rng.integers(180)), START + int(rng.integers(10**10)), bool(rng.integers(2)))
        for _ in range(count)
    ]
    data = serialised_array(rows, frame_id)
    array = event_array(data)
    assert (array.header.frame_id, array.height, array.width) == (frame_id, *SIZE)
    assert stamp_ns(array) == START
    columns = zip(array.events.x, array.events.y, array.times_ns, array.events.p, strict=True)
    assert [(int(x), int(y), int(t), bool(p)) for x, y, t, p in columns] == rows
    for shorter in range(0, len(data), 7):
        if len(data) - shorter > 3:  # what pads the end is no event
            with contextlib.suppress(SartmError):
                assert len(event_array(data[: len(data) - shorter - 4]).events) == 0 == count


def test_packets_that_never_came_are_counted(stream: EventStream) -> None:
    """By their sequence numbers; a driver that starts again, or another one, is not a loss."""
    for number, lost in ((5, 0), (6, 0), (9, 2), (10, 2), (0, 2), (1, 2), (4, 4), (10**12, 4), (10**12 + 2, 5)):
        message, stamp = packet(0, [0], seq=number)
        stream.add([message], [stamp])
        assert stream.lost == lost, number


def test_a_real_event_camera(shared_data: Path) -> None:
    """105 packets of a Prophesee sensor: equal to the slow decoder, within the sensor, in order of time."""
    packets = [m for _, _, m in read_messages(shared_data / "events_evt3") if getattr(m, "encoding", "") == "evt3"]
    assert len(packets) == 105
    decoder = Evt3Decoder()
    events = np.concatenate([decoder.decode([np.asarray(m.events)]).events().records for m in packets])
    words = np.concatenate([np.frombuffer(np.asarray(m.events).tobytes(), "<u2") for m in packets])
    slow = slow_decoder(words)
    assert len(events) == len(slow) > 1000
    assert events[["x", "y", "p"]].tolist() == [(x, y, p) for x, y, _, p in slow]
    assert (events["t"] % 2**24).tolist() == [t for _, _, t, _ in slow]
    assert events["x"].max() < packets[0].width
    assert events["y"].max() < packets[0].height
    assert (np.diff(events["t"]) >= 0).mean() > 0.999


def test_packets_at_once_are_as_one_by_one(rng: np.random.Generator) -> None:
    """Cut anywhere, also inside a row; a driver's clock that drifts against the sensor's."""
    size = (720, 1280)
    modality = EventModality(kind="event", name="event", size=size, topic="/e", encoding="counts", window_s=0.03)
    events = np.zeros(5000, EVENT)
    events["t"] = 2**24 - 9000 + np.sort(rng.integers(0, 40_000, 5000))
    events["x"], events["y"], events["p"] = (
        rng.integers(0, 1280, 5000),
        rng.integers(0, 720, 5000),
        rng.integers(0, 2, 5000),
    )
    data = encode_evt3(events)
    cuts = [0, *sorted({2 * int(cut) for cut in rng.integers(0, len(data) // 2, 30)}), len(data)]
    packets, stamps = [], []
    for number, (begin, end) in enumerate(itertools.pairwise(cuts)):
        packets.append(packet(0, [], height=720, width=1280, seq=number, events=data[begin:end])[0])
        stamps.append(START + round(40 * MS * begin / len(data)) + int(rng.integers(0, MS)))
    one_by_one, at_once = EventStream(modality), EventStream(modality)
    for message, stamp in zip(packets, stamps, strict=True):
        one_by_one.add([message], [stamp])
    at_once.add(packets[:7], stamps[:7])
    at_once.add(packets[7:], stamps[7:])
    for end_ms in (5, 20, 38, 60):
        np.testing.assert_array_equal(at_once.until(START + end_ms * MS), one_by_one.until(START + end_ms * MS))
    assert at_once.until(START + 35 * MS).sum() > 1000


def test_a_packet_that_would_take_gigabytes_is_refused_before_it_is_decoded(stream: EventStream) -> None:
    """10 MB of words that stand for twelve events each took 6.1 GB and 45 s."""
    words = np.full(2**20 + 1, 0x4FFF, "<u2")
    with pytest.raises(SartmError, match="event packet of 2,097,154 bytes: at most 2,097,152 are accepted"):
        add(stream, *packet(0, [0], events=words.tobytes()))
    add(stream, *packet(0, [0]))  # the next is read
    assert stream.until(START).sum() == 1
