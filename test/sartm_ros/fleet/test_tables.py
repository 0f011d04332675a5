"""The fleet's page and its Parquet file."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sartm_core.errors import SartmError
from sartm_ros.fleet.report import write_report
from sartm_ros.fleet.rows import read_rows, write_parquet


def write_result(out: Path, name: str, action: str = "segment", **figures: Any) -> None:
    (out / name).mkdir(parents=True)
    sensors = {"rgb": {"dead": figures.pop("dead", 0.0), "misaligned": None, "mistrusted": 0.5}}
    key = {"source": f"/drives/{name}", "size": 7, "bundle": "abc", "options": {"action": action}}
    content = {"key": key, "figures": {"seconds": 60.0, "sets": 600, "sensors": sensors, **figures}}
    (out / name / "result.json").write_text(json.dumps(content))


class Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.links: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for key, value in attrs if key in ("href", "src")]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.rows[-1][-1] += data


def page_of(out: Path) -> Cells:
    write_report(read_rows(out), out / "fleet.html")
    cells = Cells()
    cells.feed((out / "fleet.html").read_text())
    return cells


def test_failures_come_first_then_the_lowest_scores(tmp_path: Path) -> None:
    for name, miou in (("good", 0.9), ("poor & <b>", 0.3), ("fair", 0.6)):
        write_result(tmp_path, name, "evaluate", miou=miou, masks=600)
    (tmp_path / "fair" / "thumbnail.jpg").write_bytes(b"")
    (tmp_path / "fleet.json").write_text(json.dumps({"failures": {"lost": "<no> room"}}))
    rows = read_rows(tmp_path)
    assert [row["recording"] for row in rows] == ["lost", "poor & <b>", "fair", "good"]
    assert [row["miou_distance"] for row in rows[1:]] == pytest.approx([-0.3, 0.0, 0.3])
    page = page_of(tmp_path)
    head = ["recording", "", "seconds", "frame sets", "mIoU", "from the mean", "rgb dead", "rgb mistrusted"]
    assert page.rows[0] == head
    assert page.rows[1] == ["lost", "", "<no> room"]
    assert page.rows[2] == ["poor & <b>", "", "60.0", "600", "30.0", "-30.0", "0.0", "50.0"]
    assert page.links == [
        "poor%20%26%20%3Cb%3E/report.html",
        "fair/report.html",
        "fair/thumbnail.jpg",
        "good/report.html",
    ]


def test_without_labels_the_least_confident_come_first(tmp_path: Path) -> None:
    for name, confidence in (("sure", 0.9), ("unsure", 0.4)):
        write_result(tmp_path, name, confidence=confidence, disagreement=0.2)
    assert [row["recording"] for row in read_rows(tmp_path)] == ["unsure", "sure"]
    assert page_of(tmp_path).rows[0][3:5] == ["confidence", "disagreement"]


def test_without_a_model_the_dead_come_first(tmp_path: Path) -> None:
    write_result(tmp_path, "whole", "extract", frames=9)
    write_result(tmp_path, "blind", "extract", frames=9, dead=0.9)
    assert [row["recording"] for row in read_rows(tmp_path)] == ["blind", "whole"]


def test_parquet_holds_the_same_typed(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install 'sartm_ros[fleet]'")
    write_result(tmp_path, "drive", confidence=0.5, masks=600)
    (tmp_path / "fleet.json").write_text(json.dumps({"failures": {"lost": "why"}}))
    rows = read_rows(tmp_path)
    write_parquet(rows, tmp_path / "fleet.parquet")
    table = parquet.read_table(tmp_path / "fleet.parquet")
    assert table.to_pylist() == rows
    types = {field.name: str(field.type) for field in table.schema}
    assert types | {"miou": "double", "masks": "int64", "failure": "string", "rgb_dead": "double"} == types


def test_what_is_not_there_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(SartmError, match="holds no results of `sartm fleet`"):
        read_rows(tmp_path)
    write_result(tmp_path, "drive")
    (tmp_path / "drive" / "result.json").write_text("{}")
    with pytest.raises(SartmError, match=r"drive/result\.json: is no result"):
        read_rows(tmp_path)
