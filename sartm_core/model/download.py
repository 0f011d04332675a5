"""SAM2's official checkpoints: their addresses and a resumable, verified download."""

import json
import re
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path

from sartm_core.errors import SartmError
from sartm_core.files import sync, write_text
from sartm_core.outputs import sole_writer
from sartm_core.resources import cache_folder

_SAM2, _SAM2_1 = (f"https://dl.fbaipublicfiles.com/segment_anything_2/{date}" for date in ("072824", "092824"))
BLOCK_BYTES = 1 << 20
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Official:
    """One official checkpoint. Meta publishes no checksums; the size that the server announces and the checksums
    inside the file, a zip archive as torch writes it, are checked instead.

    Attributes:
        url: its official address.
        backbone: our name for the size.
    """

    url: str
    backbone: str


CHECKPOINTS: dict[str, Official] = {
    f"{generation}_{size}": Official(f"{base}/{generation}_hiera_{size}.pt", size)
    for generation, base in (("sam2.1", _SAM2_1), ("sam2", _SAM2))
    for size in ("tiny", "small", "base_plus", "large")
}
"""Name -> checkpoint; `sam2.1_tiny` and so on."""


def local_path(name: str, folder: Path | None = None) -> Path:
    """Local path of a checkpoint, downloaded or not.

    Raises:
        SartmError: unknown name.
    """
    if name not in CHECKPOINTS:
        raise SartmError(f"weights '{name}' are unknown. Known: {', '.join(CHECKPOINTS)}.")
    return (folder or cache_folder()) / CHECKPOINTS[name].url.rsplit("/", 1)[1]


Progress = Callable[[int, int | None], None]
"""Called with bytes so far and in all; None where the server does not say."""


@dataclass(frozen=True, slots=True)
class _Begun:
    """What a `.part` is a part of; kept beside it, since a part says nothing of its own.

    Attributes:
        source: the address it came from.
        version: the server's strong ETag, or its Last-Modified: what If-Range compares (RFC 9110, 13.1.5).
        total: bytes of the whole file; None where the server did not say.
    """

    source: str
    version: str
    total: int | None


def pull(name: str, folder: Path | None = None, url: str | None = None, progress: Progress | None = None) -> Path:
    """Downloads a checkpoint unless it is present.

    An interrupted download resumes, where the server says that its file is still the same.

    Args:
        name: key of `CHECKPOINTS`.
        folder: by default `cache_folder()`.
        url: another address of the same file, such as a mirror's.
        progress: see `Progress`.

    Raises:
        SartmError: no connection, the server refuses, the transfer is incomplete, what came is no checkpoint, or
            another process is downloading it; names the address and what to do.
    """
    path, source = local_path(name, folder), url or CHECKPOINTS[name].url
    if path.is_file() and zipfile.is_zipfile(path):  # not a login page that was once taken for it
        return path
    with sole_writer(path):
        partial = path.with_name(path.name + ".part")
        try:
            done, total = _transfer(source, partial, progress or (lambda done, total: None))
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the part is longer than the file has become
                _forget(partial)
            raise SartmError(
                f"{source}: the server answered {error.code} {error.reason}. Give another address with --url."
            ) from error
        except (OSError, ValueError, HTTPException) as error:
            raise SartmError(
                f"{source}: no connection ({error}). Try again, or give another address with --url."
            ) from error
        if total is not None and done < total:
            raise SartmError(f"{source}: the transfer ended after {done} of {total} bytes. Run it again to resume.")
        fault = _why_no_checkpoint(partial)
        if fault or (total is not None and done > total):
            _forget(partial)
            raise SartmError(
                f"{source}: what came is not a checkpoint ({fault or f'{done} bytes instead of {total}'}). Is there a "
                "login page between? Try again, or give another address with --url."
            )
        sync(partial)
        partial.replace(path)
        _forget(partial)
    return path


def _transfer(source: str, partial: Path, progress: Progress) -> tuple[int, int | None]:
    """Appends the missing bytes to `partial`; returns its size, and that of the whole file as far as it is known."""
    if not source.startswith(("http://", "https://")):
        raise ValueError("expected an address that starts with http:// or https://")
    begun = _begun(source, partial)
    present = partial.stat().st_size if begun is not None else 0
    if begun is not None and present == begun.total:
        return present, present  # the last run ended before renaming it
    headers = {"Range": f"bytes={present}-", "If-Range": begun.version} if begun is not None else {}
    request = urllib.request.Request(source, headers=headers)  # noqa: S310 (checked above)
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
        resumed = response.status == 206
        if resumed and _first_byte(response.headers) != present:
            raise ValueError(f"asked for the bytes from {present} on, got {response.headers['Content-Range']}")
        done = present if resumed else 0
        length = response.headers["Content-Length"]
        total = done + int(length) if length is not None else None
        if not resumed:
            _forget(partial)
            _remember(partial, _Begun(source, _version(response.headers), total))
        with partial.open("ab" if resumed else "wb") as stream:
            while block := response.read(BLOCK_BYTES):
                stream.write(block)
                done += len(block)
                progress(done, total)
    return done, total


def _record(partial: Path) -> Path:
    return partial.with_name(partial.name + ".json")


def _begun(source: str, partial: Path) -> _Begun | None:
    """What was noted of a part that can be resumed from this address; None where it has to begin anew."""
    with suppress(OSError, ValueError, TypeError):
        begun = _Begun(**json.loads(_record(partial).read_text(encoding="utf-8")))
        size = partial.stat().st_size
        if begun.source == source and begun.version and size and (begun.total is None or size <= begun.total):
            return begun
    return None


def _remember(partial: Path, begun: _Begun) -> None:
    write_text(_record(partial), json.dumps(asdict(begun)))


def _forget(partial: Path) -> None:
    _record(partial).unlink(missing_ok=True)
    partial.unlink(missing_ok=True)


def _version(headers: HTTPMessage) -> str:
    tag = headers.get("ETag", "")
    return headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag


def _first_byte(headers: HTTPMessage) -> int | None:
    found = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _why_no_checkpoint(file: Path) -> str:
    """Why a file is not what torch writes, a zip archive whose entries have their checksums; "" where it is."""
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
            if damaged is None and not any(name.endswith("/data.pkl") for name in archive.namelist()):
                return "a zip archive of something else"
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError):
        with file.open("rb") as stream:
            return f"it begins with {stream.read(24)!r}"
    return f"{damaged} in it is damaged" if damaged is not None else ""
