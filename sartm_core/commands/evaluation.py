"""`sartm evaluate` and `sartm compare`."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from sartm_core.commands.common import JsonOption, PeerOption, print_json, stderr, stdout, user_errors
from sartm_core.outputs import check_writable

if TYPE_CHECKING:
    from sartm_core.datasets.dataset import DataSet
    from sartm_core.deploy import Segmenter
    from sartm_core.evaluation.class_map import ClassMap
    from sartm_core.evaluation.outcome import Evaluation


def evaluate(
    model: Annotated[
        str,
        typer.Argument(help="Bundle (folder or shipped name), or a .ckpt of `sartm train`; with --peer also a recipe."),
    ],
    data: Annotated[Path, typer.Option(help="Root of the data set.")],
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            help="clean, subsets, noise, conditions, faults (all: these five); emm, rmm, nm. May be repeated."
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="test, val or train.")] = "test",
    out: Annotated[Path | None, typer.Option(help="Folder for metrics.json, metrics.csv, report.html.")] = None,
    classes: Annotated[str | None, typer.Option(help="Class-mapping file or name, for another data set.")] = None,
    limit: Annotated[int | None, typer.Option(help="Maximum number of frames.", min=1)] = None,
    frame_list: Annotated[
        list[str] | None,
        typer.Option("--list", help="NAME=FILE: frames to score separately, as rgb-hard=hard.txt; may be repeated."),
    ] = None,
    convention: Annotated[
        str, typer.Option(help="standard; or anyseg, as AnySeg's figures on MUSES are scored.")
    ] = "standard",
    submission: Annotated[
        Path | None, typer.Option(help="Folder for the masks of a split with hidden labels, for MUSES' server.")
    ] = None,
    peer: PeerOption = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    json_output: JsonOption = False,
) -> None:
    """Score a model: all sensors, every subset of them, noise, conditions, faults. Also runs under torchrun."""
    with user_errors():
        from sartm_core.datasets.layouts import open_data
        from sartm_core.evaluation.class_map import load_class_map
        from sartm_core.evaluation.protocols import expand, need_float_planes

        protocols = expand(protocol or ["clean"])
        opened = open_data(data)
        mapping = None if classes is None else load_class_map(classes)
        if out is not None:
            check_writable(out)
        # Importing torch takes seconds: deferred until the arguments are known to be valid.
        from sartm_core.commands.opening import open_model
        from sartm_core.evaluation.evaluate import evaluate as run
        from sartm_core.evaluation.processes import process_group
        from sartm_core.evaluation.results import as_dict

        first = os.environ.get("RANK", "0") == "0"
        asked = protocol or frame_list or out or convention != "standard"
        labelled = submission is None or _check_submission(opened, split, submission, bool(asked))
        with (
            open_model(model, "auto", device, need_float_planes(protocols), peer, data) as segmenter,
            process_group(),
        ):
            written = {} if submission is None else _submit(segmenter, opened, split, submission, mapping, limit, first)
            if not labelled:
                if first:
                    _say_submitted(written, json_output)
                return
            with _bar("scoring", first) as progress:
                evaluation = run(
                    segmenter, opened, split, protocols, mapping, limit, frame_list or (), progress, convention
                )
            if not first:
                return
            figures = as_dict(evaluation) | written
            if out is not None:
                write_results(evaluation, figures, out)
    if json_output:
        print_json(figures)
    else:
        print_tables(figures)
        if written:
            _say_submitted(written, json_output)
        if out is not None:
            stdout.print(f"{out / 'report.html'}  the report: open it in a browser", soft_wrap=True)


def write_results(evaluation: "Evaluation", figures: dict[str, Any], out: Path) -> None:
    """Writes `metrics.json`, `metrics.csv` and `report.html`; `figures`: of `evaluation.results.as_dict`."""
    from sartm_core.evaluation.report import write_report
    from sartm_core.evaluation.results import as_csv
    from sartm_core.files import write_text

    write_text(out / "metrics.json", json.dumps(figures, indent=1) + "\n")
    write_text(out / "metrics.csv", as_csv(figures))
    write_report(evaluation, figures, out / "report.html")


def _check_submission(data: "DataSet", split: str, out: Path, asked: bool) -> bool:
    """Whether the split has labels, too. Refuses what cannot be written or scored before the model is loaded."""
    from sartm_core.errors import SartmError
    from sartm_core.evaluation.evaluate import labelled_frames
    from sartm_core.evaluation.submission import check_submission

    check_submission(data, out)
    labelled = bool(labelled_frames(data, split))
    if asked and not labelled:
        raise SartmError(
            f"{data.name} {split}: has no labels, so --protocol, --list, --convention and --out have nothing to score. "
            "Leave them out."
        )
    return labelled


def _submit(
    segmenter: "Segmenter", data: "DataSet", split: str, out: Path, mapping: "ClassMap | None", limit: int | None,
    first: bool,
) -> dict[str, Any]:  # fmt: skip
    from sartm_core.evaluation.submission import check_submission, write_submission

    folder = check_submission(data, out)
    with _bar("segmenting", first) as progress:
        masks = write_submission(segmenter, data, split, out, mapping, limit, progress)
    return {"submission": {"folder": str(folder), "masks": masks, "expected": data.expected[split]}}


def _say_submitted(written: dict[str, Any], json_output: bool) -> None:
    from sartm_core.evaluation.submission import SERVER

    if json_output:
        print_json(written)
        return
    folder, masks, expected = written["submission"].values()
    what = f"{masks} masks" if masks == expected else f"{masks} of the {expected} masks that the server expects"
    stdout.print(f"{folder}: {what}; zip this folder for {SERVER}", soft_wrap=True, highlight=False)


@contextmanager
def _bar(what: str, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar; yields what takes frames done and frames in all."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr, disable=not shown) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def print_tables(figures: dict[str, Any]) -> None:
    """Prints the figures of `evaluation.results.as_dict`."""
    from sartm_core.evaluation.convention import NOTES  # torch takes seconds to import
    from sartm_core.evaluation.results import GROUPS

    clean, note = figures["clean"], NOTES.get(figures["convention"])
    stdout.print(
        f"{figures['model']} on {figures['data']} {figures['split']}, {clean['frames']} frames, "
        f"{'+'.join(figures['modalities'])}",
        soft_wrap=True,
    )
    if note:
        stdout.print(note, soft_wrap=True)
    table = Table("", title="percent" if note else "percent; absent classes are skipped, or count 0")
    for column in ("mIoU", "absent 0", "mAcc", "F1", "calibration error"):
        table.add_column(column, justify="right")
    _add(table, "all sensors", clean)
    for group, label in GROUPS.items():
        for name, entry in figures.get(group, {}).items():
            _add(table, f"{label} {name}", entry)
        if f"{group}_mean" in figures:
            _add_means(table, label, figures[f"{group}_mean"])
    stdout.print(table)
    per_class = Table("class", title="all sensors, percent")
    for column in ("IoU", "accuracy", "F1"):
        per_class.add_column(column, justify="right")
    for name, entry in clean["classes"].items():
        per_class.add_row(name, _percent(entry["iou"]), _percent(entry["accuracy"]), _percent(entry["f1"]))
    stdout.print(per_class)


def _add_means(table: Table, label: str, mean: dict[str, Any]) -> None:
    both = (_percent(mean["miou"]), _percent(mean["miou_absent_0"]))
    table.add_row(f"{label} mean of {mean['subsets']}", *both, style="bold")
    for probability, score in mean["expected_miou"].items():
        absent_0 = mean["expected_miou_absent_0"][probability]
        table.add_row(f"{label} expected, each lost with p = {probability}", _percent(score), _percent(absent_0))


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
        check_writable(out)
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
