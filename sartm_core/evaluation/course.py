"""Plots a recording's mIoU and routing weights over time."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sartm_core.evaluation.outcome import Instant

BREAK_PERIODS = 3.0
"""Lines are broken at gaps this many times longer than the usual period."""
_STATE_COLOURS = {"broken": "#c1121f", "empty": "#f4a261", "absent": "#e9ecef", "stale": "#e9ecef"}


def by_recording(course: list[Instant]) -> dict[str, list[Instant]]:
    """The instants of each recording, in order."""
    parts: dict[str, list[Instant]] = {}
    for one in course:
        parts.setdefault(one.moment.recording, []).append(one)
    return parts


def draw_course(course: list[Instant], colours: dict[str, str]) -> Figure:
    """Draws one recording: mIoU, routing weights, states.

    Args:
        course: its instants, in chronological order.
        colours: of each modality of the model.
    """
    times = np.array([one.moment.time_s for one in course])
    figure = Figure(figsize=(10.5, 4.6 + 0.2 * len(colours)), layout="constrained")
    heights = [2.0, 2.0, 0.18 * len(colours) + 0.2]
    above, middle, below = figure.subplots(3, 1, sharex=True, height_ratios=heights)
    above.plot(times, [one.miou for one in course], ".", color="#adb5bd", markersize=4)
    above.plot(*_broken_line(times, _smooth(np.array([one.miou for one in course]))), color="#1d2429", linewidth=1.4)
    above.set(ylabel="mIoU", ylim=(0, 1))
    for index, (name, colour) in enumerate(colours.items()):
        weights = np.array([one.routing[index] for one in course])
        middle.plot(*_broken_line(times, weights), color=colour, linewidth=1.4, label=name)
        _draw_states(
            below, len(colours) - 1 - index, times, [one.moment.states.get(name, "absent") for one in course], colour
        )
    middle.set(ylabel="routing weight", ylim=(0, 1))
    middle.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    below.set_yticks(range(len(colours)), list(reversed(colours)), fontsize=8)
    below.set(xlabel="seconds", ylim=(-0.6, len(colours) - 0.4))
    for axis in (above, middle, below):
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _smooth(values: np.ndarray, reach: int = 4) -> np.ndarray:
    """Moving average that ignores NaN."""
    reach = min(reach, (len(values) - 1) // 2)
    kernel = np.ones(2 * reach + 1)
    known = np.where(np.isnan(values), 0.0, values)
    weight = np.convolve(~np.isnan(values), kernel, "same")
    return np.asarray(np.convolve(known, kernel, "same") / np.maximum(weight, 1))


def _broken_line(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inserts NaN at long gaps, where no line is drawn."""
    if len(times) < 3:
        return times, values
    gaps = np.flatnonzero(np.diff(times) > BREAK_PERIODS * np.median(np.diff(times))) + 1
    return np.insert(times, gaps, np.nan), np.insert(values, gaps, np.nan)


def _draw_states(axis: Axes, row: int, times: np.ndarray, states: list[str], colour: str) -> None:
    width = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    shades = [_STATE_COLOURS.get(state, colour) for state in states]
    axis.barh([row] * len(times), [width] * len(times), left=times, height=0.7, color=shades, linewidth=0)
