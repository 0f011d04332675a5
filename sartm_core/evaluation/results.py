"""An evaluation as plain values: the content of `metrics.json`, the CSV and the terminal's tables."""

import csv
import io
from typing import Any

import numpy as np

from sartm_core.evaluation.outcome import LIST, WINDOW, Evaluation, Instant
from sartm_core.evaluation.tally import Tally


def as_dict(evaluation: Evaluation) -> dict[str, Any]:
    """All metrics. Means are reported under both conventions: absent classes skipped, and counted as 0."""
    e = evaluation
    names = e.class_names
    result: dict[str, Any] = {
        "data": e.data,
        "split": e.split,
        "model": e.model,
        "modalities": list(e.modalities),
        "protocols": list(e.protocols),
        "clean": _summary(_clean(e), e) | {"classes": _classes(_clean(e), names)},
    }
    groups = {group for group, _ in e.variations} - {"clean"}
    full = "+".join(e.modalities)
    for group in sorted(groups):
        entries = {name: _summary(tally, e) for (g, name), tally in e.variations.items() if g == group}
        result[group] = entries
        if group in ("drop", "zero"):
            # The full set counts as a subset, as in the papers' tables.
            # A recording may lack all sensors of some subsets.
            scored = [entry for entry in (*entries.values(), result["clean"]) if entry["frames"]]
            result[f"{group}_mean"] = {
                "miou": _rounded(np.mean([entry["miou"] for entry in scored])),
                "miou_absent_0": _rounded(np.mean([entry["miou_absent_0"] for entry in scored])),
                "subsets": len(scored),
                "with": full,
            }
    for tag, plural in (("condition", "conditions"), ("fault", "faults")):
        if plural in e.protocols:
            result[plural] = {value: _summary(tally, e) for (t, value), tally in e.tags.items() if t == tag}
    listed = {value: _summary(tally, e) for (t, value), tally in e.tags.items() if t == LIST}
    if listed:
        result["lists"] = listed
    if e.course:
        result["windows"] = {value: _summary(tally, e) for (t, value), tally in e.tags.items() if t == WINDOW}
        result["course"] = [_instant(one, e) for one in e.course]
    result["latency_ms"] = {
        f"{group} {name}": round(seconds * 1e3, 2) for (group, name), seconds in e.latency_s.items()
    }
    result["frames"] = [{"id": identity, "miou": _rounded(score)} for identity, score in e.frame_scores]
    return result


def _clean(evaluation: Evaluation) -> Tally:
    return next(tally for (group, _), tally in evaluation.variations.items() if group == "clean")


def _summary(tally: Tally, evaluation: Evaluation) -> dict[str, Any]:
    score = tally.score
    return {
        "miou": _rounded(score.mean_iou()),
        "miou_absent_0": _rounded(score.mean_iou("zero")),
        "macc": _rounded(score.mean_accuracy()),
        "f1": _rounded(score.mean_f1()),
        "pixel_accuracy": _rounded(score.pixel_accuracy()),
        "calibration_error": _rounded(tally.calibration_error()),
        "frames": tally.frames,
        "routing": {
            name: _rounded(weight) for name, weight in zip(evaluation.model_modalities, tally.routing(), strict=True)
        },
    }


def _instant(one: Instant, evaluation: Evaluation) -> dict[str, Any]:
    weights = zip(evaluation.model_modalities, one.routing, strict=True)
    return {
        "id": one.id,
        "recording": one.moment.recording,
        "time_s": round(one.moment.time_s, 3),
        "miou": _rounded(one.miou),
        "routing": {name: _rounded(weight) for name, weight in weights},
        "states": one.moment.states,
    }


def _classes(tally: Tally, names: tuple[str, ...]) -> dict[str, dict[str, float | None]]:
    score = tally.score
    columns = zip(names, score.iou(), score.accuracy(), score.f1(), strict=True)
    return {
        name: {"iou": _rounded(iou), "accuracy": _rounded(accuracy), "f1": _rounded(f1)}
        for name, iou, accuracy, f1 in columns
    }


def _rounded(value: Any) -> float | None:
    """Five digits; None for NaN, which JSON cannot represent."""
    number = float(value)
    return None if number != number else round(number, 5)


def as_csv(figures: dict[str, Any]) -> str:
    """One row per variation, condition and fault."""
    text = io.StringIO()
    columns = ("miou", "miou_absent_0", "macc", "f1", "pixel_accuracy", "calibration_error", "frames")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("group", "name", *columns))
    for group in ("clean", "drop", "zero", "noise", "conditions", "faults", "lists", "windows"):
        entries = figures.get(group, {})
        rows = {"+".join(figures["modalities"]): entries} if group == "clean" else entries
        for name, entry in rows.items():
            writer.writerow((group, name, *(entry[column] for column in columns)))
    return text.getvalue()
