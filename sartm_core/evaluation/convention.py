"""Conventions of scoring: what the labels are that masks are compared with, and how absent classes count in means.

`standard` is ours, and that of most papers: masks at the size of the labels, unlabelled pixels not counted, absent
classes skipped. `anyseg` is that of AnySeg's figures on MUSES (arXiv 2411.17141; its loader `semseg/datasets/muses.py`
and `semseg/metrics.py`, zhengxuJosh/AnySeg @100571b), and most likely of MLE-SAM's, whose table repeats its rows:

- images and labels are squeezed to the network's square; of labels the nearest pixel is taken, which is
  floor(i * H / h), without regard to pixel centres;
- 255 becomes class 0, road: what no annotator could name is right if the mask says road, and wrong otherwise;
- classes that occur neither in the truth nor in a mask count 0 in the mean of IoU and F1, those without a pixel in that
  of accuracy.

Only the scoring is reproduced: how AnySeg reads its images (16-bit projections cut to 8 bit) is not.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sartm_core.errors import SartmError
from sartm_core.evaluation.outcome import LabelledSet
from sartm_core.rig import Rig, Size
from sartm_core.segmentation import UNLABELLED
from sartm_core.sensing.fit import fit_planes

STANDARD, ANYSEG = "standard", "anyseg"
CONVENTIONS = (STANDARD, ANYSEG)

NOTES = {
    ANYSEG: "AnySeg's convention: labels squeezed to the network's square, unlabelled pixels counted as road, absent "
    "classes as 0. Not comparable with figures of any other convention."
}
"""What is printed beside figures that are not of the standard."""


def check_convention(name: str, data: Rig, size: Size) -> None:
    """Whether a convention can be followed.

    Args:
        data: the data's rig.
        size: height, width of the network's input.

    Raises:
        SartmError: it is unknown, or AnySeg's is undefined here: another class 0, or a network that is not square.
    """
    if name not in CONVENTIONS:
        raise SartmError(f"convention '{name}' is unknown. Known: {', '.join(CONVENTIONS)}.")
    if name != ANYSEG:
        return
    if data.class_names[0] != "road":
        raise SartmError(
            f"convention anyseg: counts unlabelled pixels as class 0, the road of MUSES, but class 0 of '{data.name}' "
            f"is {data.class_names[0]}. AnySeg's loader of DELIVER ignores them, too: use convention standard."
        )
    if size[0] != size[1]:
        raise SartmError(
            f"convention anyseg: expected a network with a square input (theirs is 1024x1024), got "
            f"{size[0]}x{size[1]}. Train or export with a square size."
        )


def as_anyseg(sample: LabelledSet, model: Rig, size: Size) -> LabelledSet:
    """The sample with planes and truth at the network's size, and without unlabelled pixels.

    Args:
        model: the model's rig.
        size: height, width of the network's input.
    """
    frame = (sample.truth.shape[0], sample.truth.shape[1])
    planes = fit_planes(model, sample.planes, frame, size, "stretch")
    truth = sample.truth[np.ix_(*(_nearest(new, old) for new, old in zip(size, frame, strict=True)))]
    truth[truth == UNLABELLED] = 0
    return replace(sample, planes=planes, truth=truth)


def _nearest(new: int, old: int) -> NDArray[np.int64]:
    """The pixel of `old` that torch's `interpolate(mode="nearest")` takes for each of `new`; it counts in float32."""
    places = np.arange(new, dtype=np.float32) * np.float32(old / new)
    return np.minimum(places.astype(np.int64), old - 1)
