"""The demo's report: one self-contained HTML file."""

import base64
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from sartm_core.files import write_text
from sartm_core.rig import Rig
from sartm_sim.demo.analysis import Drive
from sartm_sim.demo.grid import CELL_M, GridPair
from sartm_sim.demo.pictures import COLOURS, grid_sheet, latency_chart, routing_chart


def write_report(
    drive: Drive,
    summary: dict[str, Any],
    compared: dict[int, GridPair],
    rig: Rig,
    bundle: str,
    pictures: Path,
    out: Path,
) -> None:
    """Writes report.html; `pictures` is the contact sheet, embedded; `compared` of `compare_grids`."""
    source = resources.files("sartm_sim.demo").joinpath("report.html.j2").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(source)
    html = template.render(
        summary=summary,
        modalities=rig.names,
        colours=dict(zip(rig.names, COLOURS, strict=False)),
        bundle=bundle,
        pictures=base64.b64encode(pictures.read_bytes()).decode("ascii"),
        grids=base64.b64encode(grid_sheet(drive, compared, summary, rig)).decode("ascii"),
        cell_m=CELL_M,
        routing_chart=routing_chart(drive, rig),
        latency_chart=latency_chart(drive),
    )
    write_text(out, html)
