"""What a fleet's folder holds: one folder for each recording, and the names in it."""

RESULT_FILE = "result.json"
"""Key and figures; written last, so that what has it is complete."""
PAGE_FILE = "report.html"
THUMBNAIL_FILE = "thumbnail.jpg"

MASKS_FILE, SETS_FILE = "masks.mcap", "sets.json"
METRICS_FILE, METRICS_TABLE = "metrics.json", "metrics.csv"
FRAMES_FOLDER = "frames"
NOTES_FILE = "notes.json"

SLICES_FOLDER = ".slices"
"""Holds the slices of a recording until all are there."""

OWN = (
    RESULT_FILE, PAGE_FILE, THUMBNAIL_FILE, MASKS_FILE, SETS_FILE, METRICS_FILE, METRICS_TABLE, NOTES_FILE,
    f"{FRAMES_FOLDER}/",
)  # fmt: skip
"""All that an earlier result may consist of, and so all that a new one may replace."""
