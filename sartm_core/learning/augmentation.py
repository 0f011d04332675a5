"""Augmentation that keeps the modalities of a frame aligned."""

from typing import Any, Literal

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import Field, model_validator

from sartm_core.checked_yaml import Checked
from sartm_core.kinds import Modality
from sartm_core.learning.colours import photometric_distortion, relative_change
from sartm_core.segmentation import UNLABELLED
from sartm_core.sensing.fit import FitMode, resize_labels, resize_planes

Planes = dict[str, NDArray[Any]]
CROPS = 10
"""Crops that are tried at most for one in which no class has more than `largest_class`."""


class Augmentation(Checked):
    """What training does to a frame; the papers' defaults.

    Attributes:
        flip: probability of mirroring left and right.
        scale: the fitted frame is resized by a factor from this range before the crop; [1, 1] is the fit alone.
        scale_draw: `log_uniform`, halves as often as doubles, or `uniform`, as in mmsegmentation.
        largest_class: a crop in which one class has a larger share of the labelled pixels is drawn again, ten times at
            most (`cat_max_ratio` of mmsegmentation).
        colours: `relative`, by the three fields below, or `mmsegmentation`, its PhotoMetricDistortion, of colour alone.
        brightness, contrast: largest relative change, for modalities that are brightness, each on its own; of kelvin
            above the lowest of the rig's `window_k`, so that all encodings of a thermal camera see the same change.
        saturation: largest relative change, for colour.
        blur: probability of a 3x3 Gaussian blur of a modality that is brightness; with `mmsegmentation`, of colour
            alone.
    """

    flip: float = Field(0.5, ge=0, le=1)
    scale: tuple[float, float] = (0.5, 2.0)
    scale_draw: Literal["log_uniform", "uniform"] = "log_uniform"
    largest_class: float = Field(1.0, gt=0, le=1)
    colours: Literal["relative", "mmsegmentation"] = "relative"
    brightness: float = Field(0.2, ge=0, lt=1)
    contrast: float = Field(0.2, ge=0, lt=1)
    saturation: float = Field(0.2, ge=0, lt=1)
    blur: float = Field(0.2, ge=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> "Augmentation":
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale: expected [low, high] with 0 < low <= high, got {list(self.scale)}")
        return self

    @model_validator(mode="after")
    def _one_distortion(self) -> "Augmentation":
        for name in ("brightness", "contrast", "saturation"):
            default = type(self).model_fields[name].default
            if self.colours == "mmsegmentation" and getattr(self, name) != default:
                raise ValueError(f"{name}: has no effect with colours: mmsegmentation; leave it out")
        return self


def augment(
    planes: Planes,
    truth: NDArray[np.uint8],
    modalities: dict[str, Modality],
    size: tuple[int, int],
    settings: Augmentation,
    rng: Generator,
    fit: FitMode = "stretch",
) -> tuple[Planes, NDArray[np.uint8]]:
    """Scales, crops, mirrors all modalities and the truth alike; then changes brightness per modality.

    A factor of 1 brings the whole frame to the size that inference brings it to, by the same resizer: augmentation is
    relative to the bundle's `Fit` (with `window`, to the frame's own resolution).

    Args:
        planes: modality -> [3, H, W]; sizes may differ between modalities, the fields of view agree.
        truth: uint8 [H, W].
        size: height, width of the result.
        rng: decides everything.
        fit: how inference brings a frame to that size.

    Returns:
        Planes of the same dtypes and truth, of `size`; where the frame is smaller than the crop, planes are 0 and the
        truth is unlabelled.
    """
    scaled = _scaled(truth.shape, size, fit, _factor(settings, rng))
    labels = resize_labels(truth, scaled)
    top, left = _place(labels, size, fit, settings.largest_class, rng)
    mirrored = bool(rng.random() < settings.flip)
    result = {}
    for name, image in planes.items():
        modality = modalities[name]
        moved = _crop(resize_planes(image, scaled, sparse=modality.sparse), top, left, size, 0)
        if mirrored:
            moved = modality.mirrored(moved)
        result[name] = np.ascontiguousarray(_photometric(moved, modality, settings, rng))
    cut = _crop(labels[None], top, left, size, UNLABELLED)[0]
    return result, np.ascontiguousarray(cut[:, ::-1] if mirrored else cut)


def _factor(settings: Augmentation, rng: Generator) -> float:
    if settings.scale_draw == "uniform":
        return float(rng.uniform(*settings.scale))
    return float(np.exp(rng.uniform(*np.log(settings.scale))))


def _scaled(frame: tuple[int, ...], size: tuple[int, int], fit: FitMode, factor: float) -> tuple[int, int]:
    """Height, width of the whole frame before it is cut."""
    scales = (size[0] / frame[0], size[1] / frame[1])
    if fit in ("letterbox", "corner"):
        scales = (min(scales), min(scales))
    elif fit == "crop":
        scales = (max(scales), max(scales))
    elif fit == "window":
        scales = (1.0, 1.0)
    return max(round(frame[0] * scales[0] * factor), 1), max(round(frame[1] * scales[1] * factor), 1)


def _place(
    labels: NDArray[np.uint8], size: tuple[int, int], fit: FitMode, largest_class: float, rng: Generator
) -> tuple[int, int]:
    """Top and left of the crop; the last one that was tried if none has a class mixture that `largest_class` allows."""
    for _ in range(CROPS):
        top, left = (_offset(have, want, fit, rng) for have, want in zip(labels.shape, size, strict=True))
        if largest_class == 1 or _largest_share(_crop(labels[None], top, left, size, UNLABELLED)) < largest_class:
            break
    return top, left


def _largest_share(labels: NDArray[np.uint8]) -> float:
    """Of the labelled pixels; 1 where there are none."""
    counts = np.bincount(labels.ravel(), minlength=UNLABELLED + 1)[:UNLABELLED]
    return float(counts.max() / counts.sum()) if counts.any() else 1.0


def _offset(have: int, want: int, fit: FitMode, rng: Generator) -> int:
    """Where the crop begins: anywhere in a larger image; a smaller one lies in it where `Fit` would place it."""
    place = int(rng.integers(0, max(have - want, 0) + 1))
    return place if have >= want or fit == "corner" else -((want - have) // 2)


def _crop(image: NDArray[Any], top: int, left: int, size: tuple[int, int], fill: int) -> NDArray[Any]:
    """[C, H, W] -> [C, h, w]; `top` and `left` may be negative."""
    part = image[:, max(top, 0) : top + size[0], max(left, 0) : left + size[1]]
    if part.shape[1:] == size:
        return part
    result = np.full((len(image), *size), fill, image.dtype)
    down, right = max(-top, 0), max(-left, 0)
    result[:, down : down + part.shape[1], right : right + part.shape[2]] = part
    return result


def _photometric(planes: NDArray[Any], modality: Modality, settings: Augmentation, rng: Generator) -> NDArray[Any]:
    # Drawn for every modality, used or not: what one modality gets does not depend on the others' kinds.
    gain, shift, colour = (1 + rng.uniform(-limit, limit) for limit in
                           (settings.contrast, settings.brightness, settings.saturation))  # fmt: skip
    blurred = rng.random() < settings.blur
    coloured, distorted = modality.kind == "rgb", settings.colours == "mmsegmentation"
    if not modality.photometric or (distorted and not coloured):
        return planes
    dark = _dark(modality)
    if distorted:
        values = photometric_distortion(planes, rng)
    else:
        values = relative_change(_above(planes, dark), coloured, gain, shift, colour) + dark
    if blurred:
        values = cv2.GaussianBlur(values.transpose(1, 2, 0), (3, 3), 0).transpose(2, 0, 1)
    if dark.any():
        values[planes == 0] = 0
    if planes.dtype == np.uint8:
        values = np.clip(np.round(values), 0, 255)
    return values.astype(planes.dtype)


def _above(planes: NDArray[Any], dark: NDArray[np.float32]) -> NDArray[np.float32]:
    """Float32; where 0 is not dark, it is a pixel without a measurement, which takes the mean of the others."""
    values = planes.astype(np.float32) - dark
    empty = planes == 0
    if dark.any() and not empty.all():
        values[empty] = values[~empty].mean()
    return values


def _dark(modality: Modality) -> NDArray[np.float32]:
    """What is no brightness at all, in the planes' units, [3, 1, 1]: 0 in an image, some 253 in kelvin."""
    low = modality.value_range[0] if modality.value_range is not None else (0.0, 0.0, 0.0)
    return np.array(low, np.float32)[:, None, None]
