"""SAM2's official checkpoints: their addresses and a resumable, verified download."""

import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sartm_core.errors import SartmError
from sartm_core.resources import cache_folder

_SAM2, _SAM2_1 = (f"https://dl.fbaipublicfiles.com/segment_anything_2/{date}" for date in ("072824", "092824"))
BLOCK_BYTES = 1 << 20
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Official:
    """One official checkpoint. Meta publishes no checksums; size and content are checked instead.

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


def pull(
    name: str, folder: Path | None = None, url: str | None = None, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Downloads a checkpoint unless it is present; an interrupted download resumes.

    Args:
        name: key of `CHECKPOINTS`.
        folder: by default `cache_folder()`.
        url: another address of the same file, such as a mirror's.
        progress: called with bytes so far and in total.

    Raises:
        SartmError: no connection, the server refuses, or the transfer is incomplete; names the address and what to do.
    """
    path, source = local_path(name, folder), url or CHECKPOINTS[name].url
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    try:
        done, total = _transfer(source, partial, progress)
    except urllib.error.HTTPError as error:
        raise SartmError(
            f"{source}: the server answered {error.code} {error.reason}. Give another address with --url."
        ) from error
    except (OSError, ValueError) as error:
        raise SartmError(
            f"{source}: no connection ({error}). Try again, or give another address with --url."
        ) from error
    if done != total:
        raise SartmError(f"{source}: the transfer ended after {done} of {total} bytes. Run it again to resume.")
    partial.replace(path)
    return path


def _transfer(source: str, partial: Path, progress: Callable[[int, int], None] | None) -> tuple[int, int]:
    """Appends the missing bytes to `partial`; returns its size and the size announced by the server."""
    present = partial.stat().st_size if partial.is_file() else 0
    if not source.startswith(("http://", "https://")):
        raise ValueError("expected an address that starts with http:// or https://")
    headers = {"Range": f"bytes={present}-"} if present else {}
    request = urllib.request.Request(source, headers=headers)  # noqa: S310 (checked above)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # The file is complete: the last run ended before renaming it.
        return present, int(error.headers.get("Content-Range", f"*/{present}").rsplit("/", 1)[1])
    with response:
        resumed = response.status == 206
        done = present if resumed else 0
        total = done + int(response.headers["Content-Length"])
        with partial.open("ab" if resumed else "wb") as stream:
            while block := response.read(BLOCK_BYTES):
                stream.write(block)
                done += len(block)
                if progress is not None:
                    progress(done, total)
    return done, total
