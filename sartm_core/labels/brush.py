"""Label Studio's brush: run lengths of a red, green, blue, alpha image, packed bit by bit.

A header: the number of values (32 bits), the width of a value less one (5), four widths of lengths, less one (4 each).
Then runs: whether one value repeats (1 bit), the width of its length (2), its length less one, its value or values.
"""

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError
from sartm_core.labels.annotated_image import Mask, Size

VALUE_BITS = 8


def brush_mask(rle: list[int], where: str, size: Size) -> Mask:
    """Decodes `rle`; what has any opacity is inside, as in Label Studio's own exports.

    Raises:
        SartmError: damaged, or of an image of another size.
    """
    try:
        data = np.array(rle, np.uint8)
    except (OverflowError, ValueError) as error:
        raise SartmError(f"{where}: its rle holds values that are no bytes.") from error
    values = _values(data, 4 * size[0] * size[1])
    if values is None:
        raise SartmError(f"{where}: its rle does not fill an image of {size[0]}x{size[1]} (height x width).")
    return np.asarray(values.reshape(*size, 4)[..., 3] > 0)


class _Bits:
    """Reads numbers of any width; beyond the end there are zeros, and `exhausted` is set."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self._bytes = data.tobytes()
        self._place = 0

    @property
    def exhausted(self) -> bool:
        return self._place > 8 * len(self._bytes)

    def read(self, width: int) -> int:
        begin, end = self._place, self._place + width
        self._place = end
        some = int.from_bytes(self._bytes[begin // 8 : -(-end // 8)].ljust(-(-end // 8) - begin // 8, b"\0"), "big")
        return some >> -end % 8 & (1 << width) - 1


def _values(data: NDArray[np.uint8], expected: int) -> NDArray[np.uint8] | None:
    bits = _Bits(data)
    count, width = bits.read(32), bits.read(5) + 1
    lengths = [bits.read(4) + 1 for _ in range(4)]
    if count != expected or width != VALUE_BITS:
        return None
    values = np.zeros(count, np.uint8)
    place = 0
    while place < count and not bits.exhausted:
        repeats, length = bits.read(1), bits.read(lengths[bits.read(2)]) + 1
        if place + length > count:
            return None
        if repeats:
            values[place : place + length] = bits.read(VALUE_BITS)
        else:
            values[place : place + length] = list(bits.read(VALUE_BITS * length).to_bytes(length, "big"))
        place += length
    return values if place == count and not bits.exhausted else None
