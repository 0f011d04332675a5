"""Injected faults: a recording replayed as if a sensor had been silent, late or noisy."""

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError

Kind = Literal["drop", "delay", "noise"]

_FORMS = {
    "drop": "NAME or NAME@FROM:TO, such as thermal@10:20",
    "delay": "NAME=SECONDS or NAME=SECONDS@FROM:TO, such as thermal=0.2@10:20",
    "noise": "NAME=SIGMA or NAME=SIGMA@FROM:TO, such as rgb=50@10:20",
}
_TEXT = re.compile(r"(?P<name>[a-z][a-z0-9_]*)(=(?P<amount>[0-9.]+))?(@(?P<start>[0-9.]*):(?P<end>[0-9.]*))?")


@dataclass(frozen=True, slots=True)
class BagFault:
    """One fault.

    Attributes:
        kind: `drop`: messages are left out; `delay`: they arrive later than their stamps say; `noise`: Gaussian.
        modality: whose.
        amount: seconds of `delay`; sigma of `noise` on the scale 0 to 255.
        start_s, end_s: from and to, seconds of the recording.
    """

    kind: Kind
    modality: str
    amount: float = 0.0
    start_s: float = 0.0
    end_s: float = float("inf")

    @property
    def text(self) -> str:
        """As given on the command line, preceded by the kind."""
        amount = "" if self.kind == "drop" else f"={self.amount:g}"
        return (
            f"{self.kind} {self.modality}{amount}@{self.start_s:g}:{'' if np.isinf(self.end_s) else f'{self.end_s:g}'}"
        )


def parse_fault(kind: Kind, text: str) -> BagFault:
    """Reads `thermal@10:20` or `thermal=0.2@10:20`.

    Raises:
        SartmError: the text is malformed; says what was expected.
    """
    found = _TEXT.fullmatch(text)
    try:
        if found is None or (found["amount"] is None) != (kind == "drop"):
            raise ValueError
        start, end = float(found["start"] or 0), float(found["end"] or "inf")
        fault = BagFault(kind, found["name"], float(found["amount"] or 0), start, end)
        if start >= end:
            raise ValueError
    except ValueError:
        raise SartmError(f"--{kind} {text}: expected {_FORMS[kind]} (seconds of the recording).") from None
    return fault


class BagFaults:
    """All faults of one replay.

    Args:
        faults: in any order.
        names: the rig's modalities.

    Raises:
        SartmError: a fault of an unknown modality.
    """

    def __init__(self, faults: tuple[BagFault, ...], names: tuple[str, ...]) -> None:
        for fault in faults:
            if fault.modality not in names:
                raise SartmError(
                    f"--{fault.kind} {fault.modality}: the rig has no such modality; it has {', '.join(names)}."
                )
        self._faults = faults

    def remarks(self, seconds: float) -> list[str]:
        """A line for each fault that begins after the end of a recording of this length."""
        return [
            f"--{fault.text}: begins after the recording's end at {seconds:.1f} s, so it had no effect."
            for fault in self._faults
            if fault.start_s > seconds
        ]

    def dropped(self, name: str, at_s: float) -> bool:
        """Whether a message is left out."""
        return bool(self._active("drop", name, at_s))

    def delay_s(self, name: str, at_s: float) -> float:
        """Seconds after its stamp at which a message arrives."""
        return sum(fault.amount for fault in self._active("delay", name, at_s))

    def with_noise(self, name: str, image: NDArray[Any], at_s: float, stamp_ns: int) -> NDArray[Any]:
        """The image with its noise, which depends on modality and stamp alone."""
        for fault in self._active("noise", name, at_s):
            rng = np.random.default_rng([stamp_ns, *name.encode()])
            image = _with_noise(image, rng.normal(0, fault.amount, image.shape), eight_bit=image.dtype == np.uint8)
        return image

    def _active(self, kind: Kind, name: str, at_s: float) -> list[BagFault]:
        return [f for f in self._faults if (f.kind, f.modality) == (kind, name) and f.start_s <= at_s < f.end_s]


def _with_noise(image: NDArray[Any], noise: NDArray[np.float64], eight_bit: bool) -> NDArray[Any]:
    """Adds noise; an image that measures nothing stays as it is.

    Args:
        image: of any numeric dtype, which is preserved.
        noise: of its shape, on the scale 0 to 255.
        eight_bit: whether the image is on that scale; otherwise (metres, counts) noise is scaled to the range of the
            pixels that were measured: of a LiDAR's image, filled below one in a hundred, that of all pixels would be 0.
    """
    if eight_bit:
        return np.clip(image + noise, 0, 255).astype(image.dtype)
    measured = image[np.isfinite(image) & (image != 0)]
    if not measured.size:
        return image
    low, high = np.percentile(measured, (1, 99))
    if measured.size < image.size:  # the others are 0
        low = min(low, 0.0)
    changed = image + noise * (high - low) / 255
    if np.issubdtype(image.dtype, np.integer):
        limits = np.iinfo(image.dtype)
        changed = np.clip(changed, limits.min, limits.max)
    return changed.astype(image.dtype)
