"""First labels without a person: a segmentation model of `transformers` on the RGB of good frames."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field

from sartm_core.checked_yaml import Checked
from sartm_core.datasets.files import is_labelled
from sartm_core.datasets.frame import TRUTH, Frame
from sartm_core.datasets.labels import write_png
from sartm_core.datasets.recording import Recording
from sartm_core.errors import SartmError
from sartm_core.frames import UNLABELLED
from sartm_core.rig import Rig

DARKEST, BRIGHTEST = 35.0, 220.0
"""Mean brightness, 0 to 255, between which an RGB frame is good enough for a teacher that knows RGB alone."""
CLIPPED_SHARE = 0.35
"""Of pixels at either end of the scale."""
LEAST_SHARPNESS = 15.0
"""Variance of the Laplacian of a picture of 320 columns (Pech-Pacheco et al. 2000)."""


class TeacherMap(Checked):
    """A mapping file.

    Attributes:
        classes: the teacher's class -> the rig's, null for none; what is not named counts as null.
    """

    classes: dict[str, str | None] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class AutoLabels:
    """What was done.

    Attributes:
        labelled: frames that got labels.
        kept: frames that had labels already.
        without_rgb: frames without RGB.
        poor: reason -> frames whose RGB was too poor.
        share: of the pixels of labelled frames that got a class.
    """

    labelled: int
    kept: int
    without_rgb: int
    poor: dict[str, int]
    share: float


class Teacher:
    """A semantic-segmentation model of `transformers`.

    Args:
        name: a local folder, or a name on the Hugging Face hub.
        mapping: its classes in terms of the rig's.
        rig: whose classes are wanted.
        device: `cpu` or `cuda`.

    Raises:
        SartmError: the model cannot be loaded, crops its input, or the mapping names an unknown class.
    """

    def __init__(self, name: str, mapping: TeacherMap, rig: Rig, device: str = "cpu") -> None:
        from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

        processors: Any = AutoImageProcessor
        try:
            self._processor = processors.from_pretrained(name)
            self._model: Any = AutoModelForSemanticSegmentation.from_pretrained(name).to(device).eval()
        except (OSError, ValueError) as error:
            raise SartmError(
                f"teacher '{name}': cannot be loaded ({str(error).splitlines()[0]}). Give a folder that holds a "
                "semantic-segmentation model of transformers, or a name on the Hugging Face hub."
            ) from error
        for option in ("do_center_crop", "do_pad"):
            if getattr(self._processor, option, False):
                raise SartmError(f"teacher '{name}': its preprocessing has {option}; masks would not fit the images.")
        self._device = device
        names = [self._model.config.id2label[index] for index in range(len(self._model.config.id2label))]
        self._sums = _sums(mapping, names, rig.class_names, name)

    @torch.no_grad()
    def probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probability of each class of the rig, and last of none of them.

        Args:
            image: uint8 [H, W, 3], red, green, blue.

        Returns:
            float32 [C + 1, H, W], sums to 1.
        """
        inputs = self._processor(images=image, return_tensors="pt").to(self._device)
        logits = self._model(**inputs).logits.float()
        upsampled = F.interpolate(logits, image.shape[:2], mode="bilinear", align_corners=False)
        return torch.einsum("kc,chw->khw", self._sums.to(logits.device), upsampled[0].softmax(0)).cpu().numpy()


def autolabel(
    recording: Recording,
    teacher: Teacher,
    min_confidence: float,
    overwrite: bool = False,
    every_frame: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> AutoLabels:
    """Writes labels; pixels that the teacher is not sure of stay 255.

    Args:
        recording: its frames without labels get some.
        teacher: see there.
        min_confidence: least probability of the class.
        overwrite: also frames that have labels.
        every_frame: also those whose RGB is too dark, too bright or blurred.
        progress: called with frames done, frames in all.

    Raises:
        SartmError: the rig has no RGB camera.
    """
    rgb = next((m.name for m in recording.rig.modalities if m.kind == "rgb"), None)
    if rgb is None:
        raise SartmError(f"rig '{recording.rig.name}': has no RGB camera, which the teacher needs.")
    frames = recording.frames()
    labelled = kept = without_rgb = 0
    poor: dict[str, int] = {}
    known = pixels = 0
    for done, frame in enumerate(frames, start=1):
        progress(done, len(frames))
        if not overwrite and is_labelled(recording.path(frame, TRUTH)):
            kept += 1
            continue
        if rgb not in frame.modalities:
            without_rgb += 1
            continue
        image = recording.image(frame, rgb)
        reason = None if every_frame else why_poor(image)
        if reason is not None:
            poor[reason] = poor.get(reason, 0) + 1
            continue
        ids = _ids(teacher.probabilities(image), min_confidence)
        write_png(recording.path(frame, TRUTH), _at_reference(ids, recording, frame))
        labelled += 1
        known, pixels = known + int((ids != UNLABELLED).sum()), pixels + ids.size
    return AutoLabels(labelled, kept, without_rgb, poor, known / max(pixels, 1))


def why_poor(image: NDArray[np.uint8]) -> str | None:
    """Why a teacher of RGB should not be asked about an image, uint8 [H, W, 3]; None for a good one."""
    grey = cv2.cvtColor(np.ascontiguousarray(image[..., :3]), cv2.COLOR_RGB2GRAY)
    brightness = float(grey.mean())
    if brightness < DARKEST:
        return "too dark"
    if brightness > BRIGHTEST or float(((grey < 4) | (grey > 251)).mean()) > CLIPPED_SHARE:
        return "over-exposed or clipped"
    height = max(round(grey.shape[0] * 320 / grey.shape[1]), 1)
    small = cv2.resize(grey, (320, height), interpolation=cv2.INTER_AREA)
    return "blurred" if float(cv2.Laplacian(small, cv2.CV_32F).var()) < LEAST_SHARPNESS else None


def _ids(probabilities: NDArray[np.float32], min_confidence: float) -> NDArray[np.uint8]:
    best = probabilities.argmax(axis=0)
    sure = probabilities.max(axis=0) >= min_confidence
    nothing = len(probabilities) - 1
    return np.where(sure & (best != nothing), best, UNLABELLED).astype(np.uint8)


def _at_reference(ids: NDArray[np.uint8], recording: Recording, frame: Frame) -> NDArray[np.uint8]:
    """Labels have the reference's size; RGB that is not the reference was registered to it, maybe at another size."""
    reference = recording.rig.reference
    if reference not in frame.modalities:
        return ids
    height, width = recording.image(frame, reference).shape[:2]
    return np.asarray(cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST))


def _sums(mapping: TeacherMap, names: list[str], classes: tuple[str, ...], teacher: str) -> torch.Tensor:
    """float32 [C + 1, T]: which of the teacher's classes make up each of the rig's; the last row takes the rest."""
    sums = torch.zeros(len(classes) + 1, len(names))
    sums[-1] = 1.0
    for name, target in mapping.classes.items():
        if name not in names:
            close = difflib.get_close_matches(name, names, n=3)
            hint = f" Did you mean {' or '.join(close)}?" if close else f" It knows {', '.join(names[:12])}, ..."
            raise SartmError(f"mapping: '{name}' is no class of teacher '{teacher}'.{hint}")
        if target is None:
            continue
        if target not in classes:
            raise SartmError(f"mapping: '{target}' is no class of the rig: {', '.join(classes)}.")
        sums[classes.index(target), names.index(name)] = 1.0
        sums[-1, names.index(name)] = 0.0
    return sums
