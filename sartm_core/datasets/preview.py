"""Contact sheet of a data set: each modality in conventional colours, the truth, a legend."""

import math
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sartm_core.datasets.dataset import TRUTH, DataSet, Frame
from sartm_core.datasets.files import is_labelled
from sartm_core.datasets.lettering import plain_text
from sartm_core.errors import SartmError
from sartm_core.files import atomic_path


@plain_text()
def contact_sheet(data: DataSet, frames: list[Frame], out: Path) -> None:
    """Writes a PNG with one row per frame.

    Raises:
        SartmError: no frames.
    """
    if not frames:
        raise SartmError(f"{data.name}: there are no frames to draw.")
    rig = data.rig
    columns = [*rig.names, TRUTH]
    in_a_line = min(len(rig.classes), 2 * len(columns) - 1, 7)
    heights = 2.05 * len(frames), 0.2 + 0.25 * math.ceil(len(rig.classes) / in_a_line)  # inches
    figure = Figure(figsize=(2.5 * len(columns), sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = np.asarray(figure.subfigures(2, 1, height_ratios=heights))
    axes = upper.subplots(len(frames), len(columns), squeeze=False)
    for row, frame in enumerate(frames):
        for column, name in enumerate(columns):
            axis = axes[row][column]
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if row == 0:
                axis.set_title(name, fontsize=11, fontweight="bold")
            if name == TRUTH:
                if is_labelled(data.path(frame, TRUTH)):
                    axis.imshow(rig.palette[data.truth(frame)], interpolation="nearest")
                else:
                    axis.text(0.5, 0.5, "no labels", ha="center", va="center", transform=axis.transAxes)
            elif name in frame.modalities:
                axis.imshow(rig.modality(name).picture(data.image(frame, name)), interpolation="nearest")
            else:
                axis.text(0.5, 0.5, "absent", ha="center", va="center", color="#888888", transform=axis.transAxes)
        axes[row][0].set_ylabel(_label(frame), fontsize=9)
    legend = [Patch(color=np.array(spec.color) / 255, label=spec.name) for spec in rig.classes]
    for patch in legend:
        patch.set_edgecolor("#999999")
    lower.legend(handles=legend, loc="center", ncol=in_a_line, frameon=False, fontsize=10)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, dpi=100, format="png")


def spread_out(frames: list[Frame], count: int, tag: str | None) -> list[Frame]:
    """`count` evenly spaced frames; or, given a tag, the first frame of each of its values."""
    if tag is not None:
        first = {frame.tags.get(tag, "none"): frame for frame in reversed(frames)}
        return [first[value] for value in sorted(first)][:count]
    if count >= len(frames):
        return frames
    return [frames[index] for index in np.linspace(0, len(frames) - 1, count).astype(int)]


def _label(frame: Frame) -> str:
    lines = [f"{frame.split} {frame.id}", frame.tags.get("condition", "")]
    if frame.tags.get("fault", "none") != "none":
        lines.append(f"{frame.tags['faulty']}: {frame.tags['fault']}")
    return "\n".join(line for line in lines if line)
