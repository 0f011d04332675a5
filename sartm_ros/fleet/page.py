"""The page of one recording: what the fleet's table says of it, in words, and where its result is."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from sartm_core.files import write_text
from sartm_ros.fleet.layout import PAGE_FILE
from sartm_ros.fleet.order import Order
from sartm_ros.fleet.plan import Recording


def environment() -> Environment:
    """Templates of this package."""
    loader = PackageLoader("sartm_ros.fleet", ".")
    found = Environment(loader=loader, undefined=StrictUndefined, autoescape=True)
    found.filters["percent"] = lambda share: "" if share is None else f"{100 * share:.1f}"
    return found


def write_page(folder: Path, recording: Recording, order: Order, figures: dict[str, Any]) -> None:
    """Writes the page, unless the action has written a report of its own."""
    if (folder / PAGE_FILE).exists():
        return
    page = environment().get_template("recording.html.j2")
    files = sorted(entry.name for entry in folder.iterdir())
    text = page.render(recording=recording, action=order.what.action, figures=figures, files=files)
    write_text(folder / PAGE_FILE, text + "\n")
