"""A recording's topics over time, as a picture."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sartm_core.files import atomic_path
from sartm_ros.bag.survey import Survey

INK, SOFT, GAP, UNSTAMPED = "#2a6f97", "#adb5bd", "#d1495b", "#e39b23"


def draw_timeline(survey: Survey, out: Path) -> None:
    """One row per topic: a tick where a message was recorded, red where it was silent.

    Args:
        out: the PNG file.
    """
    topics = [topic for topic in survey.topics.values() if topic.count]
    figure = Figure(figsize=(11, 1.0 + 0.34 * len(topics)), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    names = []
    for row, topic in enumerate(reversed(topics)):
        colour = UNSTAMPED if topic.unstamped else INK if topic.kinds else SOFT
        axis.eventplot([list(topic.times_s)], lineoffsets=row, linelengths=0.62, linewidths=0.7, colors=colour)
        for at_s, length_s in topic.gaps:
            axis.barh(row, length_s, left=at_s, height=0.2, color=GAP)
        rate = "" if topic.rate_hz is None else f"  {topic.rate_hz:g} Hz"
        names.append(f"{topic.topic}{rate}")
    axis.set_yticks(range(len(topics)), names, fontsize=8)
    axis.set(xlabel="seconds of recording", ylim=(-0.7, len(topics) - 0.3), xlim=(0, max(survey.seconds, 1e-3)))
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.set_title("sensors blue, others grey, gaps red, messages without stamp orange", fontsize=9, loc="left")
    with atomic_path(out) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
