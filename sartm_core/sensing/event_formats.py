"""The formats in which other event cameras than Prophesee's send their packets."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError
from sartm_core.sensing.events import Events

Packet = bytes | bytearray | memoryview | NDArray[np.uint8]


def decode_mono(packet: Packet, time_base_ns: int) -> Events:
    """The events of event_camera_codecs' encoding `mono`: 32 bits of ns since `time_base_ns`, 16 of x, 15 of y, p.

    Raises:
        SartmError: the packet does not consist of whole events.
    """
    words = _words(packet, "<u8")
    return Events(
        x=(words >> 32 & 0xFFFF).astype(np.uint16),
        y=(words >> 48 & 0x7FFF).astype(np.uint16),
        t=(time_base_ns + (words & 0xFFFFFFFF).astype(np.int64)) // 1000,
        p=(words >> 63).astype(np.uint8),
    )


def decode_libcaer(packet: Packet, time_base_ns: int) -> Events:
    """The events of event_camera_codecs' encoding `libcaer`: libcaer's polarity events of iniVation's cameras.

    Each has 32 bits of data, then 31 of microseconds since `time_base_ns`, which may wrap once within a packet.

    Raises:
        SartmError: the packet does not consist of whole events.
    """
    words = _words(packet, "<u8")
    data, low = words & 0xFFFFFFFF, (words >> 32).astype(np.int64)
    wraps = np.cumsum(np.diff(low, prepend=low[:1]) < 0)
    return Events(
        x=(data >> 17 & 0x7FFF).astype(np.uint16),
        y=(data >> 2 & 0x7FFF).astype(np.uint16),
        t=time_base_ns // 1000 + low + (wraps << 31),
        p=(data >> 1 & 1).astype(np.uint8),
    )


def _words(packet: Packet, kind: str) -> NDArray[Any]:
    size = np.dtype(kind).itemsize
    if len(packet) % size:
        raise SartmError(f"an event packet of {len(packet)} bytes: expected a multiple of {size}, one event each.")
    return np.frombuffer(packet, kind)
