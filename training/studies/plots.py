"""The study's plots."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sartm_core.files import atomic_path

Figures = dict[str, dict[str, Any]]
"""Entrant or ablation -> result of `scores.score`."""


def draw_all(figures: Figures, sizes: Figures, folder: Path) -> dict[str, str]:
    """Draws all plots into the folder; returns file name -> title.

    Args:
        figures: of the entrants.
        sizes: of any_sensor at full and at half size.
        folder: to write to.
    """
    ours = figures.get("any_sensor") or next(iter(figures.values()))
    pictures = {
        "subsets.png": ("Mean IoU per subset of sensors", _subsets(figures)),
        "conditions.png": ("Mean IoU per condition", _conditions(figures)),
        "cost.png": ("Mean IoU against cost, adding one modality per point", _cost(figures, sizes)),
        "routing.png": ("Routing weights per condition", _routing(ours)),
        "faults.png": ("A sensor's weight when intact and when faulty", _faults(ours)),
    }
    for name, (_, figure) in pictures.items():
        with atomic_path(folder / name) as temporary:
            figure.savefig(temporary, format="png", dpi=80)
    return {name: title for name, (title, _) in pictures.items()}


def _subsets(figures: Figures) -> Figure:
    subsets = sorted(next(iter(figures.values()))["miou"]["drop"], key=lambda name: (name.count("+"), name))
    figure = Figure((10, 7), layout="constrained")
    axes = figure.add_subplot()
    for name, entry in figures.items():
        values = [100 * entry["miou"]["drop"][subset] for subset in subsets]
        axes.plot([*values, 100 * entry["miou"]["clean"]["all"]], [*subsets, "all"], "o-", label=name, markersize=3)
    axes.set_xlabel("mean IoU, %")
    axes.tick_params(axis="y", labelsize=7)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _conditions(figures: Figures) -> Figure:
    conditions = sorted(next(iter(figures.values()))["miou"]["condition"])
    figure = Figure((10, 3.5), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(figures)
    for index, (name, entry) in enumerate(figures.items()):
        positions = np.arange(len(conditions)) + (index - (len(figures) - 1) / 2) * width
        axes.bar(positions, [100 * entry["miou"]["condition"][c] for c in conditions], width, label=name)
    axes.set_xticks(range(len(conditions)), conditions)
    axes.set_ylabel("mean IoU, %")
    axes.legend(fontsize=8, ncols=len(figures), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    return figure


def _cost(figures: Figures, sizes: Figures) -> Figure:
    """RGB alone, then one more modality at a time, in rig order."""
    figure = Figure((7, 4), layout="constrained")
    axes = figure.add_subplot()
    for entrant, entry in (figures | sizes).items():
        names = list(entry["routing"]["clean"]["all"])
        chain = ["+".join(names[:count]) for count in range(1, len(names))]
        miou = [100 * entry["miou"]["drop"][subset] for subset in chain] + [100 * entry["miou"]["clean"]["all"]]
        axes.plot(entry["gflop"], miou, "o-", label=entrant, markersize=4)
    axes.set_xlabel("GFLOP at 448x640")
    axes.set_ylabel("mean IoU, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def _routing(entry: dict[str, Any]) -> Figure:
    conditions = list(entry["routing"]["condition"])
    figure = Figure((7, 3.5), layout="constrained")
    axes = figure.add_subplot()
    left = np.zeros(len(conditions))
    for modality in entry["routing"]["clean"]["all"]:
        weights = np.array([entry["routing"]["condition"][condition][modality] for condition in conditions])
        axes.barh(conditions, weights, left=left, label=modality)
        left += weights
    axes.set_xlabel("mean routing weight")
    axes.legend(ncols=5, loc="upper center", bbox_to_anchor=(0.5, 1.15))
    return figure


def _faults(entry: dict[str, Any]) -> Figure:
    figure = Figure((7, 6), layout="constrained")
    axes = figure.add_subplot()
    keys = list(reversed(entry["falls"]))
    before, after = ([entry["falls"][key][state] for key in keys] for state in ("before", "after"))
    axes.hlines(keys, before, after, color="#adb5bd")
    axes.plot(before, keys, "o", color="#2a9d8f", label="sound")
    axes.plot(after, keys, "o", color="#c1121f", label="faulty")
    axes.set_xlabel("mean routing weight")
    axes.set_xlim(left=0)
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
