"""Explains why messages match no frame set and how to fix it; shared by the node and the offline tools."""

from typing import Any

from sartm_ros.synchronizer import Stream

NO_STAMP = "its messages have no time stamp (0) and are refused. Let the driver stamp them."

MESSAGES_TO_JUDGE = 20
"""After this many messages without a match, the stamps must be wrong."""


def explain_mismatch(counts: dict[str, Any], stream: Stream, anchor: str) -> str | None:
    """Why a stream that sends messages never matches a set; None while there is nothing to report."""
    skew_ms = counts["skew_ms"]
    if counts["never_matched"] < MESSAGES_TO_JUDGE or skew_ms is None:
        return None
    side = "after" if skew_ms > 0 else "before"
    offset_s = stream.offset_s - skew_ms / 1e3
    return (
        f"{counts['never_matched']} messages received, none matched: its nearest stamps are {abs(skew_ms) / 1e3:.3f} s "
        f"{side} those of {anchor}, its tolerance is {stream.tolerance_s:g} s. Synchronise the clocks; for a "
        f"constant delay set {stream.name}.offset_s: {offset_s:.3f}."
    )
