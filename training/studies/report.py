"""The study's report: tables in Markdown and one HTML file, plots, and how far each aim was reached."""

import base64
import html
from pathlib import Path
from typing import Any

import numpy as np

from sartm_core.files import atomic_path, write_text

Figures = dict[str, dict[str, Any]]

APPLIED = ("dead", "noisy", "motion_blur", "over_exposure", "under_exposure")
"""Faults whose like training applies; the others are met for the first time."""


def write_report(folder: Path, figures: Figures, rates: dict[str, str], passes: int, seed: int) -> None:
    """Writes `report.md`, `report.html` and their pictures.

    Args:
        folder: where to.
        figures: entrant -> what `scores.score` gave.
        rates: entrant -> its best learning rate.
        passes: of the network, in each final run.
        seed: of the final runs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables = [
        ("Mean IoU on the test frames, %", _summary(figures, rates)),
        ("Mean IoU per condition, all sensors, %", _grid(figures, "condition")),
        ("Mean IoU with one corrupted sensor, %", _grid(figures, "fault")),
    ]
    if "any_sensor" in figures:
        tables.insert(1, ("Aims of any_sensor", aims(figures)))
        tables.append(("Routing of any_sensor when a sensor fails", _falls(figures["any_sensor"])))
    pictures = {"subsets.png": "Mean IoU per subset of sensors", "routing.png": "Routing weights per condition"}
    _plot_subsets(figures, folder / "subsets.png")
    _plot_routing(figures, folder / "routing.png")
    head = (
        f"Each entrant: {passes} passes of the network (a teacher's and a second pass count), seed {seed}, the best of "
        "three learning rates on validation. The simulator is ours: what is said here of sensors must be repeated on "
        "DELIVER, MUSES and MFNet with the recipes in training/recipes/."
    )
    markdown = ["# any_sensor on simrig-5", head]
    page = ["<h1>any_sensor on simrig-5</h1>", f"<p>{html.escape(head)}</p>"]
    for title, rows in tables:
        markdown += [f"## {title}", _markdown(rows)]
        page += [f"<h2>{html.escape(title)}</h2>", _html(rows)]
    for name, title in pictures.items():
        markdown += [f"## {title}", f"![{title}]({name})"]
        page += [f"<h2>{title}</h2>", _embedded(folder / name, title)]
    write_text(folder / "report.md", "\n\n".join(markdown) + "\n")
    style = "<style>body{font-family:sans-serif;margin:2em}td,th{padding:.2em .8em;text-align:right}</style>"
    body = "\n".join(page)
    write_text(folder / "report.html", f'<!doctype html><meta charset="utf-8">{style}\n{body}\n')


def drop_mean(figures: dict[str, Any]) -> float:
    """Mean over every subset of the sensors, all of them included, absent ones left out."""
    miou = figures["miou"]
    return float(np.mean([*miou["drop"].values(), miou["clean"]["all"]]))


def zero_mean(figures: dict[str, Any]) -> float:
    """The same with blank images in place of absent ones."""
    miou = figures["miou"]
    return float(np.mean([*miou["zero"].values(), miou["clean"]["all"]]))


def noise_loss(figures: dict[str, Any]) -> float:
    """What the papers' noise on the worst modality costs."""
    miou = figures["miou"]
    return float(miou["clean"]["all"] - min(miou["noise"].values()))


def night_share(figures: dict[str, Any]) -> float:
    """Share of the full score that is left at night without RGB."""
    miou = figures["miou"]
    without = max(
        (name for name in miou["night_drop"] if "rgb" not in name.split("+")), key=lambda name: name.count("+")
    )
    return float(miou["night_drop"][without] / miou["condition"]["night"])


def fell_share(figures: dict[str, Any], applied: bool | None = None) -> float:
    """Share of corrupted frames where the corrupted sensor's weight fell; of all, applied or new kinds of fault."""
    chosen = [
        entry
        for key, entry in figures["falls"].items()
        if applied is None or (key.split(": ")[1] in APPLIED) == applied
    ]
    return float(sum(e["fell"] * e["frames"] for e in chosen) / max(sum(e["frames"] for e in chosen), 1))


