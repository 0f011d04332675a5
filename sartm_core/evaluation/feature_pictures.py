"""The papers' own pictures: what a network has learned, drawn on request.

Overlays; features of each modality as colours; t-SNE of class prototypes by class and by fault; the self-similarity of
class prototypes beside that of the classes' texts, one panel per checkpoint.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from sartm_core.datasets.dataset import TRUTH, DataSet, Frame, read_frame, seen_by
from sartm_core.datasets.files import is_labelled
from sartm_core.datasets.lettering import plain_text
from sartm_core.deploy.bundle import Bundle
from sartm_core.deploy.torch_segmenter import TorchSegmenter
from sartm_core.errors import SartmError
from sartm_core.evaluation.modalities import common_modalities
from sartm_core.files import atomic_path
from sartm_core.sensing import Fit, FitMode
from sartm_core.sensing.fit import resize_labels

SHOWN = 4
"""Frames in the pictures of frames."""


class Features:
    """What a network makes of one frame.

    Attributes:
        rows: modality -> its own features, float32 [D, h, w]; empty where a network has none for each modality.
        fused: the same after fusion.
        mask: uint8 [H, W], at the truth's size.
        truth: uint8 [h, w].
    """

    def __init__(self, segmenter: TorchSegmenter, data: DataSet, frame: Frame) -> None:
        bundle = segmenter.bundle
        data = seen_by(data, bundle.rig)
        names = [name for name in common_modalities(bundle.rig, data.rig) if name in frame.modalities]
        planes = read_frame(data, frame, names, bundle.rig.dtype).planes
        mode = shown_fit(bundle)
        fitted = [
            Fit(mode, planes[name].shape[1:], bundle.size).planes(planes[name], sparse=data.rig.modality(name).sparse)
            for name in names
        ]
        index = torch.tensor([bundle.rig.names.index(name) for name in names])
        availability = torch.zeros(1, len(bundle.rig.names), dtype=torch.bool)
        availability[0, index] = True
        network = segmenter.network
        with torch.inference_mode():
            rows = network.encode(torch.from_numpy(np.stack(fitted)).to(segmenter.device), index.to(segmenter.device))
            sample = torch.zeros_like(index).to(segmenter.device)
            output = network.decode(rows, sample, index.to(segmenter.device), availability.to(segmenter.device))
        shown = network.row_features(rows)
        self.rows = {} if shown is None else dict(zip(names, shown.cpu(), strict=True))
        self.fused = output.fused[2][0].cpu()
        truth = data.truth(frame)
        fit = Fit(mode, truth.shape, bundle.size)
        self.mask, _ = fit.segment(output.logits[0].float().cpu().numpy())
        seen = fit.planes(truth[None].repeat(3, axis=0), sparse=True)[0]
        self.truth = resize_labels(seen, (self.fused.shape[1], self.fused.shape[2]))


def shown_fit(bundle: Bundle) -> FitMode:
    """Pictures show the whole frame, also of a bundle that slides windows over it."""
    return "letterbox" if bundle.fit == "window" else bundle.fit


def labelled(data: DataSet, split: str, count: int) -> list[Frame]:
    """Labelled frames at equal distances; raises SartmError when there are none."""
    frames = [frame for frame in data.frames(split) if is_labelled(data.path(frame, TRUTH))]
    if not frames:
        raise SartmError(f"{data.name}: split '{split}' has no labelled frames.")
    return [frames[index] for index in np.linspace(0, len(frames) - 1, min(count, len(frames))).astype(int)]


@plain_text()
def draw_overlays(segmenter: TorchSegmenter, data: DataSet, frames: Sequence[Frame], out: Path) -> None:
    """Reference image, mask over it, truth over it."""
    figure, axes = _grid(min(len(frames), SHOWN), 3)
    palette, reference = data.rig.palette, data.rig.reference
    for row, frame in zip(axes, frames, strict=False):
        features = Features(segmenter, data, frame)
        backdrop = data.rig.modality(reference).picture(data.image(frame, reference)).astype(float)
        truth = data.truth(frame)
        for axis, ids in zip(row, (None, features.mask, truth), strict=True):
            shown = (
                backdrop
                if ids is None
                else np.where((ids == 255)[..., None], backdrop, 0.45 * backdrop + 0.55 * palette[ids])
            )
            axis.imshow(shown.astype(np.uint8))
    _titles(axes, (reference, "mask", "truth"))
    _save(figure, out)


@plain_text()
def draw_features(segmenter: TorchSegmenter, data: DataSet, frames: Sequence[Frame], out: Path) -> None:
    """The first three principal components of each modality's features and of the fused ones, as red, green, blue."""
    names = common_modalities(segmenter.bundle.rig, data.rig)
    figure, axes = _grid(min(len(frames), SHOWN), 2 * len(names) + 1)
    for row, frame in zip(axes, frames, strict=False):
        features = Features(segmenter, data, frame)
        for index, name in enumerate(names):
            if name in features.rows:
                row[2 * index].imshow(data.rig.modality(name).picture(data.image(frame, name)))
                row[2 * index + 1].imshow(_components(features.rows[name]))
        row[-1].imshow(_components(features.fused))
    _titles(axes, [title for name in names for title in (name, f"{name}: features")] + ["fused"])
    _save(figure, out)


