"""The study's report: tables in Markdown and HTML, plots, and whether each aim was reached."""

import base64
import html
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import plots
from plots import Figures

from sartm_core.files import write_text

AS_IT_IS, HALF_SIZE = "as it is", "all but RGB at half size"
"""Ablations whose cost is plotted."""

APPLIED = ("dead", "noisy", "motion_blur", "over_exposure", "under_exposure", "misaligned", "frozen", "shutter")
"""Faults that training applies in a similar form (a closed shutter is a blank image); others are new in the test."""

FOUR = "rgb+thermal+depth+lidar"

REAL = """The simulator is ours, and each seed is one run. To be repeated on real sensors, with the existing recipes:

- DELIVER (`training/recipes/any_sensor_deliver.yaml` against `mle_sam_deliver.yaml`, `sam_lora_deliver.yaml` and
  `mean_fusion_deliver.yaml`): the means over all subsets, and its own sensor failures.
- MUSES (`any_sensor_muses.yaml`, `mle_sam_muses.yaml`): night, fog, rain and snow; sparse LiDAR and events.
- MFNet (`any_sensor_mfnet.yaml`, `sartm_mfnet.yaml`): night without RGB.

All three need a GPU and SAM2's weights instead of nano's."""


@dataclass(frozen=True)
class Settings:
    """How the entrants were trained.

    Attributes:
        rates: the best learning rate of each, or the only one tried.
        tried: learning rates of each, tried on the smaller budget.
        passes: network passes in each final run.
        search_passes: network passes in each search and ablation.
        seed: of the final runs.
        entrants, ablations: of the whole study, run or not.
        when: date and machine.
        sources: repository and commit of networks of others, by their names.
    """

    rates: dict[str, str]
    tried: dict[str, tuple[str, ...]]
    passes: int
    search_passes: int
    seed: int
    entrants: tuple[str, ...]
    ablations: tuple[str, ...]
    when: str
    sources: dict[str, str] = field(default_factory=dict)


def write_report(folder: Path, figures: Figures, ablations: Figures, settings: Settings) -> None:
    """Writes `report.md`, `report.html`, their pictures, and `figures.json`.

    Args:
        folder: to write to.
        figures: of the entrants.
        ablations: of any_sensor with changes.
        settings: how they were trained.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables = [("Mean IoU on the test frames, %", _summary(figures, settings))]
    if "any_sensor" in figures:
        tables.append(("Aims of any_sensor", aims(figures, ablations)))
    if ablations:
        title = f"Ablations of any_sensor: {settings.search_passes} passes, fewer test frames, mean IoU in %"
        tables.append((title, _ablations(ablations)))
    tables.append(("Mean IoU per condition, all sensors, %", _grid(figures, "condition")))
    tables.append(("Mean IoU with one corrupted sensor, %", _grid(figures, "fault")))
    if "any_sensor" in figures:
        tables.append(("Routing of any_sensor when a sensor fails", _falls(figures["any_sensor"])))
    head = _head(settings, figures, ablations)
    markdown = ["# any_sensor on simrig-5", head]
    page = ["<h1>any_sensor on simrig-5</h1>", f"<p>{html.escape(head)}</p>"]
    for title, rows in tables:
        markdown += [f"## {title}", _markdown(rows)]
        page += [f"<h2>{html.escape(title)}</h2>", _html(rows)]
    for name, title in plots.draw_all(figures, _sizes(ablations), folder).items():
        markdown += [f"## {title}", f"![{title}]({name})"]
        page += [f"<h2>{title}</h2>", _embedded(folder / name, title)]
    markdown += ["## What this does not show", REAL]
    page += ["<h2>What this does not show</h2>", f"<p style='white-space:pre-line'>{html.escape(REAL)}</p>"]
    write_text(folder / "report.md", "\n\n".join(markdown) + "\n")
    write_text(folder / "figures.json", json.dumps({"entrants": figures, "ablations": ablations}, indent=1) + "\n")
    style = "<style>body{font-family:sans-serif;margin:2em}td,th{padding:.2em .8em;text-align:right}</style>"
    body = "\n".join(page)
    write_text(folder / "report.html", f'<!doctype html><meta charset="utf-8">{style}\n{body}\n')


def drop_mean(figures: dict[str, Any]) -> float:
    """Mean over all subsets of the sensors, the full set included; other sensors are absent."""
    miou = figures["miou"]
    return float(np.mean([*miou["drop"].values(), miou["clean"]["all"]]))


def zero_mean(figures: dict[str, Any]) -> float:
    """The same with blank images in place of absent ones."""
    miou = figures["miou"]
    return float(np.mean([*miou["zero"].values(), miou["clean"]["all"]]))


def noise_loss(figures: dict[str, Any]) -> float:
    """Loss caused by the papers' noise on the worst modality."""
    miou = figures["miou"]
    return float(miou["clean"]["all"] - min(miou["noise"].values()))


def night_share(figures: dict[str, Any]) -> float:
    """Share of the full score that remains at night without RGB."""
    miou = figures["miou"]
    without = max(
        (name for name in miou["night_drop"] if "rgb" not in name.split("+")), key=lambda name: name.count("+")
    )
    return float(miou["night_drop"][without] / miou["condition"]["night"])


