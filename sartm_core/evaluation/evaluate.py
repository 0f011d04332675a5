"""Runs a model over a data set under the chosen protocols."""

from collections.abc import Callable, Iterable, Sequence

from sartm_core.datasets.dataset import TRUTH, DataSet, Frame, read_frame, seen_by
from sartm_core.datasets.files import check_whole, is_labelled
from sartm_core.datasets.frame_lists import read_frame_lists
from sartm_core.deploy import Segmenter
from sartm_core.deploy.bundle import check_inputs
from sartm_core.errors import SartmError
from sartm_core.evaluation.class_map import ClassMap
from sartm_core.evaluation.convention import STANDARD
from sartm_core.evaluation.outcome import LIST, Evaluation, LabelledSet
from sartm_core.evaluation.processes import process_group
from sartm_core.evaluation.scoring import Scoring
from sartm_core.rig import Rig


def evaluate(
    segmenter: Segmenter,
    data: DataSet,
    split: str,
    protocols: Sequence[str] = ("clean",),
    class_map: ClassMap | None = None,
    limit: int | None = None,
    lists: Iterable[str] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
    convention: str = STANDARD,
) -> Evaluation:
    """Segments every labelled frame of a split once per variation.

    Under torchrun the frames are spread over the processes and the sums are added up.

    Args:
        segmenter: the model.
        data: the data set; modalities that it shares with the model (name, kind and encoding) are used.
        split: its name.
        protocols: of `protocols.PROTOCOLS`.
        class_map: the model's classes in terms of the data's; by default they must be the same.
        limit: only the first frames.
        lists: `NAME=FILE`: frames that are scored apart, see `datasets.frame_lists`.
        progress: called with frames done, frames in all (of this process).
        convention: of `convention.CONVENTIONS`.

    Raises:
        SartmError: unknown protocol, no labelled frames, no common modality or one that the model was not trained
            on in this form, other classes, a convention that is undefined here, a list's line that is no frame, a file
            that is missing or damaged.
    """
    data = seen_by(data, segmenter.bundle.rig)
    scoring = Scoring(segmenter, data.rig, protocols, class_map, convention)
    check_inputs(segmenter.bundle.rig, data.rig.only(scoring.modalities))
    labelled = labelled_frames(data, split)[:limit]
    if not labelled:
        raise SartmError(
            f"{data.name}: split '{split}' has no labelled frames to score. Choose another with --split; of a "
            "split with hidden labels (MUSES test) write masks for the benchmark's server with --submission."
        )
    for frame in labelled:
        for what in ({*frame.modalities} & {*scoring.modalities}) | {TRUTH}:
            check_whole(data.path(frame, what))
    named = read_frame_lists(lists, data, split, labelled)
    with process_group() as (rank, world):
        mine = labelled[rank::world]
        for done, frame in enumerate(mine, start=1):
            listed = {LIST: named[frame.id]} if frame.id in named else {}
            scoring.add(_labelled_set(data, frame, scoring.modalities, segmenter.bundle.rig, listed))
            progress(done, len(mine))
        return scoring.result(data.name, split)


def labelled_frames(data: DataSet, split: str) -> list[Frame]:
    """Those frames of a split that can be scored."""
    return [frame for frame in data.frames(split) if is_labelled(data.path(frame, TRUTH))]


def _labelled_set(
    data: DataSet, frame: Frame, modalities: tuple[str, ...], model: Rig, listed: dict[str, str]
) -> LabelledSet:
    encoded = read_frame(data, frame, modalities, model.dtype)
    planes = encoded.measured or encoded.planes  # as on the robot, but every frame has a score
    return LabelledSet(frame.id, encoded.images, planes, data.truth(frame), {**frame.tags, **listed})
