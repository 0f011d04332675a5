"""The fleet as one page: a table of all recordings, the worst first."""

from pathlib import Path

from sartm_core.files import write_text
from sartm_ros.fleet.page import environment
from sartm_ros.fleet.rows import SHARES, Row, columns_of

PERCENT = ("miou", "miou_distance", "confidence", "disagreement", "labelled_share")
HEADS = {
    "seconds": "seconds",
    "sets": "frame sets",
    "frames": "frames",
    "labelled": "labelled frames",
    "miou": "mIoU",
    "miou_distance": "from the mean",
    "confidence": "confidence",
    "disagreement": "disagreement",
    "labelled_share": "labelled pixels",
}


def write_report(rows: list[Row], out: Path) -> None:
    """Writes the page; thumbnails and reports of the recordings are linked, so it stays small.

    Args:
        rows: of `rows.read_rows`.
        out: the HTML file, in the folder of the results.
    """
    there = columns_of(rows)
    shares = [name for name in there if name.endswith(tuple(f"_{share}" for share in SHARES))]
    page = environment().get_template("fleet.html.j2")
    text = page.render(
        rows=rows,
        action=next((row["action"] for row in rows if row["action"]), ""),
        heads={name: head for name, head in HEADS.items() if name in there},
        percent=PERCENT,
        shares={name: name.replace("_", " ") for name in shares},
        pictures="thumbnail" in there,
        failed=sum(row["failure"] is not None for row in rows),
        hours=sum(row["seconds"] or 0 for row in rows) / 3600,
    )
    write_text(out, text + "\n")
