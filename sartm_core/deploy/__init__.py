"""From a checkpoint to a running segmenter: the bundle, its export, the backends."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sartm_core.deploy.bundle import Bundle, read_bundle
from sartm_core.errors import SartmError
from sartm_core.frames import Segmentation
from sartm_core.resources import resolve_bundle


class Segmenter(Protocol):
    """A loaded bundle, whatever the backend."""

    bundle: Bundle

    def segment(
        self, planes: dict[str, NDArray[np.uint8] | NDArray[np.float32]], size: tuple[int, int] | None = None
    ) -> Segmentation:
        """Segments one frame set.

        Args:
            planes: modality name -> [3, H, W] at the sensor's or the network's size; an absent modality is not a key.
            size: height, width of the mask; by default the reference's planes decide, or the rig when it is absent.

        Raises:
            SartmError: no planes, an unknown modality, or an array that is not [3, H, W].
        """


def load_segmenter(bundle: str | Path, backend: str = "auto", device: str = "auto") -> Segmenter:
    """Loads a bundle.

    Args:
        bundle: a folder written by `sartm export`, or the name of a shipped one.
        backend: `torch`, or `auto`, which is `torch` for the bundles that exist so far.
        device: `cpu`, `cuda`, or `auto` (CUDA where torch finds it).

    Raises:
        SartmError: missing or damaged files, an unknown backend, a device that is not there.
    """
    if backend not in ("auto", "torch"):
        raise SartmError(f"backend '{backend}' is unknown. Known: auto, torch.")
    directory = resolve_bundle(str(bundle))
    from sartm_core.deploy.torch_segmenter import TorchSegmenter

    return TorchSegmenter(read_bundle(directory), directory, device)
