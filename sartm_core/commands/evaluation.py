"""`sartm evaluate` and `sartm compare`."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from sartm_core.commands.common import JsonOption, print_json, stderr, stdout, user_errors


def evaluate(
    model: Annotated[str, typer.Argument(help="Bundle (folder or shipped name), or a .ckpt of `sartm train`.")],
    data: Annotated[Path, typer.Option(help="Root of the data set.")],
    protocol: Annotated[
        list[str] | None,
        typer.Option(help="clean, subsets, noise, conditions, faults or all; may be repeated. Default: clean."),
    ] = None,
    split: Annotated[str, typer.Option(help="test, val or train.")] = "test",
    out: Annotated[Path | None, typer.Option(help="Folder for metrics.json, metrics.csv, report.html.")] = None,
    classes: Annotated[str | None, typer.Option(help="Class-mapping file or name, for another data set.")] = None,
    limit: Annotated[int | None, typer.Option(help="Maximum number of frames.", min=1)] = None,
    frame_list: Annotated[
        list[str] | None,
        typer.Option("--list", help="NAME=FILE: frames to score separately, as rgb-hard=hard.txt; may be repeated."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    json_output: JsonOption = False,
) -> None:
    """Score a model: all sensors, every subset of them, noise, conditions, faults. Also runs under torchrun."""
    with user_errors():
        from sartm_core.datasets.layouts import open_data
        from sartm_core.evaluation.class_map import load_class_map
        from sartm_core.evaluation.variations import PROTOCOLS

        chosen = list(protocol or ["clean"])
        protocols = PROTOCOLS if "all" in chosen else tuple(chosen)
        opened = open_data(data)
        mapping = None if classes is None else load_class_map(classes)
        # Importing torch takes seconds: deferred until the arguments are known to be valid.
        from sartm_core.commands.opening import open_model
        from sartm_core.evaluation.evaluate import evaluate as run
        from sartm_core.evaluation.results import as_csv, as_dict
        from sartm_core.files import write_text

        first = os.environ.get("RANK", "0") == "0"
        columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with open_model(model, device=device) as segmenter:
            with Progress(*columns, console=stderr, disable=not first) as bar:
                task = bar.add_task("", total=None)
                evaluation = run(
                    segmenter, opened, split, protocols, mapping, limit, frame_list or (),
                    lambda done, total: bar.update(task, completed=done, total=total),
                )  # fmt: skip
            if not first:
                return
            figures = as_dict(evaluation)
            if out is not None:
                from sartm_core.evaluation.report import write_report

                write_text(out / "metrics.json", json.dumps(figures, indent=1) + "\n")
                write_text(out / "metrics.csv", as_csv(figures))
                write_report(evaluation, figures, out / "report.html")
    if json_output:
        print_json(figures)
    else:
        print_tables(figures)
        if out is not None:
            stdout.print(f"{out / 'report.html'}  the report: open it in a browser", soft_wrap=True)


def print_tables(figures: dict[str, Any]) -> None:
    """Prints the figures of `evaluation.results.as_dict`."""
    clean = figures["clean"]
    stdout.print(
        f"{figures['model']} on {figures['data']} {figures['split']}, {clean['frames']} frames, "
        f"{'+'.join(figures['modalities'])}",
        soft_wrap=True,
    )
    table = Table("", title="percent; absent classes are skipped, or count 0")
    for column in ("mIoU", "absent 0", "mAcc", "F1", "calibration error"):
        table.add_column(column, justify="right")
    _add(table, "all sensors", clean)
    for group, label in (
        ("drop", "DROP"),
        ("zero", "ZERO"),
        ("noise", "noise"),
        ("conditions", "in"),
        ("faults", "fault"),
        ("lists", "list"),
        ("windows", "window"),
    ):
        for name, entry in figures.get(group, {}).items():
            _add(table, f"{label} {name}".strip(), entry)
        if f"{group}_mean" in figures:
            mean = figures[f"{group}_mean"]
            table.add_row(
                f"{label} mean of {mean['subsets']}",
                _percent(mean["miou"]),
                _percent(mean["miou_absent_0"]),
                style="bold",
            )
    stdout.print(table)
    per_class = Table("class", title="all sensors, percent")
    for column in ("IoU", "accuracy", "F1"):
        per_class.add_column(column, justify="right")
    for name, entry in clean["classes"].items():
        per_class.add_row(name, _percent(entry["iou"]), _percent(entry["accuracy"]), _percent(entry["f1"]))
    stdout.print(per_class)


def _add(table: Table, name: str, entry: dict[str, Any]) -> None:
    keys = ("miou", "miou_absent_0", "macc", "f1", "calibration_error")
    table.add_row(name, *(_percent(entry[key]) for key in keys))


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def pictures(
    models: Annotated[
        list[str], typer.Argument(help="A bundle or checkpoint; with several, similarity is drawn for each.")
    ],
    data: Annotated[Path, typer.Option(help="Root of the data set.")],
    out: Annotated[Path, typer.Option(help="Folder for the PNG files.")],
    split: Annotated[str, typer.Option(help="test, val or train.")] = "test",
    count: Annotated[int, typer.Option(help="Maximum number of frames.", min=4)] = 60,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Draw what a network has learned: overlays, features, t-SNE and similarity of class prototypes."""
    with user_errors():
        from sartm_core.datasets.layouts import open_data

        opened = open_data(data)
        # Importing torch takes seconds: deferred until the arguments are known to be valid.
        from sartm_core.commands.opening import open_model
        from sartm_core.deploy.torch_segmenter import TorchSegmenter
        from sartm_core.evaluation import feature_pictures as drawing
        from sartm_core.model.language import texts_of

        frames = drawing.labelled(opened, split, count)
        matrices, texts = {}, None
        for index, name in enumerate(models):
            with open_model(name, "torch", device) as segmenter:
                assert isinstance(segmenter, TorchSegmenter)
                label = Path(name).parent.name + "/" + Path(name).stem if name.endswith(".ckpt") else name
                matrices[label] = drawing.prototype_similarity(segmenter, opened, frames)
                texts = texts_of(segmenter.bundle.recipe, opened.rig.class_names) if texts is None else texts
                if index == 0:
                    drawing.draw_overlays(segmenter, opened, frames, out / "overlays.png")
                    drawing.draw_features(segmenter, opened, frames, out / "features.png")
                    drawing.draw_tsne(segmenter, opened, frames, out / "tsne.png")
        embeddings = None if texts is None else texts.embeddings
        drawing.draw_similarity(matrices, embeddings, opened.rig.class_names, out / "similarity.png")
    for name in ("overlays", "features", "tsne", "similarity"):
        stdout.print(str(out / f"{name}.png"), soft_wrap=True)


def compare(
    runs: Annotated[list[Path], typer.Argument(help="metrics.json files of `sartm evaluate`, or their folders.")],
    json_output: JsonOption = False,
) -> None:
    """Compare several evaluations side by side."""
    with user_errors():
        from sartm_core.evaluation.comparison import compare_runs

        labels, rows = compare_runs(runs)
    if json_output:
        print_json({"runs": labels, "rows": rows})
        return
    table = Table("mIoU, percent")
    for label in labels:
        table.add_column(label, justify="right", overflow="fold")
    for name, values in rows.items():
        best = max((value for value in values if value is not None), default=None)
        table.add_row(name, *(Text(_percent(v), "bold" if v is not None and v == best else "") for v in values))
    stdout.print(table)
