"""What a run's planes are normalised by: measured on its training split, and what SAM's weights were trained with."""

from sartm_core.errors import SartmError
from sartm_core.learning.recipe import Recipe
from sartm_core.learning.sampler import Draw
from sartm_core.learning.sources import Source
from sartm_core.learning.statistics import PlaneStatistics, plane_statistics
from sartm_core.sensing.fit import fit_planes

SAM_MEAN, SAM_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of red, green and blue, 0 to 255, that SAM and SAM2 were trained with: ImageNet's (`pixel_mean` and `pixel_std` of
segment_anything; SAM2's transforms have them divided by 255)."""


def normalisation(recipe: Recipe, training: Source) -> PlaneStatistics:
    """Mean and standard deviation that the network's planes are normalised by.

    Raises:
        SartmError: no training frame has one of the modalities.
    """
    rig, size = training.rig, recipe.stages[-1].size
    chosen = training.representative(recipe.statistics_frames, recipe.seed)
    frames = (training.read(Draw(index, index, size)) for index in chosen)
    fitted = (fit_planes(rig, planes, truth.shape, size, recipe.fit) for planes, truth in frames)
    statistics = plane_statistics(rig.names, fitted)
    missing = [name for name, seen in zip(rig.names, statistics.frames, strict=True) if not seen]
    if missing:
        raise SartmError(
            f"{', '.join(missing)}: no frame of the training split has it, so nothing can be learned of it. Leave it "
            "out by data.modalities, or add frames that have it."
        )
    for index, modality in enumerate(rig.modalities):
        if recipe.pretrained_statistics and modality.kind == "rgb":
            statistics.mean[index], statistics.std[index] = SAM_MEAN, SAM_STD
        elif recipe.statistics == "scaled":
            statistics.mean[index], statistics.std[index] = 0.0, 255.0
    return statistics
