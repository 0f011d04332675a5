"""The download against a server of the test's own, which can break off, change its file, or send something else."""

import http.server
import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from sartm_core.errors import SartmError
from sartm_core.model.download import CHECKPOINTS, local_path, pull
from sartm_core.outputs import sole_writer


def checkpoint(seed: int) -> bytes:
    """As torch writes it; all have one size."""
    stream = io.BytesIO()
    numbers = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, 3_000_000, np.uint8))
    torch.save({"model": numbers}, stream)
    return stream.getvalue()


CONTENT, OTHER = checkpoint(0), checkpoint(1)
LOGIN = b"<html>Welcome to the hotel's network</html>"


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `content` with ranges; `break_after` bytes of an answer are sent when it is set.

    `version` is its ETag, None for a server that sends none.
    """

    content = CONTENT
    version: str | None = '"1"'
    break_after: int | None = None
    ranges = True
    length = True
    asked: list[str | None] = []  # noqa: RUF012 (shared with the test on purpose)

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.asked.append(wanted)
        if self.path not in ("/sam2.pt", "/mirror.pt"):
            self.send_error(404)
            return
        same = self.headers.get("If-Range") in (None, self.version)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges and same else 0
        if start >= len(self.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if self.version is not None:
            self.send_header("ETag", self.version)
        if self.length:
            self.send_header("Content-Length", str(len(self.content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        self.end_headers()
        self.wfile.write(self.content[start : start + self.break_after] if self.break_after else self.content[start:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[type[Server]]:
    handler = type("Handler", (Server,), {"asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        handler.url = f"http://127.0.0.1:{httpd.server_port}/sam2.pt"
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield handler
        httpd.shutdown()


def test_a_download(server: type[Server], tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    path = pull("sam2.1_tiny", tmp_path, server.url, lambda done, total: steps.append((done, total)))
    assert path == tmp_path / "sam2.1_hiera_tiny.pt"
    assert path.read_bytes() == CONTENT
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    pull("sam2.1_tiny", tmp_path, server.url)
    assert len(server.asked) == 1  # it is there


def test_an_interrupted_download_goes_on(server: type[Server], tmp_path: Path) -> None:
    server.break_after = 1_200_000
    for _ in range(2):
        with pytest.raises(SartmError, match=f"of {len(CONTENT)} bytes. Run it again to resume"):
            pull("sam2.1_tiny", tmp_path, server.url)
        assert not local_path("sam2.1_tiny", tmp_path).exists()  # never half of one under its name
    assert pull("sam2.1_tiny", tmp_path, server.url).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1200000-", "bytes=2400000-"]


def test_a_server_without_ranges_starts_anew(server: type[Server], tmp_path: Path) -> None:
    server.break_after, server.ranges = 1_000_000, False
    with pytest.raises(SartmError, match="ended after 1000000"):
        pull("sam2.1_tiny", tmp_path, server.url)
    server.break_after = None
    assert pull("sam2.1_tiny", tmp_path, server.url).read_bytes() == CONTENT


def test_a_complete_part_only_needs_its_name(server: type[Server], tmp_path: Path) -> None:
    broken_off(server, tmp_path)
    (tmp_path / "sam2.1_hiera_tiny.pt.part").write_bytes(CONTENT)
    assert pull("sam2.1_tiny", tmp_path, server.url).read_bytes() == CONTENT
    assert len(server.asked) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["sam2.1_hiera_tiny.pt"]


def broken_off(server: type[Server], folder: Path) -> None:
    server.break_after = 1_000_000
    with pytest.raises(SartmError, match="ended after 1000000"):
        pull("sam2.1_tiny", folder, server.url)
    server.break_after = None


def test_a_part_of_another_file_is_not_continued(server: type[Server], tmp_path: Path) -> None:
    """The bytes of two files in one are of the right size, and of no use."""
    broken_off(server, tmp_path)
    server.content, server.version = OTHER, '"2"'
    assert pull("sam2.1_tiny", tmp_path, server.url).read_bytes() == OTHER
    assert server.asked[-1] == "bytes=1000000-", "it asked whether it is the same"


def test_a_part_of_another_mirror_is_not_continued(server: type[Server], tmp_path: Path) -> None:
    broken_off(server, tmp_path)
    server.content = OTHER
    assert pull("sam2.1_tiny", tmp_path, server.url.replace("sam2.pt", "mirror.pt")).read_bytes() == OTHER
    assert server.asked[-1] is None


@pytest.mark.parametrize("version", [None, 'W/"1"'], ids=["none", "weak"])
def test_without_a_version_it_begins_anew(server: type[Server], tmp_path: Path, version: str | None) -> None:
    server.version = version
    broken_off(server, tmp_path)
    assert pull("sam2.1_tiny", tmp_path, server.url).read_bytes() == CONTENT
    assert server.asked == [None, None]


@pytest.mark.parametrize("size", [10, 4_000_000], ids=["of an unknown origin", "longer than the file"])
def test_a_strange_part_is_no_obstacle(server: type[Server], tmp_path: Path, size: int) -> None:
    if size > len(CONTENT):
        broken_off(server, tmp_path)
    (tmp_path / "sam2.1_hiera_tiny.pt.part").write_bytes(bytes(size))
    assert pull("sam2.1_tiny", tmp_path, server.url).read_bytes() == CONTENT


def test_a_server_that_does_not_say_how_long_it_is(server: type[Server], tmp_path: Path) -> None:
    server.length = False
    steps: list[tuple[int, int | None]] = []
    path = pull("sam2.1_tiny", tmp_path, server.url, lambda done, total: steps.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert steps[-1] == (len(CONTENT), None)
    path.unlink()
    server.break_after = 1_000_000
    with pytest.raises(SartmError, match="what came is not a checkpoint"):
        pull("sam2.1_tiny", tmp_path, server.url)


def zip_of_something_else() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("report.txt", "text")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [(LOGIN, "it begins with b'<html>Welcome to the hot'"), (b"", "it begins with b''"),
     (zip_of_something_else(), "a zip archive of something else"),
     (CONTENT[:1_000_000] + OTHER[1_000_000:], "data/0 in it is damaged")],
    ids=["login page", "nothing", "other archive", "mixed"],
)  # fmt: skip
def test_what_is_no_checkpoint_is_not_kept(server: type[Server], tmp_path: Path, sent: bytes, reason: str) -> None:
    server.content = sent
    if not sent:
        server.do_GET = lambda self: (self.send_response(200), self.end_headers())
    with pytest.raises(SartmError, match="what came is not a checkpoint") as error:
        pull("sam2.1_tiny", tmp_path, server.url)
    assert reason in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_was_kept_as_a_checkpoint_is_fetched_again(server: type[Server], tmp_path: Path) -> None:
    local_path("sam2.1_tiny", tmp_path).write_bytes(LOGIN)
    assert pull("sam2.1_tiny", tmp_path, server.url).read_bytes() == CONTENT


def test_two_at_once_do_not_write_one_file(server: type[Server], tmp_path: Path) -> None:
    path = local_path("sam2.1_tiny", tmp_path)
    with sole_writer(path), pytest.raises(SartmError, match="is writing it"):
        pull("sam2.1_tiny", tmp_path, server.url)
    assert server.asked == []


def test_faults_name_the_address(server: type[Server], tmp_path: Path) -> None:
    with pytest.raises(SartmError, match=r"/nothing: the server answered 404 .* --url"):
        pull("sam2.1_tiny", tmp_path, server.url.replace("sam2.pt", "nothing"))
    with pytest.raises(SartmError, match=r"127.0.0.1:1/x: no connection"):
        pull("sam2.1_tiny", tmp_path, "http://127.0.0.1:1/x")
    with pytest.raises(SartmError, match="starts with http"):
        pull("sam2.1_tiny", tmp_path, "file:///etc/passwd")
    with pytest.raises(SartmError, match="'sam3' are unknown. Known: sam2.1_tiny"):
        pull("sam3", tmp_path)


def test_the_official_list() -> None:
    assert len(CHECKPOINTS) == 8
    assert CHECKPOINTS["sam2.1_base_plus"].url.endswith("/092824/sam2.1_hiera_base_plus.pt")
    assert CHECKPOINTS["sam2_large"].url.endswith("/072824/sam2_hiera_large.pt")
