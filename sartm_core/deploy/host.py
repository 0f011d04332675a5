"""What every backend does on the host: check the planes, fit them to the network, fit the answer back."""

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sartm_core.deploy.bundle import Bundle
from sartm_core.errors import SartmError
from sartm_core.segmentation import LEVELS, Segmentation
from sartm_core.sensing import Fit, FitMode, Windows
from sartm_core.sensing.fit import resize_labels

Planes = dict[str, NDArray[np.uint8] | NDArray[np.float32]]
Answer = dict[str, NDArray[Any]]
"""What a network answers, by name: see `bundle.HEAD_OUTPUTS`."""


class RunNetwork(Protocol):
    """A backend's network."""

    def __call__(self, batch: NDArray[Any], rows: list[int], fresh: Collection[int] | None = None) -> Answer:
        """Runs encoders and head.

        Args:
            batch: [R, 3, h, w], the first R rows of the host's batch.
            rows: the modality of each row.
            fresh: positions of the rows that hold something new; of the others the features of the run before, which
                had the same `rows`, are taken. None: all.
        """


class RowMemory:
    """Which rows of a batch are new: a message is encoded once, in however many sets it is.

    Contents are compared, not messages: that is exact, whatever registration or a test did to them, and takes 0.1 ms
    where an encoder takes 20.

    Args:
        batch: [M, 3, h, w], whose first rows are looked at.
    """

    def __init__(self, batch: NDArray[Any]) -> None:
        self._batch, self._last = batch, np.empty_like(batch)
        self._rows: list[int] = []

    def fresh(self, rows: list[int]) -> list[int]:
        """Positions of the rows that differ from those of the last call; all, where other modalities are present."""
        same = rows == self._rows
        positions = [
            position
            for position in range(len(rows))
            if not (same and np.array_equal(self._batch[position], self._last[position]))
        ]
        for position in positions:
            self._last[position] = self._batch[position]
        self._rows = list(rows)
        return positions

    def forget(self) -> None:
        """The features of the last rows are not to be relied on."""
        self._rows = []


