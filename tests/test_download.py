"""Downloads from a server on this machine that serves, breaks off, lies and stalls."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dlrun.datasets import download
from dlrun.datasets.download import cache_folder, fetch
from dlrun.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
CONTENT = bytes(range(256)) * 1024  # several of the downloader's chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: Counter[str] = Counter()
        self.together = threading.Barrier(2)  # /together answers when two have asked
        self.half_sent, self.go_on = threading.Event(), threading.Event()  # /stalled waits in the middle

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path = self.path.strip("/")
        self.server.asked[path] += 1
        if path == "missing":
            self.send_error(404)
            return
        if path == "together":
            self.server.together.wait(timeout=100)
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        half = len(CONTENT) // 2
        self.wfile.write(CONTENT[:half])
        if path == "truncated":
            return
        if path == "stalled":
            self.wfile.flush()
            self.server.half_sent.set()
            self.server.go_on.wait(timeout=100)
            return
        self.wfile.write(CONTENT[half:][::-1] if path == "corrupted" else CONTENT[half:])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.go_on.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_good_file_is_fetched_once(server, tmp_path):
    folder = tmp_path / "new" / "folder"
    for _ in range(2):
        file = fetch("data.bin", [server.url("good")], SHA256, folder)
        assert file == folder / "data.bin" and file.read_bytes() == CONTENT
    assert server.asked == {"good": 1} and os.listdir(folder) == ["data.bin"]


@pytest.mark.parametrize("bad", ["missing", "truncated", "corrupted"])
def test_the_next_mirror_serves_where_one_fails(server, tmp_path, bad):
    file = fetch("data.bin", [server.url(bad), server.url("good"), server.url("unused")], SHA256, tmp_path)
    assert file.read_bytes() == CONTENT and os.listdir(tmp_path) == ["data.bin"]
    assert server.asked == {bad: 1, "good": 1}


def test_every_mirrors_reason_is_told_and_nothing_is_left(server, tmp_path):
    urls = [server.url(path) for path in ("missing", "truncated", "corrupted")] + ["http://127.0.0.1:9/closed"]
    with pytest.raises(ConfigError) as refused:
        fetch("data.bin", urls, SHA256, tmp_path)
    told = str(refused.value)
    lines = dict(line.strip().split(": ", 1) for line in told.splitlines() if line.startswith("  "))
    assert list(lines) == urls
    expected = ("404", "IncompleteRead", "wrong content, SHA-256", "refused")
    assert all(words in reason for words, reason in zip(expected, lines.values(), strict=True)), told
    assert "Max retries" not in told  # the cause, not its wrapping
    assert f"save it as {tmp_path / 'data.bin'}" in told
    assert os.listdir(tmp_path) == []


def test_a_file_with_the_wrong_content_is_fetched_anew(server, tmp_path):
    (tmp_path / "data.bin").write_bytes(CONTENT[:-1])
    with (tmp_path / "data.bin").open("rb") as reader:  # keeps what it opened, since the new file is another one
        assert fetch("data.bin", [server.url("good")], SHA256, tmp_path).read_bytes() == CONTENT
        assert reader.read() == CONTENT[:-1]


FETCH = "import sys; from pathlib import Path; from dlrun.datasets.download import fetch; "
FETCH += "fetch('data.bin', [sys.argv[1]], sys.argv[2], Path(sys.argv[3]))"


def start(url: str, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", FETCH, url, SHA256, str(folder)], cwd=ROOT)


def test_two_processes_fetch_the_same_file_at_once(server, tmp_path):
    processes = [start(server.url("together"), tmp_path) for _ in range(2)]
    assert [process.wait(timeout=200) for process in processes] == [0, 0]
    assert server.asked == {"together": 2}  # neither waited for the other's file
    assert os.listdir(tmp_path) == ["data.bin"] and (tmp_path / "data.bin").read_bytes() == CONTENT


def test_a_killed_process_leaves_no_file_under_the_final_name(server, tmp_path):
    process = start(server.url("stalled"), tmp_path)
    assert server.half_sent.wait(timeout=100)
    process.kill()
    process.wait()
    assert not (tmp_path / "data.bin").exists()
    assert fetch("data.bin", [server.url("good")], SHA256, tmp_path).read_bytes() == CONTENT


def test_an_interrupt_leaves_nothing(monkeypatch, tmp_path):
    def interrupted(url, part):
        part.write_bytes(CONTENT[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "_download", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("data.bin", ["http://127.0.0.1/"], SHA256, tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match=f"cannot write to {tmp_path / 'file' / 'mnist'} .* set DLRUN_DATA"):
        fetch("data.bin", [], SHA256, tmp_path / "file" / "mnist")


def test_others_may_read_a_shared_cache(server, tmp_path):
    reference = tmp_path / "reference"
    reference.touch()
    file = fetch("data.bin", [server.url("good")], SHA256, tmp_path)
    assert file.stat().st_mode == reference.stat().st_mode


@pytest.mark.parametrize("terminal", [True, False])
def test_the_progress_bar_shows_on_a_terminal_only(server, tmp_path, monkeypatch, capsys, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    fetch("data.bin", [server.url("good")], SHA256, tmp_path)
    shown = capsys.readouterr()
    assert ("262.1" in shown.err) == terminal and shown.out == ""  # 262.1 kB, all of them


def test_cache_folder_is_the_users_or_the_platforms(monkeypatch, tmp_path):
    import pooch

    monkeypatch.setenv("DLRUN_DATA", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("DLRUN_DATA")
    assert cache_folder() == pooch.os_cache("dlrun")
