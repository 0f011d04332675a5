"""An evaluation as plain values: the content of `metrics.json`, the CSV and the terminal's tables."""

import csv
import io
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from sartm_core.evaluation.convention import ANYSEG
from sartm_core.evaluation.outcome import LIST, WINDOW, Evaluation, Instant
from sartm_core.evaluation.sensor_loss import LOSS_PROBABILITIES, RATIOS, expectation
from sartm_core.evaluation.tally import Tally

GROUPS = {
    "drop": "DROP",
    "zero": "ZERO",
    "noise": "noise",
    "emm": "EMM",
    **{f"rmm_{ratio:g}": f"RMM {ratio:g}" for ratio in RATIOS},
    "nm": "NM",
    "conditions": "in",
    "single_conditions": "in any",
    "faults": "fault",
    "lists": "list",
    "windows": "window",
}
"""Groups of rows of an evaluation, as `as_dict` names them, and how a row of theirs begins."""


def as_dict(evaluation: Evaluation) -> dict[str, Any]:
    """All metrics. Means are given with absent classes skipped and counted as 0; by AnySeg's convention only as 0."""
    e = evaluation
    names = e.class_names
    result: dict[str, Any] = {
        "data": e.data,
        "split": e.split,
        "model": e.model,
        "modalities": list(e.modalities),
        "protocols": list(e.protocols),
        "convention": e.convention,
        "clean": _summary(_clean(e), e) | {"classes": _classes(_clean(e), names)},
    }
    if e.convention == ANYSEG:
        result["scored_size"] = e.network["size"]
    groups = {group for group, _ in e.variations} - {"clean"}
    full = "+".join(e.modalities)
    for group in sorted(groups):
        entries = {name: _summary(tally, e) for (g, name), tally in e.variations.items() if g == group}
        result[group] = entries
        if group not in ("noise", "nm"):
            # The full set counts as a subset, as in the papers' tables.
            result[f"{group}_mean"] = _mean_of_subsets(entries | {full: result["clean"]}, e.modalities)
    for tag, plural in (("condition", "conditions"), ("fault", "faults")):
        if plural in e.protocols:
            result[plural] = {value: _summary(tally, e) for (t, value), tally in e.tags.items() if t == tag}
    if "conditions" in e.protocols and (single := _single_conditions(e)):
        result["single_conditions"] = {word: _summary(tally, e) for word, tally in single.items()}
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


def _single_conditions(evaluation: Evaluation) -> dict[str, Tally]:
    """Each word of combined conditions: of `fog day` and `fog night` fog, day and night, as benchmarks report them.

    Exact, since the tallies are integers. A condition of one word has its row already.
    """
    found = {value: tally for (tag, value), tally in evaluation.tags.items() if tag == "condition"}
    words = sorted({word for value in found if len(value.split()) > 1 for word in value.split()})
    return {word: reduce(add, (tally for value, tally in found.items() if word in value.split())) for word in words}


def _clean(evaluation: Evaluation) -> Tally:
    return next(tally for (group, _), tally in evaluation.variations.items() if group == "clean")


def _summary(tally: Tally, evaluation: Evaluation) -> dict[str, Any]:
    score = tally.score
    absent = "zero" if evaluation.convention == ANYSEG else "skip"
    return {
        "miou": _rounded(score.mean_iou(absent)),
        "miou_absent_0": _rounded(score.mean_iou("zero")),
        "macc": _rounded(score.mean_accuracy(absent)),
        "f1": _rounded(score.mean_f1(absent)),
        "pixel_accuracy": _rounded(score.pixel_accuracy()),
        "calibration_error": _rounded(tally.calibration_error()),
        "frames": tally.frames,
        "routing": {
            name: _rounded(weight) for name, weight in zip(evaluation.model_modalities, tally.routing(), strict=True)
        },
    }


def _mean_of_subsets(entries: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Of sets of sensors: the plain mean, and what is expected where each sensor fails on its own."""
    scored = {name: entry for name, entry in entries.items() if entry["frames"]}  # a recording may lack some sets
    result: dict[str, Any] = {"subsets": len(scored), "with": "+".join(names)}
    for convention in ("miou", "miou_absent_0"):
        scores = {name: entry[convention] for name, entry in scored.items()}
        result[convention] = _rounded(np.mean(list(scores.values())))
        result[f"expected_{convention}"] = {
            f"{probability:g}": _rounded(expectation(scores, names, probability)) for probability in LOSS_PROBABILITIES
        }
    return result


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
    for group in ("clean", *GROUPS):
        entries = figures.get(group, {})
        rows = {"+".join(figures["modalities"]): entries} if group == "clean" else entries
        for name, entry in rows.items():
            writer.writerow((group, name, *(entry[column] for column in columns)))
    return text.getvalue()
