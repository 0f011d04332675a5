"""What every backend does on the host: check the planes, fit them to the network, fit the answer back."""

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sartm_core.deploy.bundle import Bundle
from sartm_core.errors import SartmError
from sartm_core.rig import Rig
from sartm_core.segmentation import Segmentation
from sartm_core.sensing.fit import Fit

CONFIDENCE_STRIDE = 4
"""Confidence comes at this stride: a softmax over full-size scores would cost more than the head."""

Planes = dict[str, NDArray[np.uint8] | NDArray[np.float32]]


class HostSide:
    """Before and after the network.

    Args:
        bundle: says rig, size and fit.
        groups: indices of the modalities that pass an encoder together: their rows lie together, in this order.
        batch: [M, 3, h, w] of the rig's dtype, where the planes are put; pinned memory, for example.
    """

    def __init__(self, bundle: Bundle, groups: Iterable[Iterable[int]], batch: NDArray[Any] | None = None) -> None:
        self.bundle = bundle
        self._order = [(index, bundle.rig.modalities[index]) for group in groups for index in group]
        shape = (len(bundle.rig.modalities), 3, *bundle.size)
        self._batch = np.zeros(shape, bundle.rig.dtype) if batch is None else batch

    def prepare(self, planes: Planes) -> tuple[NDArray[Any], list[int]]:
        """Fits the planes.

        Args:
            planes: modality name -> [3, H, W] at any size.

        Returns:
            [R, 3, h, w], a row for each present modality, and which modality each row is. The rows are overwritten by
            the next call.

        Raises:
            SartmError: no planes, an unknown modality, or an array that is not [3, H, W].
        """
        _check(planes, self.bundle.rig)
        rows: list[int] = []
        for index, modality in self._order:
            if modality.name in planes:
                array = planes[modality.name]
                fit = Fit(self.bundle.fit, array.shape[1:], self.bundle.size)
                fit.planes(array, modality.kind, out=self._batch[len(rows)])
                rows.append(index)
        return self._batch[: len(rows)], rows

    def finish(
        self,
        planes: Planes,
        size: tuple[int, int] | None,
        mask: NDArray[np.uint8],
        confidence: NDArray[np.float32],
        routing: NDArray[np.float32],
    ) -> Segmentation:
        """Fits the answer back to the reference camera.

        Args:
            planes: as they were segmented.
            size: height, width of the mask; by default that of the reference's planes, or of the rig without them.
            mask: [h, w]; confidence: [h/4, w/4]; routing: [3, M].
        """
        rig = self.bundle.rig
        if size is None:
            size = planes[rig.reference].shape[1:] if rig.reference in planes else rig.modality(rig.reference).size
        fit = Fit(self.bundle.fit, size, self.bundle.size)
        whole = cv2.resize(confidence, self.bundle.size[::-1], interpolation=cv2.INTER_NEAREST)
        return Segmentation(fit.mask_back(mask), fit.back(np.asarray(whole), 0.0), routing)


def _check(planes: dict[str, Any], rig: Rig) -> None:
    names = rig.names
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
        if dtype == np.float32 and rig.dtype == np.uint8:
            raise SartmError(
                f"segment: {name}: expected uint8, 0 to 255, since the bundle's rig is of 8 bit, got float32. Use "
                "sartm_core.sensing.encode with the rig's dtype."
            )
        if dtype == np.float32 and not np.isfinite(array).all():
            raise SartmError(f"segment: {name}: the planes hold values that are not finite; encode() makes them 0.")
