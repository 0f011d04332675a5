"""Recordings behind an fsspec URL (`s3://...`, `gs://...`): listed there, and copied to scratch to be read."""

import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from sartm_core.errors import SartmError


def is_url(text: str) -> bool:
    """Whether a source is behind fsspec rather than a path of this machine."""
    return "://" in text


def are_parts(folder: str, files: Iterable[str]) -> bool:
    """Whether files are named as rosbag2 names the parts of the recording in a folder: `drive/drive_0.mcap`."""
    part = re.compile(rf"{re.escape(PurePosixPath(folder).name)}_\d+\.")
    return all(part.match(PurePosixPath(file).name) for file in files)


def find(url: str, suffixes: tuple[str, ...]) -> dict[str, int]:
    """URL of each recording -> bytes.

    Args:
        url: a file, a folder or a pattern.
        suffixes: of storage files.

    Raises:
        SartmError: the URL's protocol or place cannot be reached.
    """
    files, path = _opened(url)
    try:
        matches = files.glob(path) if any(letter in path for letter in "*?[") else [path]
        listed: dict[str, Any] = {}
        for match in matches:
            listed |= files.find(match, detail=True)
    except Exception as error:  # every file system raises its own
        raise SartmError(f"{url}: cannot be listed ({error or type(error).__name__}).") from error
    folders: dict[str, dict[str, int]] = {}
    described = set()
    for name, entry in listed.items():
        folder = str(PurePosixPath(name).parent)
        if "/." in name:
            continue
        if name.endswith(suffixes):
            folders.setdefault(folder, {})[name] = int(entry["size"] or 0)
        elif name.endswith("/metadata.yaml"):
            described.add(folder)
    found: dict[str, int] = {}
    for folder, storage in folders.items():
        whole = [*storage] != matches and (folder in described or are_parts(folder, storage))
        found |= {folder: sum(storage.values())} if whole else storage
    return {files.unstrip_protocol(name): size for name, size in found.items()}


@contextmanager
def local_copy(source: str) -> Iterator[Path]:
    """The recording as a local path: itself, or a copy in scratch (TMPDIR) that is removed at the end.

    Raises:
        SartmError: it cannot be copied.
    """
    if not is_url(source):
        yield Path(source)
        return
    with tempfile.TemporaryDirectory(prefix="sartm-fleet-") as scratch:
        files, path = _opened(source)
        copy = Path(scratch) / PurePosixPath(path).name
        try:
            files.get(path, str(copy), recursive=files.isdir(path))
        except Exception as error:  # every file system raises its own
            raise SartmError(
                f"{source}: cannot be copied to {tempfile.gettempdir()} ({error or type(error).__name__}). Is there "
                "room? TMPDIR chooses another place."
            ) from error
        yield copy


def _opened(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ModuleNotFoundError as error:
        raise SartmError(f"{url}: URLs need fsspec: pip install 'sartm_ros[fleet]'.") from error
    try:
        files, path = url_to_fs(url)
    except Exception as error:  # an unknown protocol, or one whose package is not installed
        raise SartmError(f"{url}: cannot be opened ({error or type(error).__name__}).") from error
    return files, str(path)
