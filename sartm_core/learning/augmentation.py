"""Augmentation that keeps the modalities of a frame aligned."""

from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import Field, model_validator

from sartm_core.checked_yaml import Checked
from sartm_core.rig import SPARSE_KINDS, Modality
from sartm_core.segmentation import UNLABELLED

PHOTOMETRIC_KINDS = frozenset({"rgb", "thermal", "nir"})
"""Kinds whose values are brightness; ranges, counts and angles mean what they say."""

Planes = dict[str, NDArray[Any]]


class Augmentation(Checked):
    """What training does to a frame; the papers' defaults.

    Attributes:
        flip: probability of mirroring left and right.
        scale: the frame is resized by a factor from this range before the crop; [1, 1] only fits it to the crop.
        brightness, contrast: largest relative change, for modalities that are brightness, each on its own.
        saturation: largest relative change, for colour.
        blur: probability of a 3x3 Gaussian blur of a modality.
    """

    flip: float = Field(0.5, ge=0, le=1)
    scale: tuple[float, float] = (0.5, 2.0)
    brightness: float = Field(0.2, ge=0, lt=1)
    contrast: float = Field(0.2, ge=0, lt=1)
    saturation: float = Field(0.2, ge=0, lt=1)
    blur: float = Field(0.2, ge=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> "Augmentation":
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale: expected [low, high] with 0 < low <= high, got {list(self.scale)}")
        return self


def augment(
    planes: Planes,
    truth: NDArray[np.uint8],
    modalities: dict[str, Modality],
    size: tuple[int, int],
    settings: Augmentation,
    rng: Generator,
) -> tuple[Planes, NDArray[np.uint8]]:
    """Scales, crops, mirrors all modalities and the truth alike; then changes brightness per modality.

    Args:
        planes: modality -> [3, H, W]; sizes may differ between modalities, the fields of view agree.
        truth: uint8 [H, W].
        size: height, width of the result.
        rng: decides everything.

    Returns:
        Planes of the same dtypes and truth, of `size`; where the frame is smaller than the crop, planes are 0 and the
        truth is unlabelled.
    """
    height, width = truth.shape
    # The factor is relative to a frame that just covers the crop: every data set's frames are then treated alike.
    cover = max(size[0] / height, size[1] / width)
    factor = cover * np.exp(rng.uniform(*np.log(settings.scale)))
    scaled = (max(round(height * factor), 1), max(round(width * factor), 1))
    top = rng.integers(0, max(scaled[0] - size[0], 0) + 1)
    left = rng.integers(0, max(scaled[1] - size[1], 0) + 1)
    mirrored = bool(rng.random() < settings.flip)
    result = {}
    for name, image in planes.items():
        kind = modalities[name].kind
        nearest = kind in SPARSE_KINDS
        moved = _crop(_resize(image.transpose(1, 2, 0), scaled, nearest), top, left, size, 0).transpose(2, 0, 1)
        if mirrored:
            moved = mirror(moved, modalities[name])
        result[name] = np.ascontiguousarray(_photometric(moved, kind, settings, rng))
    cut = _crop(_resize(truth[..., None], scaled, nearest=True), top, left, size, UNLABELLED)[..., 0]
    return result, np.ascontiguousarray(cut[:, ::-1] if mirrored else cut)


def mirror(planes: NDArray[Any], modality: Modality) -> NDArray[Any]:
    """Left and right changed, [3, H, W]. A mirrored angle of polarisation turns the other way: its sine, the first
    plane, changes sign. No other kind has values with a horizontal sign.
    """
    result = planes[..., ::-1].copy()
    if modality.kind == "polarization":
        result[0] = 255 - result[0] if result.dtype == np.uint8 else -result[0]
    return result


def _resize(image: NDArray[Any], size: tuple[int, int], nearest: bool) -> NDArray[Any]:
    if image.shape[:2] == size:
        return image
    interpolation = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    resized = cv2.resize(np.ascontiguousarray(image), size[::-1], interpolation=interpolation)
    return resized if resized.ndim == 3 else resized[..., None]


def _crop(image: NDArray[Any], top: int, left: int, size: tuple[int, int], fill: int) -> NDArray[Any]:
    part = image[top : top + size[0], left : left + size[1]]
    missing = (size[0] - part.shape[0], size[1] - part.shape[1])
    if not any(missing):
        return part
    return np.pad(part, ((0, missing[0]), (0, missing[1]), (0, 0)), constant_values=fill)


def _photometric(planes: NDArray[Any], kind: str, settings: Augmentation, rng: Generator) -> NDArray[Any]:
    # Drawn for every modality, used or not: what one modality gets does not depend on the others' kinds.
    gain, shift, colour = (1 + rng.uniform(-limit, limit) for limit in
                           (settings.contrast, settings.brightness, settings.saturation))  # fmt: skip
    blurred = rng.random() < settings.blur
    if kind not in PHOTOMETRIC_KINDS:
        return planes
    values = planes.astype(np.float32)
    if kind == "rgb":
        grey = values.mean(axis=0, keepdims=True)
        values = grey + (values - grey) * colour
    mean = values.mean()
    values = (values - mean) * gain + mean * shift
    if blurred:
        values = cv2.GaussianBlur(values.transpose(1, 2, 0), (3, 3), 0).transpose(2, 0, 1)
    if planes.dtype == np.uint8:
        values = np.clip(np.round(values), 0, 255)
    return values.astype(planes.dtype)