@plain_text()
def draw_tsne(segmenter: TorchSegmenter, data: DataSet, frames: Sequence[Frame], out: Path) -> None:
    """t-SNE of one prototype per class and frame (mean fused feature of the class's pixels), by class and by fault."""
    from sklearn.manifold import TSNE

    points, classes, faults = [], [], []
    for frame in frames:
        features = Features(segmenter, data, frame)
        for index in np.unique(features.truth[features.truth != 255]).tolist():
            points.append(features.fused[:, torch.from_numpy(features.truth == index)].mean(dim=1).numpy())
            classes.append(index)
            faults.append(frame.tags.get("fault", "none"))
    if len(points) < 10:
        raise SartmError(f"t-SNE: expected at least 10 class prototypes, got {len(points)}. Give more frames.")
    unit = np.stack(points) / (np.linalg.norm(np.stack(points), axis=1, keepdims=True) + 1e-9)
    place = TSNE(perplexity=min(30, (len(unit) - 1) / 3), init="pca", random_state=0).fit_transform(unit)
    figure = Figure(figsize=(13, 6), layout="constrained")
    left, right = figure.subplots(1, 2)
    palette, names = data.rig.palette / 255, data.rig.class_names
    for index in sorted(set(classes)):
        here = np.array(classes) == index
        style = {"s": 14, "color": palette[index], "edgecolor": "#555555", "linewidth": 0.3}
        left.scatter(*place[here].T, label=names[index], **style)
    for number, fault in enumerate(sorted(set(faults))):
        here = np.array(faults) == fault
        right.scatter(*place[here].T, s=14, color=matplotlib.colormaps["tab20"](number % 20), label=fault)
    for axis, title in ((left, "by class"), (right, "by fault")):
        axis.set(xticks=[], yticks=[], title=title)
        axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    _save(figure, out)


def prototype_similarity(segmenter: TorchSegmenter, data: DataSet, frames: Sequence[Frame]) -> NDArray[np.float32]:
    """Cosines between the class prototypes over all frames, [C, C]; NaN for classes that do not occur."""
    classes = len(data.rig.classes)
    sums, counts = torch.zeros(classes, segmenter.network.width), torch.zeros(classes)
    for frame in frames:
        features = Features(segmenter, data, frame)
        for index in np.unique(features.truth[features.truth != 255]).tolist():
            here = torch.from_numpy(features.truth == index)
            sums[index] += features.fused[:, here].sum(dim=1)
            counts[index] += int(here.sum())
    similarity = _cosines(sums / counts.clamp_min(1)[:, None])
    similarity[counts == 0], similarity[:, counts == 0] = np.nan, np.nan
    return similarity


@plain_text()
def draw_similarity(
    matrices: dict[str, NDArray[np.float32]], texts: Tensor | None, class_names: tuple[str, ...], out: Path
) -> None:
    """One panel per checkpoint, and the texts' own.

    Args:
        matrices: label -> `prototype_similarity`.
        texts: [C, E] text embeddings; None where the recipe has none.
    """
    panels = dict(matrices)
    if texts is not None:
        panels["texts"] = _cosines(texts.float())
    side = 2.0 + 0.2 * len(class_names)
    figure = Figure(figsize=(side * len(panels) + 0.6, side), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (label, matrix) in zip(axes, panels.items(), strict=True):
        image = axis.imshow(matrix, cmap=matplotlib.colormaps["viridis"], vmin=-0.2, vmax=1)
        axis.set_title(label, fontsize=9)
        axis.set_xticks(range(len(class_names)), class_names, rotation=90, fontsize=6)
        axis.set_yticks(range(len(class_names)), class_names, fontsize=6)
    figure.colorbar(image, ax=axes, shrink=0.8, label="cosine")
    _save(figure, out)


def _cosines(vectors: Tensor) -> NDArray[np.float32]:
    unit = F.normalize(vectors, dim=1)
    return np.asarray((unit @ unit.T).numpy().copy(), np.float32)


def _components(feature: Tensor) -> NDArray[np.float32]:
    """[D, h, w] -> [h, w, 3], 0 to 1."""
    pixels = feature.flatten(1).T
    _, _, axes = torch.pca_lowrank(pixels, q=3, niter=4)
    projected = (pixels - pixels.mean(dim=0)) @ axes
    low, high = projected.quantile(0.02, dim=0), projected.quantile(0.98, dim=0)
    scaled = ((projected - low) / (high - low + 1e-6)).clamp(0, 1)
    return np.asarray(scaled.reshape(*feature.shape[1:], 3).numpy(), np.float32)


def _grid(rows: int, columns: int) -> tuple[Figure, Any]:
    figure = Figure(figsize=(2.4 * columns, 2.0 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.ravel():
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    return figure, axes


def _titles(axes: Any, titles: Sequence[str]) -> None:
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)


def _save(figure: Figure, out: Path) -> None:
    FigureCanvasAgg(figure)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, dpi=100, format="png")
