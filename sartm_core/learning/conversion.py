"""The weights that SARTM's authors publish as a checkpoint of ours, which is evaluated as they evaluate."""

from pathlib import Path

import torch

from sartm_core.errors import SartmError
from sartm_core.learning.module import SegmentationModule
from sartm_core.learning.normalisation import SAM_MEAN, SAM_STD
from sartm_core.learning.recipe import Recipe
from sartm_core.model.sartm_released import SartmReleased
from sartm_core.model.sartm_weights import Released, load_released, read_released
from sartm_core.model.weights_file import write_checkpoint
from sartm_core.rig import load_rig

MODALITIES = ("rgb", "thermal")
MEAN = (SAM_MEAN, (0.0, 0.0, 0.0))
STD = (SAM_STD, (255.0, 255.0, 255.0))
"""Of RGB ImageNet's; thermal is divided by 255 alone."""


def convert_released(source: Path, out: Path) -> tuple[int, int]:
    """Converts the published PST900 weights.

    Input, padding and normalisation are those of the release's evaluation: frames of 720x1280 at their own resolution
    at the top left of 1280x1280. Its classes are the values of the labels, as ours are, whatever it calls them.

    Args:
        source: the published file.
        out: the .ckpt to write.

    Returns:
        See `load_released`.

    Raises:
        SartmError: the file is missing, damaged, another model's or for other classes; or `out` is not a .ckpt.
    """
    if out.suffix != ".ckpt":
        raise SartmError(f"{out}: expected a name that ends with .ckpt, by which `sartm evaluate` knows checkpoints.")
    released, rig = read_released(source), load_rig("pst900").only(MODALITIES)
    if released.classes != len(rig.classes):
        raise SartmError(
            f"{source}: is for {released.classes} classes, PST900 has {len(rig.classes)}. The authors publish weights "
            "for PST900 alone, and only these can be converted."
        )
    recipe = _recipe(released)
    torch.manual_seed(recipe.seed)  # the parts for the losses begin anew
    module = SegmentationModule(rig.model_dump(mode="json"), recipe.model_dump(mode="json"), steps=[1])
    assert isinstance(module.network, SartmReleased)
    counts = load_released(module.network, released)
    module.network.set_statistics(torch.tensor(MEAN), torch.tensor(STD))
    write_checkpoint(out, {"hyper_parameters": dict(module.hparams), "state_dict": module.state_dict()})
    return counts


def _recipe(released: Released) -> Recipe:
    """What the file was trained by, as far as the network and its input are concerned."""
    return Recipe(
        name="sartm_released_pst900",
        description="the weights that SARTM's authors publish for PST900",
        preset="sartm_released",
        backbone=released.backbone,
        train_backbone=False,
        lora_rank=released.lora_rank,
        data={"root": "data/PST900", "modalities": MODALITIES},
        stages=({"size": (1280, 1280), "epochs": 500, "batch": 8, "learning_rate": 1e-4},),
        statistics="scaled",
        fit="corner",
    )
