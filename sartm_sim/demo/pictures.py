"""The demo's pictures: the contact sheet, routing weights and latency over time."""

import io
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from sartm_core.files import atomic_path
from sartm_core.rig import Modality, Rig
from sartm_core.segmentation import UNLABELLED
from sartm_sim.demo.analysis import Drive
from sartm_sim.demo.grid import GridPair

matplotlib.use("Agg")
plt.rcParams |= {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none"}

COLOURS = ("#d1495b", "#e39b23", "#2a6f97", "#5b8e3e", "#7b4ea3", "#444444", "#00a6a6")
"""One per modality, in rig order."""


def contact_sheet(
    drive: Drive, samples: dict[int, dict[str, Any]], summary: dict[str, Any], rig: Rig, out: Path
) -> None:
    """One row per phase: each sensor's measurement, the mask, the truth. Writes a PNG."""
    columns = [*rig.names, "segmentation", "truth"]
    rows = drive.phases
    figure, axes = plt.subplots(
        len(rows),
        len(columns),
        figsize=(2.5 * len(columns), 2.06 * len(rows) + 0.7),
        layout="constrained",
        squeeze=False,
    )
    for row, (phase, figures) in enumerate(zip(rows, summary["phases"], strict=True)):
        sample = samples[phase.sample_ns]
        for column, name in enumerate(columns):
            axis: Axes = axes[row][column]
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if row == 0:
                axis.set_title(name, fontsize=11, fontweight="bold")
            if name in ("segmentation", "truth"):
                ids = (drive.masks if name == "segmentation" else drive.truths).get(phase.sample_ns)
                image = None if ids is None else rig.palette[ids]
            else:
                image = _picture(rig.modality(name), sample.get(name))
            _show(axis, image, "unplugged" if name in phase.unplugged else "no data", rig)
        miou = figures["miou"]
        label = f"{phase.name}\nmIoU {miou:.2f}" if miou is not None else phase.name
        axes[row][0].set_ylabel(label.replace(", ", ",\n"), fontsize=10)
    legend = [Patch(facecolor=np.array(spec.color) / 255, edgecolor="#999999", label=spec.name) for spec in rig.classes]
    figure.legend(handles=legend, loc="outside lower center", ncols=min(len(legend), 7), frameon=False, fontsize=10)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    plt.close(figure)


def grid_sheet(drive: Drive, compared: dict[int, GridPair], summary: dict[str, Any], rig: Rig) -> bytes:
    """For each phase the bird's-eye grid in its middle, and the true one below; a PNG."""
    palette = rig.palette.copy()
    palette[UNLABELLED] = 235
    figure, axes = plt.subplots(
        2, len(drive.phases), figsize=(1.9 * len(drive.phases), 5.6), layout="constrained", squeeze=False
    )
    for column, (phase, figures) in enumerate(zip(drive.phases, summary["phases"], strict=True)):
        stamps = [stamp for stamp in sorted(compared) if drive.phase_of(stamp) is phase]
        pair = compared[stamps[len(stamps) // 2]] if stamps else None
        for axis, grid in zip(axes[:, column], (pair.seen, pair.true) if pair else (None, None), strict=True):
            axis.imshow(palette[np.full((2, 2), UNLABELLED) if grid is None else grid], interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        right = figures["grid"]["right"]
        label = (
            "no points" if right is None else f"{100 * right:.0f} % right, {100 * figures['grid']['known']:.0f} % seen"
        )
        axes[0][column].set_title(
            f"{phase.name}\n{label}".replace(", RGB", ",\nRGB").replace(", th", ",\nth"), fontsize=8
        )
    for axis, label in zip(axes[:, 0], ("from ~/points", "truth"), strict=True):
        axis.set_ylabel(label, fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    plt.close(figure)
    return buffer.getvalue()


def routing_chart(drive: Drive, rig: Rig) -> str:
    """Routing weights over time with the phases marked; SVG text."""
    figure, axis = plt.subplots(figsize=(10, 3.2), layout="constrained")
    stamps = sorted(drive.routing)
    seconds = _seconds(drive, stamps)
    weights = np.array([drive.routing[stamp] for stamp in stamps])
    for index, name in enumerate(rig.names):
        axis.plot(seconds, weights[:, index], color=COLOURS[index % len(COLOURS)], label=name, linewidth=1.8)
    _mark_phases(axis, drive, top=1.0)
    axis.set(ylim=(-0.02, 1.02), xlabel="seconds", ylabel="routing weight")
    axis.legend(loc="upper left", ncols=len(rig.names), frameon=False, bbox_to_anchor=(0, 1.22))
    return _svg(figure)


def latency_chart(drive: Drive) -> str:
    """Latency from sensor stamp to received mask, over time; SVG text."""
    figure, axis = plt.subplots(figsize=(10, 2.6), layout="constrained")
    stamps = sorted(drive.latency_s)
    milliseconds = np.array([drive.latency_s[stamp] for stamp in stamps]) * 1e3
    axis.plot(_seconds(drive, stamps), milliseconds, ".", color="#2a6f97", markersize=4)
    top = float(milliseconds.max()) * 1.1
    _mark_phases(axis, drive, top=top)
    axis.set(ylim=(0, top), xlabel="seconds", ylabel="latency, ms")
    return _svg(figure)


def _seconds(drive: Drive, stamps: list[int]) -> NDArray[np.float64]:
    return (np.array(stamps) - drive.phases[0].start_ns) / 1e9


def _mark_phases(axis: Axes, drive: Drive, top: float) -> None:
    starts = [*_seconds(drive, [phase.start_ns for phase in drive.phases]), _seconds(drive, [max(drive.truths)])[0]]
    for index, phase in enumerate(drive.phases):
        axis.axvspan(starts[index], starts[index + 1], color="#000000", alpha=0.05 if index % 2 else 0.0, linewidth=0)
        middle = (starts[index] + starts[index + 1]) / 2
        axis.annotate(
            phase.name, (middle, top), ha="center", va="bottom", fontsize=8, color="#555555", annotation_clip=False
        )


def _picture(modality: Modality, raw: NDArray[Any] | None) -> NDArray[Any] | None:
    return None if raw is None else modality.picture(raw)


def _show(axis: Axes, image: NDArray[Any] | None, otherwise: str, rig: Rig) -> None:
    height, width = rig.modality(rig.reference).size
    if image is not None:
        axis.imshow(image, interpolation="nearest")
        return
    axis.imshow(np.full((height, width, 3), 235, np.uint8))
    axis.text(width / 2, height / 2, otherwise, ha="center", va="center", color="#888888", fontsize=11)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
