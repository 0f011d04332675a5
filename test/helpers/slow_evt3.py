"""EVT 3.0 decoded word by word, as in the vendor's specification: the reference for the fast decoder."""

import numpy as np


def slow_decoder(words: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Word by word, as in the sensor's manual; (x, y, t, p). No wrap of the clock."""
    events, y, high, low, base, polarity = [], None, None, 0, 0, 0
    for word in words.tolist():
        code, value = word >> 12, word & 0xFFF
        if code == 0x0:
            y = value & 0x7FF
        elif code == 0x6:
            low = value
        elif code == 0x8:
            high = value
        elif code == 0x3:
            base, polarity = value & 0x7FF, value >> 11
        elif code in (0x2, 0x4, 0x5):
            if code == 0x2:
                xs, p = [value & 0x7FF], value >> 11
            else:
                width = 12 if code == 0x4 else 8
                xs, p = [min(base + bit, 0x7FF) for bit in range(width) if value >> bit & 1], polarity
                base += width
            if y is not None and high is not None:
                events += [(x, y, high << 12 | low, p) for x in xs]
    return events
