"""Automatic first labels: a `transformers` segmentation model on the RGB of good frames."""

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
from sartm_core.datasets.dataset import TRUTH, Frame, read_frame
from sartm_core.datasets.files import is_labelled
from sartm_core.datasets.frame_folder import FrameFolder
from sartm_core.datasets.image_quality import why_poor
from sartm_core.datasets.png import write_png
from sartm_core.errors import SartmError
from sartm_core.rig import Rig
from sartm_core.segmentation import UNLABELLED


class TeacherMap(Checked):
    """A class mapping file.

    Attributes:
        classes: the teacher's class -> the rig's, null for none; unlisted classes count as null.
    """

    classes: dict[str, str | None] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class AutoLabels:
    """Outcome of `autolabel`.

    Attributes:
        labelled: frames that got labels.
        unsure: frames in which no pixel was certain: their labels are empty.
        kept: frames that had labels already.
        without_rgb: frames without RGB.
        poor: reason -> frames whose RGB was too poor.
        share: of pixels that got a class, over the labelled frames.
    """

    labelled: int
    unsure: int
    kept: int
    without_rgb: int
    poor: dict[str, int]
    share: float


class Teacher:
    """A semantic-segmentation model of `transformers`.

    Args:
        name: a local folder, or a name on the Hugging Face hub.
        mapping: maps its classes to the rig's.
        rig: gives the target classes.
        device: `cpu` or `cuda`.

    Raises:
        SartmError: the model or the device is not available, the model crops its input, or the mapping names an unknown
            class.
    """

    def __init__(self, name: str, mapping: TeacherMap, rig: Rig, device: str = "cpu") -> None:
        if device not in ("cpu", "cuda"):
            raise SartmError(f"device '{device}' is unknown. Known: cpu, cuda.")
        if device == "cuda" and not torch.cuda.is_available():
            raise SartmError("device 'cuda': torch finds no CUDA device. Use cpu, or install a CUDA build of torch.")
        self._processor, self._model = _load(name)
        self._model.to(device).eval()
        for option in ("do_center_crop", "do_pad"):
            if getattr(self._processor, option, False):
                raise SartmError(f"teacher '{name}': its preprocessing sets {option}; masks would not fit the images.")
        self._device = device
        names = [self._model.config.id2label[index] for index in range(len(self._model.config.id2label))]
        self._sums = _sums(mapping, names, rig.class_names, name)

    @torch.no_grad()
    def probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of the rig's classes, then of none of them.

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
    folder: FrameFolder,
    teacher: Teacher,
    min_confidence: float,
    overwrite: bool = False,
    every_frame: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> AutoLabels:
    """Writes labels; pixels below `min_confidence` stay 255.

    Args:
        folder: the frames to label.
        teacher: the model that labels.
        min_confidence: least probability of the class.
        overwrite: also relabels frames that have labels.
        every_frame: also labels frames whose RGB is too dark, too bright or blurred.
        progress: called with frames done, frames in total.

    Raises:
        SartmError: the rig has no RGB camera.
    """
    rgb = _rgb_of(folder.rig)
    frames = folder.frames()
    labelled = unsure = kept = without_rgb = 0
    poor: dict[str, int] = {}
    known = pixels = 0
    for done, frame in enumerate(frames, start=1):
        progress(done, len(frames))
        if not overwrite and is_labelled(folder.path(frame, TRUTH)):
            kept += 1
            continue
        if rgb not in frame.modalities:
            without_rgb += 1
            continue
        image = _image(folder, frame, rgb)
        reason = None if every_frame else why_poor(image)
        if reason is not None:
            poor[reason] = poor.get(reason, 0) + 1
            continue
        ids = _ids(teacher.probabilities(image), min_confidence)
        write_png(folder.path(frame, TRUTH), _at_reference(ids, folder, frame))
        sure = int((ids != UNLABELLED).sum())
        if not sure:
            unsure += 1
            continue
        labelled += 1
        known, pixels = known + sure, pixels + ids.size
    return AutoLabels(labelled, unsure, kept, without_rgb, poor, known / max(pixels, 1))


def _load(name: str) -> tuple[Any, Any]:
    """Preprocessing and model; rejects files without a head, which would be random and its labels noise."""
    from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

    processors: Any = AutoImageProcessor
    try:
        # A model of the hub may bring code of its own, which transformers would otherwise offer to run.
        processor = processors.from_pretrained(name, trust_remote_code=False)
        model, loaded = AutoModelForSemanticSegmentation.from_pretrained(
            name, output_loading_info=True, trust_remote_code=False
        )
        absent = sorted(set(loaded["missing_keys"]) & set(dict(model.named_parameters())))
        if absent:
            raise ValueError(f"its weights lack {absent[0]}: trained for something else?")
    except Exception as error:  # each weight format raises its own exceptions
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise SartmError(
            f"teacher '{name}': cannot be loaded ({reason}). Give a folder that holds a semantic-segmentation model of "
            "transformers, or a name on the Hugging Face hub."
        ) from error
    return processor, model


def _rgb_of(rig: Rig) -> str:
    """The RGB camera; the reference, if it is one."""
    names = [modality.name for modality in rig.modalities if modality.kind == "rgb"]
    if not names:
        raise SartmError(f"rig '{rig.name}': has no RGB camera, which the teacher needs.")
    return rig.reference if rig.reference in names else names[0]


def _image(folder: FrameFolder, frame: Frame, rgb: str) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] from any RGB image, also grey or with alpha."""
    planes = read_frame(folder, frame, [rgb]).planes[rgb]
    return np.ascontiguousarray(planes.transpose(1, 2, 0), np.uint8)


def _ids(probabilities: NDArray[np.float32], min_confidence: float) -> NDArray[np.uint8]:
    best = probabilities.argmax(axis=0)
    sure = probabilities.max(axis=0) >= min_confidence
    nothing = len(probabilities) - 1
    return np.where(sure & (best != nothing), best, UNLABELLED).astype(np.uint8)


def _at_reference(ids: NDArray[np.uint8], folder: FrameFolder, frame: Frame) -> NDArray[np.uint8]:
    """Labels have the reference's size; other RGB was registered to it, possibly at another size."""
    reference = folder.rig.reference
    if reference not in frame.modalities:
        return ids
    height, width = folder.image(frame, reference).shape[:2]
    return np.asarray(cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST_EXACT))


def _sums(mapping: TeacherMap, names: list[str], classes: tuple[str, ...], teacher: str) -> torch.Tensor:
    """float32 [C + 1, T]: sums the teacher's classes into each of the rig's; the last row collects the rest."""
    sums = torch.zeros(len(classes) + 1, len(names))
    sums[-1] = 1.0
    for name, target in mapping.classes.items():
        if name not in names:
            close = difflib.get_close_matches(name, names, n=3)
            hint = f" Did you mean {' or '.join(close)}?" if close else f" It knows {', '.join(names[:12])}, ..."
            raise SartmError(f"mapping: '{name}' is not a class of teacher '{teacher}'.{hint}")
        if target is None:
            continue
        if target not in classes:
            raise SartmError(f"mapping: '{target}' is not a class of the rig: {', '.join(classes)}.")
        named = [index for index, known in enumerate(names) if known == name]  # some models repeat a name
        sums[classes.index(target), named] = 1.0
        sums[-1, named] = 0.0
    return sums
