"""The fleet as rows, one for each recording, the worst first: for the page, and for pandas, DuckDB or Polars."""

import json
import math
from pathlib import Path
from typing import Any

from sartm_core.errors import SartmError
from sartm_core.files import atomic_path, natural_key
from sartm_ros.fleet.layout import PAGE_FILE, RESULT_FILE, THUMBNAIL_FILE
from sartm_ros.fleet.run import read_failures

SHARES = ("dead", "misaligned", "mistrusted")
_TEXTS = ("recording", "source", "failure", "report", "thumbnail", "bundle", "action")
_COUNTS = ("bytes", "sets", "masks", "frames", "labelled")
_NUMBERS = ("seconds", "miou", "miou_distance", "confidence", "disagreement", "labelled_share")

Row = dict[str, Any]


def read_rows(out: Path) -> list[Row]:
    """A row for each result in a folder, and for each recording that failed.

    Columns: recording, source, failure, report, thumbnail, bundle (hash), action, bytes, sets, masks, frames, labelled,
    seconds, miou, miou_distance (to the mean of all recordings), confidence, disagreement, labelled_share, and for
    each sensor `NAME_dead`, `NAME_misaligned`, `NAME_mistrusted`, shares of the time from 0 to 1. What was not
    measured is None.

    Raises:
        SartmError: there is no result, or one is damaged.
    """
    results = {path.parent.name: _read(path) for path in sorted(out.glob(f"*/{RESULT_FILE}"))}
    failures = read_failures(out)
    if not results and not failures:
        raise SartmError(f"{out}: holds no results of `sartm fleet`.")
    sensors = list(dict.fromkeys(name for result in results.values() for name in result["figures"]["sensors"]))
    scored = [result["figures"]["miou"] for result in results.values() if result["figures"].get("miou") is not None]
    mean = math.fsum(scored) / len(scored) if scored else None
    rows = [_row(name, result, failures.get(name), sensors, mean, out) for name, result in results.items()]
    rows += [_empty(name, sensors) | {"failure": why} for name, why in failures.items() if name not in results]
    return sorted(rows, key=_worst_first)


def columns_of(rows: list[Row]) -> list[str]:
    """The columns in which any row has a value."""
    return [name for name in rows[0] if any(row[name] is not None for row in rows)]


def write_parquet(rows: list[Row], path: Path) -> None:
    """Writes the rows with all columns, typed alike whatever they hold.

    Raises:
        SartmError: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise SartmError(f"{path}: needs pyarrow: pip install 'sartm_ros[fleet]'.") from error
    kinds = {**dict.fromkeys(_TEXTS, pyarrow.string()), **dict.fromkeys(_COUNTS, pyarrow.int64())}
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.float64())) for name in rows[0]])
    with atomic_path(path) as temporary:
        parquet.write_table(pyarrow.Table.from_pylist(rows, schema), temporary)


def _row(
    name: str, result: dict[str, Any], failure: str | None, sensors: list[str], mean: float | None, out: Path
) -> Row:
    figures, key = result["figures"], result["key"]
    row = _empty(name, sensors) | {"source": key["source"], "bytes": key["size"], "bundle": key["bundle"]}
    row["action"] = key["options"]["action"]
    # An earlier result may be there, though the last run failed.
    row |= {"failure": failure, "report": f"{name}/{PAGE_FILE}"}
    row["thumbnail"] = f"{name}/{THUMBNAIL_FILE}" if (out / name / THUMBNAIL_FILE).is_file() else None
    row |= {column: figures[column] for column in (*_COUNTS, *_NUMBERS) if column in figures}
    row["miou_distance"] = None if row["miou"] is None or mean is None else round(row["miou"] - mean, 6)
    for sensor, shares in figures["sensors"].items():
        row |= {f"{sensor}_{share}": shares[share] for share in SHARES}
    return row


def _empty(name: str, sensors: list[str]) -> Row:
    columns = (*_TEXTS, *_COUNTS, *_NUMBERS, *(f"{sensor}_{share}" for sensor in sensors for share in SHARES))
    return dict.fromkeys(columns) | {"recording": name}


def _worst_first(row: Row) -> tuple[Any, ...]:
    """Failed ones, then by mean IoU, or else by confidence, or else by how dead the sensors were."""
    judged = row["miou"] if row["miou"] is not None else row["confidence"]
    dead = -math.fsum(value for name, value in row.items() if name.endswith("_dead") and value is not None)
    return row["failure"] is None, math.inf if judged is None else judged, dead, natural_key(row["recording"])


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["figures"]["sensors"].items()
        content["key"]["source"], content["key"]["size"], content["key"]["bundle"], content["key"]["options"]["action"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SartmError(
            f"{path}: is no result of `sartm fleet` ({error}). Remove its folder and run again."
        ) from error
    return dict(content)
