"""Which frame a line of a list means: an id, or the path or name of one of its files, whatever stands before it."""

import difflib
import re
from collections.abc import Iterator, Sequence

from sartm_core.datasets.dataset import TRUTH, DataSet, Frame


class FrameIndex:
    """Finds frames by their names in lists, which were written on other machines and for other tools.

    A frame's names are its id (`fog/MAP_1_point2/045050`) and, where the layout has folders between the id's parts, its
    place below the modality's folder (`fog/test/MAP_1_point2/045050`). A line may hold more than a name in front of it
    (the folders of the authors' machine), `_` or a backslash for each `/` (converted data sets have flat folders), and
    behind it what a modality's files end in (`_rgb_front.png`). It may also be the end of a name, if it is that of one
    frame only. Folders that contradict a name are no match: equal numbers occur in many folders.

    Args:
        data: knows the files.
        frames: those to be found.
    """

    def __init__(self, data: DataSet, frames: Sequence[Frame]) -> None:
        self._ids = [frame.id for frame in frames]
        self._endings = _endings(data, frames[0]) if frames else []
        self._alone: dict[str, set[str]] = {}  # ids of one part
        self._whole: dict[str, set[str]] = {}  # names of several parts, joined by _
        self._ends: dict[str, set[str]] = {}  # and what remains without their first parts
        for frame in frames:
            for parts in _names(data, frame):
                if len(parts) == 1:
                    self._alone.setdefault(parts[0], set()).add(frame.id)
                else:
                    self._whole.setdefault("_".join(parts), set()).add(frame.id)
                for first in range(1, len(parts)):
                    self._ends.setdefault("_".join(parts[first:]), set()).add(frame.id)

    def find(self, line: str) -> list[str]:
        """Ids of the frames that a line can mean, sorted: one, several, or none."""
        for text in (line, re.split(r"[\s,]", line)[0]):  # image and label in one line: the first tells
            for name in self._without_endings(text.replace("\\", "/")):
                if found := self._named(name):
                    return sorted(found)
        return []

    def nearest(self, line: str) -> str:
        """The most similar id."""
        return difflib.get_close_matches(line, self._ids, n=1, cutoff=0.0)[0]

    def _without_endings(self, text: str) -> Iterator[str]:
        yield text
        stem = re.sub(r"\.\w+$", "", text)
        yield stem
        for ending in self._endings:
            if stem.endswith(ending):
                yield stem.removesuffix(ending)

    def _named(self, text: str) -> set[str]:
        flat = text.replace("/", "_")
        starts = [0, *(place + 1 for place, character in enumerate(flat) if character == "_")]
        for start in starts:  # the longest name first
            if found := self._whole.get(flat[start:]):
                return found
        return self._alone.get(text.rsplit("/", 1)[-1]) or self._ends.get(flat, set())


def _names(data: DataSet, frame: Frame) -> list[tuple[str, ...]]:
    """The parts of the id; and those of the path from the id's first part on, if there are others in between."""
    parts = tuple(frame.id.split("/"))
    folders = data.path(frame, TRUTH).parts[:-1]
    if len(parts) == 1 or parts[0] not in folders:
        return [parts]
    first = len(folders) - 1 - folders[::-1].index(parts[0])
    place = (*folders[first:], parts[-1])
    return [parts] if place == parts else [parts, place]


def _endings(data: DataSet, frame: Frame) -> list[str]:
    """What follows the id in the names of files, such as `_rgb_front`; the same for every frame. The longest first."""
    name = frame.id.rsplit("/", 1)[-1]
    stems = [data.path(frame, what).stem for what in (*frame.modalities, TRUTH)]
    endings = {stem.removeprefix(name) for stem in stems if stem.startswith(name)} - {""}
    return sorted(endings, key=len, reverse=True)
