"""Compares several evaluations."""

import json
from pathlib import Path
from typing import Any

from sartm_core.errors import SartmError
from sartm_core.evaluation.convention import STANDARD
from sartm_core.evaluation.results import GROUPS


def compare_runs(paths: list[Path]) -> tuple[list[str], dict[str, list[float | None]]]:
    """Reads `metrics.json` files.

    Args:
        paths: the files, or the folders that hold them.

    Returns:
        One label per run, and name of a metric -> mean IoU of each run, None if a run lacks it.

    Raises:
        SartmError: not a `metrics.json`, or runs on different data or by different conventions.
    """
    contents = [_read(path / "metrics.json" if path.is_dir() else path) for path in paths]
    setups = {(c["data"], c["split"], c["clean"]["frames"], len(c["clean"]["classes"])) for c in contents}
    if len(setups) > 1:
        listed = "; ".join(f"{data} {split}, {n} frames, {k} classes" for data, split, n, k in sorted(setups))
        raise SartmError(f"the runs were scored on different data: {listed}. Compare runs on the same data.")
    conventions = {_convention(content) for content in contents}
    if len(conventions) > 1:
        raise SartmError(
            f"the runs were scored by different conventions: {', '.join(sorted(conventions))}. Their figures mean "
            "different things; score one of the models again with the other's --convention."
        )
    labels = [content["model"] for content in contents]
    if len(set(labels)) < len(labels):
        labels = [f"{label} ({path})" for label, path in zip(labels, paths, strict=True)]
    flat = [_figures(content) for content in contents]
    names = dict.fromkeys(name for figures in flat for name in figures)
    return labels, {name: [figures.get(name) for figures in flat] for name in names}


def _figures(content: dict[str, Any]) -> dict[str, float | None]:
    figures: dict[str, float | None] = {"all sensors": content["clean"]["miou"]}
    for group, label in GROUPS.items():
        if f"{group}_mean" in content:
            figures[f"{label} mean of subsets"] = content[f"{group}_mean"]["miou"]
    for group, label in GROUPS.items():
        figures |= {f"{label} {name}": entry["miou"] for name, entry in content.get(group, {}).items()}
    return figures | {f"class: {name}": entry["iou"] for name, entry in content["clean"]["classes"].items()}


def _convention(content: dict[str, Any]) -> str:
    """The convention, and the size of the labels where it is not their own."""
    name = str(content.get("convention", STANDARD))  # files of earlier versions do not say
    size = content.get("scored_size")
    return name if size is None else f"{name} at {'x'.join(map(str, size))}"


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        _figures(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SartmError(f"{path}: is not a metrics.json of `sartm evaluate` ({error}).") from error
    return dict(content)
