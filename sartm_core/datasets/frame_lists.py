"""Lists of frames that are scored separately, such as RGB-easy and RGB-hard (MM SAM-adapter, arXiv 2509.10408).

A list is a text file with one frame per line: its id, or the path or name of one of its files as in the authors' lists.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from sartm_core.datasets.dataset import DataSet, Frame
from sartm_core.datasets.files import read_lines
from sartm_core.datasets.frame_index import FrameIndex
from sartm_core.datasets.image_quality import why_poor
from sartm_core.errors import SartmError
from sartm_core.files import write_text

EASY, HARD = "rgb-easy", "rgb-hard"


def read_frame_lists(lists: Iterable[str], data: DataSet, split: str, scored: Sequence[Frame]) -> dict[str, str]:
    """Frame id -> name of its list, for `NAME=FILE` each.

    Lines that name a frame of another split are skipped: some authors cut their validation from elsewhere.

    Args:
        lists: as given on the command line.
        data, split: where the lines' frames are looked for; see `FrameIndex`.
        scored: those of the split that are scored.

    Raises:
        SartmError: no such file, a line that is no frame of the data or could be several, a list without a scored
            frame, or a frame in two lists.
    """
    named: dict[str, str] = {}
    files = [_named_file(text) for text in lists]
    index = FrameIndex(data, data.frames(split) if files else ())
    ids = {frame.id for frame in scored}
    for name, path in files:
        found = _frames_of(path, index, data, split)
        members = [identity for identity in found if identity in ids]
        if not members:
            raise SartmError(
                f"{path}: none of its {len(found)} frames of {split} is among the {len(ids)} that are scored, which "
                f"have labels and are within --limit."
                if found
                else f"{path}: names no frame of {split}; an id looks like {scored[0].id}."
            )
        for identity in members:
            if named.setdefault(identity, name) != name:
                raise SartmError(f"{path}: frame {identity} is also in list '{named[identity]}'.")
    return named


def write_rgb_lists(data: DataSet, split: str, out: Path) -> dict[str, int]:
    """Splits by the RGB images themselves: those too dark, over-exposed, clipped or blurred are hard.

    For data whose authors' lists are unavailable; the paper gives no thresholds for its rule.

    Returns:
        List -> number of frames; the files are `<split>_rgb-easy.txt` and `<split>_rgb-hard.txt`.

    Raises:
        SartmError: the data set has no RGB camera.
    """
    rgb = next((m.name for m in data.rig.modalities if m.kind == "rgb"), None)
    if rgb is None:
        raise SartmError(f"{data.name}: has no RGB camera to judge by.")
    members: dict[str, list[str]] = {EASY: [], HARD: []}
    for frame in data.frames(split):
        poor = rgb not in frame.modalities or why_poor(data.image(frame, rgb)) is not None
        members[HARD if poor else EASY].append(frame.id)
    for name, ids in members.items():
        write_text(out / f"{split}_{name}.txt", "".join(f"{identity}\n" for identity in ids))
    return {name: len(ids) for name, ids in members.items()}


def _named_file(text: str) -> tuple[str, Path]:
    name, _, file = text.partition("=")
    if not name or not file:
        raise SartmError(f"--list {text}: expected NAME=FILE, such as rgb-hard=test_hard_files.txt.")
    if not Path(file).is_file():
        raise SartmError(f"--list {text}: {file}: is missing.")
    return name, Path(file)


def _frames_of(path: Path, index: FrameIndex, data: DataSet, split: str) -> list[str]:
    """Ids of the split that the lines of a list mean, each once."""
    found: dict[str, None] = {}
    elsewhere: FrameIndex | None = None
    for number, line in enumerate(read_lines(path), start=1):
        if not line:
            continue
        ids = index.find(line)
        if len(ids) > 1:
            raise SartmError(
                f"{path}, line {number}: '{line}' can be {len(ids)} frames of {split}: {', '.join(ids[:3])}"
                f"{', ...' if len(ids) > 3 else '.'} Write the id of the one that is meant."
            )
        if not ids:
            elsewhere = elsewhere or _all_splits(data)
            if elsewhere is None or not elsewhere.find(line):
                raise SartmError(
                    f"{path}, line {number}: '{line}' is no frame of {data.name}; the nearest is "
                    f"{index.nearest(line)}. A line is a frame's id, or the path or name of one of its files. Remove "
                    "lines whose frames are not on this machine: figures of a part are not those of the list."
                )
        found |= dict.fromkeys(ids)
    return list(found)


def _all_splits(data: DataSet) -> FrameIndex | None:
    try:
        return FrameIndex(data, data.frames())
    except SartmError:  # another split is not on this machine
        return None
