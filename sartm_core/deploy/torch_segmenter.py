"""The torch backend: the network itself with merged experts, on a CPU or with CUDA."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file

from sartm_core.deploy.bundle import WEIGHTS_FILE, Bundle
from sartm_core.errors import SartmError
from sartm_core.frames import Segmentation
from sartm_core.model.network import MultiModalNetwork
from sartm_core.model.presets import preset_for_rig
from sartm_core.sensing.fit import Fit


class TorchSegmenter:
    """See `sartm_core.deploy.Segmenter`. Not for several threads at once.

    Args:
        bundle: content of `bundle.json`.
        directory: where the weights lie.
        device: `cpu`, `cuda` or `auto`.
    """

    def __init__(self, bundle: Bundle, directory: Path, device: str) -> None:
        self.bundle = bundle
        self.device = _device(device)
        shape = bundle.network
        config = preset_for_rig(shape.preset, shape.backbone, bundle.rig, shape.lora_rank, shape.changes)
        self.network = MultiModalNetwork(config, form="inference")
        try:
            self.network.load_state_dict(load_file(directory / WEIGHTS_FILE))
        except RuntimeError as error:
            raise SartmError(f"{directory / WEIGHTS_FILE}: does not fit bundle.json: {error}") from error
        self.network.eval().to(self.device)

    def segment(
        self, planes: dict[str, NDArray[np.uint8] | NDArray[np.float32]], size: tuple[int, int] | None = None
    ) -> Segmentation:
        rig = self.bundle.rig
        _check(planes, rig.names)
        if size is None:
            present = planes.get(rig.reference)
            size = present.shape[1:] if present is not None else rig.modality(rig.reference).size
        rows = [(index, modality) for index, modality in enumerate(rig.modalities) if modality.name in planes]
        fitted = [
            Fit(self.bundle.fit, planes[modality.name].shape[1:], self.bundle.size).planes(
                planes[modality.name], modality.kind
            )
            for _, modality in rows
        ]
        mask, confidence, routing = self._run(np.stack(fitted), [index for index, _ in rows])
        back = Fit(self.bundle.fit, size, self.bundle.size)
        return Segmentation(back.mask_back(mask), back.back(_upsampled(confidence), 0.0), routing)

    @torch.inference_mode()
    def _run(self, planes: NDArray[Any], modality: list[int]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """[R, 3, h, w] and the modality of each row -> mask [h, w], confidence [h/4, w/4], routing [3, M]."""
        rows = torch.tensor(modality, device=self.device)
        sample = torch.zeros_like(rows)
        availability = torch.zeros(1, len(self.bundle.rig.names), dtype=torch.bool, device=self.device)
        availability[0, rows] = True
        features = self.network.encode(torch.from_numpy(planes).to(self.device), rows)
        output = self.network.decode(features, sample, rows, availability)
        logits = output.logits
        # A softmax over full-size scores would cost more than the head: confidence stays at stride 4.
        confidence = logits.softmax(dim=1).amax(dim=1)[0]
        scores = F.interpolate(logits, size=planes.shape[2:], mode="bilinear", align_corners=False)
        mask = scores.argmax(dim=1)[0].to(torch.uint8)
        return mask.cpu().numpy(), confidence.cpu().numpy(), output.routing[0].cpu().numpy()


def _upsampled(confidence: NDArray[np.float32]) -> NDArray[np.float32]:
    return confidence.repeat(4, axis=0).repeat(4, axis=1)


def _check(planes: dict[str, Any], names: tuple[str, ...]) -> None:
    if not planes:
        raise SartmError(f"segment: expected planes of at least one of {', '.join(names)}, got none.")
    for name, array in planes.items():
        if name not in names:
            raise SartmError(f"segment: modality '{name}' is not in the bundle; it has {', '.join(names)}.")
        shape, dtype = np.shape(array), getattr(array, "dtype", type(array).__name__)
        if len(shape) != 3 or shape[0] != 3 or 0 in shape or dtype not in (np.uint8, np.float32):
            raise SartmError(
                f"segment: {name}: expected planes [3, H, W] of uint8 or float32 (see sartm_core.sensing.encode), got "
                f"{shape} of {dtype}."
            )
        if dtype == np.float32 and not np.isfinite(array).all():
            raise SartmError(f"segment: {name}: the planes hold values that are not finite; encode() makes them 0.")


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise SartmError(f"device '{name}' is unknown. Known: auto, cpu, cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise SartmError(
            "device 'cuda': torch finds no CUDA device. Use device cpu or auto, or install a CUDA build of torch."
        )
    return torch.device(name)
