"""Speed and yield of the synchroniser, compared with message_filters' ApproximateTimeSynchronizer.

`python bench/synchronizer.py`; the peer's rows need message_filters, part of a sourced ROS 2.
"""

import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
from builtin_interfaces.msg import Time
from rich.console import Console
from rich.table import Table

from sartm_ros.streams import Stream
from sartm_ros.synchronizer import Synchronizer

NAMES = ("rgb", "thermal", "depth", "lidar")
SLOP_S, QUEUE = 0.05, 30
START_NS, PERIOD_NS, NS = 10**12, 33_333_333, 10**9

Arrival = tuple[int, str, int]
"""Arrival time (ns), stream, stamp (ns)."""
Add = Callable[[str, int, int], None]


def ours(counts: list[int]) -> Add:
    """Our synchroniser as `add(name, stamp, now)`; appends the size of each set to `counts`."""
    streams = [Stream(name, SLOP_S) for name in NAMES]
    synchronizer = Synchronizer(streams, "rgb", 0.1, 0.5, lambda _, messages: counts.append(len(messages)))
    return lambda name, stamp, now: synchronizer.add(name, stamp, None, now)


def peer(counts: list[int]) -> Add | None:
    """That of message_filters, likewise; None if it is not installed."""
    try:
        import message_filters
    except ImportError:
        return None
    filters = {name: message_filters.SimpleFilter() for name in NAMES}
    synchronizer = message_filters.ApproximateTimeSynchronizer(list(filters.values()), queue_size=QUEUE, slop=SLOP_S)
    synchronizer.registerCallback(lambda *messages: counts.append(len(messages)))

    def add(name: str, stamp: int, now: int) -> None:
        seconds, nanoseconds = divmod(stamp, NS)
        filters[name].signalMessage(
            SimpleNamespace(header=SimpleNamespace(stamp=Time(sec=seconds, nanosec=nanoseconds)))
        )

    return add


def steady(frames: int, names: tuple[str, ...] = NAMES) -> list[Arrival]:
    """All streams at 30 Hz, stamps a millisecond apart, in order."""
    arrivals = []
    for frame in range(frames):
        for index, name in enumerate(names):
            stamp = START_NS + frame * PERIOD_NS + index * 1_000_000
            arrivals.append((stamp, name, stamp))
    return arrivals


def apart() -> list[Arrival]:
    """Streams whose clocks are 80 ms apart queue 30 messages each; the fourth lies between, so nothing matches."""
    arrivals: list[Arrival] = []
    for frame in range(QUEUE):
        now = START_NS + frame * 400_000
        for name, shift_ms in zip(NAMES, (-45, 0, 33), strict=False):
            arrivals.append((now, name, now + shift_ms * 1_000_000))
    return [*arrivals, (START_NS + QUEUE * 400_000, NAMES[3], START_NS)]


def feed(add: Add, arrivals: list[Arrival]) -> tuple[float, float]:
    """Calls per second, and the longest single call in ms."""
    worst, started = 0.0, time.perf_counter()
    for now, name, stamp in arrivals:
        before = time.perf_counter()
        add(name, stamp, now)
        worst = max(worst, time.perf_counter() - before)
    return len(arrivals) / (time.perf_counter() - started), worst * 1e3


def main() -> None:
    """Prints the table."""
    cases = {
        "4 streams, steady, 30 Hz": steady(5000),
        "one of 4 is silent": steady(500, NAMES[:3]),
        "clocks 80 ms apart": apart(),
    }
    table = Table(title=f"{len(NAMES)} streams, tolerance {SLOP_S} s, queue {QUEUE}")
    for column in ("case", "", "add per second", "worst add, ms", "sets", "of anchors"):
        table.add_column(column, justify="left" if column in ("case", "") else "right")
    for case, arrivals in cases.items():
        anchors = sum(name == "rgb" for _, name, _ in arrivals)
        for label, make in (("sartm", ours), ("message_filters", peer)):
            runs = []
            for _ in range(3):
                counts: list[int] = []
                add = make(counts)
                if add is not None:
                    runs.append((*feed(add, arrivals), len(counts)))
            if not runs:
                table.add_row(case, label, "not installed")
                continue
            rate, worst = max(run[0] for run in runs), float(np.median([run[1] for run in runs]))
            table.add_row(case, label, f"{rate:,.0f}", f"{worst:.3f}", str(runs[0][2]), str(anchors))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
