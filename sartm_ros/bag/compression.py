"""Decompresses files, chunks and messages of a recording, within bounds: 400 kB of zstd can hold 12 GB."""

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path, PurePath
from typing import IO

import lz4.frame
import zstandard
from filelock import FileLock, Timeout
from mcap.records import Chunk

from sartm_core.errors import SartmError

COMPRESSED_SUFFIX = ".zstd"
LARGEST_CONTENT = 1 << 30
"""A chunk or a message of more than this, 1 GiB, is not decompressed."""
LARGEST_RATIO = 1000
"""A file of more than `LARGEST_CONTENT` is decompressed up to this many times its size; recordings reach 10 or 20."""

_ZSTD_MARK = b"\x28\xb5\x2f\xfd"
"""The magic number of zstd; CDR begins with a zero."""
_BLOCK = 1 << 20
_SCRATCH = "sartm-bag-"
_UNLOCKED_S = 60.0
"""A scratch folder this young may belong to a process that has not locked it yet."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder for decompressed files. Those that killed processes of this user left are removed first."""
    for left in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        with suppress(OSError):
            if left.stat().st_uid == os.getuid() and time.time() - left.stat().st_mtime > _UNLOCKED_S:
                _remove_abandoned(left)
    with tempfile.TemporaryDirectory(prefix=_SCRATCH) as folder, FileLock(_lock_of(Path(folder))):
        yield Path(folder)


def _remove_abandoned(folder: Path) -> None:
    with suppress(Timeout), FileLock(_lock_of(folder), timeout=0):
        shutil.rmtree(folder)


def _lock_of(folder: Path) -> Path:
    return folder / ".lock"


def uncompressed_name(file: PurePath) -> str:
    """A file's name without that of its compression."""
    return file.name.removesuffix(COMPRESSED_SUFFIX)


def plain_file(path: Path, scratch: Path, losses: list[str]) -> Path:
    """The file itself, or the content of a compressed one in `scratch`, as far as it can be decompressed.

    Args:
        path: the file.
        scratch: where its content goes.
        losses: receives a line where it ends early because of `LARGEST_RATIO`.

    Raises:
        SartmError: there is no room for it.
    """
    if path.suffix != COMPRESSED_SUFFIX:
        return path
    plain = scratch / uncompressed_name(path)
    size = path.stat().st_size
    try:
        with path.open("rb") as source, plain.open("wb") as target, suppress(zstandard.ZstdError):
            for block in _blocks(source):
                target.write(block)
                if target.tell() > max(LARGEST_CONTENT, LARGEST_RATIO * size):
                    losses.append(
                        f"{path.name}: holds more than {LARGEST_RATIO} times its {size} bytes; no more is read."
                    )
                    break
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SartmError(
            f"{path}: {scratch.parent} has no room for its decompressed content. Set TMPDIR to a folder that has, or "
            f"decompress it there: zstd -d {path.name}"
        ) from error
    return plain


def decompressed(data: bytes) -> bytes:
    """A message decompressed, where the recorder compressed each; only metadata.yaml says so, if it exists.

    Raises:
        SartmError: it is larger than `LARGEST_CONTENT`.
    """
    if data.startswith(_ZSTD_MARK):
        with suppress(zstandard.ZstdError):
            return _inflated(data, LARGEST_CONTENT)
    return data


def plain_chunk(chunk: Chunk) -> Chunk:
    """The chunk of an MCAP, not compressed.

    Raises:
        SartmError: it is larger than it says, or than `LARGEST_CONTENT`.
        Exception: whatever the decoders raise for damaged data.
    """
    size = chunk.uncompressed_size
    if size > LARGEST_CONTENT:
        raise SartmError(f"a chunk of {size} bytes, expected at most {LARGEST_CONTENT}")
    if chunk.compression == "zstd":
        return replace(chunk, compression="", data=_inflated(chunk.data, size))
    if chunk.compression == "lz4":
        decoder = lz4.frame.LZ4FrameDecompressor()
        data = decoder.decompress(chunk.data, max_length=size)
        if not decoder.eof and decoder.decompress(b"", max_length=1):
            raise SartmError(f"more than the {size} bytes that it names")
        return replace(chunk, compression="", data=data)
    return chunk


def _inflated(data: bytes, limit: int) -> bytes:
    if zstandard.frame_content_size(data) > limit:
        raise SartmError(f"more than {limit} bytes in {len(data)} of zstd")
    if zstandard.frame_content_size(data) >= 0:
        return zstandard.ZstdDecompressor().decompress(data)
    blocks, size = [], 0
    for block in _blocks(data):
        blocks.append(block)
        size += len(block)
        if size > limit:
            raise SartmError(f"more than {limit} bytes in {len(data)} of zstd")
    return b"".join(blocks)


def _blocks(source: bytes | IO[bytes]) -> Iterator[bytes]:
    with zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True, closefd=False) as reader:
        while block := reader.read(_BLOCK):
            yield block
