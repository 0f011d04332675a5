"""`sartm bag make`, `play` and `info`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from sartm_core.commands.common import JsonOption, WholeSummaries, print_json, stderr, stdout, user_errors

if TYPE_CHECKING:
    from sartm_ros.bag.survey import Survey, TopicSurvey

bag_app = typer.Typer(cls=WholeSummaries, no_args_is_help=True, help="Recordings (rosbag2).")

BagArgument = Annotated[Path, typer.Argument(help="A rosbag2 folder, or a .mcap or .db3 file.")]
MsgsOption = Annotated[
    Path | None, typer.Option("--msgs", help="Folder of .msg files, for types the recording does not define.")
]
ImagesOption = Annotated[
    str | None, typer.Option(help="Folder or quoted pattern, such as 'pairs/*_vi.png'.", metavar="FILES")
]


@bag_app.command("make")
def bag_make(
    out: Annotated[Path, typer.Option(help="The rosbag2 folder to write.")],
    rgb: ImagesOption = None,
    thermal: ImagesOption = None,
    depth: ImagesOption = None,
    lidar: ImagesOption = None,
    event: ImagesOption = None,
    nir: ImagesOption = None,
    polarization: ImagesOption = None,
    rig: Annotated[str, typer.Option(help="Rig file or name: gives the topics.")] = "rgbt",
    rate: Annotated[float, typer.Option(help="Instants per second.", min=0.01, max=1000)] = 2.0,
) -> None:
    """Write a recording from image files; the files of each modality, sorted by name, are paired in order."""
    given = {
        "rgb": rgb, "thermal": thermal, "depth": depth, "lidar": lidar,
        "event": event, "nir": nir, "polarization": polarization,
    }  # fmt: skip
    sources = {name: files for name, files in given.items() if files is not None}
    if not sources:
        raise typer.BadParameter("give the files of at least one modality, such as --rgb DIR")
    with user_errors():
        from sartm_core.rig import load_rig
        from sartm_ros.bag.from_images import make_bag

        count = make_bag(load_rig(rig), sources, out, rate)
    stdout.print(f"{out}: {count} instants of {', '.join(sources)}")


@bag_app.command("play")
def bag_play(
    bag: BagArgument,
    rate: Annotated[float, typer.Option(help="2 plays twice as fast.", min=0.01, max=100)] = 1.0,
    clock: Annotated[bool, typer.Option(help="Also publish /clock, for nodes with use_sim_time.")] = False,
    wait_for: Annotated[
        int | None, typer.Option(help="Begin when this many topics have subscribers (default: all), or after 10 s.")
    ] = None,
    loop: Annotated[bool, typer.Option(help="Start again at the end, until interrupted.")] = False,
) -> None:
    """Publish a recording through ROS 2 at the recorded pace."""
    with user_errors():
        from sartm_ros.bag.player import play

        count = play(bag, rate, clock, wait_for, loop, warn)
    stderr.print(f"{count} messages published")


@bag_app.command("info")
def bag_info(
    bag: BagArgument,
    reference: Annotated[str | None, typer.Option(help="Topic whose stamps the others are compared with.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the time-line: a PNG file.")] = None,
    msgs: MsgsOption = None,
    json_output: JsonOption = False,
) -> None:
    """Show what a recording holds: topics, rates, gaps, stamps, which sensor each topic could be, tolerances."""
    with user_errors():
        from sartm_ros.bag.reader import open_bag
        from sartm_ros.bag.rig_draft import suggested_offset_s, suggested_tolerance_s
        from sartm_ros.bag.survey import survey

        with open_bag(bag, msgs) as opened, stderr.status("reading"):
            found = survey(opened, reference)
        if picture is not None:
            from sartm_ros.bag.timeline import draw_timeline

            draw_timeline(found, picture)
        suggestions = {}
        for topic in found.sensors():
            if topic.topic != found.reference:
                suggestions[topic.topic] = {
                    "tolerance_s": suggested_tolerance_s(topic),
                    "offset_s": suggested_offset_s(topic),
                }
    if json_output:
        content = asdict(found)
        for entry in content["topics"].values():
            del entry["times_s"]
        print_json({"path": str(bag), **content, "suggestions": suggestions})
        return
    for loss in found.losses:
        warn(loss)
    total = sum(topic.count for topic in found.topics.values())
    stdout.print(f"{bag}: {found.seconds:.2f} s, {total} messages", soft_wrap=True, highlight=False)
    stdout.print(_topic_table(found))
    if suggestions:
        stdout.print(_matching_table(found, suggestions))
    if picture is not None:
        stdout.print(f"{picture}: the time-line", soft_wrap=True)


def _topic_table(found: "Survey") -> Table:
    """Two lines per topic: it must be readable in 80 columns."""
    table = Table(show_lines=False)
    table.add_column(_two_lines("topic", "type"), overflow="fold")
    for above, below in (("messages", "Hz"), ("jitter", "stamp lag")):
        table.add_column(_two_lines(above, below), justify="right")
    table.add_column(_two_lines("content", "could be"), overflow="fold")
    for topic in found.topics.values():
        jitter = "" if topic.jitter_ms is None else f"{topic.jitter_ms:.1f} ms"
        lag = "" if topic.lag_ms is None else _time(topic.lag_ms)
        table.add_row(
            _two_lines(topic.topic, topic.message_type.replace("/msg/", "/")),
            _two_lines(str(topic.count), "" if topic.rate_hz is None else f"{topic.rate_hz:g}"),
            _two_lines(jitter, lag),
            _content_cell(topic),
        )
    return table


def _time(milliseconds: float) -> str:
    hours = milliseconds / 3_600_000
    return f"{milliseconds:.1f} ms" if abs(hours) < 1 else f"{hours / 24:.1f} days"


def _two_lines(above: str, below: str) -> Text:
    return Text.assemble(above, "\n", (below, "dim"))


def _content_cell(topic: "TopicSurvey") -> Text:
    lines = [Text(topic.fault if topic.content is None else topic.content.text)]
    if topic.kinds:
        lines.append(Text(", ".join(topic.kinds)))
    if topic.unstamped:
        lines.append(Text(f"{topic.unstamped} without stamp", "red"))
    if topic.backwards:
        lines.append(Text(f"{topic.backwards} times backwards", "red"))
    if topic.gaps:
        at, length = topic.gaps[0]
        count = "silent" if len(topic.gaps) == 1 else f"{len(topic.gaps)} gaps, the longest"
        lines.append(Text(f"{count} {length:.2f} s from {at:.1f} s on", "red"))
    return Text("\n").join(lines)


def _matching_table(found: "Survey", suggestions: dict[str, dict[str, float]]) -> Table:
    table = Table(title=f"stamps beside {found.reference}, each time the nearest")
    table.add_column("topic", overflow="fold")
    for column in ("median ms", "99 % within ms", "suggested tolerance_s", "suggested offset_s"):
        table.add_column(column, justify="right")
    for name, suggestion in suggestions.items():
        skew = found.topics[name].skew
        figures = ("", "") if skew is None else (f"{skew.median_ms:.1f}", f"{skew.largest_ms:.1f}")
        table.add_row(name, *figures, f"{suggestion['tolerance_s']:g}", f"{suggestion['offset_s']:g}")
    return table


def warn(line: str) -> None:
    """A line that the user should read."""
    stderr.print(line, style="yellow", highlight=False, markup=False, soft_wrap=True)
