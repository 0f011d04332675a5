"""Packets of an event camera: gathered, and cut to the window of a set."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from slow_evt3 import slow_decoder

from sartm_core.errors import SartmError
from sartm_core.kinds import EventModality
from sartm_core.sensing.events import EVENT, Evt3Decoder, encode_evt3
from sartm_ros.bag.reader import read_messages
from sartm_ros.decoding.event_streams import MARK_NS, EventStream

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
    fields = {"height": SIZE[0], "width": SIZE[1], "encoding": "evt3", "events": encode_evt3(events)} | changes
    return SimpleNamespace(**fields), START + (begin_us + microseconds[0] if microseconds else begin_us) * 1000


def test_the_window_ends_at_the_sets_stamp_over_several_packets(stream: EventStream) -> None:
    for begin_ms in range(0, 100, 10):
        stream.add(*packet(begin_ms * 1000, list(range(0, 10_000, 1000))))
    events = stream.until(START + 55 * MS)
    assert events["t"].tolist() == [ms * 1000 for ms in range(26, 56)]
    assert len(stream.until(START + 500 * MS)) == 0
    assert len(stream.until(START - 1)) == 0


def test_few_of_the_packets_are_matched_with_other_sensors(stream: EventStream) -> None:
    marks = [stream.add(*packet(ms * 1000, [0, 500])) for ms in range(100)]
    assert sum(marks) == 100 * MS // MARK_NS


def test_a_scene_without_events_is_no_dead_camera(stream: EventStream) -> None:
    message, stamp = packet(0, [])
    assert stream.add(message, stamp)
    assert len(stream.until(stamp)) == 0


def test_memory_is_bounded(stream: EventStream) -> None:
    for ms in range(0, 5000, 10):
        stream.add(*packet(ms * 1000, list(range(0, 10_000, 100))))
    assert len(stream._chunks) <= 102
    assert stream._count == sum(len(events) for _, events in stream._chunks)


def test_a_recording_that_loops_forgets_the_future(stream: EventStream) -> None:
    stream.add(*packet(20_000_000, [0]))
    message, stamp = packet(0, [0, 5])
    assert stream.add(message, stamp)
    assert len(stream.until(stamp + MS)) == 2
    assert len(stream._chunks) == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"encoding": "mono"}, r"encoding 'mono': only evt3 is supported\. Switch the driver"),
        ({"width": 640, "height": 480}, r"640x480 pixels: the rig file says size: \[180, 240\]"),
    ],
)
def test_packets_that_cannot_be_used_say_why(stream: EventStream, changes: dict, expected: str) -> None:
    with pytest.raises(SartmError, match=expected):
        stream.add(*packet(0, [0], **changes))


def test_event_arrays_carry_their_own_times(stream: EventStream) -> None:
    seconds, nanoseconds = divmod(START + 5 * MS, 1_000_000_000)
    one = SimpleNamespace(x=3, y=4, ts=SimpleNamespace(sec=seconds, nanosec=nanoseconds), polarity=True)
    message = SimpleNamespace(height=SIZE[0], width=SIZE[1], events=[one])
    stream.add(message, START)
    events = stream.until(START + 5 * MS)
    assert [events[name][0] for name in ("x", "y", "p")] == [3, 4, 1]
    assert len(stream.until(START + 4 * MS)) == 0


def test_a_real_event_camera(shared_data: Path) -> None:
    """105 packets of a Prophesee sensor: equal to the slow decoder, within the sensor, in order of time."""
    packets = [m for _, _, m in read_messages(shared_data / "events_evt3") if getattr(m, "encoding", "") == "evt3"]
    assert len(packets) == 105
    decoder = Evt3Decoder()
    events = np.concatenate([decoder.decode(np.asarray(m.events)) for m in packets])
    words = np.concatenate([np.frombuffer(np.asarray(m.events).tobytes(), "<u2") for m in packets])
    slow = slow_decoder(words)
    assert len(events) == len(slow) > 1000
    assert events[["x", "y", "p"]].tolist() == [(x, y, p) for x, y, _, p in slow]
    assert (events["t"] % 2**24).tolist() == [t for _, _, t, _ in slow]
    assert events["x"].max() < packets[0].width
    assert events["y"].max() < packets[0].height
    assert (np.diff(events["t"]) >= 0).mean() > 0.999
