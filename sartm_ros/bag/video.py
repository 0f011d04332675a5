"""A film of a replay, for browsers: overlay, weight and state of each sensor, legend."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sartm_core.datasets.legend import EDGE, PAPER, legend, write_words
from sartm_core.errors import SartmError
from sartm_core.files import atomic_path
from sartm_core.outputs import check_replaceable
from sartm_core.rig import Rig
from sartm_core.segmentation import Segmentation

LEAST_WIDTH = 640
"""Smaller overlays are enlarged by a whole number."""
PANEL, LETTERS, MARGIN = 260, 18, 12
STATE_COLOURS = {"present": (42, 111, 151), "absent": EDGE, "stale": (227, 155, 35), "empty": (227, 155, 35)}
BROKEN = (209, 73, 91)
TICKS = 1000
"""Of the film's clock, per second: frames appear when they were measured."""


class Film:
    """Frames of a film that is being written."""

    def __init__(self, rig: Rig, container: Any, av: ModuleType) -> None:
        self._rig, self._container, self._av = rig, container, av
        self._legend = legend(rig, PANEL, LETTERS)
        self._stream: Any = None
        self._size = (0, 0)
        self._first_ns: int | None = None
        self._tick = -1

    def add(
        self, stamp_ns: int, overlay: NDArray[np.uint8], segmentation: Segmentation, states: Mapping[str, str]
    ) -> None:
        """Adds one frame.

        Args:
            stamp_ns: of the measurement; a frame that is older than the one before follows it at once.
            overlay: uint8 [H, W, 3].
            segmentation: gives the weights.
            states: modality -> present, absent, stale, broken or empty.
        """
        weights = dict(zip(self._rig.names, segmentation.routing.mean(axis=0).tolist(), strict=True))
        picture = beside(overlay, panel(weights, states), self._legend)
        if self._stream is None:
            self._size = (picture.shape[1] // 2 * 2, picture.shape[0] // 2 * 2)  # colours are at half the size
            self._stream = self._opened(*self._size)
        if (picture.shape[1] // 2 * 2, picture.shape[0] // 2 * 2) != self._size:
            picture = cv2.resize(picture, self._size)
        picture = np.ascontiguousarray(picture[: self._size[1], : self._size[0]])
        self._first_ns = stamp_ns if self._first_ns is None else self._first_ns
        self._tick = max(round((stamp_ns - self._first_ns) * TICKS / 1e9), self._tick + 1)
        frame = self._av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = self._tick, Fraction(1, TICKS)
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Writes what the encoder holds back."""
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))

    def _opened(self, width: int, height: int) -> Any:
        stream = self._container.add_stream("libx264", rate=TICKS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"  # all that browsers play
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
        stream.options = {"crf": "20", "preset": "veryfast"}
        return stream


@contextmanager
def film(path: Path, rig: Rig) -> Iterator[Film]:
    """An H.264 film in an MP4 file, which appears when it is complete.

    Args:
        path: the file; must not exist.
        rig: the bundle's: names of the sensors, classes.

    Raises:
        SartmError: the name does not end in .mp4, the file exists, or the package av is not installed.
    """
    if path.suffix != ".mp4":
        raise SartmError(f"{path}: expected a name that ends in .mp4.")
    check_replaceable(path, ())
    try:
        import av
    except ImportError as error:
        raise SartmError(f"{path}: films need the package av, which is not installed: pip install av") from error
    options = {"movflags": "faststart"}  # plays before it is loaded
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4", options=options) as container:
        opened = Film(rig, container, av)
        yield opened
        opened.finish()


def panel(weights: Mapping[str, float], states: Mapping[str, str]) -> NDArray[np.uint8]:
    """A row for each sensor: name, a bar as long as its weight, the weight, or what is wrong with it."""
    row = LETTERS * 3
    image = Image.new("RGB", (PANEL, row * len(weights) + MARGIN), PAPER)
    drawing = ImageDraw.Draw(image)
    for number, (name, weight) in enumerate(weights.items()):
        state = states.get(name, "absent")
        top = row * number + MARGIN
        write_words(drawing, (MARGIN, top + LETTERS // 2), name, LETTERS)
        said = f"{weight:.2f}" if state == "present" else state
        write_words(drawing, (PANEL // 2, top + LETTERS // 2), said, LETTERS)
        bar, length = top + round(LETTERS * 1.4), PANEL - 2 * MARGIN
        drawing.rectangle((MARGIN, bar, MARGIN + length, bar + LETTERS // 2), outline=EDGE)
        colour = STATE_COLOURS.get(state, BROKEN)
        drawing.rectangle((MARGIN, bar, MARGIN + round(length * weight), bar + LETTERS // 2), fill=colour)
    return np.asarray(image, np.uint8)


def beside(picture: NDArray[np.uint8], *columns: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture, enlarged where it is small, and to the right of it others, one below the other."""
    times = max(round(LEAST_WIDTH / picture.shape[1]), 1)
    large = picture.repeat(times, axis=0).repeat(times, axis=1)
    below = np.concatenate(columns)
    height = max(len(large), len(below))
    parts = [np.pad(part, ((0, height - len(part)), (0, 0), (0, 0)), constant_values=255) for part in (large, below)]
    return np.concatenate(parts, axis=1)
