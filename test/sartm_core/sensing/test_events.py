import itertools

import numpy as np
import pytest
from slow_evt3 import slow_decoder

from sartm_core.sensing.events import EVENT, count_events
from sartm_core.sensing.evt3 import Evt3Decoder, encode_evt3


def random_words(rng: np.random.Generator, count: int) -> np.ndarray:
    """Any mixture of known and unknown words, with times that do not fall."""
    codes = rng.choice(
        [0x0, 0x2, 0x3, 0x4, 0x5, 0x6, 0x8, 0xA, 0x7, 0xE],
        count,
        p=[0.1, 0.25, 0.1, 0.15, 0.1, 0.15, 0.05, 0.04, 0.03, 0.03],
    )
    values = rng.integers(0, 0x1000, count)
    high = codes == 0x8
    values[high] = np.sort(rng.integers(0, 2000, high.sum()))
    return (codes << 12 | values).astype("<u2")


@pytest.mark.parametrize("seed", range(5))
def test_equals_a_decoder_that_goes_word_by_word(seed: int) -> None:
    words = random_words(np.random.default_rng(seed), 3000)
    events = Evt3Decoder().decode([words.tobytes()]).events().records
    assert [tuple(int(v) for v in e) for e in events] == slow_decoder(words)


def test_packets_may_be_cut_anywhere(rng: np.random.Generator) -> None:
    words = random_words(rng, 2000)
    decoder, parts = Evt3Decoder(), []
    cuts = [0, *sorted(rng.integers(0, 2000, 40)), 2000]
    for start, end in itertools.pairwise(cuts):
        parts.append(decoder.decode([words[start:end].tobytes()]).events().records)
    assert np.array_equal(np.concatenate(parts), Evt3Decoder().decode([words.tobytes()]).events().records)


def test_the_clock_wraps_after_16_seconds_and_the_decoder_goes_on() -> None:
    times = np.arange(0, 3 * 2**24, 2**22) + 77
    events = np.zeros(len(times), EVENT)
    events["t"] = times
    events["x"], events["y"], events["p"] = 3, 4, 1
    assert Evt3Decoder().decode([encode_evt3(events)]).events().t.tolist() == events["t"].tolist()
    decoder = Evt3Decoder()
    one_by_one = [decoder.decode([encode_evt3(events[i : i + 1])]).events().t[0] for i in range(len(times))]
    assert one_by_one == events["t"].tolist()


def test_what_was_encoded_comes_back(rng: np.random.Generator) -> None:
    events = np.zeros(4000, EVENT)
    events["t"] = np.sort(rng.integers(0, 60_000, 4000))
    events["x"], events["y"] = rng.integers(0, 1280, 4000), rng.integers(0, 720, 4000)
    events["p"] = rng.integers(0, 2, 4000)
    assert np.array_equal(Evt3Decoder().decode([encode_evt3(events)]).events().records, events)
    assert encode_evt3(events[:0]) == b""
    assert len(Evt3Decoder().decode([b""]).events()) == 0


def test_a_stream_that_begins_in_the_middle_drops_what_has_no_time() -> None:
    words = np.array([0x2005, 0x0007, 0x2006, 0x8001, 0x6002, 0x2807], "<u2")
    events = Evt3Decoder().decode([words.tobytes()]).events().records
    assert [tuple(int(v) for v in e) for e in events] == [(7, 7, (1 << 12) | 2, 1)]


def test_counts(rng: np.random.Generator) -> None:
    events = np.zeros(5, EVENT)
    events["x"], events["y"], events["p"] = [1, 1, 1, 9, 2], [0, 0, 0, 0, 1], [1, 1, 0, 1, 0]
    counts = count_events(events, (2, 4))
    assert counts.shape == (2, 4, 2)
    assert counts[0, 1].tolist() == [2, 1]
    assert counts[1, 2].tolist() == [0, 1]
    assert counts.sum() == 4  # the one at x = 9 lies outside
