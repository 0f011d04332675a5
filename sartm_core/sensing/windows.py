"""Sliding windows over large images: each is seen at full resolution, scores are averaged where they overlap.

The placement is that of mmsegmentation's `slide_inference`, which the published protocols of MUSES and others use:
every `stride` pixels, the last window flush with the border.
"""

import cv2
import numpy as np
from numpy.typing import NDArray


class Windows:
    """The windows of one frame, and the mean of their scores.

    Args:
        frame: height, width of the frame.
        window: height, width of the network's input.
        stride: rows, columns between windows; at most the window.
    """

    def __init__(self, frame: tuple[int, int], window: tuple[int, int], stride: tuple[int, int]) -> None:
        self.frame, self.window = frame, window
        self.places: list[tuple[int, int]] = [
            (top, left)
            for top in _starts(frame[0], window[0], stride[0])
            for left in _starts(frame[1], window[1], stride[1])
        ]
        """Top, left of each window."""
        self._total: NDArray[np.float32] | None = None
        self._count = np.zeros(frame, np.float32)

    def cut(self, planes: NDArray[np.generic], place: tuple[int, int], out: NDArray[np.generic]) -> None:
        """Copies the window of planes [..., H, W] into `out` [..., h, w]; beyond the frame's border it is 0."""
        seen = planes[..., place[0] : place[0] + self.window[0], place[1] : place[1] + self.window[1]]
        if seen.shape[-2:] != self.window:
            out[...] = 0
        out[..., : seen.shape[-2], : seen.shape[-1]] = seen

    def add(self, place: tuple[int, int], scores: NDArray[np.float32]) -> None:
        """Takes the scores [C, h/4, w/4] of one window."""
        if self._total is None:
            self._total = np.zeros((len(scores), *self.frame), np.float32)
        top, left = place
        height, width = min(self.window[0], self.frame[0] - top), min(self.window[1], self.frame[1] - left)
        for total, score in zip(self._total, scores, strict=True):
            large = cv2.resize(score, self.window[::-1], interpolation=cv2.INTER_LINEAR)
            total[top : top + height, left : left + width] += large[:height, :width]
        self._count[top : top + height, left : left + width] += 1

    def segment(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Mask uint8 [H, W] of the mean scores, and their softmax at the chosen class, float32 [H, W]."""
        assert self._total is not None
        mean = self._total / self._count
        return mean.argmax(axis=0).astype(np.uint8), 1 / np.exp(mean - mean.max(axis=0)).sum(axis=0)


def _starts(length: int, window: int, stride: int) -> list[int]:
    """Every `stride`; the last one ends at the border."""
    count = max(length - window + stride - 1, 0) // stride + 1
    return [max(min(index * stride, length - window), 0) for index in range(count)]
