"""Explains why messages match no frame set and how to fix it; shared by the node and the offline tools."""

from typing import Any

from sartm_ros.streams import RECENT, Stream

NO_STAMP = "its messages have no time stamp (0) and are refused. Let the driver stamp them."

MESSAGES_TO_JUDGE = 20
"""After this many messages without a match, the stamps must be wrong."""


def explain_mismatch(counts: dict[str, Any], stream: Stream, anchor: str) -> str | None:
    """Why a stream that sends messages matches no set, or none any more; None while there is nothing to report."""
    skew_ms = counts["skew_ms"]
    if counts["never_matched"] < MESSAGES_TO_JUDGE or skew_ms is None:
        return None
    if counts["late_ms"] is not None:
        return f"of the last {counts['never_matched']} messages received, none matched: {_late(counts, stream)}"
    side = "after" if skew_ms > 0 else "before"
    offset_s = stream.offset_s - skew_ms / 1e3
    return (
        f"of the last {counts['never_matched']} messages received, none matched: its nearest stamps are "
        f"{abs(skew_ms) / 1e3:.3f} s {side} those of {anchor}, its tolerance is {stream.tolerance_s:g} s. Synchronise "
        f"the clocks; for a constant delay set {stream.name}.offset_s: {offset_s:.3f}."
    )


def explain_missing(counts: dict[str, Any], stream: Stream, anchor: str) -> str | None:
    """Why a stream that sends messages is missing from most of the last sets; None if it is not.

    Args:
        counts: of the stream, see `Synchronizer.statistics`.
        stream: its settings.
        anchor: the stream whose stamps the sets carry.
    """
    if 2 * counts["missed"] <= RECENT:
        return None
    missing = f"{counts['missed']} of the last {RECENT} sets lack it, though it sends: "
    if counts["late_ms"] is not None:
        return missing + _late(counts, stream)
    return missing + (
        f"no message of it lies within its tolerance of {stream.tolerance_s:g} s from those of {anchor}. If it is "
        f"slower than {anchor} and older measurements may be used, raise {stream.name}.tolerance_s."
    )


def explain_refused(received: int, strayed: int, repeated: int, stray_s: float | None) -> str | None:
    """Why messages of a stream are refused for their stamps; None while there is nothing to report.

    Args:
        received: lately.
        strayed, repeated, stray_s: of those, see `Synchronizer.statistics`.
    """
    if 2 * repeated > received:
        return (
            f"its stamps stand still: {repeated} of its last {received} messages have the stamp of one before and are "
            "refused. Let the driver stamp each measurement anew; a camera that hangs must be restarted."
        )
    if strayed and stray_s is not None:
        return (
            f"{strayed} of its last {received} messages are refused: they are stamped {abs(stray_s):.3f} s "
            f"{'after' if stray_s > 0 else 'before'} the others. Two publishers of its topic have different clocks, or "
            "its driver mixes two: see `ros2 topic info -v`, and synchronise the clocks."
        )
    return None


def _late(counts: dict[str, Any], stream: Stream) -> str:
    """A slow way and a clock that is behind look the same from here."""
    offset_s = stream.offset_s - (counts["skew_ms"] or 0.0) / 1e3
    return (
        f"its messages arrive {counts['late_ms'] / 1e3:.3f} s after the sets that they belong to. If they are slow on "
        "their way, raise max_wait_s by as much, or relieve its driver, the network or this machine: an offset would "
        "pair measurements of different instants. If its clock is behind, synchronise the clocks, or set "
        f"{stream.name}.offset_s: {offset_s:.3f}."
    )
