"""Masks as a benchmark's server takes them, of a split whose labels are withheld: MUSES' test."""

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sartm_core.datasets.dataset import DataSet, Frame, read_frame, seen_by
from sartm_core.datasets.muses import Muses
from sartm_core.datasets.png import write_png
from sartm_core.deploy import Segmenter
from sartm_core.deploy.bundle import check_inputs
from sartm_core.errors import SartmError
from sartm_core.evaluation.class_map import ClassMap
from sartm_core.evaluation.modalities import common_modalities
from sartm_core.evaluation.processes import gathered, process_group
from sartm_core.outputs import sole_writer, sync_tree
from sartm_core.segmentation import UNLABELLED

SERVER = "https://www.codabench.org/competitions/14005"


def check_submission(data: DataSet, out: Path) -> Path:
    """The folder that `write_submission` will make.

    Raises:
        SartmError: no server takes masks of this data set, or the folder exists.
    """
    if not isinstance(data, Muses):
        raise SartmError(
            f"--submission: there is no server for masks of {data.name}. Of the layouts only MUSES has a split with "
            "hidden labels, test; the labels of the others come with them: leave --submission out to score."
        )
    folder = out / Muses.submission_folder
    if folder.exists():
        raise SartmError(f"{folder}: already exists and is not overwritten. Remove it, or choose another folder.")
    return folder


def write_submission(
    segmenter: Segmenter,
    data: DataSet,
    split: str,
    out: Path,
    class_map: ClassMap | None = None,
    limit: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Segments every frame of a split, labelled or not, with all sensors.

    `OUT/labelTrainIds/REC0006_frame_043620.png`, uint8 [1080, 1920], 0 to 18: as the benchmark's authors write theirs
    (timbroed/CAFuser @24cef47, `cafuser/evaluation/muses_sem_evaluator.py`; the server's own check is not public). The
    folder gets its name when it is complete. Under torchrun the frames are spread over the processes.

    Args:
        segmenter: the model.
        data, split: MUSES, and the name of the split.
        out: where the folder is made.
        class_map: the model's classes in terms of the data's; by default they must be the same.
        limit: only the first frames: for a trial.
        progress: called with frames done, frames in all (of this process).

    Returns:
        The number of masks.

    Raises:
        SartmError: see `check_submission`; no common modality, other classes, an image of another size than the
            published ones, or a mask with pixels of no class.
    """
    folder = check_submission(data, out)
    part = folder.with_name(f".{folder.name}.part")
    model = segmenter.bundle.rig
    data = seen_by(data, model)
    modalities = common_modalities(model, data.rig)
    check_inputs(model, data.rig.only(modalities))
    table = (class_map or ClassMap.same(model, data.rig)).table(model, data.rig)
    frames = data.frames(split)[:limit]
    with process_group() as (rank, world), sole_writer(folder) if rank == 0 else nullcontext():
        if rank == 0:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
        gathered(None)  # waits for all
        mine = frames[rank::world]
        for done, frame in enumerate(mine, start=1):
            mask = table[_mask(segmenter, data, frame, modalities)]
            if (mask == UNLABELLED).any():
                raise SartmError(
                    f"{frame.split} {frame.id}: {int((mask == UNLABELLED).sum())} pixels of its mask have no class; a "
                    "submission must name one for each. Use a model whose fit is not crop, and a class map without "
                    "null."
                )
            write_png(part / Muses.submission_name(frame), mask)
            progress(done, len(mine))
        gathered(None)
        if rank == 0:
            sync_tree(part)
            part.rename(folder)
    return len(frames)


def _mask(segmenter: Segmenter, data: DataSet, frame: Frame, modalities: tuple[str, ...]) -> NDArray[np.uint8]:
    """The model's classes, at the size of the reference's image."""
    encoded = read_frame(data, frame, modalities, segmenter.bundle.rig.dtype)
    reference = data.rig.modality(data.rig.reference)
    image = encoded.images.get(reference.name)
    image = data.image(frame, reference.name) if image is None else image
    size = (image.shape[0], image.shape[1])
    if size != reference.size:
        raise SartmError(
            f"{data.path(frame, reference.name)}: is {size[0]}x{size[1]} (height x width); the server expects masks of "
            f"the published images, {reference.size[0]}x{reference.size[1]}. Use those."
        )
    return segmenter.segment(encoded.measured or encoded.planes, size).mask
