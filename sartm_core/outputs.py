"""Output folders: written by one process at a time, under another name until complete, and replaced in one step."""

import ctypes
import errno
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from sartm_core.errors import SartmError
from sartm_core.files import sync

_HERE = -100
"""AT_FDCWD: paths are relative to the working directory."""
_EXCHANGE = 2
"""RENAME_EXCHANGE of renameat2(2)."""
_NOT_SUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


@contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Keeps other processes from writing the same output within the block.

    Raises:
        SartmError: one is writing it; names its process id.
    """
    lock = _lock(path)
    try:
        yield
    finally:
        _unlock(lock)


def _lock(path: Path) -> BaseFileLock:
    """Locks `.NAME.lock` beside the output. The kernel unlocks it when the process ends, however that happens."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"), thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise SartmError(
            f"{path}: {_holder(Path(lock.lock_file))} is writing it. Let it end, or choose another name."
        ) from None
    Path(lock.lock_file).write_text(f"{os.getpid()}\n")
    return lock


def _unlock(lock: BaseFileLock) -> None:
    if lock.is_locked:
        # While it is still held: who opened the file meanwhile finds it gone, and makes a new one.
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _holder(file: Path) -> str:
    with suppress(OSError, ValueError):
        return f"process {int(file.read_text())}"
    return "another process"


class Draft:
    """Where one output is written until it is complete, beside its place. What a killed process left is removed.

    Args:
        path: the output, a file or a folder.

    Attributes:
        folder: exists; its name cannot be foreseen.
        content: the output's name in it: what to make.

    Raises:
        SartmError: another process is writing this output.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = _lock(path)
        place = path.resolve()
        left = re.compile(rf"\.{re.escape(place.name)}\.[a-z0-9_]{{8}}\.part")
        for entry in place.parent.iterdir():
            if left.fullmatch(entry.name) and entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
        self.folder = Path(tempfile.mkdtemp(prefix=f".{place.name}.", suffix=".part", dir=place.parent))
        self.content = self.folder / place.name

    def publish(self, own: Collection[str] = (), content: Path | None = None) -> None:
        """Gives the content its place.

        Args:
            own: names of what an earlier output there consists of, which may be deleted: by default nothing is. That
                of a folder ends with `/`.
            content: of the draft's folder, where it is not `content`.

        Raises:
            SartmError: something else is there; the content stays in `folder`.
        """
        check_replaceable(self.path, own)
        content, place = content or self.content, self.path.resolve()
        sync_tree(content)
        if place.is_dir():
            _exchange(content, place)
        else:
            content.replace(place)
        sync(place.parent)
        self.discard()

    def discard(self) -> None:
        """Removes what is not published, and lets other processes write this output."""
        shutil.rmtree(self.folder, ignore_errors=True)
        _unlock(self._lock)


def check_replaceable(path: Path, own: Collection[str]) -> None:
    """Checks that nothing but an earlier output is where one is to be written.

    Args:
        path: the output.
        own: names of the files that an earlier output consists of, and of its folders, which end with `/`; none:
            nothing may be there.

    Raises:
        SartmError: something else is there; names it.
    """
    if not (path.exists() or path.is_symlink()):
        return
    entries = [path] if path.is_file() else sorted(path.iterdir())
    others = [
        entry.name
        for entry in entries
        if (f"{entry.name}/" if entry.is_dir() else entry.name) not in own or not (entry.is_file() or entry.is_dir())
    ]
    if not own:
        raise SartmError(f"{path}: already exists and is not overwritten. Remove it, or choose another name.")
    if others:
        raise SartmError(
            f"{path}: already exists and is not overwritten, since it holds {others[0]}. Move that, or choose another "
            "name."
        )


def check_writable(folder: Path) -> None:
    """Makes a folder for what a long run will write at its end, and tries to write there.

    Raises:
        SartmError: it is a file, or is read-only.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SartmError(f"{folder}: cannot be written to as a folder ({error.strerror}). Choose another.") from error


def sync_tree(path: Path) -> None:
    """Has the disk keep a file, or a folder with everything in it."""
    if path.is_dir():
        for entry in path.iterdir():
            sync_tree(entry)
    sync(path)


def _exchange(one: Path, other: Path) -> None:
    """Exchanges two folders, so that at no time none has the name."""
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "renameat2"):
        if libc.renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
            return
        code = ctypes.get_errno()
        if code not in _NOT_SUPPORTED:
            raise OSError(code, os.strerror(code), str(other))
    aside = other.with_name(f".{other.name}.{secrets.token_hex(4)}.old")  # some network file systems
    other.rename(aside)
    one.rename(other)
    aside.rename(one)
