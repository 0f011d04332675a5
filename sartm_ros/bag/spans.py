"""Parts of a recording between which its clock jumped: without a battery it begins in 1970, until NTP sets it."""

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import NamedTuple

JUMP_NS = 30 * 24 * 3600 * 1_000_000_000
"""No recorder is silent this long: the clock was set in between, or some messages have no time (0)."""


class Span(NamedTuple):
    """The times of the first and the last of so many messages."""

    start_ns: int
    end_ns: int
    messages: int


def spans_of(times: Iterable[int]) -> list[Span]:
    """The parts, in the order of time; none without messages."""
    spans: list[Span] = []
    for time_ns in sorted(times):
        if spans and time_ns - spans[-1].end_ns <= JUMP_NS:
            spans[-1] = Span(spans[-1].start_ns, time_ns, spans[-1].messages + 1)
        else:
            spans.append(Span(time_ns, time_ns, 1))
    return spans


def longest(spans: list[Span]) -> Span:
    """The part with most of the messages; of equal ones the last, since clocks are set forward."""
    return max(spans, key=lambda span: (span.messages, span.start_ns))


def jump_remark(spans: list[Span], kept: Span) -> str:
    """Which messages are left out of the span, and when they were recorded."""
    others = [span for span in spans if span != kept]
    left_out = ", ".join(f"{span.messages} from {_date(span.start_ns)} on" for span in others)
    return (
        f"its clock jumps, as when NTP sets it: {kept.messages} messages from {_date(kept.start_ns)} on are its span; "
        f"left out of span and duration: {left_out}."
    )


def _date(time_ns: int) -> str:
    try:
        return datetime.fromtimestamp(time_ns // 1_000_000_000, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{time_ns} ns"
