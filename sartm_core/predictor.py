"""The Python front door: raw arrays, as drivers and files deliver them, to masks and the trust in each sensor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sartm_core.deploy import Segmenter, load_segmenter
from sartm_core.deploy.bundle import check_serves
from sartm_core.errors import SartmError
from sartm_core.files import atomic_path
from sartm_core.rig import Rig, load_rig
from sartm_core.sensing import encode_frame
from sartm_core.sensing.registration import check_same_view

Raw = NDArray[Any] | str | Path
"""An array, or the path of an image, a `.npy` or a `.npz` file."""
Frame = Mapping[str, Raw]
"""Modality -> what it measured; an absent modality is not a key."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a model makes of one frame.

    Attributes:
        mask: uint8 [H, W], class ids of `rig.classes`, 255 = unlabelled; the reference camera's geometry.
        confidence: float32 [H, W], softmax probability of the chosen class.
        weights: modality -> the convex coefficient that it had, mean over the three pyramid levels; they sum to 1, an
            absent modality has 0.
        routing: float32 [3, M], the same for each level, modalities in rig order.
        states: modality -> `present`, `absent`, `broken`, or `empty`: its measurement holds nothing.
        faults: modality -> why it could not be used, of those that are broken or empty.
        rig: gives the classes and their colours.
        backdrop: uint8 [h, w, 3], what `draw` draws on.
    """

    mask: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    weights: dict[str, float]
    routing: NDArray[np.float32]
    states: dict[str, str]
    faults: dict[str, str]
    rig: Rig
    backdrop: NDArray[np.uint8]

    def draw(self, opacity: float = 0.5) -> NDArray[np.uint8]:
        """The classes' colours over the image: uint8 [H, W, 3], red, green, blue."""
        height, width = self.mask.shape
        image = self.backdrop
        if image.shape[:2] != (height, width):
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(cv2.addWeighted(image, 1 - opacity, self.rig.palette[self.mask], opacity, 0), np.uint8)

    def save(self, path: str | Path) -> None:
        """Writes the mask as an 8-bit PNG: its values are the class ids, its palette the classes' colours."""
        image = Image.fromarray(self.mask).convert("L")
        image.putpalette(self.rig.palette.tobytes())
        with atomic_path(Path(path)) as temporary:
            image.save(temporary, format="png")


class Model:
    """A loaded model. Not for several threads at once.

    Args:
        segmenter: a loaded bundle.
        rig: of the sensors; by default the bundle's own.

    Raises:
        SartmError: the bundle does not serve the rig.
    """

    def __init__(self, segmenter: Segmenter, rig: Rig | None = None) -> None:
        self.segmenter = segmenter
        self.rig = segmenter.bundle.rig if rig is None else rig
        """Which modalities there are, in which encoding, and how they are registered."""
        check_serves(segmenter.bundle.rig, self.rig)

    @overload
    def __call__(self, frame: Frame, *, skip_broken: bool = False) -> Result: ...
    @overload
    def __call__(self, frame: Sequence[Frame], *, skip_broken: bool = False) -> list[Result]: ...
    def __call__(self, frame: Frame | Sequence[Frame], *, skip_broken: bool = False) -> Result | list[Result]:
        """Segments one frame, or each of a list.

        Args:
            frame: modality -> array or path. Images [H, W] or [H, W, C] in the driver's own units: colours uint8 in the
                order red, green, blue, thermal counts, depth in millimetres (integers) or metres (floats); LiDAR points
                [N, >= 4]: x, y, z in metres, intensity; events as arrays of `sensing.events.EVENT`. Registered as the
                rig says; an image that needs a calibration which the rig does not have is refused.
            skip_broken: goes on without a modality that is broken or empty, as the node does; else that is an error.

        Raises:
            SartmError: nothing to segment, an unknown modality, or an array that does not fit the rig.

        Example:
            >>> model = load("any_sensor_simrig5")
            >>> image = np.random.default_rng(0).integers(0, 256, (256, 320, 3), np.uint8)
            >>> result = model({"rgb": image})
            >>> result.states["rgb"], result.states["thermal"], result.weights["rgb"]
            ('present', 'absent', 1.0)
        """
        if isinstance(frame, Mapping):
            return self._segment(frame, skip_broken)
        return [self._segment(one, skip_broken) for one in frame]

    def _segment(self, frame: Frame, skip_broken: bool) -> Result:
        bundle_rig, names = self.segmenter.bundle.rig, self.rig.names
        unknown = [name for name in frame if name not in names]
        if unknown:
            raise SartmError(f"frame: the rig has no modality '{unknown[0]}'; it has {', '.join(names)}.")
        if not frame:
            raise SartmError(f"frame: expected at least one of {', '.join(names)}, got none.")
        raws = {name: _array(name, raw) for name, raw in frame.items()}
        encoded = encode_frame(self.rig, raws, dtype=bundle_rig.dtype)
        check_same_view(self.rig, {name: raw for name, raw in raws.items() if name in encoded.planes})
        planes = encoded.measured
        faults = encoded.faults | {name: f"{name}: {reason}." for name, reason in encoded.empty.items()}
        if faults and not (skip_broken and planes):
            raise SartmError(" ".join(faults.values()))
        reference = self.rig.reference
        seen = encoded.images.get(reference)
        size = self.rig.modality(reference).size if seen is None else (seen.shape[0], seen.shape[1])
        answer = self.segmenter.segment(planes, size)
        shown = next(name for name in (reference, *encoded.images) if name in encoded.images)
        states = {
            name: "broken" if name in encoded.faults
            else "empty" if name in encoded.empty
            else "present" if name in planes
            else "absent"
            for name in bundle_rig.names
        }  # fmt: skip
        weights = answer.routing.mean(axis=0)
        return Result(
            mask=answer.mask,
            confidence=answer.confidence,
            weights={name: float(weight) for name, weight in zip(bundle_rig.names, weights, strict=True)},
            routing=answer.routing,
            states=states,
            faults=faults,
            rig=bundle_rig,
            backdrop=self.rig.modality(shown).picture(encoded.images[shown]),
        )


def load(bundle: str | Path, rig: str | Path | Rig | None = None, backend: str = "auto", device: str = "auto") -> Model:
    """Loads a model.

    Args:
        bundle: a folder written by `sartm export`, or the name of a shipped one.
        rig: the robot's rig, a rig file or the name of a shipped rig: its calibration registers the sensors. By default
            the bundle's own.
        backend: see `sartm_core.deploy.load_segmenter`.
        device: likewise.

    Raises:
        SartmError: no such bundle or rig, or the bundle does not serve the rig.
    """
    given = rig if rig is None or isinstance(rig, Rig) else load_rig(rig)
    return Model(load_segmenter(bundle, backend, device), given)


def _array(name: str, raw: Raw) -> NDArray[Any]:
    if isinstance(raw, str | Path):
        from sartm_core.datasets.files import read_array, read_image

        path = Path(raw)
        return read_array(path) if path.suffix in (".npy", ".npz") else read_image(path)
    if not isinstance(raw, np.ndarray):
        raise SartmError(f"{name}: expected a NumPy array or the path of a file, got {type(raw).__name__}.")
    return raw
