"""The download against a server of the test's own, which can break off."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sartm_core.errors import SartmError
from sartm_core.model.download import CHECKPOINTS, local_path, pull

CONTENT = np.random.default_rng(0).bytes(3_000_000)


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; `break_after` bytes of an answer are sent when it is set."""

    break_after: int | None = None
    ranges = True
    asked: list[str | None] = []  # noqa: RUF012 (shared with the test on purpose)

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.asked.append(wanted)
        if self.path != "/sam2.pt":
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : start + self.break_after] if self.break_after else CONTENT[start:])

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
        with pytest.raises(SartmError, match="of 3000000 bytes. Run it again to resume"):
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
    (tmp_path / "sam2.1_hiera_tiny.pt.part").write_bytes(CONTENT)
    assert pull("sam2.1_tiny", tmp_path, server.url).read_bytes() == CONTENT


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
