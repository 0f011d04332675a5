"""Labels of a recording's instants, as image files whose names are stamps."""

import bisect
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sartm_core.datasets.files import class_ids, read_image
from sartm_core.errors import SartmError

_WHOLE = re.compile(r"\d{10,20}")
_SPLIT = re.compile(r"(\d{1,10})[._](\d{9})")


def stamp_of_name(stem: str) -> int | None:
    """Nanoseconds: `1700000000200000000`, `1700000000.200000000` or `1700000000_200000000`; None for other names."""
    if _WHOLE.fullmatch(stem):
        return int(stem)
    found = _SPLIT.fullmatch(stem)
    return None if found is None else int(found[1]) * 1_000_000_000 + int(found[2])


class StampedLabels:
    """Masks of class ids by stamp.

    Args:
        folder: PNG files, at any depth; of a frame folder (`sartm bag extract`) those in its `truth` folders.
        classes: number of classes.
        tolerance_s: how far a stamp may be from the one that is asked for.

    Raises:
        SartmError: no file whose name is a stamp.
    """

    def __init__(self, folder: Path, classes: int, tolerance_s: float) -> None:
        pattern = "*/truth/**/*.png" if (folder / "manifest.json").is_file() else "**/*.png"
        stamped = ((stamp_of_name(path.stem), path) for path in folder.glob(pattern))
        self._entries = sorted((stamp, path) for stamp, path in stamped if stamp is not None)
        if not self._entries:
            raise SartmError(
                f"{folder}: holds no labels: expected PNG files of class ids whose names are stamps in nanoseconds, "
                "such as 1700000000200000000.png."
            )
        self._classes = classes
        self._tolerance_ns = round(tolerance_s * 1e9)

    def __len__(self) -> int:
        return len(self._entries)

    def at(self, stamp_ns: int) -> NDArray[np.uint8] | None:
        """The class ids [H, W] nearest to a stamp, within the tolerance.

        Raises:
            SartmError: the file is not a label image.
        """
        place = bisect.bisect_left(self._entries, stamp_ns, key=lambda entry: entry[0])
        near = self._entries[max(place - 1, 0) : place + 1]
        stamp, path = min(near, key=lambda entry: abs(entry[0] - stamp_ns))
        if abs(stamp - stamp_ns) > self._tolerance_ns:
            return None
        return class_ids(path, read_image(path), self._classes)