def spans(groups: Sequence[Collection[int]], rows: list[int], fresh: Collection[int] | None) -> list[tuple[int, int]]:
    """What each encoder has to do.

    Args:
        groups: the modalities that pass each encoder; their rows lie together, in this order.
        rows, fresh: see `RunNetwork`.

    Returns:
        Of each encoder, position of the first row and number of rows, from its first new one to its last; 0: none.
    """
    result = []
    for theirs in groups:
        new = [at for at, row in enumerate(rows) if row in theirs and (fresh is None or at in fresh)]
        result.append((new[0], new[-1] + 1 - new[0]) if new else (0, 0))
    return result


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A piece of work that is prepared before the first message.

    Attributes:
        index: of the encoder; the head comes after the last one.
        first, count: position of its first row, and number of rows.
    """

    index: int
    first: int
    count: int


def possible_parts(groups: Iterable[Iterable[int]]) -> dict[Part, list[int]]:
    """Everything that may have to be done, whatever sensors come or die: all that `spans` can give, and the head.

    Args:
        groups: see `spans`.

    Returns:
        Part -> modalities that its rows may be, for a first run. The encoders come before the head, which then finds
        features in every row.
    """
    owned = [list(theirs) for theirs in groups]
    result: dict[Part, list[int]] = {}
    before: list[int] = []
    for index, theirs in enumerate(owned):
        most = len(before) + len(theirs)
        for first in range(most):  # of the encoders before, any number of rows may be there
            for count in range(1, min(len(theirs), most - first) + 1):
                result[Part(index, first, count)] = theirs[:count]
        before += theirs
    return result | {Part(len(owned), 0, count): before[:count] for count in range(1, len(before) + 1)}


class HostSide:
    """Before and after the network.

    Args:
        bundle: says rig, size and fit.
        groups: indices of the modalities that pass an encoder together: their rows lie together, in this order.
        batch: [M, 3, h, w] of the rig's dtype or float32, where the planes are put; pinned memory, for example.
        precision: that the network computes in, for messages; by default the graphs'.
    """

    def __init__(
        self,
        bundle: Bundle,
        groups: Iterable[Iterable[int]],
        batch: NDArray[Any] | None = None,
        precision: str | None = None,
    ) -> None:
        self.bundle = bundle
        self._precision = precision or ("fp32" if bundle.graphs is None else bundle.graphs.precision)
        self._order = [(index, bundle.rig.modalities[index]) for group in groups for index in group]
        shape = (len(bundle.rig.modalities), 3, *bundle.size)
        self._batch = np.zeros(shape, bundle.rig.dtype) if batch is None else batch
        self._memory = RowMemory(self._batch)

    def segment(self, planes: Planes, size: tuple[int, int] | None, run_network: RunNetwork) -> Segmentation:
        """What `Segmenter.segment` does; windows that slide over the frame pass one after the other."""
        if self.bundle.fit == "window":
            return self._slide(planes, size, run_network)
        batch, rows = self.prepare(planes)
        answer, reused = self._run(batch, rows, run_network)
        return dataclasses.replace(self.finish(planes, size, answer), reused=reused)

    def _run(self, batch: NDArray[Any], rows: list[int], run_network: RunNetwork) -> tuple[Answer, int]:
        """The answer, and of how many rows the features were kept."""
        fresh = self._memory.fresh(rows)
        try:
            return run_network(batch, rows, fresh), len(rows) - len(fresh)
        except BaseException:
            self._memory.forget()
            raise

    def prepare(self, planes: Planes) -> tuple[NDArray[Any], list[int]]:
        """Fits the planes; of a bundle with windows to one window, for timing: `segment` slides.

        Args:
            planes: modality name -> [3, H, W] at any size.

        Returns:
            [R, 3, h, w], a row for each present modality, and which modality each row is. The rows are overwritten by
            the next call.

        Raises:
            SartmError: no planes, an unknown modality, or an array that is not [3, H, W].
        """
        self._check(planes)
        mode: FitMode = "crop" if self.bundle.fit == "window" else self.bundle.fit
        rows: list[int] = []
        for index, modality in self._order:
            if modality.name in planes:
                array = planes[modality.name]
                fit = Fit(mode, array.shape[1:], self.bundle.size)
                fit.planes(array, sparse=modality.sparse, out=self._batch[len(rows)])
                rows.append(index)
        return self._batch[: len(rows)], rows

    def finish(self, planes: Planes, size: tuple[int, int] | None, answer: Answer) -> Segmentation:
        """Fits the answer back to the reference camera.

        Args:
            planes: as they were segmented.
            size: height, width of the mask; by default that of the reference's planes, or of the rig without them.
            answer: scores [C, h/4, w/4], or mask [h, w] and confidence [h/4, w/4]; and routing [3, M].

        Raises:
            SartmError: the answer is not finite; names the precision.
        """
        self._check_answer(planes, answer)
        mode: FitMode = "crop" if self.bundle.fit == "window" else self.bundle.fit
        fit = Fit(mode, self._frame(planes, size), self.bundle.size)
        if "scores" in answer:
            return Segmentation(*fit.segment(answer["scores"]), answer["routing"])
        confidence = resize_labels(answer["confidence"], self.bundle.size)
        return Segmentation(fit.mask_back(answer["mask"]), fit.back(confidence, 0.0), answer["routing"])

    def _slide(self, planes: Planes, size: tuple[int, int] | None, run_network: RunNetwork) -> Segmentation:
        self._check(planes)
        assert self.bundle.stride is not None
        frame = self._frame(planes, size)
        present = [(index, modality) for index, modality in self._order if modality.name in planes]
        large = [
            Fit("stretch", planes[m.name].shape[1:], frame).planes(planes[m.name], sparse=m.sparse) for _, m in present
        ]
        windows = Windows(frame, self.bundle.size, self.bundle.stride)
        routing = np.zeros((len(LEVELS), len(self.bundle.rig.names)), np.float32)
        for place in windows.places:
            for row, array in enumerate(large):
                windows.cut(array, place, self._batch[row])
            answer, _ = self._run(self._batch[: len(large)], [index for index, _ in present], run_network)
            self._check_answer(planes, answer)
            windows.add(place, answer["scores"])
            routing += answer["routing"] / len(windows.places)
        return Segmentation(*windows.segment(), routing)

    def _frame(self, planes: Planes, size: tuple[int, int] | None) -> tuple[int, int]:
        rig = self.bundle.rig
        if size is not None:
            return size
        if rig.reference in planes:
            return planes[rig.reference].shape[1], planes[rig.reference].shape[2]
        return rig.modality(rig.reference).size

    def _check_answer(self, planes: Planes, answer: Answer) -> None:
        """NaN would become class 0, whatever that is."""
        wrong = [name for name, array in answer.items() if array.dtype != np.uint8 and not np.isfinite(array).all()]
        if wrong:
            remedy = (
                "Check the weights with `sartm evaluate`."
                if self._precision == "fp32"
                else "Something exceeds what it holds: export graphs with --precision fp32, or use torch on device cpu."
            )
            raise SartmError(
                f"segment: with {'+'.join(planes)} the network's {wrong[0]} in {self._precision} holds numbers that "
                f"are not finite. {remedy}"
            )

    def _check(self, planes: dict[str, Any]) -> None:
        names, takes = self.bundle.rig.names, self._batch.dtype
        if not planes:
            raise SartmError(f"segment: expected planes of at least one of {', '.join(names)}, got none.")
        for name, array in planes.items():
            if name not in names:
                raise SartmError(f"segment: modality '{name}' is not in the bundle; it has {', '.join(names)}.")
            shape, dtype = np.shape(array), getattr(array, "dtype", type(array).__name__)
            if len(shape) != 3 or shape[0] != 3 or 0 in shape or dtype not in (np.uint8, np.float32):
                raise SartmError(
                    f"segment: {name}: expected planes [3, H, W] of uint8 or float32 (see sartm_core.sensing.encode), "
                    f"got {shape} of {dtype}."
                )
            if dtype == np.float32 and takes == np.uint8:
                raise SartmError(
                    f"segment: {name}: expected uint8, 0 to 255, since the bundle's rig is of 8 bit, got float32. Use "
                    "sartm_core.sensing.encode with the rig's dtype."
                )
            if dtype == np.float32 and not np.isfinite(array).all():
                raise SartmError(f"segment: {name}: the planes hold values that are not finite; encode() makes them 0.")
