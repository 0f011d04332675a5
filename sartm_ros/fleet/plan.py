"""Which recordings there are, what they are called, and which of them are done: without opening one."""

import glob
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartm_core.errors import SartmError
from sartm_core.files import natural_key
from sartm_ros.bag.compression import COMPRESSED_SUFFIX
from sartm_ros.bag.storage_files import STORAGE_SUFFIXES
from sartm_ros.fleet import remote
from sartm_ros.fleet.layout import RESULT_FILE
from sartm_ros.fleet.order import Order, order_key

_STORAGE = (*STORAGE_SUFFIXES, *(f"{suffix}{COMPRESSED_SUFFIX}" for suffix in STORAGE_SUFFIXES))


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording of a fleet.

    Attributes:
        name: unique in the fleet; its result's folder.
        source: an absolute path, or an fsspec URL.
        size: of its storage files, bytes.
    """

    name: str
    source: str
    size: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run has to do.

    Attributes:
        todo: the largest first: the last ones to end are then short.
        done: have a result of the same key.
        outdated: how many of `todo` replace a result of another key.
    """

    todo: tuple[Recording, ...]
    done: tuple[Recording, ...]
    outdated: int


def find_recordings(given: Sequence[str]) -> list[Recording]:
    """The recordings that are named, each once, in natural order.

    Args:
        given: recordings, folders of recordings, patterns, text files that list such, one a line, or fsspec URLs.

    Raises:
        SartmError: one of them leads to no recording.
    """
    sizes: dict[str, int] = {}
    for one in _listed(given):
        found = remote.find(one, _STORAGE) if remote.is_url(one) else _found(one)
        if not found:
            raise SartmError(
                f"{one}: leads to no recording. Give rosbag2 folders, .mcap or .db3 files, a folder or a pattern "
                "of them, or a .txt file that lists them."
            )
        sizes |= found
    sources = sorted(sizes, key=lambda source: (natural_key(source), source))
    return [Recording(name, source, sizes[source]) for name, source in zip(_names(sources), sources, strict=True)]


def make_plan(recordings: Iterable[Recording], order: Order, out: Path) -> Plan:
    """Compares with the results that are there.

    Raises:
        SartmError: a result's place holds that of another recording, or something else.
    """
    todo, done, outdated = [], [], 0
    shared = order_key(order)
    for recording in recordings:
        key = read_key(out / recording.name)
        if key is None and (out / recording.name).exists():
            raise SartmError(
                f"{out / recording.name}: is no result of `sartm fleet` and is not overwritten. Move it, or choose "
                "another --out."
            )
        if key is not None and key["source"] != recording.source:
            raise SartmError(
                f"{out / recording.name}: is the result of {key['source']}, not of {recording.source}. Choose another "
                "--out for other recordings, or name all of them in one run."
            )
        if key == {"source": recording.source, "size": recording.size, **shared}:
            done.append(recording)
        else:
            todo.append(recording)
            outdated += key is not None
    return Plan(tuple(sorted(todo, key=lambda one: -one.size)), tuple(done), outdated)


def read_key(folder: Path) -> dict[str, Any] | None:
    """The key of a result; None where there is none."""
    try:
        key = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))["key"]
        return key if isinstance(key, dict) and "source" in key else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _listed(given: Sequence[str]) -> Iterable[str]:
    for one in given:
        if not one.endswith(".txt"):
            yield one
            continue
        try:
            lines = Path(one).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise SartmError(f"{one}: cannot be read as a list of recordings ({error}).") from error
        yield from (line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))


def _found(text: str) -> dict[str, int]:
    """Source -> bytes."""
    path = os.path.expanduser(text)
    if os.path.exists(path):
        return _in_folder(os.path.abspath(path)) if os.path.isdir(path) else _of_file(os.path.abspath(path))
    found: dict[str, int] = {}
    for match in glob.iglob(path, recursive=True):
        absolute = os.path.abspath(match)
        found |= _in_folder(absolute) if os.path.isdir(absolute) else _of_file(absolute)
    return found


def _of_file(path: str) -> dict[str, int]:
    return {path: os.stat(path).st_size} if path.endswith(_STORAGE) else {}


def _in_folder(path: str) -> dict[str, int]:
    """The folder itself if it is one recording, else those in it, at any depth.

    Storage files side by side without a metadata.yaml are recordings by themselves, unless they are named as a recorder
    names the parts of one: then it was cut off.
    """
    files, folders, described = {}, [], False
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                folders.append(entry.path)
            elif entry.name.endswith(_STORAGE):
                files[entry.path] = entry.stat().st_size
            described = described or entry.name == "metadata.yaml"
    if files and (described or remote.are_parts(path, files)):
        return {path: sum(files.values())}
    for folder in folders:
        files |= _in_folder(folder)
    return files


def _names(sources: Sequence[str]) -> list[str]:
    """A name for each source: its own, after as many of its folders as tell it from the others."""
    parts = [_parts(source) for source in sources]
    depth = [1] * len(sources)
    while True:
        names = ["_".join(part[-count:]) for part, count in zip(parts, depth, strict=True)]
        counts = Counter(names)
        twice = [index for index, name in enumerate(names) if counts[name] > 1]
        if not twice:
            return names
        longer = [index for index in twice if depth[index] < len(parts[index])]
        if not longer:
            raise SartmError(f"recordings: {sources[twice[0]]} and another have the same name. Rename one.")
        for index in longer:
            depth[index] += 1


def _parts(source: str) -> list[str]:
    *folders, name = [part for part in source.replace(":", "").split("/") if part]
    for suffix in (COMPRESSED_SUFFIX, *STORAGE_SUFFIXES):
        name = name.removesuffix(suffix)
    return [*folders, name]
