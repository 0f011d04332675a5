"""Lists of frames that are scored separately, such as RGB-easy and RGB-hard (MM SAM-adapter, arXiv 2509.10408).

A list is a text file with one frame per line: its id, or the path of one of its files as in the authors' lists.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from sartm_core.datasets.dataset import DataSet, Frame
from sartm_core.datasets.files import read_list
from sartm_core.datasets.image_quality import why_poor
from sartm_core.errors import SartmError
from sartm_core.files import write_text

EASY, HARD = "rgb-easy", "rgb-hard"


def read_frame_lists(lists: Iterable[str], frames: Iterable[Frame]) -> dict[str, str]:
    """Frame id -> name of its list, for `NAME=FILE` each.

    Raises:
        SartmError: no such file, a list without a frame of the split, or a frame in two lists.
    """
    known = {frame.id: _ends(frame.id) for frame in frames}
    named: dict[str, str] = {}
    for text in lists:
        name, separator, file = text.partition("=")
        if not separator or not name or not file:
            raise SartmError(f"--list {text}: expected NAME=FILE, such as rgb-hard=test_hard_files.txt.")
        wanted = {_ends(line) for line in read_list(Path(file))}
        stems = {one[-1] for one in wanted}
        members = [identity for identity, ends in known.items() if _is_member(ends, wanted, stems)]
        if not members:
            example = next(iter(known), "")
            raise SartmError(
                f"{file}: none of its {len(wanted)} lines is a frame of the split; an id looks like {example}."
            )
        for identity in members:
            if named.setdefault(identity, name) != name:
                raise SartmError(f"{file}: frame {identity} is also in list '{named[identity]}'.")
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


def _ends(text: str) -> tuple[str, ...]:
    """The last two parts of an id or a path, without suffix."""
    parts = PurePosixPath(text.replace("\\", "/")).with_suffix("").parts
    return tuple(parts[-2:])


def _is_member(ends: tuple[str, ...], wanted: set[tuple[str, ...]], stems: set[str]) -> bool:
    """Ids of one part match by name alone, longer ones by folder as well."""
    return ends[-1] in stems if len(ends) == 1 else ends in wanted