def fell_share(figures: dict[str, Any], applied: bool | None = None) -> float:
    """Share of corrupted frames where the faulty sensor's weight fell; for all, applied or new kinds of fault."""
    chosen = [
        entry
        for key, entry in figures["falls"].items()
        if applied is None or (key.split(": ")[1] in APPLIED) == applied
    ]
    return float(sum(e["fell"] * e["frames"] for e in chosen) / max(sum(e["frames"] for e in chosen), 1))


def aims(figures: Figures, ablations: Figures) -> list[list[str]]:
    """Rows of aim, target, measurement and whether it was reached; omits aims whose rivals did not run."""
    ours = figures["any_sensor"]
    rows = [["aim", "target", "measured", ""]]

    def add(aim: str, target: float, measured: float, at_least: bool = True) -> None:
        reached = measured >= target if at_least else measured <= target
        sign = "at least" if at_least else "at most"
        rows.append([aim, f"{sign} {target:g}", f"{measured:.2f}", "reached" if reached else "not reached"])

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
    rise = max(entry["after"] - entry["before"] for entry in ours["falls"].values())
    add("largest mean rise of a weight, any sensor and fault, % of all weight", 0, 100 * rise, at_least=False)
    if HALF_SIZE in ablations:
        full, half = (ablations[name] for name in (AS_IT_IS, HALF_SIZE))
        cost = half["gflop"][3] / half["gflop"][0]
        lost = 100 * (full["miou"]["drop"][FOUR] - half["miou"]["drop"][FOUR])
        both = "reached" if cost <= 1.9 and lost <= 1 else "not reached"
        target, measured = "at most 1.9 times RGB alone, 1 point lost", f"{cost:.2f} times, {lost:.2f} points"
        rows.append(["four modalities, all but RGB at half size (small budget)", target, measured, both])
    return rows


def _head(settings: Settings, figures: Figures, ablations: Figures) -> str:
    """Describes the runs, and which parts of the study are missing."""
    missing = [name for name in settings.entrants if name not in figures]
    left_out = [f'"{name}"' for name in settings.ablations if name not in ablations]
    if left_out:
        missing.append(f"the ablation{'s' if len(left_out) > 1 else ''} {', '.join(left_out)}")
    return (
        f"{settings.when}. Each entrant: {settings.passes} passes of the network (a second pass counts), batch 8, "
        f"128x160, seed {settings.seed}, the learning rate that was best on validation of those tried "
        f"({settings.search_passes} passes each). DROP: mean over all 31 subsets, other sensors absent; ZERO: blank "
        "images in their place. Corrupted: test frames with a fault, all sensors in use. GFLOP: of the whole network "
        "at 448x640 with all sensors."
        + "".join(f" {name}: {source}, absent sensors as zeros." for name, source in settings.sources.items())
        + (f" Not run: {', '.join(missing)}." if missing else "")
    )


def _summary(figures: Figures, settings: Settings) -> list[list[str]]:
    rows = [["entrant", "learning rate", "tried", *COLUMNS, "worst noise costs"]]
    for name, entry in figures.items():
        rate, tried = settings.rates[name], ", ".join(settings.tried[name])
        rows.append([name, rate, tried, *_cells(entry), f"{100 * noise_loss(entry):.1f}"])
    return rows


COLUMNS = ("GFLOP", "all sensors", "DROP", "ZERO", "corrupted")


def _cells(entry: dict[str, Any]) -> list[str]:
    miou = entry["miou"]
    scores = (miou["clean"]["all"], drop_mean(entry), zero_mean(entry), miou["corrupted"]["corrupted"])
    return [f"{entry['gflop'][-1]:.1f}", *(f"{100 * score:.1f}" for score in scores)]


def _ablations(ablations: Figures) -> list[list[str]]:
    rows = [["any_sensor", *COLUMNS, "weight falls", "new kinds of fault"]]
    for name, entry in ablations.items():
        falls = (fell_share(entry), fell_share(entry, applied=False))
        rows.append([name, *_cells(entry), *(f"{100 * share:.1f}" for share in falls)])
    return rows


def _sizes(ablations: Figures) -> Figures:
    """The ablations whose cost is plotted: full and half size."""
    return {f"any_sensor {name}, small budget": ablations[name] for name in (AS_IT_IS, HALF_SIZE) if name in ablations}


def _grid(figures: Figures, group: str) -> list[list[str]]:
    names = sorted(next(iter(figures.values()))["miou"][group])
    rows = [["", *figures]]
    rows += [[name, *(f"{100 * entry['miou'][group][name]:.1f}" for entry in figures.values())] for name in names]
    return rows


def _falls(entry: dict[str, Any]) -> list[list[str]]:
    rows = [["sensor: fault", "in training", "its weight fell, % of frames", "sound", "faulty", "frames"]]
    for key, fall in entry["falls"].items():
        applied = "similar" if key.split(": ")[1] in APPLIED else "never"
        weights = [f"{fall[state]:.3f}" for state in ("before", "after")]
        rows.append([key, applied, f"{100 * fall['fell']:.0f}", *weights, str(fall["frames"])])
    return rows


def _embedded(picture: Path, title: str) -> str:
    """The picture as an inline image, so that the page is a single file."""
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
