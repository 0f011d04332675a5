"""Why messages find no place in a set, and what mends it: said by the node and by offline tools alike."""

from typing import Any

from sartm_ros.synchronizer import Stream

NO_STAMP = "its messages have no time stamp (0) and are refused. Let the driver stamp them."

MESSAGES_TO_JUDGE = 20
"""After so many messages without a match something is wrong with the stamps."""


def explain_mismatch(counts: dict[str, Any], stream: Stream, anchor: str) -> str | None:
    """Why a stream that speaks never belongs to a set; None while there is nothing to say."""
    skew_ms = counts["skew_ms"]
    if counts["never_matched"] < MESSAGES_TO_JUDGE or skew_ms is None:
        return None
    side = "after" if skew_ms > 0 else "before"
    mended_s = stream.offset_s - skew_ms / 1e3
    return (
        f"{counts['never_matched']} messages came, none matched: its nearest stamps are {abs(skew_ms) / 1e3:.3f} s "
        f"{side} those of {anchor}, its tolerance is {stream.tolerance_s:g} s. Synchronise the clocks; against a "
        f"constant delay set {stream.name}.offset_s: {mended_s:.3f}."
    )
