"""Edges of each sensor over the reference camera: whether they are registered shows at a glance."""

from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sartm_core.datasets.dataset import DataSet, Frame
from sartm_core.datasets.lettering import plain_text
from sartm_core.errors import SartmError
from sartm_core.files import atomic_path
from sartm_core.rig import Modality

INK = (255, 40, 90)
DENSE = 0.4
"""A sensor that measures more of the pixels has edges; those of another one are drawn as they are."""
SMOOTH, LOW, HIGH = 1.2, 40, 120
"""Blur before the edges are looked for, pixels; thresholds of Canny's method."""


@plain_text()
def edge_sheet(data: DataSet, frames: list[Frame], out: Path) -> None:
    """Writes a PNG with a row for each frame and a column for each sensor beside the reference.

    Raises:
        SartmError: none of the frames has the reference and another sensor.
    """
    rig = data.rig
    names = [name for name in rig.names if name != rig.reference]
    usable = [frame for frame in frames if rig.reference in frame.modalities and len(frame.modalities) > 1]
    if not usable:
        raise SartmError(f"{data.name}: none of the frames has {rig.reference} and another sensor to lay over it.")
    figure = Figure(figsize=(6 * len(names), 5 * len(usable)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(usable), len(names), squeeze=False)
    for row, frame in enumerate(usable):
        picture = rig.modality(rig.reference).picture(data.image(frame, rig.reference))
        for column, name in enumerate(names):
            axis = axes[row][column]
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"{name} over {rig.reference}, {frame.split} {frame.id}", fontsize=11)
            if name in frame.modalities:
                axis.imshow(over(picture, rig.modality(name), data.image(frame, name)), interpolation="nearest")
            else:
                axis.text(0.5, 0.5, "absent", ha="center", va="center", color="#888888", transform=axis.transAxes)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, dpi=100, format="png")


def over(reference: NDArray[np.uint8], modality: Modality, image: NDArray[np.generic]) -> NDArray[np.uint8]:
    """The reference's picture [H, W, 3] in grey, on it a sensor's edges; points and events in their own colours."""
    height, width = reference.shape[:2]
    grey = cv2.cvtColor(reference, cv2.COLOR_RGB2GRAY)
    sheet = cv2.cvtColor(grey // 2 + 64, cv2.COLOR_GRAY2RGB)
    picture = modality.picture(image)
    own = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    background = np.bincount(own.reshape(-1)).argmax()  # black behind points, white behind events
    marks = (own != background).astype(np.uint8)
    inked = picture.copy()
    if marks.mean() > DENSE:
        marks = cv2.Canny(cv2.GaussianBlur(own, (0, 0), SMOOTH), LOW, HIGH)
        inked[:] = INK
    size, nearest = (width, height), cv2.INTER_NEAREST_EXACT
    seen = cv2.resize(marks, size, interpolation=nearest) > 0
    sheet[seen] = cv2.resize(inked, size, interpolation=nearest)[seen]
    return np.asarray(sheet, np.uint8)
