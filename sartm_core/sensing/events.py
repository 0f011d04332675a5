"""Events: how they are held, and images of how many each pixel reported."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

EVENT = np.dtype([("x", "<u2"), ("y", "<u2"), ("t", "<i8"), ("p", "u1")])
"""One event: column, row, microseconds, polarity (0 darker, 1 brighter)."""


@dataclass(frozen=True, slots=True)
class Events:
    """Events in the order in which the sensor sent them; an array for each field is far faster than records.

    Attributes:
        x, y: column and row, uint16 [N].
        t: microseconds, int64 [N].
        p: polarity, uint8 [N]: 0 darker, 1 brighter.
    """

    x: NDArray[np.uint16]
    y: NDArray[np.uint16]
    t: NDArray[np.int64]
    p: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.t)

    @property
    def records(self) -> NDArray[Any]:
        """The same as a structured array of `EVENT`."""
        records = np.empty(len(self), EVENT)
        records["x"], records["y"], records["t"], records["p"] = self.x, self.y, self.t, self.p
        return records


FEW = 12
"""Fewer events than this share of the pixels are counted faster by sorting them than in an array of all pixels."""
OUTSIDE = -(1 << 30)
"""Added to the cell of an event outside of the sensor."""


def event_cells(events: Events | NDArray[Any], size: tuple[int, int]) -> NDArray[np.int32]:
    """Where each event counts in a flat [2, H, W], int32 [N]; negative for one outside of the sensor.

    Args:
        events: `Events`, or a structured array with the fields of `EVENT`.
        size: height, width of the sensor.
    """
    columns = (events.x, events.y, events.p) if isinstance(events, Events) else (events["x"], events["y"], events["p"])
    x, y, p = columns
    height, width = size
    cells = y * np.int32(width)
    cells += x
    cells += (p == 0) * np.int32(height * width)
    cells[(x >= width) | (y >= height)] = OUTSIDE
    return cells


def count_cells(cells: NDArray[np.int32], size: tuple[int, int]) -> NDArray[np.float32]:
    """How many events each pixel reported, of what `event_cells` returned without those outside: float32 [H, W, 2]."""
    height, width = size
    pixels = height * width * 2
    if len(cells) > pixels // FEW:
        counts = np.bincount(cells, minlength=pixels).astype(np.float32)
    else:
        counts = np.zeros(pixels, np.float32)
        ordered = np.sort(cells)
        begins = np.flatnonzero(np.diff(ordered, prepend=-1))
        counts[ordered[begins]] = np.diff(begins, append=len(ordered))
    return counts.reshape(2, height, width).transpose(1, 2, 0)


def count_events(events: Events | NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """How many events each pixel reported: float32 [H, W, 2], brighter and darker; events outside are left out."""
    cells = event_cells(events, size)
    return count_cells(cells[cells >= 0], size)
