"""One recording scored against its labels."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from sartm_core.deploy import Segmenter
from sartm_core.evaluation.outcome import Evaluation
from sartm_core.evaluation.report import write_report
from sartm_core.evaluation.results import as_csv
from sartm_core.files import write_bytes, write_text
from sartm_ros.bag.evaluate import BagEvaluation, evaluate_bags
from sartm_ros.bag.replay import ReplayOptions
from sartm_ros.fleet.layout import METRICS_FILE, METRICS_TABLE, PAGE_FILE, THUMBNAIL_FILE
from sartm_ros.fleet.order import Evaluating, Order
from sartm_ros.fleet.tally import DEAD, mistrusted, thumbnail


def evaluate(path: Path, order: Order, what: Evaluating, segmenter: Segmenter, folder: Path) -> dict[str, Any]:
    """Writes what `sartm bag evaluate` writes, without the times it took; returns the figures of the fleet's table."""
    options = ReplayOptions(order.stamps, what.truth_topic, what.truth_tolerance_s, what.tags_topic)
    how = BagEvaluation(
        protocols=what.protocols,
        label_tolerance_s=what.truth_tolerance_s,
        window_s=what.window_s,
        options=options,
        definitions=None if order.definitions is None else Path(order.definitions),
    )
    evaluation, figures = evaluate_bags(segmenter, order.rig, [path], how)
    evaluation.latency_s, figures["latency_ms"] = {}, {}  # another every time: results are compared to the byte
    write_text(folder / METRICS_FILE, json.dumps(figures, indent=1) + "\n")
    write_text(folder / METRICS_TABLE, as_csv(figures))
    write_report(evaluation, figures, folder / PAGE_FILE)
    worst = evaluation.worst[0]
    write_bytes(folder / THUMBNAIL_FILE, thumbnail(order.rig.palette[worst.mask]))
    (recording,) = figures["recordings"]
    return {
        "seconds": figures["course"][-1]["time_s"],
        "sets": recording["replay"]["sets"],
        "masks": recording["scored"],
        "miou": figures["clean"]["miou"],
        "sensors": _sensors(evaluation, figures["course"]),
        "remarks": recording["remarks"],
    }


def _sensors(evaluation: Evaluation, course: list[dict[str, Any]]) -> dict[str, Any]:
    """Shares of the scored sets."""
    doubted: Counter[str] = Counter()
    dead: Counter[str] = Counter()
    for one in course:
        doubted.update(mistrusted(one["routing"]))
        dead.update(name for name, state in one["states"].items() if state in DEAD)
    return {
        name: {
            "dead": round(dead[name] / len(course), 6),
            "misaligned": None,
            "mistrusted": round(doubted[name] / max(len(course) - dead[name], 1), 6),
        }
        for name in evaluation.modalities
    }