def aims(figures: Figures) -> list[list[str]]:
    """Aim, what was asked, what was measured, whether it was reached; those whose rivals did not run are left out."""
    ours = figures["any_sensor"]
    rows = [["aim", "asked", "measured", ""]]

    def add(aim: str, asked: float, measured: float, at_least: bool = True) -> None:
        reached = measured >= asked if at_least else measured <= asked
        sign = "at least" if at_least else "at most"
        rows.append([aim, f"{sign} {asked:g}", f"{measured:.2f}", "reached" if reached else "not reached"])

    if "mle_sam" in figures:
        theirs = figures["mle_sam"]
        add("mean of 31 subsets (DROP) above mle_sam", 10, 100 * (drop_mean(ours) - drop_mean(theirs)))
        add("mean of 31 subsets (ZERO) above mle_sam", 8, 100 * (zero_mean(ours) - zero_mean(theirs)))
    if "mean_fusion_subsets" in figures:
        theirs = figures["mean_fusion_subsets"]
        add("DROP above mean_fusion trained on subsets", 1, 100 * (drop_mean(ours) - drop_mean(theirs)))
        corrupted = ours["miou"]["corrupted"]["corrupted"] - theirs["miou"]["corrupted"]["corrupted"]
        add("one corrupted sensor, above the same", 5, 100 * corrupted)
    best = max(entry["miou"]["clean"]["all"] for entry in figures.values())
    add("all sensors: below the best of all", 1, 100 * (best - ours["miou"]["clean"]["all"]), at_least=False)
    add("loss under noise on any one modality", 3, 100 * noise_loss(ours), at_least=False)
    add("night without RGB, % of the full score", 90, 100 * night_share(ours))
    add("weight falls, % of frames, all faults", 90, 100 * fell_share(ours))
    add("the same, kinds that training never applied", 90, 100 * fell_share(ours, applied=False))
    return rows


def _summary(figures: Figures, rates: dict[str, str]) -> list[list[str]]:
    rows = [["entrant", "learning rate", "all sensors", "DROP", "ZERO", "corrupted", "worst noise costs"]]
    for name, entry in figures.items():
        numbers = (
            entry["miou"]["clean"]["all"],
            drop_mean(entry),
            zero_mean(entry),
            entry["miou"]["corrupted"]["corrupted"],
            noise_loss(entry),
        )
        rows.append([name, rates[name], *(f"{100 * number:.1f}" for number in numbers)])
    return rows


def _grid(figures: Figures, group: str) -> list[list[str]]:
    names = sorted(next(iter(figures.values()))["miou"][group])
    rows = [["", *figures]]
    rows += [[name, *(f"{100 * entry['miou'][group][name]:.1f}" for entry in figures.values())] for name in names]
    return rows


def _falls(entry: dict[str, Any]) -> list[list[str]]:
    rows = [["sensor: fault", "in training", "its weight fell, % of frames", "mean change", "frames"]]
    for key, fall in entry["falls"].items():
        applied = "its like" if key.split(": ")[1] in APPLIED else "never"
        rows.append([key, applied, f"{100 * fall['fell']:.0f}", f"{fall['mean_change']:+.3f}", str(fall["frames"])])
    return rows


def _plot_subsets(figures: Figures, path: Path) -> None:
    from matplotlib.figure import Figure

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
    _save(figure, path)


def _plot_routing(figures: Figures, path: Path) -> None:
    from matplotlib.figure import Figure

    entry = figures.get("any_sensor") or next(iter(figures.values()))
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
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=90)


def _embedded(picture: Path, title: str) -> str:
    """The picture inside the page, which is one file."""
    return f'<img src="data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}" alt="{title}">'


def _markdown(rows: list[list[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _html(rows: list[list[str]]) -> str:
    head, *body = ([html.escape(cell) for cell in row] for row in rows)
    lines = ["".join(f"<th>{cell}</th>" for cell in head)]
    lines += ["".join(f"<td>{cell}</td>" for cell in row) for row in body]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
