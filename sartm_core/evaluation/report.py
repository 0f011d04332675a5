"""The evaluation as one self-contained HTML file."""

import base64
import io
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sartm_core.datasets.lettering import plain_text
from sartm_core.evaluation.convention import NOTES
from sartm_core.evaluation.course import by_recording, draw_course
from sartm_core.evaluation.outcome import WINDOW, Evaluation, Scored
from sartm_core.evaluation.results import GROUPS
from sartm_core.files import write_text
from sartm_core.segmentation import UNLABELLED

COLOURS = ("#d1495b", "#e39b23", "#2a6f97", "#5b8e3e", "#7b4ea3", "#444444", "#00a6a6")
"""One per modality, in the model's order."""
HIDDEN_TAGS = {"faulty", WINDOW}


@plain_text()
def write_report(evaluation: Evaluation, figures: dict[str, Any], out: Path) -> None:
    """Writes the page: tables, confusion matrix, best and worst frames, routing weights per condition and over time.

    Args:
        figures: `results.as_dict`, optionally with `recordings`, `bundle` and `configuration`.
        out: the HTML file.
    """
    e = evaluation
    clean = next(tally for (group, _), tally in e.variations.items() if group == "clean")
    colours = dict(zip(e.model_modalities, COLOURS * 3, strict=False))
    loader = PackageLoader("sartm_core.evaluation", ".")
    environment = Environment(loader=loader, undefined=StrictUndefined, autoescape=True)
    page = environment.get_template("report.html.j2").render(
        figures=figures,
        groups=GROUPS,
        confusion=_confusion(clean.score.confusion, e.class_names),
        best=_frames(e, e.best),
        worst=_frames(e, e.worst),
        courses={name: _png(draw_course(part, colours), 100) for name, part in by_recording(e.course).items()},
        colours=colours,
        network=e.network,
        note=NOTES.get(e.convention),
    )
    write_text(out, page)


def _png(figure: Figure, dpi: int) -> str:
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return base64.b64encode(buffer.getvalue()).decode()


def _confusion(matrix: np.ndarray, names: tuple[str, ...]) -> str:
    """Rows: truth, each normalised to 1."""
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.34 * len(names)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(share, cmap=matplotlib.colormaps["Blues"], vmin=0, vmax=1)
    axis.set(xlabel="mask", ylabel="truth")
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    if len(names) <= 16:
        for row, column in np.argwhere(share >= 0.01).tolist():
            shade = "white" if share[row, column] > 0.6 else "black"
            axis.text(column, row, f"{100 * share[row, column]:.0f}", ha="center", va="center", fontsize=7, color=shade)
    figure.colorbar(image, shrink=0.7, label="share of the true class's pixels")
    return _png(figure, 110)


def _frames(evaluation: Evaluation, chosen: list[Scored]) -> str:
    """One row per frame: sensors, mask, truth, errors."""
    rig = evaluation.rig
    columns = [*evaluation.modalities, "mask", "truth", "errors"]
    figure = Figure(figsize=(2.2 * len(columns), 1.95 * len(chosen) + 0.3), layout="constrained")
    axes = figure.subplots(len(chosen), len(columns), squeeze=False)
    for row, scored in enumerate(chosen):
        sample, truth = scored.sample, scored.sample.truth
        mask = np.where(truth == UNLABELLED, UNLABELLED, scored.mask)
        wrong = np.where(truth == UNLABELLED, 200, np.where(mask == truth, 255, 0)).astype(np.uint8)
        shown = {"mask": rig.palette[mask], "truth": rig.palette[truth], "errors": np.stack([wrong] * 3, axis=-1)}
        shown |= {name: rig.modality(name).picture(image) for name, image in sample.images.items()}
        for column, name in enumerate(columns):
            axis = axes[row][column]
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if row == 0:
                axis.set_title(name, fontsize=10)
            if name in shown:
                axis.imshow(shown[name], interpolation="nearest")
        tags = [value for key, value in sample.tags.items() if value != "none" and key not in HIDDEN_TAGS]
        name = sample.id.rsplit("/", 1)[-1] if sample.moment is None else f"{sample.moment.time_s:.2f} s"
        axes[row][0].set_ylabel(f"{name}\n{', '.join(dict.fromkeys(tags))}\nmIoU {scored.miou:.2f}", fontsize=8)
    return _png(figure, 80)
