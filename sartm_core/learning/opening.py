"""The frames that a recipe names: a data set, several of one rig, or the simulated rig's."""

import logging
from pathlib import Path

from sartm_core.datasets.dataset import NoFramesError
from sartm_core.datasets.layouts import open_data
from sartm_core.errors import SartmError
from sartm_core.learning.joined import JoinedSource
from sartm_core.learning.recipe import DataSource
from sartm_core.learning.sources import DiskSource, SimulatedSource, Source
from sartm_core.rig import Rig, load_rig

log = logging.getLogger(__name__)

SIMULATED_FRAMES = 1_000_000
"""The simulated rig never runs out of streets."""


def open_source(data: DataSource, split: str) -> Source:
    """The frames of a split that a recipe names.

    Raises:
        SartmError: no such data, split or modality.
    """
    if data.simulated is not None:
        rig = load_rig(data.simulated)
        return SimulatedSource(_part(rig, data), split, SIMULATED_FRAMES)
    if data.folders is None:
        return _open(Path(data.root or ""), "data.root", data, split)
    sources: dict[Path, Source] = {}
    for folder in map(Path, data.folders):
        try:
            sources[folder] = _open(folder, "data.folders", data, split)
        except NoFramesError as error:
            if split == "train":
                raise
            log.warning("%s", error)  # a short drive has none to validate on; the others have
    if not sources:
        raise SartmError(f"data.folders: none of the {len(data.folders)} has a labelled frame of split '{split}'.")
    return JoinedSource(sources)


def frame_weights(data: DataSource, training: Source) -> list[float] | None:
    """How often each training frame is drawn, relative to the others; None: all alike."""
    if data.folders is None or len(set(data.folders.values())) == 1:
        return None
    assert isinstance(training, JoinedSource)
    return training.per_frame(list(data.folders.values()))


def name_of(data: DataSource) -> str:
    """What a log calls the data."""
    return data.simulated or data.root or f"{len(data.folders or ())} folders"


def _open(root: Path, field: str, data: DataSource, split: str) -> DiskSource:
    if not root.exists():
        raise SartmError(
            f"{field} of the recipe: {root}: no such folder. Name the data with --data; the recipe's first lines say "
            "what makes or fetches them."
        )
    found = open_data(root)
    return DiskSource(found, _part(found.rig, data), split, data.on_unreadable)


def _part(rig: Rig, data: DataSource) -> Rig:
    part = rig if data.modalities is None else rig.only(data.modalities)
    if data.enlarge == 1:
        return part
    enlarged = part.enlarged(dict.fromkeys(part.names, data.enlarge))
    if enlarged.modalities == part.modalities:
        raise SartmError(
            f"data.enlarge: {data.enlarge} is for LiDARs and event cameras; {', '.join(part.names)} have none that are "
            "not enlarged already. Leave it out."
        )
    return enlarged
